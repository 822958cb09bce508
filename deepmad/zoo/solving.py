"""Solving the entries of a zoo: independent tasks in two waves, the second from the networks of the first on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import Auto
from deepmad.search_spaces.architectures import Architecture
from deepmad.tasks import Done, open_tasks
from deepmad.tasks.cores import usable_cores
from deepmad.zoo.spec import SolverSettings

LOCAL = "local"


@dataclass(frozen=True)
class Crew:
    """Where solves run: `parallel` at a time (None: as many as the cluster has cores), each on `workers` cores."""

    on: str
    parallel: int | None
    workers: int


def crew_for(settings: SolverSettings, on: str, solves: int) -> Crew:
    """Return how so many independent solves share the cores of this machine, or of a cluster."""
    if on != LOCAL:
        return Crew(on, None, settings.workers or 1)
    cores = usable_cores()
    workers = settings.workers or max(1, cores // max(1, solves))
    return Crew(on, max(1, cores // workers), workers)


def solver_for(settings: SolverSettings, workers: int | None) -> Auto:
    """Return the solver of one solve on `workers` cores; None is all of this machine's."""
    return Auto(settings.time_limit, settings.gap, workers, settings.seed, settings.deterministic_limit)


@dataclass(frozen=True)
class Assignment:
    """One solve: what another process needs for it."""

    problem: Problem
    solver: Auto
    starts: tuple[Architecture, ...] = ()


def solve(assignment: Assignment) -> Solution:
    """Return the solution of one solve."""
    return design(assignment.problem, assignment.solver, starts=assignment.starts)


def solve_all(crew: Crew, assignments: Sequence[Assignment]) -> Iterator[tuple[int, Solution | str]]:
    """Yield index and solution of every assignment as they finish, or why it failed in one line."""
    if not assignments:
        return
    with open_tasks(crew.on, crew.parallel) as tasks:
        for index, outcome in tasks.run(solve, assignments):
            yield index, outcome.value if isinstance(outcome, Done) else outcome.reason
