"""The exact integer program against brute force over small spaces: optima, bounds, infeasibility, clashes."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.cpsat import ExactResult, Least, clashes, least_use, next_best, program, solve
from deepmad.engine.solvers.cpsat.program import build_program
from deepmad.engine.solvers.cpsat.solving import find_feasible
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import Space, load_space, parse_space
from tests.brute_force import Counted, count
from tests.catalogue import StairTable

PATIENCE_SECONDS = 240.0
"""For proofs that take a few seconds, on a machine that is busy too."""
RULES = "rules: {non_decreasing: true, growth: 4, width_ratio: {min: 0.1, max: 1}}"
SPACES = {
    "residual": f"""
stem: {{out: [8, 16], kernel: 3, stride: 2}}
stages:
  - {{block: bottleneck, stride: 2, out: [16, 24, 40], width: [8, 16, 24], kernel: [3, 5], depth: {{min: 1, max: 3}}}}
  - {{block: basic, stride: 1, out: [24, 40, 64], width: [8, 16, 32], kernel: [3, 5], depth: {{min: 1, max: 5}}}}
  - {{block: bottleneck, stride: 2, out: [40, 64, 96], width: [16, 32], kernel: 3, depth: {{min: 1, max: 4}}}}
classes: 0
{RULES}
""",
    "choice of kinds": """
stem: {out: [8, 16], kernel: 3, stride: 2}
stages:
  - {block: [mbconv, bottleneck], stride: 2, out: [16, 24], width: [8, 16, 24], kernel: [3, 5], depth: {min: 1, max: 3}}
  - {block: [basic, mbconv_se], stride: 1, out: [16, 24, 64], width: [8, 16, 40], kernel: [3, 5], depth: [1, 2, 4]}
  - {block: bottleneck, stride: 2, out: [24, 64], width: [16, 32], kernel: 3, depth: {min: 1, max: 4}}
classes: 0
""",
    "expansions": """
stem: {out: [8, 16], kernel: 3, stride: 2}
stages:
  - {block: mbconv, stride: 2, out: [8, 16, 24], expansion: [1, 3], kernel: [3, 5], depth: {min: 1, max: 3}}
  - {block: mbconv_se, stride: 2, out: [16, 24, 48], expansion: [2.5, 4], kernel: [3, 5], depth: {min: 1, max: 4}}
  - {block: mbconv, stride: 1, out: [24, 48, 64], expansion: [3, 6], kernel: [3, 5], depth: {min: 1, max: 4}}
tail: {out: 128, kernel: 1}
classes: 10
""",
    "all four": """
stem: {out: [8, 16], kernel: 3, stride: 2}
stages:
  - {block: basic, stride: 2, out: [8, 16], width: [8, 16], kernel: [3, 5], depth: [1, 2]}
  - {block: bottleneck, stride: 1, out: [16, 32], width: [8, 16], kernel: [3, 5], depth: [1, 3]}
  - {block: mbconv, stride: 2, out: [16, 32], expansion: [2, 4], kernel: [3, 5], depth: [1, 2, 3]}
  - {block: mbconv_se, stride: 2, out: [32, 64], expansion: [3, 6], kernel: 5, depth: [1, 2, 4, 7]}
classes: 10
""",
    "odd numbers": """
stem: {out: [8, 12, 31], kernel: 3, stride: 2}
stages:
  - {block: [mbconv, mbconv_se], stride: 1, out: [8, 12, 30], width: [8, 20, 33], kernel: [3, 5], depth: [1, 3, 4]}
  - {block: basic, stride: 2, out: [10, 12, 30, 50], width: [8, 24], kernel: [3, 5], depth: [2, 3]}
  - {block: [bottleneck, mbconv], stride: 2, out: [12, 50], width: [9, 32, 40], kernel: 3, depth: [1, 2, 6]}
classes: 7
rules: {non_decreasing: false, growth: 2.5, width_ratio: {min: 0.15, max: 3}}
""",
}


@cache
def space(name: str) -> Space:
    return parse_space(f"format: deepmad/space@1\nname: {name}\nresolution: 32\n{SPACES[name]}", name)


@cache
def counted(name: str) -> Counted:
    return count(Problem(space(name), Budget(), table=StairTable()))


def limits(name: str, share: float, *names: str) -> Budget:
    """Limits that about `share` of the networks keep, each on its own."""
    fields = {"latency_seconds": "latency", "memory_bytes": "memory"}
    used = counted(name).used
    return Budget(**{fields.get(key, key): float(np.quantile(used[key], share)) for key in names})


def exact(problem: Problem, **options: Any) -> ExactResult:
    return solve(problem, **({"seconds": PATIENCE_SECONDS, "workers": 1, "seed": 0} | options))


def assert_optimal(problem: Problem, result: ExactResult, best: float | None) -> None:
    assert best is not None
    assert result.status == "optimal"
    assert result.network is not None
    assert result.bound is not None
    assert problem.broken(result.network) == []
    assert problem.value(result.network) == pytest.approx(best, rel=1e-6)
    assert best <= result.bound <= best + 1e-6 * abs(best)


@pytest.mark.parametrize("objective", ["paper", "reference"])
@pytest.mark.parametrize("latency", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_optimum_is_brute_forces(name: str, latency: bool, objective: ObjectiveName) -> None:
    assert len(counted(name)) >= 100_000
    names = ["macs", "params", "rho", *(["latency_seconds", "memory_bytes"] if latency else [])]
    problem = Problem(space(name), limits(name, 0.35, *names), table=StairTable(), objective=objective)
    assert_optimal(problem, exact(problem), counted(name).best(problem))


@pytest.mark.parametrize("name", SPACES)
def test_one_limit_at_a_time(name: str) -> None:
    for limit in ("macs", "params", "rho", "latency_seconds", "memory_bytes"):
        problem = Problem(space(name), limits(name, 0.05, limit), table=StairTable())
        assert_optimal(problem, exact(problem), counted(name).best(problem))


@pytest.mark.parametrize("name", SPACES)
def test_limits_that_leave_one_network_or_none(name: str) -> None:
    smallest = counted(name).used["macs"].min()
    problem = Problem(space(name), Budget(macs=float(smallest)))
    assert_optimal(problem, exact(problem), counted(name).best(problem))
    problem = replace(problem, budget=Budget(macs=float(smallest - 1)))
    assert counted(name).best(problem) is None
    assert exact(problem) == ExactResult("infeasible", None, None)


@pytest.mark.parametrize("name", ["residual", "choice of kinds", "expansions"])
def test_rho_exactly_on_the_edge(name: str) -> None:
    found, free = counted(name), Problem(space(name), limits(name, 0.3, "macs", "rho"))
    network = exact(free).network
    assert network is not None
    edge = free.usages(network)["rho"].used
    on = replace(free, budget=replace(free.budget, rho=edge))
    assert_optimal(on, exact(on), found.best(on))
    below = replace(free, budget=replace(free.budget, rho=float(np.nextafter(edge, 0))))
    assert_optimal(below, exact(below), found.best(below))


def test_fixed_out_beside_a_free_width() -> None:
    document = SPACES["residual"].replace("out: [40, 64, 96]", "out: 64")
    fixed = parse_space(f"format: deepmad/space@1\nname: fixed\nresolution: 32\n{document}", "fixed")
    problem = Problem(fixed, Budget(macs=3e6, rho=0.5))
    assert_optimal(problem, exact(problem), count(problem).best(problem))


def test_weights_of_the_objective() -> None:
    changed = replace(space("all four"), alpha=(0.0, 0.25, 3.0, 1e-3), beta=700.0)
    problem = Problem(changed, limits("all four", 0.5, "macs", "rho"))
    assert_optimal(problem, exact(problem), count(problem).best(problem))


def test_penalty_beyond_measure() -> None:
    document = SPACES["all four"].replace("depth: [1, 2, 4, 7]", "depth: [1, 2, 60]")
    wide = parse_space(f"format: deepmad/space@1\nname: wide\nresolution: 32\n{document}", "wide")
    problem = Problem(wide, Budget(macs=2e7))
    assert_optimal(problem, exact(problem), count(problem).best(problem))


def test_same_answer_twice() -> None:
    problem = Problem(load_space("r18"), Budget.of(load_space("r18")))
    first, second = (exact(problem, seconds=None, deterministic_limit=1.0, seed=3) for _ in range(2))
    assert first == second
    assert first.bound is not None


def test_hint_bound_gap_and_progress() -> None:
    problem = Problem(space("expansions"), limits("expansions", 0.35, "macs", "rho"))
    best = counted("expansions").best(problem)
    assert best is not None
    optimum = exact(problem).network
    heard: list[tuple[Architecture | None, float | None, float]] = []
    result = exact(problem, hint=optimum, bound=best, on_progress=lambda *event: heard.append(event))
    assert (result.status, result.network, result.bound) == ("optimal", optimum, best)
    assert heard[0][0] == optimum
    assert exact(problem, hint=optimum, seconds=0.0).network == optimum
    loose = exact(problem, gap=0.5)
    assert loose.status == "optimal"
    assert loose.network is not None
    assert loose.bound is not None
    assert best <= loose.bound <= 1.5 * problem.value(loose.network)


def test_complete_hint_is_a_solution() -> None:
    problem = Problem(space("choice of kinds"), limits("choice of kinds", 0.35, "macs", "rho"))
    built, network = build_program(problem), exact(problem).network
    assert network is not None
    assert built.network(built.assignment(network)) == network


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_progress_raises_stops_the_search(error: type[BaseException]) -> None:
    def interrupt(*_: object) -> None:
        raise error

    with pytest.raises(error):
        exact(Problem(space("residual"), Budget(macs=3e6)), on_progress=interrupt)


def test_clash_of_macs_and_rho() -> None:
    used = counted("residual").used
    budget = Budget(macs=float(used["macs"].min() * 1.2), rho=float(used["rho"].min() * 1.2), params=1e9, memory=1e9)
    problem = Problem(space("residual"), budget, table=StairTable())
    assert counted("residual").best(problem) is None
    for alone in ("macs", "rho"):
        kept = replace(problem, budget=replace(budget, **{alone: None}))
        assert counted("residual").best(kept) is not None
    assert clashes(problem, seconds=30, workers=1, seed=0) == ["macs", "rho"]


def test_clash_of_one_limit() -> None:
    one = Problem(space("residual"), Budget(macs=1e9, latency=1e-6, rho=10.0), table=StairTable())
    assert clashes(one, seconds=30, workers=1, seed=0) == ["latency_seconds"]
    throughput = replace(one, budget=Budget(throughput=1e7, params=1e9))
    assert clashes(throughput, seconds=30, workers=1, seed=0) == ["latency_seconds"]


@pytest.mark.parametrize("name", ["r50", "mbv2"])
def test_full_size_spaces(name: str) -> None:
    problem = Problem(
        load_space(name), replace(Budget.of(load_space(name)), latency=0.05, memory=1e8), table=StairTable()
    )
    assert build_program(problem).builder.model.validate() == ""
    for impossible in (Budget(macs=1e6), Budget(rho=0.001), Budget(params=1e4), Budget(latency=1e-6)):
        assert exact(replace(problem, budget=impossible)).status == "infeasible"


def test_understated_tables_stay_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmad.engine.solvers.cpsat.expressions.LARGEST_TABLE", 8)
    problem = Problem(space("residual"), limits("residual", 0.001, "latency_seconds"), table=StairTable())
    best = counted("residual").best(problem)
    result = exact(problem, seconds=None, deterministic_limit=3.0)
    assert best is not None
    assert result.bound is not None
    assert result.bound >= best
    assert result.network is None or problem.broken(result.network) == []


@pytest.mark.parametrize("stages", [0, 1, 2, 5])
def test_a_program_that_is_not_built_in_time_proves_nothing(stages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is the number of stages read so far, those of every limit anew; the space has three."""
    problem, read = Problem(space("residual"), Budget(macs=8e6, params=60e3)), list[int]()
    known = exact(problem).network

    def noted(whole: Callable[..., Any], *words: Any) -> Any:
        read.append(1)
        return whole(*words)

    for name in ("stage_variables", "stage_terms"):
        monkeypatch.setattr(program, name, partial(noted, getattr(program, name)))
    monkeypatch.setattr(time, "perf_counter", lambda: float(len(read)))
    for hint in (None, known):
        read.clear()
        found = solve(problem, hint=hint, seconds=stages - 0.5, workers=1, seed=0)
        assert (found.status, found.network) == ("unknown" if hint is None else "feasible", hint)
        assert found.bound is None
        assert len(read) == stages
    read.clear()
    assert find_feasible(problem, seconds=stages - 0.5, workers=1, seed=0) == ExactResult("unknown", None, None)
    read.clear()
    assert least_use(problem, "macs", hint=known, seconds=stages - 0.5, workers=1, seed=0) == Least(known, proven=False)
    read.clear()
    assert known is not None
    other = next_best(problem, [known], floor=0.0, seconds=stages - 0.5, workers=1, seed=0)
    assert other == ExactResult("unknown", None, None)
