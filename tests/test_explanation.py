"""What every limit costs, against brute force: the gain of each loosened problem, and what an interrupt leaves."""

from dataclasses import replace

import pytest

from deepmad.engine.answers.progress import Interrupted, Progress
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.explanation import explain, loosened
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.coarsening import coarsened
from deepmad.search_spaces.spaces import load_space
from tests.brute_force import count
from tests.catalogue import StairTable, small_space

PATIENCE_SECONDS = 1000.0
"""For proofs that take a few seconds, on a machine that is busy too."""
EXACT = CpSat(workers=1, time_limit=PATIENCE_SECONDS, gap=0.0)
TIGHT = Budget(macs=12e6, params=150e3, rho=0.35, throughput=5000.0, memory=120e3)


def small(budget: Budget = TIGHT) -> Problem:
    return Problem(small_space(), budget, StairTable())


def without_corners(problem: Problem, solver: CpSat) -> Solution:
    """Return the design, of which limits alone are to be explained; tests/test_corners.py has the corners."""
    return replace(design(problem, solver), corners=None)


def test_gains_are_brute_forces() -> None:
    problem = small()
    solution = without_corners(problem, EXACT)
    assert solution.objective is not None
    explained = explain(problem, solution, EXACT, seconds=PATIENCE_SECONDS).explanation
    assert explained is not None
    assert set(explained) == {"macs", "params", "rho", "latency_seconds", "memory_bytes"}
    counted = count(problem)
    gains = []
    for name, found in explained.items():
        best = counted.best(loosened(problem, name))
        assert best is not None
        low, high = found.gain
        assert high is not None
        assert low == pytest.approx(best - solution.objective, rel=1e-6, abs=1e-6 * abs(best))
        assert low <= high <= low + 1e-5 * abs(best)
        assert found.share == found.used / found.limit <= 1
        assert found.limit == problem.limits()[name].value
        gains.append(low)
    assert max(gains) > 1  # the test would tell nothing if no limit mattered
    assert min(gains) == 0


def values(problem: Problem) -> dict[str, float]:
    return {name: limit.value for name, limit in problem.limits().items()}


def test_one_limit_alone_gives_way() -> None:
    problem = small(replace(TIGHT, latency=210e-6))  # 200 microseconds are what the throughput leaves
    assert values(loosened(problem, "macs")) == values(problem) | {"macs": pytest.approx(1.1 * 12e6)}
    assert values(loosened(problem, "latency_seconds"))["latency_seconds"] == 210e-6
    faster = small(replace(TIGHT, latency=100e-6))
    assert values(loosened(faster, "latency_seconds"))["latency_seconds"] == pytest.approx(110e-6)
    slower = loosened(small(), "latency_seconds")
    assert slower.budget.throughput == pytest.approx(4500.0)


def test_a_large_space_gives_an_interval() -> None:
    space = coarsened(load_space("r18"), 64)
    problem = Problem(space, replace(Budget.of(space), rho=None))
    fixed = CpSat(workers=1, deterministic_limit=0.1)
    solution = without_corners(problem, fixed)
    explained = explain(problem, solution, fixed, seconds=60).explanation
    assert explained is not None
    assert set(explained) == {"macs", "params"}
    for found in explained.values():
        low, high = found.gain
        assert low >= 0
        assert high is None or high >= low


def test_an_interrupt_leaves_the_solution() -> None:
    problem = small()
    solution = design(problem, EXACT)
    seen = set()

    def stop_at_the_second_limit(progress: Progress) -> None:
        seen.add(progress.doing.split()[0])
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        explain(problem, solution, EXACT, seconds=60, report=stop_at_the_second_limit)
    left = caught.value.solution
    assert left.architecture == solution.architecture
    assert left.explanation is not None
    assert len(left.explanation) == 1


def test_without_a_network_there_is_nothing_to_explain() -> None:
    problem = small(Budget(macs=1e3))
    solution = design(problem, EXACT)
    assert explain(problem, solution, EXACT, seconds=10) is solution
