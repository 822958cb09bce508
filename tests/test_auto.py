"""`Auto`: which solver answers where no limit is a function, and with what."""

import math
from dataclasses import replace
from typing import Any

import pytest

from deepmad.engine.answers.progress import Interrupted, Progress
from deepmad.engine.answers.solutions import Solution, Status
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers import auto, exact
from deepmad.engine.solvers.auto import evolved_further
from deepmad.engine.solvers.settings import Auto, CpSat
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import load_space
from tests.catalogue import small_space

FIXED = Auto(workers=1, deterministic_limit=1.0)


def small(**limits: float | None) -> Problem:
    space = small_space()
    return Problem(space, replace(Budget.of(space), **limits))


def test_without_functions_cp_sat_answers() -> None:
    assert design(small(), FIXED).solver.name == "cpsat"
    assert design(small(macs=1000.0), FIXED).solver.name == "cpsat"
    assert design(small(macs=1000.0), FIXED).status is Status.INFEASIBLE


def test_evolution_helps_out_where_cp_sat_found_nothing() -> None:
    problem, best = small(), design(small(), FIXED)
    assert best.objective is not None
    nothing = Solution(Status.UNKNOWN, "no network was found", CpSat().info, 7.0, bound=2 * best.objective)
    solution = evolved_further(problem, nothing, FIXED, 10.0)
    assert solution.solver.name == "evolution"
    assert solution.status is Status.FEASIBLE
    assert solution.bound == nothing.bound
    assert solution.architecture is not None
    assert problem.broken(solution.architecture) == []
    assert solution.seconds >= 7.0
    assert "since CP-SAT found no network in 7 s" in solution.message
    without = evolved_further(small(macs=1000.0), nothing, FIXED, 10.0)
    assert without.status is Status.UNKNOWN
    assert without.message == "no network was found; evolution found none either"


def test_what_there_is_no_time_to_load_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is as busy as can be: CP-SAT, which large spaces can do without, and evolution are not begun."""

    def begun(*_: object, **__: object) -> None:
        pytest.fail("it was begun")

    problem = Problem(load_space("r18"), replace(Budget.of(load_space("r18")), macs=1e6))
    for module in (auto, exact):
        monkeypatch.setattr(module, "slowness", lambda: math.inf)
    monkeypatch.setattr(auto, "evolved_further", begun)
    monkeypatch.setattr(exact._Solve, "exact", begun)
    solution = design(problem, Auto(workers=1, time_limit=2.0))
    assert solution.status in (Status.UNKNOWN, Status.INFEASIBLE)
    assert solution.architecture is None


def test_an_interrupt_of_the_evolution_keeps_the_bound() -> None:
    def stop(progress: Progress) -> None:
        if progress.best is not None:
            raise KeyboardInterrupt

    nothing = Solution(Status.UNKNOWN, "no network was found", CpSat().info, 7.0, bound=1e9)
    with pytest.raises(Interrupted) as caught:
        evolved_further(small(), nothing, FIXED, 10.0, report=stop)
    assert caught.value.solution.architecture is not None
    assert caught.value.solution.bound == nothing.bound


def test_auto_is_what_a_design_uses_by_itself() -> None:
    first, second = design(small()), design(small(), Auto())
    assert first.status is second.status is Status.OPTIMAL
    assert first.solver == second.solver
    assert first.objective == pytest.approx(second.objective, rel=Auto().gap)  # how far each may be from the optimum


def test_both_solvers_get_the_settings() -> None:
    auto = Auto(time_limit=20.0, gap=0.05, workers=1, seed=3, on="local")
    assert auto.exact(0.5) == CpSat(10.0, 0.05, 1, 3)
    evolution = auto.evolution(7.0)
    assert (evolution.time_limit, evolution.generations, evolution.seed, evolution.workers) == (7.0, None, 3, 1)
    limited = Auto(deterministic_limit=0.5)
    assert limited.exact(0.5).deterministic_limit == 0.25
    assert limited.evolution(7.0).generations == 10


@pytest.mark.parametrize("options", [{"time_limit": 0.0}, {"gap": -1.0}, {"workers": 0}, {"on": "the moon"}])
def test_settings_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Auto(**options)
