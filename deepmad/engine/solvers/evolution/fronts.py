"""Fronts: the networks that no other one beats in both the objective and one cost, found with NSGA-II."""

import io
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepmad.engine.answers.progress import Report
from deepmad.engine.answers.solutions import SolverInfo
from deepmad.engine.program.limits import require_counted
from deepmad.engine.program.measures import MEASURES
from deepmad.engine.program.problems import Problem
from deepmad.engine.program.recounts import recounted
from deepmad.engine.solvers.evolution.nondominated import fronts, hypervolume
from deepmad.engine.solvers.evolution.running import Run
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.csv_files import csv_text
from deepmad.search_spaces.errors import InputError, unknown
from deepmad.search_spaces.files import write_text
from deepmad.search_spaces.units import human

COSTS = tuple(name for name in MEASURES if name != "rho")
"""The measures that a front may trade the objective for."""
MARKED = 100
"""Networks up to which each has a mark in the picture; more of them run into a line and make the file large."""


@dataclass(frozen=True)
class Point:
    """A network of a front: its objective, and what it uses of the front's cost, in the cost's unit."""

    architecture: Architecture
    objective: float
    used: float

    def to_dict(self) -> dict[str, Any]:
        """Return the point as a JSON document."""
        return {"objective": self.objective, "used": self.used, "architecture": self.architecture.to_dict()}


@dataclass(frozen=True)
class Front:
    """Networks in the order of their cost, `against`, of which each has a higher objective than all before it."""

    against: str
    points: tuple[Point, ...]
    solver: SolverInfo
    seconds: float

    def hypervolume(self, reference: tuple[float, float]) -> float:
        """Return the area, objective times cost, that the front dominates within a reference (objective, cost)."""
        objectives, used = ([getattr(point, name) for point in self.points] for name in ("objective", "used"))
        return hypervolume(np.array(objectives), np.array(used), reference)

    def to_dict(self) -> dict[str, Any]:
        """Return the front as a JSON document."""
        points = [point.to_dict() for point in self.points]
        return {"against": self.against, "points": points, "solver": asdict(self.solver), "seconds": self.seconds}

    def to_csv(self, path: Path) -> None:
        """Write a line for each network, its architecture file's document in the last column. Raises `InputError`."""
        columns = ("name", "objective", self.against, "architecture")
        rows = [
            (point.architecture.name, point.objective, point.used, json.dumps(point.architecture.to_dict()))
            for point in self.points
        ]
        write_text(path, csv_text(columns, (dict(zip(columns, row, strict=True)) for row in rows)))

    def plot(self, path: Path) -> None:
        """Draw the objective against the cost as SVG. Raises `InputError` where matplotlib is missing."""
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ImportError as error:
            raise InputError(f"{path}: matplotlib is missing ({error}); pip install 'deepmad[report]'") from error
        figure = Figure(figsize=(7, 5), layout="constrained")
        panel = figure.subplots()
        used, objectives = ([getattr(point, name) for point in self.points] for name in ("used", "objective"))
        panel.plot(used, objectives, marker="." if len(used) <= MARKED else "", drawstyle="steps-post")
        panel.set(xlabel=MEASURES[self.against].means, ylabel="objective", title=f"{len(self.points)} networks")
        text = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": "front"}):  # the same picture for the same numbers
            figure.savefig(text, format="svg", metadata={"Date": None})
        write_text(path, text.getvalue())


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
    problem: Problem, against: str, solver: Evolution | None = None, *, report: Report | None = None
) -> Front:
    """Return networks that keep all limits of the problem and trade its objective for the cost `against`.

    The front is the best that was found: nothing is proven of it. It has at most `population` networks an island, and
    none where no feasible network was found. `report` is told of progress. Raises `InputError` for an unknown cost,
    for predicted latency without a latency table, and for a checkpoint that cannot be used; on an interrupt
    `FrontInterrupted` with the front so far, where memory runs out `FrontOutOfMemoryError`.
    """
    if against not in COSTS:
        raise InputError(f"against: {unknown(against, COSTS)}")
    require_counted(problem, "a front")
    run = Run(problem, solver or Evolution(), report, against=against)
    try:
        run.go()
    except KeyboardInterrupt as interrupt:
        raise FrontInterrupted(_front(run, against)) from interrupt
    except MemoryError as error:
        raise FrontOutOfMemoryError(_front(run, against)) from error
    return _front(run, against)


def _front(run: Run, against: str) -> Front:
    """Return the front of all islands' networks, every figure recounted from the networks' layer records."""
    judged = run.machine.judge(run.state.verdicts, None).judged(
        np.concatenate([island.population for island in run.state.islands])
    )
    judged = judged.rows(judged.feasible)
    first = next(fronts(judged.values, judged.used), np.empty(0, dtype=np.intp))
    networks = run.machine.coding.architectures(judged.genomes[first])
    points = [
        Point(network, found.value, float(found.usages[against].used))
        for network, found in zip(networks, recounted(run.counted, networks), strict=True)
        if not found.broken
    ]
    return Front(against, tuple(_named(run.race.problem, against, points)), run.solver.info, run.race.seconds)


def _named(problem: Problem, against: str, points: list[Point]) -> list[Point]:
    """Return the points that no other one beats, with a name that tells space and cost."""
    values, used = (np.array([getattr(point, name) for point in points]) for name in ("objective", "used"))
    kept = [points[row] for row in next(fronts(values, used), np.empty(0, dtype=np.intp))]
    names = [f"{problem.space.name}-{human(point.used, MEASURES[against].kind)}".replace(" ", "") for point in kept]
    return [
        replace(point, architecture=replace(point.architecture, name=name))
        for point, name in zip(kept, names, strict=True)
    ]
