"""Costs over two of a stage's widths, kept as sums of products of vectors where they are that, and whole elsewhere.

MACs, parameters and the like are products of widths, so a few vectors say it all; latency tables are kept whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_MOST_TERMS = 3
"""Products that the costs of one quantity are a sum of at most, else they are kept whole."""
_ROUNDING = 1e-13
"""Relative error of a sum of products that may be rounding."""


@dataclass(frozen=True)
class Costs:
    """Costs over (options, quantities, rows, columns).

    They are `left` (options, terms, rows) times `right` (options, terms, columns), summed over the terms of a quantity:
    those where `sums` (quantities, terms) is 1, not 0. `whole` (options, len(kept), rows, columns) are those of the
    quantities `kept`.
    """

    sums: Array
    left: Array
    right: Array
    kept: npt.NDArray[np.intp]
    whole: Array

    @property
    def options(self) -> int:
        """Number of options."""
        return len(self.left)

    @cached_property
    def _turns(self) -> Array:
        """The sign, (options, terms), of the second differences of every term; NaN where they have no one sign."""
        directions = []
        for vectors in (self.left, self.right):
            rises = np.diff(vectors, axis=2)
            one_way = np.where((rises >= 0).all(2), 1.0, np.where((rises <= 0).all(2), -1.0, np.nan))
            directions.append(np.where((rises == 0).all(2), 0.0, one_way))
        left, right = directions
        return np.where((left == 0) | (right == 0), 0.0, left * right)

    def one_way(self, weights: Array, keys: Sequence[int]) -> bool:
        """Whether the second differences, over rows and columns, of `priced` are known to be of one sign.

        Each option may have another sign.
        """
        if weights[self.kept].any():
            return False
        factors = weights @ self.sums
        signs = np.where(factors == 0, 0.0, np.sign(factors) * self._turns[keys, :])
        return bool(((signs >= 0).all(1) | (signs <= 0).all(1)).all())

    def priced(self, weights: Array, keys: Sequence[int], rows: slice, columns: slice) -> Array:
        """Return the sum over quantities of weights (quantities,) times costs, (options, rows, columns) of a part."""
        every = len(keys) == self.options
        left, right = self.left[:, :, rows], self.right[:, :, columns]
        whole = self.whole[:, :, rows, columns]
        if not every:
            left, right, whole = left[keys, :], right[keys, :], whole[keys, :]
        total: Array = np.matmul((left * (weights @ self.sums)[:, None]).swapaxes(1, 2), right)
        for place, quantity in enumerate(self.kept):
            if weights[quantity]:
                total += weights[quantity] * whole[:, place]
        return total

    def of(self, option: int, rows: slice | int, column: int) -> Array:
        """Return (quantities, rows), or (quantities,) of one row, at a column."""
        found: Array = self.sums @ (self.left[option, :, rows].T * self.right[option, :, column]).T
        if len(self.kept):
            found[self.kept] += self.whole[option, :, rows, column]
        return found

    def part(self, keys: Sequence[int], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> "Costs":
        """Return the costs of some options, rows and columns."""
        return replace(
            self,
            left=self.left[keys, :][..., rows],
            right=self.right[keys, :][..., columns],
            whole=self.whole[keys, :][:, :, rows][..., columns],
        )

    def plus(self, rows: Array | None, columns: Array | None) -> "Costs":
        """Return the costs with (quantities, rows) or (quantities, columns) added, whatever the other one is."""
        added = rows if rows is not None else columns
        assert added is not None
        ones = np.ones((len(self.sums), self.right.shape[2] if rows is not None else self.left.shape[2]))
        left, right = (added, ones) if rows is not None else (ones, added)
        return replace(
            self,
            sums=np.hstack([self.sums, np.eye(len(self.sums))]),
            left=np.concatenate([self.left, np.broadcast_to(left, (self.options, *left.shape))], axis=1),
            right=np.concatenate([self.right, np.broadcast_to(right, (self.options, *right.shape))], axis=1),
        )


def of_tables(tables: Sequence[Array]) -> Costs:
    """Return the costs that tables (quantities, rows, columns), one an option, hold."""
    quantities, rows, columns = tables[0].shape
    found = [[_products(table[quantity]) for table in tables] for quantity in range(quantities)]
    kept = [place for place, each in enumerate(found) if any(part is None for part in each)]
    terms, left, right = [], [np.zeros((len(tables), 0, rows))], [np.zeros((len(tables), 0, columns))]
    for quantity, each in enumerate(found):
        parts = [part for part in each if part is not None and quantity not in kept]
        most = max((len(part[0]) for part in parts), default=0)
        if most:
            terms += [quantity] * most
            left.append(np.stack([np.pad(part[0], ((0, most - len(part[0])), (0, 0))) for part in parts]))
            right.append(np.stack([np.pad(part[1], ((0, most - len(part[1])), (0, 0))) for part in parts]))
    return Costs(
        np.eye(quantities)[:, terms],
        np.concatenate(left, axis=1),
        np.concatenate(right, axis=1),
        np.array(kept, dtype=np.intp),
        np.stack([table[kept] for table in tables]),
    )


def _products(table: Array) -> tuple[Array, Array] | None:
    """Return (terms, rows) and (terms, columns) whose products add up to a table; None where few do not."""
    if not table.any():
        return np.zeros((0, len(table))), np.zeros((0, table.shape[1]))
    rest, size = table.copy(), float(np.abs(table).max())
    left: list[Array] = []
    right: list[Array] = []
    while True:
        row, column = np.unravel_index(int(np.abs(rest).argmax()), rest.shape)
        if abs(rest[row, column]) <= _ROUNDING * size:
            return np.array(left).reshape(-1, len(table)), np.array(right).reshape(-1, table.shape[1])
        if len(left) == _MOST_TERMS:
            return None
        left.append(rest[:, column].copy())
        right.append(rest[row] / rest[row, column])
        rest -= np.outer(left[-1], right[-1])
