"""Inner widths that are a choice of their own: the best one for every (c_in, out), by plain enumeration."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepmad.engine.solvers.bounds.tables import Array, Bools, Ints

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


@dataclass(frozen=True)
class WidthCells:
    """What inner widths add to the cells (c_in, out) of a box, for several options and depths (`keys`) at once.

    A width adds into[key, width, c_in] + out_of[key, width, out]; at the cells `same`, where c_in = out, it
    adds whole[key, width, cell]. What is not offered adds -inf.
    """

    into: Array
    out_of: Array
    whole: Array
    same: tuple[Ints, Ints]
    reach: tuple[Reach, ...]

    def best(self) -> Array:
        """Return (keys, c_in, out): the most that a width adds."""
        keys, _, ins = self.into.shape
        best = np.full((keys, ins, self.out_of.shape[2]), -np.inf)
        buffer = np.empty(best.size)
        for index, reached, over in self.reach:
            part = best[:, reached, over]
            sums = buffer[: part.size].reshape(part.shape)
            np.add(self.into[:, index, reached, None], self.out_of[:, index, None, over], out=sums)
            np.maximum(part, sums, out=part)
        rows, columns = self.same
        best[:, rows, columns] = self.whole.max(1)
        return best

    def through(self, cells: Array) -> Array:
        """Return, for every width, the largest of what it adds plus cells[key, c_in, out]."""
        rows, columns = self.same
        best: Array = (self.whole + cells[:, None, rows, columns]).max((0, 2), initial=-np.inf)
        apart = cells.copy()
        apart[:, rows, columns] = -np.inf
        for index, reached, over in self.reach:
            sums = self.into[:, index, reached, None] + self.out_of[:, index, None, over]
            best[index] = max(best[index], float((sums + apart[:, reached, over]).max()))
        return best
