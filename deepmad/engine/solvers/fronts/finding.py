"""`pareto_front(problem, cost)`: evolution, searches and bounds for limits along its front, evolution again."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from deepmad.engine.answers.progress import Report
from deepmad.engine.program.limits import require_counted
from deepmad.engine.program.measures import MEASURES
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.nondominated import fronts
from deepmad.engine.solvers.evolution.running import Run
from deepmad.engine.solvers.fronts.curves import lowest
from deepmad.engine.solvers.fronts.front import Front, Point
from deepmad.engine.solvers.fronts.sweep import Known, Sweep
from deepmad.engine.solvers.settings import BOUNDS, Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, unknown
from deepmad.search_spaces.ranges import check
from deepmad.search_spaces.units import human
from deepmad.tasks import Tasks, open_tasks
from deepmad.tasks.cores import usable_cores

COSTS = tuple(name for name in MEASURES if name != "rho")
"""The measures that a front may trade the objective for."""
EVOLVED_SHARE, SWEPT_SHARE = 0.2, 0.7
"""The share of the time in which evolution finds a first front, and the share of the rest for bounds and designs.

What is left then is for evolution again, which fills the front between the designs.
"""


class FrontInterrupted(KeyboardInterrupt):
    """An interrupt while a front is looked for; `front` is the one so far."""

    def __init__(self, front: Front) -> None:
        super().__init__("interrupted")
        self.front = front


class FrontOutOfMemoryError(MemoryError):
    """Memory that was not to be had while a front is looked for; `front` is the one so far."""

    def __init__(self, front: Front) -> None:
        super().__init__("not enough memory")
        self.front = front


def pareto_front(
    problem: Problem,
    against: str,
    solver: Evolution | None = None,
    *,
    bounds: int = BOUNDS,
    report: Report | None = None,
) -> Front:
    """Return networks that keep all limits of the problem and trade its objective for the cost `against`.

    For so many limits along them (`bounds`) a network is searched for and a bound is proven, and one bound for the
    problem as it is; once these are through, for others. 0 leaves all of that out. Peak memory, which does not add up
    over layers, has that one alone. There are none where no feasible network was found. `report` is told of progress.
    Raises `InputError` for an unknown cost, for predicted latency without a latency table, and for a checkpoint that
    cannot be used; on an interrupt `FrontInterrupted` with the front so far, where memory runs out
    `FrontOutOfMemoryError`, and `ContradictionError` where a network is above a bound.
    """
    if against not in COSTS:
        raise InputError(f"against: {unknown(against, COSTS)}")
    require_counted(problem, "a front")
    bounds, solver = check("bounds", bounds), solver or Evolution()
    with _workers(solver) as tasks:
        run = Run(problem, solver, report, against=against, tasks=tasks)
        known = Known(run.counted, against)
        try:
            _find(run, known, bounds, tasks)
            return _front(run, known)
        except KeyboardInterrupt as interrupt:
            raise FrontInterrupted(_front(run, known)) from interrupt
        except MemoryError as error:
            raise FrontOutOfMemoryError(_front(run, known)) from error


@contextmanager
def _workers(solver: Evolution) -> Iterator[Tasks | None]:
    """Yield what does the work on several processes; None where there is one, this one."""
    count = solver.workers or (usable_cores() if solver.on == "local" else None)
    if solver.on == "local" and count == 1:
        yield None
        return
    with open_tasks(solver.on, count) as tasks:
        yield tasks


def _find(run: Run, known: Known, bounds: int, tasks: Tasks | None) -> None:
    """Evolve, prove bounds along the front, and evolve again; the last only where time rules."""
    whole, limited = run.solver.time_limit, run.left is not None
    if limited and bounds:
        run.end_at(EVOLVED_SHARE * (whole or 0.0))
    run.go()
    known.offer(_evolved(run))
    if not bounds:
        return
    run.end_at(whole)
    if known.members:
        sweep = Sweep(known, bounds, run.solver.seed)

        def told() -> None:
            gap = "some bounds to come" if known.gap is None else f"area between the curves {known.gap:.2%}"
            run.race.offer(known.members[-1].network)
            run.race.doing = f"bounding, {gap}"
            run.race.tell(sweep.warning)

        if run.left is None:
            sweep.go_by_nodes(tasks, told)
        else:
            sweep.go(tasks, time.monotonic() + SWEPT_SHARE * run.left, told)
    if limited:
        run.learn([member.network for member in known.members])
        run.go()


def _evolved(run: Run) -> list[Architecture]:
    """Return the networks of all islands' front."""
    judged = run.machine.judge(run.state.verdicts, None).judged(
        np.concatenate([island.population for island in run.state.islands])
    )
    judged = judged.rows(judged.feasible)
    first = next(fronts(judged.values, judged.used), np.empty(0, dtype=np.intp))
    return run.machine.coding.architectures(judged.genomes[first])


def _front(run: Run, known: Known) -> Front:
    """Return the front so far, every figure recounted from the networks' layer records."""
    known.offer(_evolved(run))
    costs, values = known.curve
    heights = np.maximum(lowest(known.bounds, costs), values)
    points = [
        Point(member.network, member.value, member.used, height if np.isfinite(height) else None)
        for member, height in zip(known.members, heights.tolist(), strict=True)
    ]
    found = tuple(_named(run.race.problem, known.against, points))
    return Front(known.against, found, run.solver.info, run.race.seconds, tuple(known.bounds))


def _named(problem: Problem, against: str, points: Sequence[Point]) -> Iterator[Point]:
    """Yield the points with a name that tells space and cost."""
    for point in points:
        name = f"{problem.space.name}-{human(point.used, MEASURES[against].kind)}".replace(" ", "")
        yield replace(point, architecture=replace(point.architecture, name=name))
