"""Depths and inner widths of a stage: the best ones for every (c_in, out), by plain enumeration."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepmad.engine.solvers.bounds.maxplus import max_plus
from deepmad.engine.solvers.bounds.tables import Array, Bools, Ints

MANY_CELLS = 100_000
"""Cells of (c_in, out, width) from which on the order of the maxima is made use of; with fewer, it costs more."""
Reach = tuple[int, slice, slice]
"""A width's place in its interval, and the smallest ranges of c_in and out that hold all its cells."""


def reaches(allowed: Bools, offered: Bools) -> Iterator[Reach]:
    """Yield the reach of every width, from allowed (c_in, out) and offered (widths, out)."""
    possible = allowed.any(0)
    first, last = allowed.argmax(0), len(allowed) - 1 - allowed[::-1].argmax(0)
    for index, found in enumerate(offered & possible):
        columns = np.flatnonzero(found)
        if len(columns):
            rows = slice(int(first[columns].min()), int(last[columns].max()) + 1)
            yield index, rows, slice(int(columns[0]), int(columns[-1]) + 1)


def best_depth(later: Array, repeats: Array, earned: Array) -> Array:
    """Return max over depths d of repeats[d] * later + earned[d], for every entry of `later`.

    `repeats` ascend. Each depth is a line over `later`, and only those on the upper envelope are ever best.
    """
    slopes, heights = repeats, earned
    turns = -np.diff(heights) / np.diff(slopes)
    if (np.diff(turns) < 0).any():  # not all lines are on the envelope
        kept = _envelope(repeats, earned)
        slopes, heights = repeats[kept], earned[kept]
        turns = -np.diff(heights) / np.diff(slopes)
    chosen = np.searchsorted(turns, later)
    best: Array = slopes[chosen] * later + heights[chosen]
    return best


def _envelope(repeats: Array, earned: Array) -> list[int]:
    """Return which lines are on the upper envelope."""
    kept: list[int] = []
    for place in range(len(repeats)):
        while len(kept) > 1 and _below(repeats, earned, kept[-2], kept[-1], place):
            kept.pop()
        kept.append(place)
    return kept


def _below(repeats: Array, earned: Array, left: int, middle: int, right: int) -> bool:
    """Return whether the middle one of three lines is nowhere above both others."""
    before = (earned[middle] - earned[left]) * (repeats[right] - repeats[middle])
    after = (earned[right] - earned[middle]) * (repeats[middle] - repeats[left])
    return bool(before <= after)


@dataclass(frozen=True)
class WidthCells:
    """What inner widths and depths add to the cells (c_in, out) of a box, for several options at once.

    With a width, the opening block adds into[option, width, c_in] + out_of[option, width, out], or
    whole[option, width, cell] at the cells `same`, where c_in = out. The blocks after it add at best
    deep[option, width, out] over the depths of the box (-inf where the width is not offered).
    Where the width follows from `out`, there is one width that adds nothing. `one_way` says that the second differences
    of `into` are of one sign in every option.
    """

    into: Array
    out_of: Array
    whole: Array
    deep: Array
    same: tuple[Ints, Ints]
    reach: tuple[Reach, ...]
    one_way: bool

    @property
    def fast(self) -> bool:
        """Whether to look at some of the widths alone."""
        _, widths, ins = self.into.shape
        return self.one_way and widths * ins * self.out_of.shape[2] > MANY_CELLS

    def best(self) -> Array:
        """Return (options, c_in, out): the most that a width and a depth add."""
        rows, columns = self.same
        if self.fast:
            after = self.out_of + self.deep
            best = np.stack([max_plus(*pair) for pair in zip(self.into.swapaxes(1, 2), after, strict=True)])
        else:
            best = self._best()
        best[:, rows, columns] = (self.whole + self.deep[:, :, columns]).max(1)
        return best

    def _best(self) -> Array:
        """Return (options, c_in, out): the most that a width and a depth add where c_in differs from out."""
        options, _, ins = self.into.shape
        best = np.full((options, ins, self.out_of.shape[2]), -np.inf)
        buffer = np.empty(best.size)
        after = self.out_of + self.deep
        for index, reached, over in self.reach:
            part = best[:, reached, over]
            sums = buffer[: part.size].reshape(part.shape)
            np.add(self.into[:, index, reached, None], after[:, index, None, over], out=sums)
            np.maximum(part, sums, out=part)
        return best

    def opened(self, before: Array) -> Array:
        """Return (options, widths, out): the best up to the opening block, from before[option, c_in, out]."""
        rows, columns = self.same
        apart = before.copy()
        apart[:, rows, columns] = -np.inf
        if self.fast:
            opened = np.stack([max_plus(*pair) for pair in zip(self.into, apart, strict=True)]) + self.out_of
        else:
            opened = np.full(self.out_of.shape, -np.inf)
            for index, reached, over in self.reach:
                sums = self.into[:, index, reached, None] + apart[:, reached, over]
                opened[:, index, over] = sums.max(1) + self.out_of[:, index, over]
        opened[:, :, columns] = np.maximum(opened[:, :, columns], self.whole + before[:, None, rows, columns])
        return opened
