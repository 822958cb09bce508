"""`evolve(problem, solver)`: the best network that an evolution found, recounted; without a bound."""

from collections.abc import Sequence
from dataclasses import replace

from deepmad.engine.answers.progress import Report, stopped
from deepmad.engine.answers.solutions import WAY_OUT, Solution, without_network
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.running import Run, Screen
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS
from deepmad.tasks import Tasks


def evolve(
    problem: Problem,
    solver: Evolution | None = None,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
    screen: Screen | None = None,
    tasks: Tasks | None = None,
    scouting: bool = False,
) -> Solution:
    """Return the network of highest objective that was found; its status is feasible, or unknown without one.

    `starts` are networks to begin from, `screen` tells limits that no other code knows: a network counts as found only
    once it returned 0 for it. `report` is told of progress. `tasks` that are open already do the islands' epochs in the
    place of others. With `scouting` it begins from a network that branch and price points to. Raises `InputError` for a
    checkpoint that cannot be used, and `Interrupted` or `OutOfMemoryError` with the best so far where an interrupt or a
    lack of memory ends it.
    """
    run = Run(problem, solver or Evolution(), report, screen=screen, starts=starts, tasks=tasks, scouting=scouting)
    try:
        run.go()
    except STOPS as stop:
        raise stopped(stop, _solution(run)) from stop
    return _solution(run)


def _solution(run: Run) -> Solution:
    """Return the solution around the best network so far."""
    race, info = run.race, run.solver.info
    if race.network is not None:
        message = "the network keeps every limit; an evolution proves no bound on the optimum"
        return replace(race.solution(info), message=message if run.unsaved is None else f"{message}; {run.unsaved}")
    spent = f"{run.state.generation:,} generations ({race.seconds:.0f} s)"
    met = f"none was met in {spent}; {WAY_OUT}"
    why = met if run.machine.repair.possible else "the rules of the space leave none; loosen them"
    return without_network(race.problem, f"no network was found: {why}", info, race.seconds)
