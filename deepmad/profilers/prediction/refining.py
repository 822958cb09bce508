"""Finer grids: cells between and beyond the lines that were measured, filled by boosted trees.

A line is all cells of one number of outputs, one side, or one ratio of inputs to outputs. Networks ask for lines that
nobody measured; there a cell has no measured twin in its own line, only the lines beside it. So the trees learn from
every measured line as if it were hidden: they see the lines around it, what these lines' times would be if they grew
with each kind of work, and how the very layer fills tiles and waves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from deepmad.profilers.prediction.boosting import FEWEST, learnt_from, shifted
from deepmad.profilers.prediction.convolutions import Bools
from deepmad.profilers.prediction.grids import Axes, rooflines
from deepmad.profilers.prediction.rooflines import WORKLOADS, Floats, Roofline, features

STEPS_A_DOUBLING = (4, 5, 6, 7)
"""Lines are added at these multiples of powers of two: four a doubling, the sides and widths of usual networks."""
CHANNEL_STEP = 8
FEWEST_LINES = 4
"""An axis of fewer lines teaches nothing of lines between lines."""
MAX_CELLS = 2_000_000
"""A finer grid than this is not worth its minutes: the grid stays as it is."""
AXES = {"levels": 4, "outputs": 5, "sides": 6}
"""Axes that get lines, and where they stand in an array of the cells of all batches."""
TREES, RATE = 200, 0.1
"""Fewer than for the holes of the grid, so that an import takes minutes at most."""
REACH = 3
"""Lines that are seen on either side."""

Lines = tuple[list[int], list[int]]
"""Indices of the lines that a line is predicted from: those below and those above, the nearest first."""


@dataclass(frozen=True, eq=False)
class Cells:
    """All cells of a grid: logarithms of their factors over the roofline, shape (batches, *axes), none of them NaN.

    `measured` says which of them were. `rooflines` has one for every batch.
    """

    axes: Axes
    rooflines: tuple[Roofline, ...]
    logs: Floats
    measured: Bools

    def rough(self) -> Floats:
        """Return the roofline's nanoseconds of every cell."""
        return np.stack([rooflines(self.axes, roofline) for roofline in self.rooflines])


def refined(cells: Cells) -> Cells:
    """Return the cells with those of new lines among them; the old ones are as they were."""
    for name, new in (("outputs", _new_outputs), ("sides", _new_sides), ("levels", _new_levels)):
        values, wanted = getattr(cells.axes, name), new(cells.axes)
        more = cells.logs.size // len(values) * (len(values) + len(wanted))
        if wanted and len(values) >= FEWEST_LINES and cells.measured.sum() >= FEWEST and more <= MAX_CELLS:
            cells = _with_lines(cells, name, wanted)
    return cells


def told(axes: Axes, batch: int, rough: Floats) -> Floats:
    """Return what the trees are told of every cell of a batch, shape (*axes, features); `rough` has that of `axes`."""
    parts = [
        (stride, adds, side, features(layer, batch, rough[:, stride, adds, :, :, side]))
        for stride, adds, side, layer in axes.cells()
    ]
    found = np.empty((*axes.shape, parts[0][-1].shape[-1]))
    for stride, adds, side, part in parts:
        found[:, stride, adds, :, :, side] = part
    return found


def _usual(lowest: int, highest: int) -> Iterator[int]:
    powers = range(highest.bit_length())
    return (step * 2**power for step, power in product(STEPS_A_DOUBLING, powers) if lowest < step * 2**power < highest)


def _new_outputs(axes: Axes) -> list[float]:
    found = {value for value in _usual(axes.outputs[0], axes.outputs[-1]) if value % CHANNEL_STEP == 0}
    return sorted(found - set(axes.outputs))


def _new_sides(axes: Axes) -> list[float]:
    return sorted(set(_usual(axes.sides[0], axes.sides[-1])) - set(axes.sides))


def _new_levels(axes: Axes) -> list[float]:
    """Return one ratio beyond either end; numbers of inputs stay as they are."""
    return [axes.levels[0] / 2, 2 * axes.levels[-1]] if axes.relative else []


def _with_lines(cells: Cells, name: str, wanted: Sequence[float]) -> Cells:
    """Return the cells with new lines on one axis, each predicted from the old ones."""
    old = getattr(cells.axes, name)
    values = sorted({*old, *wanted})
    changes: dict[str, Any] = {name: tuple(values)}
    axes = replace(cells.axes, **changes)
    here = np.searchsorted(values, old)
    shape = (len(cells.rooflines), *axes.shape)
    known = np.moveaxis(np.zeros(shape, dtype=bool), AXES[name], 0)
    known[here] = np.moveaxis(cells.measured, AXES[name], 0)
    logs = np.moveaxis(np.full(shape, np.nan), AXES[name], 0)
    logs[here] = np.moveaxis(cells.logs, AXES[name], 0)
    finer = Cells(axes, cells.rooflines, np.moveaxis(logs, 0, AXES[name]), np.moveaxis(known, 0, AXES[name]))
    view = _View.of(finer, AXES[name], values, here.tolist())
    new = [index for index in range(len(values)) if index not in here]
    for mode in ("between", "below", "above"):
        lines = {index: view.beside(index, mode) for index in range(len(values))}
        asked = [index for index in new if view.where(index) == mode]
        examples = {index: lines[index] for index in here.tolist() if view.tells(lines[index], mode)}
        if asked and examples:
            view.fill(examples, {index: lines[index] for index in asked})
    return finer


@dataclass(frozen=True, eq=False)
class _View:
    """Cells as lines of one axis: arrays of shape (lines, *others), views of the cells' own."""

    logs: Floats
    measured: Bools
    rough: Floats
    told: Floats
    around: Floats
    """Differences of every cell from those next to it on the other axes."""
    places: Floats
    known: list[int]

    @staticmethod
    def of(cells: Cells, axis: int, values: Sequence[float], known: list[int]) -> "_View":
        """Return the view of an axis, of which the lines `known` are filled."""
        rough, dimensions = cells.rough(), cells.logs.ndim
        others = [other for other in range(dimensions) if other not in (2, axis)]  # strides tell nothing of each other
        steps = [tuple(step * (one == other) for one in range(dimensions)) for other in others for step in (-1, 1)]
        around = np.stack([shifted(cells.logs, step) - cells.logs for step in steps], axis=-1)
        batches = zip(cells.rooflines, rough, strict=True)
        seen = np.stack([told(cells.axes, roofline.batch, part) for roofline, part in batches])
        floats: list[Floats] = [cells.logs, rough, seen, around]
        logs, rough, seen, around = (np.moveaxis(one, axis, 0) for one in floats)
        measured = np.moveaxis(cells.measured, axis, 0)
        return _View(logs, measured, rough, seen, around, np.log2(np.array(values)), known)

    def where(self, index: int) -> str:
        """Return whether a line is between the known ones, `below` or `above` them."""
        return "below" if index < self.known[0] else "above" if index > self.known[-1] else "between"

    def beside(self, index: int, mode: str) -> Lines:
        """Return the lines that a line is predicted from; one beyond the end has lines on one side only."""
        below = [line for line in reversed(self.known) if line < index and mode != "below"]
        above = [line for line in self.known if line > index and mode != "above"]
        return below[:REACH], above[:REACH]

    def tells(self, lines: Lines, mode: str) -> bool:
        """Return whether a line with these beside it is an example of a mode."""
        below, above = map(len, lines)
        return min(below, above) >= 1 if mode == "between" else max(below, above) >= 2

    def fill(self, examples: dict[int, Lines], asked: dict[int, Lines]) -> None:
        """Predict the lines `asked` from the lines beside them, as the examples' are from theirs."""
        columns, targets = [], []
        for index, lines in examples.items():
            guess, seen = self._seen(index, lines)
            chosen = self.measured[index]
            columns.append(seen[chosen])
            targets.append((self.logs[index] - guess)[chosen])
        model = learnt_from(np.concatenate(columns), np.concatenate(targets), trees=TREES, rate=RATE)
        for index, lines in asked.items():
            guess, seen = self._seen(index, lines)
            found = guess + model(seen.reshape(-1, seen.shape[-1])).reshape(guess.shape)
            below, above = lines
            if below and above:  # a layer between others takes a time between theirs
                ends = [self.logs[line] + np.log(self.rough[line] / self.rough[index]) for line in (below[0], above[0])]
                found = np.clip(found, np.minimum(*ends), np.maximum(*ends))
            self.logs[index] = found

    def _seen(self, index: int, lines: Lines) -> tuple[Floats, np.ndarray[Any, np.dtype[np.float32]]]:
        """Return a line's first guess and what the trees see of it: arrays (*others) and (*others, features)."""
        guess = self._guess(index, lines)
        own = guess + np.log(self.rough[index])
        columns, nothing = [guess], np.full(guess.shape, np.nan)
        for side in lines:
            for place in range(REACH):
                line = side[place] if place < len(side) else None
                columns.append(nothing if line is None else self.logs[line] - guess)
                columns.append(
                    nothing if line is None else np.full(guess.shape, self.places[line] - self.places[index])
                )
            columns += self._grown(index, side[0], own) if side else [nothing] * (1 + len(WORKLOADS))
        around = [self.around[side[0]] if side else np.full(self.around.shape[1:], np.nan) for side in lines]
        return guess, np.concatenate([np.stack(columns, axis=-1), *around, self.told[index]], axis=-1).astype(
            np.float32
        )

    def _grown(self, index: int, line: int, own: Floats) -> list[Floats]:
        """Return what times another line's would make here, as it is and if it grew with every kind of work."""
        time = self.logs[line] + np.log(self.rough[line]) - own
        grown = np.log(2) * (self.told[index] - self.told[line])[..., list(WORKLOADS)]
        return [time, *np.moveaxis(time[..., None] + grown, -1, 0)]

    def _guess(self, index: int, lines: Lines) -> Floats:
        """Return the factors between the nearest lines, or beyond the end the last line's."""
        below, above = lines
        if not (below and above):
            return np.array(self.logs[(below or above)[0]])
        first, last = below[0], above[0]
        share = (self.places[index] - self.places[first]) / (self.places[last] - self.places[first])
        guess: Floats = (1 - share) * self.logs[first] + share * self.logs[last]
        return guess
