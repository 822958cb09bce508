"""Tables of costs that a population looks its networks up in: few of them, small enough for the processor's caches."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.additive import Additive
from deepmad.engine.costs.tables import Floats, aligned, layer_costs
from deepmad.search_spaces.layers import Body

MERGED_CELLS = 1 << 16
"""Tables are merged while they stay within this many cells, so that the processor's caches hold them."""
MOST_CELLS = 1 << 20
"""A table above this many cells is not made; such a stage is read from its records network by network."""
ALL_CELLS = 1 << 23
"""Once the tables of a problem have as many cells, 256 MB or more, further stages are read from their records too."""
ROW = 4
"""Doubles that a row of a table is padded to a multiple of: numpy copies 32 bytes at once."""


@dataclass(frozen=True)
class Table:
    """Costs of some layers over the grid of the choices that they depend on.

    `axes` are the choices' positions in the stage's grid, `strides` the steps of a flat index along them,
    `costs` has shape (cells, costs), padded with zeros to rows of whole `ROW`s: networks look cells up here and there,
    and a row is one look into memory.
    """

    axes: tuple[int, ...]
    strides: tuple[int, ...]
    costs: Floats

    def gather(self, indices: Sequence[npt.NDArray[np.intp]]) -> Floats:
        """Return the rows, (networks, costs) or (1, costs), at `indices`: one array (networks,) an axis of the grid."""
        if not self.axes:
            return self.costs
        flat: Any = 0
        for axis, stride in zip(self.axes, self.strides, strict=True):
            flat = flat + (indices[axis] if stride == 1 else indices[axis] * stride)
        found: Floats = self.costs.take(flat, axis=0, mode="clip")
        return found


def tables(bodies: Iterable[Body], costs: Sequence[Additive], shape: tuple[int, ...]) -> tuple[Table, ...] | None:
    """Return the tables whose gathered costs add up to those of `bodies` over a grid of that shape.

    The numbers in the bodies' records are arrays that broadcast over the grid, so the axes along which a
    layer's costs are longer than 1 are the choices that it depends on. Layers are added up where they
    depend on the same choices, and where the merged table stays small. None where a table would be too big.
    """
    grids: dict[frozenset[int], Floats] = {}
    for body in bodies:
        for layer in layer_costs(body, costs):
            grid = aligned(layer.stacked(), len(shape))
            if grid[0].size > MOST_CELLS:
                return None
            axes = frozenset(axis for axis, length in enumerate(grid.shape[1:]) if length > 1)
            grids[axes] = grids[axes] + grid if axes in grids else grid
    _merge(grids, lambda axes: math.prod(shape[axis] for axis in axes))
    return tuple(_table(axes, grid, shape) for axes, grid in grids.items())


def _merge(grids: dict[frozenset[int], Floats], cells: Callable[[frozenset[int]], int]) -> None:
    """Add up, smallest result first, grids whose common grid stays small or is one of theirs."""
    while True:
        pairs = [
            (cells(one | other), sorted(one), sorted(other))
            for one, other in combinations(grids, 2)
            if cells(one | other) <= max(MERGED_CELLS, cells(one), cells(other))
        ]
        if not pairs:
            return
        _, *chosen = min(pairs)
        one, other = map(frozenset, chosen)
        grids[one | other] = grids.pop(one) + grids.pop(other)


def _table(axes: frozenset[int], costs: Floats, shape: tuple[int, ...]) -> Table:
    ordered = tuple(sorted(axes))
    lengths = [shape[axis] for axis in ordered]
    strides = tuple(math.prod(lengths[position + 1 :]) for position in range(len(ordered)))
    rows = np.zeros((costs[0].size, -(-len(costs) // ROW) * ROW))
    rows[:, : len(costs)] = costs.reshape(len(costs), -1).T
    return Table(ordered, strides, rows)
