"""What targets of one family tell of each other: networks of tighter targets, bounds of looser ones."""

from dataclasses import replace

import pytest

from deepmad.engine.answers.solutions import Solution, Status, found
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.zoo.neighbours import exchanged, starts_for
from tests.catalogue import StairTable, small_space

SOLVER = CpSat(workers=1, deterministic_limit=4.0, gap=0.0)
FREE = Problem(small_space(), Budget.of(small_space()), StairTable())


def within(seconds: float) -> Problem:
    return replace(FREE, budget=replace(FREE.budget, latency=seconds))


@pytest.fixture(scope="module")
def family() -> tuple[list[Problem], list[Solution]]:
    """Return a loose and a tight problem, and their proven solutions."""
    free = design(FREE, SOLVER)
    assert free.predicted is not None
    problems = [within(share * free.predicted.latency_seconds) for share in (0.8, 0.6)]
    return problems, [design(problem, SOLVER) for problem in problems]


def network(solution: Solution | None) -> Architecture:
    assert solution is not None
    assert solution.architecture is not None
    return solution.architecture


def test_proven_solutions_stay_as_they_are(family: tuple[list[Problem], list[Solution]]) -> None:
    problems, solutions = family
    assert exchanged(problems, solutions, 0.0) == solutions


@pytest.mark.parametrize("known", ["worse", "nothing"])
def test_a_tighter_network_serves_the_looser_target(family: tuple[list[Problem], list[Solution]], known: str) -> None:
    """The loose target has a worse network, or none; it keeps its own bound."""
    problems, (loose, tight) = family
    assert loose.bound is not None
    small = replace(network(tight), stages=tuple(replace(stage, depth=1) for stage in network(tight).stages))
    poor = found(problems[0], small, loose.bound, gap=0.0, solver=loose.solver, seconds=1.0)
    assert poor.status is Status.FEASIBLE
    if known == "nothing":
        poor = replace(poor, status=Status.UNKNOWN, architecture=None, objective=None, gap=None)
    better, same = exchanged(problems, [poor, tight], 0.0)
    assert network(better) == network(tight)
    assert better is not None
    assert (better.objective, better.bound) == (tight.objective, loose.bound)
    assert better.limits["latency_seconds"].limit == problems[0].budget.latency
    assert same == tight


def test_a_looser_bound_holds_for_the_tighter_target(family: tuple[list[Problem], list[Solution]]) -> None:
    problems, (loose, tight) = family
    open_ended = replace(tight, status=Status.FEASIBLE, bound=None, gap=None)
    _, bounded = exchanged(problems, [loose, open_ended], 0.0)
    assert bounded is not None
    assert bounded.bound == loose.bound
    assert bounded.gap is not None
    assert bounded.gap > 0


def test_what_failed_and_what_is_impossible_stay(family: tuple[list[Problem], list[Solution]]) -> None:
    problems, (loose, _) = family
    impossible = design(within(1e-8), SOLVER)
    assert impossible.status is Status.INFEASIBLE
    assert exchanged([*problems, within(1e-8)], [loose, None, impossible], 0.0) == [loose, None, impossible]


def test_a_solve_begins_from_its_neighbours_the_tighter_first(family: tuple[list[Problem], list[Solution]]) -> None:
    _, (loose, tight) = family
    free = replace(network(loose), name="free")
    assert starts_for(1, [loose, None, tight], free) == (network(tight), network(loose))
    assert starts_for(0, [None, None, tight], free) == (free,)
    assert starts_for(0, [None], None) == ()
