"""False claims of solvers: whatever is said to be proven, a network that refutes it makes an error of it."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ortools.sat.python import cp_model

from deepmad.cli.app import run
from deepmad.engine.answers.claims import ContradictionError, require_bound, require_least, require_none
from deepmad.engine.answers.progress import Race
from deepmad.engine.answers.solutions import Solution, found
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.alternatives import different, with_alternatives
from deepmad.engine.solvers.bounds import BoundStep, Tree
from deepmad.engine.solvers.cpsat import ExactResult, Least, clashes, least_use, next_best, solve, solving
from deepmad.engine.solvers.cpsat.solving import find_feasible
from deepmad.engine.solvers.nearest import LOOSE, least_priced, nearest, nearest_each
from deepmad.engine.solvers.rows import loop
from deepmad.engine.solvers.rows.pieces import Effort, Piece, Settled, settle
from deepmad.engine.solvers.settings import CpSat, Rows
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import parse_space
from tests.brute_force import members

TEXT = """
format: deepmad/space@1
name: refuted
resolution: 32
stem: {out: [8, 16], kernel: 3, stride: 2}
stages:
  - {block: [basic, mbconv], stride: 1, out: [16, 24], expansion: [1, 2], kernel: 3, depth: [1, 2]}
  - {block: [bottleneck, mbconv], stride: 2, out: [24, 32], expansion: [1, 2], kernel: [3, 5], depth: [1, 2]}
classes: 10
"""
SETTINGS = CpSat(workers=1, deterministic_limit=4.0, gap=0.3)
ROWS = Rows(workers=1, deterministic_limit=200.0, gap=0.0)
HERE = "deepmad.engine.solvers"


def problem(**limits: float) -> Problem:
    return Problem(parse_space(TEXT, "refuted"), Budget(**({"macs": 2e6} | limits)))


@cache
def ranked() -> list[Architecture]:
    """Return all feasible networks, best first."""
    free = problem()
    return sorted((network for network in members(free.space) if not free.broken(network)), key=free.value)[::-1]


def value(network: Architecture) -> float:
    return problem().value(network)


def says(monkeypatch: pytest.MonkeyPatch, place: str, answer: Any) -> None:
    """Let a solver answer this, whatever it is asked."""
    monkeypatch.setattr(f"{HERE}.{place}", lambda *_, **__: answer)


def claims(monkeypatch: pytest.MonkeyPatch, *steps: BoundStep) -> None:
    """Let branch and price claim these steps; without any, it comes to nothing."""

    monkeypatch.setattr(Tree, "steps", lambda _: iter(steps))


def refuted(*parts: str) -> Any:
    """Expect an error of one line that names all of these."""
    return pytest.raises(ContradictionError, match=r"^[^\n]*" + "[^\n]*".join(parts) + r"[^\n]*$")


def test_the_error_names_the_claim_and_the_network() -> None:
    best = ranked()[0]
    with refuted(
        "CP-SAT claims of space refuted",
        "above 12.5,",
        f"objective {value(best):.10g}",
        "stem 16",
        "bottleneck 32/32 k3 x2 s2",
    ):
        require_bound(problem(), "CP-SAT", 12.5, best)
    with refuted("branch and price", "there is no network", f"objective {value(best):.10g}"):
        require_none(problem(), "branch and price", best)
    with refuted("CP-SAT", "less macs than 1e", f"macs {problem().usages(best)['macs'].used}"):
        require_least(problem(), "CP-SAT", "macs", 1e15, best)
    require_bound(problem(), "CP-SAT", value(best) * (1 - 1e-12), best)  # rounding is no contradiction
    require_none(problem(), "CP-SAT", None)


# ------------------------------------------------------------------------------------------------ optimal, and bounds


def test_cpsats_optimum_below_a_network_known(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = ranked()[5]
    claims(monkeypatch)
    says(monkeypatch, "cpsat.solve", ExactResult("optimal", worse, value(worse)))
    with refuted("CP-SAT", f"above {value(worse):.10g}", f"objective {value(ranked()[0]):.10g}"):
        design(problem(), SETTINGS, starts=ranked()[:1])


def test_a_bound_of_branch_and_price_below_a_network_known(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, "cpsat.solve", ExactResult("unknown", None, None))
    claims(monkeypatch, BoundStep(value(ranked()[0]) - 1, None, done=True))
    with refuted("branch and price", "above", f"objective {value(ranked()[0]):.10g}"):
        design(problem(), SETTINGS, starts=ranked()[:1])


def test_a_network_found_above_the_bound_later() -> None:
    race = Race(problem(), 0.0, None, 0.0)
    race.offer(ranked()[3])
    race.lower(value(ranked()[2]), "branch and price")
    race.offer(ranked()[2])
    with refuted("branch and price", f"above {value(ranked()[2]):.10g}", f"objective {value(ranked()[0]):.10g}"):
        race.offer(ranked()[0])


def test_a_solution_above_its_bound() -> None:
    with refuted("cpsat", "above 1,", f"objective {value(ranked()[0]):.10g}"):
        found(problem(), ranked()[0], 1.0, gap=0.0, solver=SETTINGS.info, seconds=1.0)


def test_the_program_is_held_against_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "_run", lambda *_: (cp_model.INFEASIBLE, []))
    with refuted("CP-SAT", "there is no network", f"objective {value(ranked()[0]):.10g}"):
        solve(problem(), hint=ranked()[0], seconds=10.0, workers=1, seed=0)
    with refuted("CP-SAT", "there is no network", f"objective {value(ranked()[3]):.10g}"):
        next_best(problem(), ranked()[:1], floor=0.0, hint=ranked()[3], seconds=10.0, workers=1, seed=0)
    with refuted("CP-SAT", "there is no network", "macs"):
        least_use(problem(macs=LOOSE), "macs", hint=ranked()[0], seconds=10.0, workers=1, seed=0)


def test_the_programs_bound_is_held_against_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_badly(_: object, __: object, search: Any) -> Any:
        search.tighten(-1e9)
        return cp_model.OPTIMAL, []

    monkeypatch.setattr(solving, "_run", run_badly)
    with refuted("CP-SAT", "above -1000000000,", f"objective {value(ranked()[0]):.10g}"):
        solve(problem(), hint=ranked()[0], seconds=10.0, workers=1, seed=0)
    with refuted("CP-SAT", "less macs than 1000000000,", "macs"):
        least_use(problem(macs=LOOSE), "macs", hint=ranked()[0], seconds=10.0, workers=1, seed=0)


# ------------------------------------------------------------------------------------------------ infeasible


def test_infeasible_though_a_network_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    claims(monkeypatch)
    says(monkeypatch, "cpsat.solve", ExactResult("infeasible", None, None))
    with refuted("CP-SAT", "there is no network", f"objective {value(ranked()[0]):.10g}"):
        design(problem(), SETTINGS, starts=ranked()[:1])
    says(monkeypatch, "cpsat.solve", ExactResult("unknown", None, None))
    claims(monkeypatch, BoundStep(-math.inf, None, done=True, infeasible=True))
    with refuted("branch and price", "there is no network", f"objective {value(ranked()[0]):.10g}"):
        design(problem(), SETTINGS, starts=ranked()[:1])


def test_infeasible_though_a_network_turns_up_while_it_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with refuted("proof", "there is no network", "objective"):
        clashes(problem(), seconds=60.0, workers=1, seed=0)
    says(monkeypatch, "search.Searcher.search", None)
    claims(monkeypatch)
    says(monkeypatch, "cpsat.solve", ExactResult("infeasible", None, None))
    with refuted("proof", "there is no network", "objective"):
        design(problem(), SETTINGS)


def test_limits_that_do_not_clash_after_all() -> None:
    tight = problem(macs=1e5)
    with refuted("proof", "there is no network", "objective"):
        list(nearest_each(tight, ["params"], seconds=60.0, workers=1, seed=0)) or list(
            nearest_each(problem(params=1e9), ["macs", "params"], seconds=60.0, workers=1, seed=0)
        )
    assert find_feasible(tight, seconds=60.0, workers=1, seed=0).status == "infeasible"


# ------------------------------------------------------------------------------------------------ nearest, no more


def test_proven_nearest_though_a_network_uses_less(monkeypatch: pytest.MonkeyPatch) -> None:
    most = max(ranked(), key=lambda network: problem().usages(network)["macs"].used)
    says(monkeypatch, "cpsat.least_use", Least(most, proven=True))
    with refuted("CP-SAT", "uses less macs than", "macs"):
        nearest(problem(macs=1e5), "macs", seconds=30.0, workers=1, seed=0)
    says(monkeypatch, "cpsat.least_use", Least(None, proven=True))
    with refuted("CP-SAT", "there is no network", "objective"):
        nearest(problem(macs=1e5), "macs", seconds=30.0, workers=1, seed=0)


def test_none_below_though_a_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    by_macs = sorted(ranked(), key=lambda network: problem().usages(network)["macs"].used)
    least, middle, most = by_macs[0], by_macs[len(by_macs) // 2], by_macs[-1]
    none = BoundStep(-math.inf, None, done=True, infeasible=True)
    answers = iter([BoundStep(math.inf, middle, done=False), none, BoundStep(math.inf, least, done=False)])

    monkeypatch.setattr(Tree, "steps", lambda _: iter([next(answers)]))
    with refuted("branch and price", "uses less macs than", "macs"):
        least_priced(problem(macs=LOOSE), "macs", most, math.inf)


def test_no_more_though_another_network_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    solution = design(problem(), SETTINGS)
    says(monkeypatch, "cpsat.next_best", ExactResult("infeasible", None, None))
    with refuted("CP-SAT", "there is no other network of objective", "objective"):
        with_alternatives(problem(), solution, 3, SETTINGS, seconds=60.0)


def test_next_best_though_another_network_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    solution = design(problem(), SETTINGS)
    assert solution.architecture is not None
    others = [network for network in ranked() if different(network, solution.architecture)]
    says(monkeypatch, "cpsat.next_best", ExactResult("optimal", others[9], value(others[9])))
    with refuted("CP-SAT", f"above {value(others[9]):.10g}", "objective"):
        with_alternatives(problem(), solution, 3, SETTINGS, seconds=60.0)


def test_an_alternative_above_the_bound() -> None:
    solution = replace(design(problem(), SETTINGS), architecture=ranked()[40], bound=value(ranked()[40]))
    with refuted("cpsat", f"above {value(ranked()[40]):.10g}", f"objective {value(ranked()[0]):.10g}"):
        with_alternatives(problem(), solution, 3, SETTINGS, seconds=60.0)


# ------------------------------------------------------------------------------------------------ rows


def test_a_row_said_to_be_empty_though_a_network_of_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "settle", lambda _: Settled(None, -math.inf))
    with refuted("the bounds of the rows", "there is no network", "objective"):
        design(problem(), ROWS, starts=ranked()[:1])


def test_a_row_said_to_hold_nothing_better_though_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "explore", lambda _: ())
    answers = iter([Settled(ranked()[5], value(ranked()[5])), Settled(ranked()[0], math.inf)])
    monkeypatch.setattr(loop, "settle", lambda _: next(answers))
    monkeypatch.setattr(loop._Loop, "closed", lambda *_: False)
    with refuted("the bounds of the rows", f"above {value(ranked()[5]):.10g}", f"objective {value(ranked()[0]):.10g}"):
        design(problem(), ROWS)


def test_a_piece_of_work_tells_of_its_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, "cpsat.solve", ExactResult("infeasible", None, None))
    settled = settle(Piece(problem(), tuple(ranked()[:1]), None, 0.0, 0, Effort(None, 5.0, solve=True)))
    assert (settled.network, settled.bound) == (None, math.inf)
    assert (
        "CP-SAT claims of space refuted that there is no network, but a network of objective" in settled.contradiction
    )
    monkeypatch.setattr(loop, "settle", lambda _: settled)
    with refuted("CP-SAT", "there is no network", "objective"):
        design(problem(), ROWS)


# ------------------------------------------------------------------------------------------------ the command line


def test_the_command_line_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, answer = tmp_path / "refuted.yaml", tmp_path / "solution.json"
    space.write_text(TEXT, encoding="utf-8")
    claims(monkeypatch)
    says(monkeypatch, "cpsat.solve", ExactResult("infeasible", None, None))
    assert run(["design", str(space), "--macs", "2M", "--workers", "1", "--time-limit", "20", "-o", str(answer)]) == 4
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "error: CP-SAT claims of space refuted that there is no network, but a network of objective "
    )
    assert not answer.exists()


def test_true_claims_pass() -> None:
    solution: Solution = with_alternatives(problem(), design(problem(), SETTINGS), 3, SETTINGS, seconds=60.0)
    assert solution.objective == pytest.approx(value(ranked()[0]), rel=1e-6)
    assert solution.alternatives is not None
    assert len(solution.alternatives) == 2
