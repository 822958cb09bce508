"""The nearest feasible limits against brute force: what is said to be nearest is, and its witness keeps all others."""

import re
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.limits import only, with_limit
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.nearest import least_priced, nearest
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.spaces import Space, load_space, parse_space
from tests.brute_force import Counted, count
from tests.catalogue import StairTable, small_space

TEXT = """
format: deepmad/space@1
name: nearest
resolution: 32
stem: {out: [8, 16], kernel: 3, stride: 2}
stages:
  - {block: bottleneck, stride: 2, out: [16, 24, 40], width: [8, 16, 24], kernel: [3, 5], depth: {min: 1, max: 3}}
  - {block: [basic, mbconv_se], stride: 1, out: [24, 40, 64], width: [8, 16, 32], kernel: [3, 5], depth: [1, 2, 4, 5]}
  - {block: mbconv, stride: 2, out: [40, 64, 96], expansion: [1, 3], kernel: 3, depth: {min: 1, max: 4}}
classes: 10
rules: {non_decreasing: true, growth: 4, width_ratio: {min: 0.1, max: 1}}
"""
PATIENCE_SECONDS = 240.0
"""For proofs that take a few seconds, on a machine that is busy too."""
LIMITS = ("macs", "params", "rho", "latency_seconds", "memory_bytes")
PLENTY = Budget(macs=1e9, params=1e9, rho=1e3, latency=1.0, memory=1e9)


@cache
def space() -> Space:
    return parse_space(TEXT, "nearest")


@cache
def counted() -> Counted:
    return count(Problem(space(), Budget(), table=StairTable()))


def least(problem: Problem, name: str) -> float:
    """Return the least that any network uses of a limit while it keeps the others, by brute force."""
    free = only(problem, set(problem.limits()) - {name})
    return float(counted().used[name][counted().feasible(free)].min())


def tight(share: float, *names: str) -> Problem:
    """Return a problem whose limits `names` are each kept by `share` of the networks, and all others by all."""
    problem = Problem(space(), PLENTY, table=StairTable())
    for name in names:
        problem = with_limit(problem, name, float(np.quantile(counted().used[name], share)))
    return problem


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_is_impossible_alone(name: str) -> None:
    problem = with_limit(tight(0.5), name, float(counted().used[name].min()) / 2)
    found = nearest(problem, name, seconds=PATIENCE_SECONDS, workers=1, seed=0)
    assert found is not None
    assert found.proven
    assert found.value == pytest.approx(least(problem, name), rel=1e-6)


@pytest.mark.parametrize(
    "pair", [("macs", "rho"), ("params", "rho"), ("latency_seconds", "rho"), ("memory_bytes", "rho")]
)
def test_limits_that_clash(pair: tuple[str, str]) -> None:
    problem = tight(0.01, *pair)
    assert counted().best(problem) is None
    for name in pair:
        found = nearest(problem, name, seconds=PATIENCE_SECONDS, workers=1, seed=0)
        assert found is not None
        assert found.proven
        assert found.value == pytest.approx(least(problem, name), rel=1e-6)
        loosened = with_limit(problem, name, found.value)
        assert loosened.broken(found.network) == []
        assert loosened.usages(found.network)[name].used == found.value


@pytest.mark.parametrize("pair", [("latency_seconds", "rho")])
def test_branch_and_price_proves_the_least_too(pair: tuple[str, str]) -> None:
    """From the design without a limit on what is minimised: far from the least of it."""
    name, kept = pair
    problem = only(tight(0.05, kept), {kept})
    problem = with_limit(problem, name, 1e6 if name == "latency_seconds" else 1e9)
    witness = design(problem, CpSat(workers=1, deterministic_limit=2.0)).architecture
    assert witness is not None
    found = least_priced(problem, name, witness, ends=time.monotonic() + PATIENCE_SECONDS)
    assert found.proven
    assert problem.broken(found.network) == []
    assert found.value == pytest.approx(least(problem, name), rel=2e-6)
    assert problem.usages(witness)[name].used > 1.01 * found.value


def test_the_least_latency_is_exact_where_layers_take_nanoseconds() -> None:
    """Layers of 20 to 900 ns: a solver that is given seconds keeps its rows within some 100 ns, and proves too much."""
    quick = StairTable(overhead_nanoseconds=0, layer_nanoseconds=20, group=8, macs_per_nanosecond=8_000)
    problem = with_limit(tight(0.05, "rho"), "latency_seconds", 1e6)
    problem = only(replace(problem, table=quick), {"rho", "latency_seconds"})
    witness = design(problem, CpSat(workers=1, deterministic_limit=2.0)).architecture
    assert witness is not None
    layers = {int(quick.nanoseconds(layer)) for part in witness.parts() for layer in part.body.layers}
    assert 20 <= min(layers) < max(layers) <= 900
    everything = count(problem)
    kept = everything.feasible(only(problem, {"rho"}))
    wanted = round(1e9 * float(everything.used["latency_seconds"][kept].min()))
    exact = nearest(problem, "latency_seconds", seconds=PATIENCE_SECONDS, workers=1, seed=0)
    priced = least_priced(problem, "latency_seconds", witness, ends=time.monotonic() + PATIENCE_SECONDS)
    assert round(1e9 * problem.usages(witness)["latency_seconds"].used) > wanted
    for found in (exact, priced):
        assert found is not None
        assert (found.proven, round(1e9 * found.value)) == (True, wanted)


def test_the_slowest_device_decides() -> None:
    tables = (StairTable(layer_nanoseconds=4_000, group=8), StairTable(layer_nanoseconds=500, group=32))
    problem = Problem(space(), Budget(latency=1e-5, macs=2e6), table=tables)
    found = nearest(problem, "latency_seconds", seconds=PATIENCE_SECONDS, workers=1, seed=0)
    assert found is not None
    assert found.proven
    both = count(problem)
    kept = both.feasible(only(problem, {"macs"}))
    assert found.value == pytest.approx(float(both.used["latency_seconds"][kept].min()), rel=1e-9)


def test_a_limit_that_cannot_help_alone() -> None:
    problem = replace(tight(0.5), budget=replace(PLENTY, macs=1e3, rho=1e-3))
    assert nearest(problem, "macs", seconds=20, workers=1, seed=0) is None


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("r50", {"rho": 0.001}),
        ("r50", {"macs": 2e8, "rho": 0.05}),
        ("mbv2", {"params": 1e5}),
        ("b0", {"latency": 1e-5}),
    ],
)
def test_full_size_spaces_get_a_witness(name: str, limits: dict[str, float]) -> None:
    problem = Problem(load_space(name), replace(Budget.of(load_space(name)), **limits), table=StairTable())
    for limit in problem.limits():
        if limit.partition("_")[0] not in limits:
            continue
        found = nearest(problem, limit, seconds=4, workers=1, seed=0)
        assert found is not None
        assert found.value > problem.limits()[limit].value
        assert with_limit(problem, limit, found.value).broken(found.network) == []


def test_who_asks_for_a_throughput_is_told_one() -> None:
    problem = Problem(small_space(), Budget(throughput=1e5), StairTable())
    solution = design(problem, CpSat(workers=1, time_limit=20))
    assert solution.nearest is not None
    assert "meets throughput 100000/s" in solution.message
    told = re.search(r"feasible from .*throughput ([\d.]+)/s", solution.message)
    assert told is not None
    typed = float(told[1])
    assert 1 / typed == pytest.approx(solution.nearest["latency_seconds"], rel=1e-3)
    assert design(replace(problem, budget=Budget(throughput=typed)), CpSat(workers=1, time_limit=20)).architecture
