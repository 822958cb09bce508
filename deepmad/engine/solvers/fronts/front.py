"""What a front is: its networks, the bounds above them, and the files that tell both."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmad.engine.answers.solutions import SolverInfo
from deepmad.engine.solvers.evolution.nondominated import hypervolume
from deepmad.engine.solvers.fronts.curves import Bound, gap
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.csv_files import csv_text
from deepmad.search_spaces.files import write_text


@dataclass(frozen=True)
class Point:
    """A network of a front: its objective, and what it uses of the front's cost, in the cost's unit.

    No network that costs as much or less has an objective above `bound`; None where none is proven.
    """

    architecture: Architecture
    objective: float
    used: float
    bound: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the point as a JSON document."""
        figures = {"objective": self.objective, "bound": self.bound, "used": self.used}
        return figures | {"architecture": self.architecture.to_dict()}


@dataclass(frozen=True)
class Front:
    """Networks in the order of their cost, `against`, of which each has a higher objective than all before it.

    The `bounds`, in the order of their limits, are above every network that keeps the problem's limits, found or not.
    """

    against: str
    points: tuple[Point, ...]
    solver: SolverInfo
    seconds: float
    bounds: tuple[Bound, ...] = ()

    def hypervolume(self, reference: tuple[float, float]) -> float:
        """Return the area, objective times cost, that the front dominates within a reference (objective, cost)."""
        objectives, used = self._columns()
        return hypervolume(objectives, used, reference)

    @property
    def gap(self) -> float | None:
        """The area between the curves of networks and bounds over that under the bounds; None where one is missing.

        It is taken from the least cost of a network to the largest. The networks' curve is a stair: within a limit the
        best network that keeps it.
        """
        objectives, used = self._columns()
        return gap(used, objectives, self.bounds)

    def _columns(self) -> tuple[Any, Any]:
        objectives, used = (np.array([getattr(point, name) for point in self.points]) for name in ("objective", "used"))
        return objectives, used

    def to_dict(self) -> dict[str, Any]:
        """Return the front as a JSON document; a bound's `limit` is null where it holds whatever a network costs."""
        bounds = [asdict(one) | {"limit": one.limit if math.isfinite(one.limit) else None} for one in self.bounds]
        return {
            "against": self.against,
            "points": [point.to_dict() for point in self.points],
            "bounds": bounds,
            "gap": self.gap,
            "solver": asdict(self.solver),
            "seconds": self.seconds,
        }

    def to_csv(self, path: Path) -> None:
        """Write a line for each network, its architecture file's document in the last column. Raises `InputError`."""
        columns = ("name", "objective", "bound", self.against, "architecture")
        rows = [
            (
                point.architecture.name,
                point.objective,
                "" if point.bound is None else point.bound,
                point.used,
                json.dumps(point.architecture.to_dict()),
            )
            for point in self.points
        ]
        write_text(path, csv_text(columns, (dict(zip(columns, row, strict=True)) for row in rows)))

    def plot(self, path: Path) -> None:
        """Draw both curves against the cost as SVG. Raises `InputError` where matplotlib is missing."""
        from deepmad.engine.solvers.fronts.pictures import draw

        objectives, used = self._columns()
        draw(path, self.against, used, objectives, self.bounds)
