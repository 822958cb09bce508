"""A front as a picture: the stair of its networks, and above it the curve that no network crosses."""

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from deepmad.engine.program.measures import MEASURES
from deepmad.engine.solvers.fronts.curves import Array, Bound, corners
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import write_text

MARKED = 100
"""Networks up to which each has a mark in the picture; more of them run into a line and make the file large."""
NETWORKS, BOUNDS = "networks", "proven: none above"
"""Names of the two curves."""


def draw(path: Path, against: str, costs: Array, values: Array, bounds: Sequence[Bound]) -> None:
    """Draw the networks' objectives against their costs, and the bounds. Raises `InputError` without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(f"{path}: matplotlib is missing ({error}); pip install 'deepmad[report]'") from error
    figure = Figure(figsize=(7, 5), layout="constrained")
    panel = figure.subplots()
    marker = "." if len(costs) <= MARKED else ""
    panel.plot(costs, values, marker=marker, drawstyle="steps-post", label=NETWORKS)
    if len(costs) and bounds:
        panel.plot(*bound_line(bounds, float(costs[0]), float(costs[-1])), color="#d62728", linewidth=1, label=BOUNDS)
        panel.legend(frameon=False, loc="lower right")
    panel.set(xlabel=MEASURES[against].means, ylabel="objective", title=f"{len(costs)} networks")
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "front", "svg.fonttype": "none"}):  # the same picture for the same numbers
        figure.savefig(text, format="svg", metadata={"Date": None})
    write_text(path, text.getvalue())


def bound_line(bounds: Sequence[Bound], low: float, high: float) -> tuple[list[float], list[float]]:
    """Return the corners of the bounds' curve from `low` to `high`: costs, and heights.

    Behind a limit whose bound was the least, the curve jumps: there it has two corners. A line is in it only up to its
    limit, and where none reaches there is a break.
    """
    found: list[tuple[float, float]] = []
    for start, end in pairwise(corners(bounds, low, high).tolist()):
        for cost in (start, end):
            corner = cost, _height(bounds, cost, end)
            if corner not in found[-1:]:
                found.append(corner)
    return [cost for cost, _ in found], [height for _, height in found]


def _height(bounds: Sequence[Bound], cost: float, reached: float) -> float:
    """Return the least at a cost of the bounds that hold up to the cost `reached`; nan where there is none."""
    heights = [float(one.over(cost)) for one in bounds if one.limit >= reached]
    return min(heights, default=float(np.nan))
