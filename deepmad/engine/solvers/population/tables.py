"""What the layers of a stage cost, tabulated over the stage's choices by evaluating its layer records."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.engine.program.entropy import scales
from deepmad.engine.program.latency import LatencyModel, latency_nanoseconds
from deepmad.search_spaces.layers import Body, Layer, Part, total_macs, total_params

Floats = npt.NDArray[np.float64]

COSTS = ("log_widths", "macs", "params")
"""The costs tabulated, in order; after them the nanoseconds by every latency table. Counts are whole numbers
held in doubles, exact below 2^53."""

MERGED_CELLS = 1 << 16
"""Tables are merged while they stay within this many cells, so that the processor's caches hold them."""
MOST_CELLS = 1 << 20
"""A table above this many cells is not made; such a stage is read from its records network by network."""
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


def layer_costs(layer: Layer, body: Body, latencies: Sequence[LatencyModel]) -> Floats:
    """Return the costs of one layer of `body`, shape (costs, ...) where ... is that of its numbers.

    A shortcut's layers run only in those networks in which the body is residual.
    """
    shape = np.broadcast_shapes(*(np.shape(number) for number in (layer.inputs, layer.outputs, layer.kernel)))
    numbers: dict[str, Any] = {
        name: np.broadcast_to(getattr(layer, name), shape).ravel() for name in ("inputs", "outputs", "kernel")
    }
    alone = (Part("layer", Body((replace(layer, **numbers),), residual=True)),)
    costs: list[Any] = [scales(alone)[-1].log_widths, total_macs(alone), total_params(alone)]
    costs += [latency_nanoseconds(alone, latency) - latency.overhead_nanoseconds for latency in latencies]
    runs = body.residual if layer.role == "shortcut" else True
    cells = max(1, math.prod(shape))
    return np.stack([np.broadcast_to(cost, cells).reshape(shape) * np.asarray(runs, dtype=float) for cost in costs])


def body_costs(body: Body, latencies: Sequence[LatencyModel], networks: int) -> Floats:
    """Return the costs of a body whose numbers are arrays (networks,), shape (costs, networks)."""
    total = np.zeros((len(COSTS) + len(latencies), networks))
    for layer in body.layers:
        costs = layer_costs(layer, body, latencies)
        total += costs if costs.ndim == 2 else costs[:, None]
    return total


def tables(
    bodies: Iterable[Body], latencies: Sequence[LatencyModel], shape: tuple[int, ...]
) -> tuple[Table, ...] | None:
    """Return the tables whose gathered costs add up to those of `bodies` over a grid of that shape.

    The numbers in the bodies' records are arrays that broadcast over the grid, so the axes along which a
    layer's costs are longer than 1 are the choices that it depends on. Layers are added up where they
    depend on the same choices, and where the merged table stays small. None where a table would be too big.
    """
    grids: dict[frozenset[int], Floats] = {}
    for body in bodies:
        for layer in body.layers:
            spread = layer_costs(layer, body, latencies)
            costs = spread.reshape(len(spread), *(1,) * (len(shape) + 1 - spread.ndim), *spread.shape[1:])
            if costs[0].size > MOST_CELLS:
                return None
            axes = frozenset(axis for axis, length in enumerate(costs.shape[1:]) if length > 1)
            grids[axes] = grids[axes] + costs if axes in grids else costs
    _merge(grids, lambda axes: math.prod(shape[axis] for axis in axes))
    return tuple(_table(axes, costs, shape) for axes, costs in grids.items())


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
