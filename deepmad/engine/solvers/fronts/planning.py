"""Where bounds along a front are worth most: the limits and slopes of lines that would lie nearest to it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepmad.engine.solvers.fronts.curves import Array

_MOST_STARTS = 120
"""Networks behind which a section may begin: those with the highest steps up to them."""


@dataclass(frozen=True)
class Section:
    """A part of a front, from the cost `low` to `limit`, and the `slope` of a line above it."""

    low: float
    limit: float
    slope: float


def sections(costs: Array, values: Array, count: int) -> list[Section]:
    """Return up to `count` sections of a front, whose lines lie nearest to it.

    `costs` and `values` of its networks ascend. A line is above all networks up to its limit, so that its height in the
    middle of its section, which tells the area, is at best that of their concave hull. A section ends just below a
    network, for behind it the stair is a step higher. The sections are those of least area, by dynamic programming.
    """
    steps = np.argsort(-np.diff(values), kind="stable")[:_MOST_STARTS]
    starts = np.unique([0, *(1 + steps)])
    limits = np.append(np.nextafter(costs[starts[1:]], 0.0), costs[-1])
    areas, slopes = _lines(costs, values, starts, limits)
    best, before = areas[0], []
    for _ in range(1, min(count, len(starts))):
        joined = best[:-1, None] + areas[1:]
        before.append(joined.argmin(0) + 1)
        best = joined.min(0)
    end, found = len(starts) - 1, []
    for first in [*reversed(before), np.zeros(len(starts), dtype=np.intp)]:
        start = int(first[end])
        found.append(Section(float(costs[starts[start]]), float(limits[end]), float(slopes[start, end])))
        end = start - 1
    return found[::-1]


def _lines(costs: Array, values: Array, starts: npt.NDArray[np.intp], limits: Array) -> tuple[Array, Array]:
    """Return (starts, ends) areas below the best line of every section, inf where there is none, and their slopes."""
    areas = np.full((len(starts), len(starts)), np.inf)
    slopes = np.zeros_like(areas)
    for place, limit in enumerate(limits):
        end = starts[place + 1] if place + 1 < len(starts) else len(costs)
        corners = _hull(costs[:end], values[:end])
        across, up = costs[corners], values[corners]
        lows = costs[starts[: place + 1]]
        middles = (lows + limit) / 2
        areas[: place + 1, place] = np.interp(middles, across, up) * (limit - lows)
        edges = np.append(np.diff(up) / np.diff(across), 0.0)
        slopes[: place + 1, place] = edges[np.searchsorted(across, middles, "right") - 1]
    return areas, slopes


def _hull(costs: Array, values: Array) -> list[int]:
    """Return the corners of the concave hull of points, whose costs and values ascend."""
    kept: list[int] = []
    for row in range(len(costs)):
        while len(kept) > 1 and (values[kept[-1]] - values[kept[-2]]) * (costs[row] - costs[kept[-1]]) <= (
            values[row] - values[kept[-1]]
        ) * (costs[kept[-1]] - costs[kept[-2]]):
            kept.pop()
        kept.append(row)
    return kept
