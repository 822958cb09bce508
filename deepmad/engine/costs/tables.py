"""Costs of layers over the grid that their numbers lie on: the one reading of the records that all solvers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.additive import Additive, layer_shape
from deepmad.engine.costs.records import Numbers
from deepmad.search_spaces.layers import Body, Count, Layer

Floats: TypeAlias = npt.NDArray[np.float64]
LOG_WIDTHS = 0
"""Place of the sum of ln w_l over main-path layers among the costs; the others follow in the order they are asked."""


@dataclass(frozen=True)
class LayerCosts:
    """What one layer costs: the sum of ln w_l first, then whole numbers, an array a cost.

    An array has length 1 along the axes of the grid that its cost does not depend on. `shape` is that of the layer's
    numbers. `runs` says where the layer is there: everywhere, or bools over the grid.
    """

    arrays: tuple[Numbers, ...]
    shape: tuple[int, ...]
    runs: Count

    def stacked(self) -> Floats:
        """Return (costs, ...) as doubles, exact below 2^53; 0 where the layer is not there."""
        runs = np.asarray(self.runs, dtype=float)
        return np.stack([np.broadcast_to(np.asarray(array, dtype=float), self.shape) * runs for array in self.arrays])


def layer_costs(body: Body, costs: Sequence[Additive]) -> tuple[LayerCosts, ...]:
    """Return the costs of every layer of a body; a shortcut's layers are there where the body is residual."""
    return tuple(_layer_costs(layer, body, costs) for layer in body.layers)


def summed(body: Body, costs: Sequence[Additive], shape: tuple[int, ...]) -> Floats:
    """Return (costs, ...) of a whole body whose numbers broadcast to `shape`."""
    total = np.zeros((1 + len(costs), *shape))
    for layer in layer_costs(body, costs):
        total += aligned(layer.stacked(), len(shape))
    return total


def aligned(costs: Floats, axes: int) -> Floats:
    """Return (costs, ...) with as many axes behind the first as a grid has."""
    return costs.reshape(len(costs), *(1,) * (axes + 1 - costs.ndim), *costs.shape[1:])


def _layer_costs(layer: Layer, body: Body, costs: Sequence[Additive]) -> LayerCosts:
    logs = np.log(layer.fan_in) if layer.role == "main" else 0.0
    arrays = (np.asarray(logs), *(np.asarray(cost.of_layer(layer)) for cost in costs))
    runs = body.residual if layer.role == "shortcut" else True
    return LayerCosts(arrays, layer_shape(layer), runs if np.ndim(runs) else bool(runs))
