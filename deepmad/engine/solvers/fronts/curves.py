"""The two curves of a front: its networks, a stair that only rises, and the least of its bounds above it.

Bounds are lines that end at a limit. At a cost, the least of those that reach that far holds. So the curve of bounds
rises along a line from limit to limit, and may jump up behind a limit; it never falls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bound:
    """No network that costs up to `limit` has an objective above `objective` + `slope` * (its cost - `at`).

    `slope`, the objective for a unit of cost, is not negative; `limit` is inf where it holds whatever a network costs.
    """

    limit: float
    at: float
    objective: float
    slope: float

    def over(self, costs: Array | float) -> Array:
        """Return the bound at costs, inf where they are above the limit."""
        heights = self.objective + self.slope * (np.asarray(costs) - self.at)
        return np.where(np.asarray(costs) <= self.limit, heights, np.inf)


@dataclass(frozen=True)
class Area:
    """The area between the curves of a front from one cost to another, and that under its bounds."""

    between: float
    under: float


def lowest(bounds: Sequence[Bound], costs: Array) -> Array:
    """Return the least bound at each of `costs`; inf where none reaches."""
    least: Array = np.min([np.full(len(costs), np.inf), *(bound.over(costs) for bound in bounds)], axis=0)
    return least


def corners(bounds: Sequence[Bound], low: float, high: float) -> Array:
    """Return the costs from `low` to `high` between which the least bound is one line: its limits and crossings."""
    found = [bound.limit for bound in bounds]
    for one, other in combinations(bounds, 2):
        if one.slope != other.slope:
            rise = other.objective - other.slope * other.at - one.objective + one.slope * one.at
            found.append(rise / (one.slope - other.slope))
    return np.unique([low, *(cost for cost in found if low < cost < high), high])


def area(costs: Array, values: Array, bounds: Sequence[Bound], low: float, high: float) -> Area:
    """Return the area between the curves from `low` to `high`; `costs` and `values` of the networks ascend.

    Infinite where no bound reaches. No network that costs `low` or less is a ValueError.
    """
    if costs[0] > low:
        raise ValueError(f"no network costs {low} or less")
    ends = np.union1d(corners(bounds, low, high), costs[(low < costs) & (costs < high)])
    starts, ends = ends[:-1], ends[1:]
    least = np.full((2, len(starts)), np.inf)
    for bound in bounds:
        heights = bound.objective + bound.slope * (np.array([starts, ends]) - bound.at)
        least = np.minimum(least, np.where(ends <= bound.limit, heights, np.inf))
    below = values[np.searchsorted(costs, starts, "right") - 1]
    between, under = ((least.mean(0) - floor) @ (ends - starts) for floor in (below, 0.0))
    return Area(float(between), float(under))


def gap(costs: Array, values: Array, bounds: Sequence[Bound]) -> float | None:
    """Return the area between the curves over that under the bounds, from the least to the largest cost.

    None where a bound is missing, for a single network, and where the bounds are not above 0.
    """
    if len(costs) < 2:
        return None
    found = area(costs, values, bounds, float(costs[0]), float(costs[-1]))
    return found.between / found.under if math.isfinite(found.between) and found.under > 0 else None


def needed(bounds: Sequence[Bound], low: float) -> list[Bound]:
    """Return the bounds, by their limits, that no other one is below everywhere from `low` on."""
    kept: list[Bound] = []
    for bound in sorted(bounds, key=lambda one: (-one.limit, one.objective)):
        ends = np.array([min(low, bound.limit), bound.limit if math.isfinite(bound.limit) else low])
        if not any((other.over(ends) <= bound.over(ends)).all() and _as_far(other, bound) for other in kept):
            kept.append(bound)
    return kept[::-1]


def _as_far(other: Bound, bound: Bound) -> bool:
    """Return whether a bound is below another one behind its limit too."""
    return math.isfinite(bound.limit) or (other.limit == math.inf and other.slope <= bound.slope)
