"""Filling a grid of measured convolutions: a predictor for every batch that was measured.

The rows are cells of a grid with holes. A hole is filled by kriging from the nearest measured cells, those of other
kernels and batches included, and corrected by boosted trees (boosting.py); then the grid is made finer (refining.py).
The distances of the kriging say how much a step in each direction changes the factor over the roofline, and were chosen
by the errors on rows held out (benchmarks/tinynas_import.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepmad.profilers.prediction.boosting import corrected, steps
from deepmad.profilers.prediction.convolutions import ConvolutionTimes
from deepmad.profilers.prediction.grids import NARROW, Axes, Grid, GridPrediction, rooflines
from deepmad.profilers.prediction.kriging import krige
from deepmad.profilers.prediction.refining import Cells, refined, told
from deepmad.profilers.prediction.rooflines import PARTS, Floats, Roofline, fit_roofline, work
from deepmad.search_spaces.errors import InputError

BATCH_STEP, LEVEL_STEP, OUTPUT_STEP, SIDE_STEP = 0.5, 0.35, 1.6, 1.5
"""Distances of a doubling of the batch, of inputs over outputs, of the outputs and of the side."""
KERNEL_STEP, ADDS_STEP = 1.6, 0.3
"""Distances of one more pixel of the kernel, and of a fused addition. Strides tell nothing of each other."""

TWINS = steps(7, pairs=((0, 3), (4, 5)))
"""Cells whose times the trees see, on the axes batch, kernel, stride, addition, level, outputs and side: beside one on
any axis, and on both of batch and addition or of level and outputs (other outputs of much the same inputs)."""
MAX_CELLS = 2_000_000
"""Cells that are worth filling: some minutes of work."""

Tell = Callable[[float], None]


@dataclass(frozen=True)
class _Group:
    """The rows that share a grid."""

    axes: Axes
    times: ConvolutionTimes

    @staticmethod
    def of(times: ConvolutionTimes) -> "_Group":
        """Return the group of some rows; channels are laid out by input over output where that takes fewer levels."""
        depthwise = bool(times.depthwise[0])
        ratios, inputs = np.unique(times.inputs / times.outputs), np.unique(times.inputs)
        relative = not depthwise and len(ratios) < len(inputs)
        levels = (1.0,) if depthwise else tuple((ratios if relative else inputs).tolist())
        columns = (times.kernel, times.stride, times.adds, times.outputs, times.side)
        kernels, strides, adds, outputs, sides = (tuple(np.unique(column).tolist()) for column in columns)
        return _Group(Axes(depthwise, relative, kernels, strides, adds, levels, outputs, sides), times)

    @property
    def batches(self) -> list[int]:
        """The batches that were measured."""
        found: list[int] = np.unique(self.times.batch).tolist()
        return found

    @property
    def cells(self) -> int:
        """Number of cells of the grids of all batches."""
        return len(self.batches) * math.prod(self.axes.shape)

    def measured(self, batch: int) -> Floats:
        """Return the nanoseconds of every cell for a batch, NaN where it was not measured."""
        axes, rows = self.axes, self.times.where(self.times.batch == batch)
        level = rows.inputs / rows.outputs if axes.relative else rows.inputs.astype(np.float64)
        level = np.ones(len(rows)) if axes.depthwise else level
        columns = (rows.kernel, rows.stride, rows.adds, level, rows.outputs, rows.side)
        known = (axes.kernels, axes.strides, axes.adds, axes.levels, axes.outputs, axes.sides)
        cells = np.full(axes.shape, np.nan)
        indices = tuple(np.searchsorted(values, column) for values, column in zip(known, columns, strict=True))
        cells[indices] = rows.nanoseconds
        return cells

    def places(self, batch: int) -> Floats:
        """Return where every cell of a batch stands for the kriging: shape (*axes, coordinates)."""
        axes = self.axes
        found = np.empty((*axes.shape, 6))
        for stride, adds, side, layer in axes.cells():
            coordinates = (
                BATCH_STEP * np.log2(batch),
                KERNEL_STEP * layer.kernel,
                ADDS_STEP * layer.adds,
                LEVEL_STEP * np.log2(layer.inputs / layer.outputs),
                OUTPUT_STEP * np.log2(layer.outputs),
                SIDE_STEP * np.log2(layer.side),
            )
            found[:, stride, adds, :, :, side] = np.stack(np.broadcast_arrays(*coordinates), axis=-1)
        return found


class _Progress:
    """Tells the share of the holes that are filled."""

    def __init__(self, holes: int, tell: Tell | None) -> None:
        self.holes, self.tell, self.filled = holes, tell, 0

    def more(self, filled: int) -> None:
        """Count so many more holes as filled."""
        self.filled += filled
        if self.tell is not None:
            self.tell(self.filled / self.holes)


def predict_from(times: ConvolutionTimes, progress: Tell | None = None) -> dict[int, GridPrediction]:
    """Return the predictor of every batch that was measured.

    Raises `InputError` where a batch has no dense row, or where the rows are strewn over too large a grid.
    """
    narrow, dense = times.inputs < NARROW, times.depthwise == 0
    masks = {"dense": dense & ~narrow, "narrow": dense & narrow, "depthwise": ~dense}
    for batch in np.unique(times.batch):
        if not (masks["dense"] & (times.batch == batch)).any():
            raise InputError(
                f"batch {batch}: no row is a dense convolution of {NARROW} or more inputs; import some more"
            )
    groups = {name: _Group.of(times.where(mask)) for name, mask in masks.items() if mask.any()}
    cells = sum(group.cells for group in groups.values())
    if cells > MAX_CELLS:
        raise InputError(
            f"rows: {len(times)} span a grid of {cells} cells, above {MAX_CELLS}; import fewer widths or sides"
        )
    counter = _Progress(cells - len(times), progress)
    grids = {name: _grids(group, counter) for name, group in groups.items()}
    return {
        batch: GridPrediction(
            grids["dense"][batch],
            grids.get("narrow", {}).get(batch),
            grids.get("depthwise", {}).get(batch),
            int(times.nanoseconds[times.batch == batch].min()),
        )
        for batch in np.unique(times.batch).tolist()
    }


def _grids(group: _Group, progress: _Progress) -> dict[int, Grid]:
    """Return the grid of every batch, its holes filled."""
    measured = np.stack([group.measured(batch) for batch in group.batches])
    fitted = [_fitted(group, batch) for batch in group.batches]
    rough = np.stack([rooflines(group.axes, roofline) for roofline in fitted])
    logs = np.log(measured / rough)
    seen = np.stack([told(group.axes, batch, rough[index]) for index, batch in enumerate(group.batches)])
    filled = corrected(logs, _kriged(group, logs, progress), seen, TWINS)
    finer = refined(Cells(group.axes, tuple(fitted), filled, ~np.isnan(measured)))
    nanoseconds = np.maximum(1, np.rint(finer.rough() * np.exp(finer.logs))).astype(np.int64)
    return {batch: Grid(finer.axes, fitted[index], nanoseconds[index]) for index, batch in enumerate(group.batches)}


def _kriged(group: _Group, logs: Floats, progress: _Progress) -> Floats:
    """Return what kriging says of every cell, the measured ones predicted from the others."""
    places, found = np.stack([group.places(batch) for batch in group.batches]), np.empty(logs.shape)
    for stride in range(len(group.axes.strides)):
        part = np.zeros(logs.shape, dtype=bool)
        part[:, :, stride] = True
        known, holes = part & ~np.isnan(logs), part & np.isnan(logs)
        found[holes] = krige(places[known], logs[known], places[holes], progress.more)
        found[known] = krige(places[known], logs[known], places[known], without_itself=True)
    return found


def _fitted(group: _Group, batch: int) -> Roofline:
    """Return the roofline fitted on the measured cells of a batch."""
    measured = group.measured(batch)
    parts = np.empty((*group.axes.shape, len(PARTS)))
    for stride, adds, side, layer in group.axes.cells():
        parts[:, stride, adds, :, :, side] = np.stack(work(layer, batch), axis=-1)
    known = ~np.isnan(measured)
    return fit_roofline(batch, parts[known], measured[known])
