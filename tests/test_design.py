"""`design`: what a user relies on, whichever part of the solver did the work."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from deepmad.cli.schema import schema_of
from deepmad.engine.answers.progress import Interrupted, Progress
from deepmad.engine.answers.solutions import Solution, Status, relative_gap
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import load_space, parse_space
from tests.brute_force import count
from tests.catalogue import StairTable, small_space

FIXED = CpSat(workers=1, deterministic_limit=4.0, gap=0.0)


def small(**limits: float | None) -> Problem:
    space = small_space()
    return Problem(space, replace(Budget.of(space), **limits), StairTable())


def test_a_small_space_is_solved_to_proven_optimality() -> None:
    lines: list[Progress] = []
    problem = small(latency=0.001)
    solution = design(problem, FIXED, report=lines.append)
    assert solution.status is Status.OPTIMAL
    assert solution.gap == 0
    assert solution.architecture is not None
    assert problem.broken(solution.architecture) == []
    assert solution.objective == pytest.approx(problem.value(solution.architecture), rel=1e-12)
    assert [line.seconds for line in lines] == sorted(line.seconds for line in lines)
    assert any(line.best is not None and line.bound is not None for line in lines)


def test_the_same_answer_comes_twice() -> None:
    first, second = design(small(), FIXED), design(small(), FIXED)
    assert first.architecture == second.architecture
    assert first.bound == second.bound


def test_a_large_space_gives_a_network_and_a_bound() -> None:
    space = load_space("r18")
    problem = Problem(space, Budget.of(space), objective="reference", classes=0)
    solution = design(problem, CpSat(workers=1, deterministic_limit=1.0, gap=0.01))
    assert solution.architecture is not None
    assert problem.broken(solution.architecture) == []
    assert solution.objective is not None
    assert solution.bound is not None
    assert solution.bound >= 36_453  # the best known network: no valid bound is below it
    assert solution.gap == pytest.approx(relative_gap(solution.objective, solution.bound))


def test_a_gap_closed_early_still_gives_a_good_network() -> None:
    space = load_space("29m-224")
    problem = Problem(space, Budget.of(space))
    solution = design(problem, CpSat(workers=1, deterministic_limit=1.0, gap=0.5))
    assert solution.status is Status.OPTIMAL
    assert solution.objective is not None
    assert solution.objective > 39_000  # the best known network has 39,396


def test_a_large_space_without_a_network_is_recognised() -> None:
    space = load_space("r50")
    solution = design(Problem(space, Budget(macs=1e6)), CpSat(workers=1, deterministic_limit=2.0))
    assert solution.status is Status.INFEASIBLE
    assert solution.clash == ("macs",)


def test_limits_that_cannot_be_met_are_named() -> None:
    solution = design(small(macs=1000.0), FIXED)
    assert solution.status is Status.INFEASIBLE
    assert solution.clash == ("macs",)
    assert "macs 1 k" in solution.message
    assert solution.architecture is None


def test_an_interrupt_brings_the_best_so_far() -> None:
    def stop_after_the_first(progress: Progress) -> None:
        if progress.best is not None:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        design(small(), FIXED, report=stop_after_the_first)
    assert caught.value.solution.architecture is not None
    assert small().broken(caught.value.solution.architecture) == []


def test_an_import_broken_off_by_an_interrupt_is_one() -> None:
    """A C++ module tells an interrupt of its import as an ImportError caused by it; any other stays what it is."""

    def broken_off(cause: BaseException) -> Callable[[Progress], None]:
        def report(_progress: Progress) -> None:
            raise ImportError("initialization failed") from cause

        return report

    with pytest.raises(Interrupted) as caught:
        design(small(), FIXED, report=broken_off(KeyboardInterrupt()))
    assert caught.value.solution.architecture is not None
    with pytest.raises(ImportError):
        design(small(), FIXED, report=broken_off(OSError()))


def test_starts_are_never_made_worse() -> None:
    best = design(small(), FIXED)
    assert best.architecture is not None
    again = design(small(), CpSat(workers=1, time_limit=1.0), starts=[best.architecture])
    assert again.objective is not None
    assert best.objective is not None
    assert again.objective >= best.objective


def test_the_solution_file_keeps_everything(tmp_path: Path) -> None:
    solution = design(small(latency=0.001, memory=1e6), FIXED)
    path = tmp_path / "solution.json"
    solution.save(path)
    assert Solution.load(path) == solution
    assert Architecture.load(path) == solution.architecture
    document = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, schema_of("solution"))
    assert set(document["limits"]) == {"macs", "params", "rho", "latency_seconds", "memory_bytes"}


def test_a_latency_limit_needs_a_table() -> None:
    space = small_space()
    with pytest.raises(InputError, match="latency table"):
        Problem(space, Budget(latency=0.001))


@pytest.mark.parametrize("seconds", [1e-6, 0.0003, 1 / 3, 1e6])
def test_a_latency_limit_is_kept_to_the_nanosecond(seconds: float) -> None:
    nanoseconds = small(latency=seconds).limit_nanoseconds
    assert nanoseconds is not None
    assert nanoseconds / 1e9 <= seconds < (nanoseconds + 1) / 1e9


@pytest.mark.parametrize("seconds", [1e7, 1e30, 1e300])
def test_a_latency_limit_above_every_latency_is_no_limit(seconds: float) -> None:
    assert small(latency=seconds).limit_nanoseconds is None
    loose, free = design(small(latency=seconds), FIXED), design(small(), FIXED)
    assert loose.status is Status.OPTIMAL
    assert loose.objective == free.objective
    assert loose.limits["latency_seconds"].limit == seconds


@pytest.mark.parametrize("limit", ["macs", "params", "rho", "latency", "throughput", "memory"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_absurd_limits_are_refused(limit: str, value: float) -> None:
    with pytest.raises(InputError, match=limit):
        Budget(**{limit: value})


UNEVEN = """
format: deepmad/space@1
name: uneven
resolution: 32
stem: {out: {min: 8, max: 16}, kernel: 3, stride: 2}
stages:
  - {block: bottleneck, stride: 2, out: {min: 16, max: 32}, width: {min: 8, max: 16}, kernel: 3, depth: 1}
  - {block: bottleneck, stride: 1, out: {min: 32, max: 48}, width: {min: 8, max: 32}, kernel: 3,
     depth: {min: 12, max: 13}}
classes: 0
"""


def test_what_cp_sat_cannot_prove_the_separate_bound_does() -> None:
    problem = Problem(parse_space(UNEVEN, "uneven"), Budget(macs=3e6))
    optimum = count(problem).best(problem)
    assert optimum is not None
    assert optimum < -1e12  # a penalty beyond what the integer program holds
    solution = design(problem, CpSat(workers=1, deterministic_limit=200.0, gap=0.0))
    assert solution.status is Status.OPTIMAL
    assert solution.objective == pytest.approx(optimum, rel=1e-12)
