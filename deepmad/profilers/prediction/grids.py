"""Prediction from a grid of convolution times: interpolation between the cells, in whole nanoseconds.

A cell's time is divided by the roofline of its layer. This factor varies slowly; it is interpolated linearly in the
logarithms of the channels and the side, and multiplied by the exact roofline of the layer asked for. On a cell that
gives the cell's own time; beyond the ends of the grid the factor of the last cell is kept, so that times grow there
with the work.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.profilers.prediction.convolutions import Bools, Ints
from deepmad.profilers.prediction.coverage import POOL_KERNELS, POOLS, Coverage, Extent
from deepmad.profilers.prediction.features import VECTOR
from deepmad.profilers.prediction.quantities import LONGEST_SECONDS, NANOSECONDS_IN_SECOND
from deepmad.profilers.prediction.rooflines import PARTS, Floats, Roofline
from deepmad.profilers.prediction.stored import mapping, number, numbers, rising, several, whole, wholes
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Count, Layer

NARROW = 8
"""Fewer input channels are an image's: libraries have kernels of their own for those, and the table rows."""


@dataclass(frozen=True)
class Axes:
    """What the cells of a grid stand for; all values rise.

    `levels` are input channels, or input over output channels where the grid is `relative`. Depthwise grids have
    one level, which says nothing.
    """

    depthwise: bool
    relative: bool
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    adds: tuple[int, ...]
    levels: tuple[float, ...]
    outputs: tuple[int, ...]
    sides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of kernels, strides, adds, levels, outputs and sides."""
        parts = (self.kernels, self.strides, self.adds, self.levels, self.outputs, self.sides)
        return tuple(len(part) for part in parts)

    def layer(self, stride: int, adds: int, side: int) -> Layer:
        """Return the record of the cells of one stride, addition and side: arrays (kernels, levels, outputs)."""
        kernel = np.array(self.kernels)[:, None, None]
        outputs = np.array(self.outputs)[None, None, :]
        levels = np.array(self.levels)[None, :, None]
        inputs = np.maximum(1, np.rint(levels * outputs if self.relative else levels)).astype(np.int64)
        kernel, inputs, outputs = np.broadcast_arrays(kernel, outputs if self.depthwise else inputs, outputs)
        return Layer(
            "main", "conv", inputs, outputs, side, kernel, stride, depthwise=self.depthwise, adds=bool(adds)
        )  # fmt: skip

    def cells(self) -> list[tuple[int, int, int, Layer]]:
        """Return the indices of stride, addition and side of all cells, with their records."""
        return [
            (i, j, m, self.layer(stride, adds, side))
            for i, stride in enumerate(self.strides)
            for j, adds in enumerate(self.adds)
            for m, side in enumerate(self.sides)
        ]


def rooflines(axes: Axes, roofline: Roofline) -> Floats:
    """Return the rough nanoseconds of every cell, of the shape of `axes`."""
    found = np.empty(axes.shape)
    for stride, adds, side, layer in axes.cells():
        found[:, stride, adds, :, :, side] = roofline.nanoseconds(layer)
    return found


@dataclass(frozen=True, eq=False)
class Grid:
    """Times of convolutions for one batch: whole `nanoseconds` of the shape of `axes`."""

    axes: Axes
    roofline: Roofline
    nanoseconds: Ints

    @cached_property
    def _factors(self) -> Floats:
        return self.nanoseconds / rooflines(self.axes, self.roofline)

    def predict(self, layer: Layer) -> Floats:
        """Return the interpolated nanoseconds of `layer`, an array of the shape of its numbers, not yet rounded.

        A convolution between cells takes no less than the fastest and no more than the slowest of them.
        """
        axes = self.axes
        level = _position(axes.levels, layer.inputs / layer.outputs if axes.relative else layer.inputs)
        outputs, side = _position(axes.outputs, layer.outputs), _position(axes.sides, layer.side)
        fixed = (
            _nearest(axes.kernels, layer.kernel),
            _nearest(axes.strides, layer.stride),
            _nearest(axes.adds, int(layer.adds)),
        )
        factors: Count = 0.0
        slowest, fastest = np.float64(0), np.float64(np.inf)
        for ends in product(level.ends, outputs.ends, side.ends):
            cell = (*fixed, *(index for index, _ in ends))
            factors = factors + math.prod(weight for _, weight in ends) * self._factors[cell]
            slowest = np.maximum(slowest, self.nanoseconds[cell])
            fastest = np.minimum(fastest, self.nanoseconds[cell])
        found = self.roofline.nanoseconds(layer) * factors
        between = (level.inside | axes.depthwise) & outputs.inside & side.inside & self._has_kind(layer)
        return np.asarray(np.where(between, np.clip(found, fastest, slowest), found))

    def _has_kind(self, layer: Layer) -> Bools:
        """Return where the grid holds cells of the very kernel, stride and operation of `layer`."""
        same = layer.operation == "conv" and layer.depthwise == self.axes.depthwise
        return np.asarray(np.isin(layer.kernel, self.axes.kernels) & (same and layer.stride in self.axes.strides))

    def to_dict(self) -> dict[str, Any]:
        """Return the grid as a JSON document."""
        return {
            "axes": asdict(self.axes),
            "batch": self.roofline.batch,
            "costs": self.roofline.costs,
            "nanoseconds": self.nanoseconds.ravel().tolist(),
        }

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> "Grid":
        """Return the grid of a document that `to_dict` wrote. Raises `ValueError` or `KeyError` for another."""
        held = mapping(document["axes"])
        named = ("kernels", "strides", "outputs", "sides")
        axes = Axes(
            held["depthwise"] is True,
            held["relative"] is True,
            adds=rising(wholes(held["adds"], most=1)),
            levels=rising(tuple(numbers(held["levels"], above=0))),
            **{name: rising(wholes(held[name], least=1)) for name in named},
        )
        most = 100 * round(LONGEST_SECONDS * NANOSECONDS_IN_SECOND)  # cells beyond the rows take longer
        nanoseconds = np.array(wholes(document["nanoseconds"], least=1, most=most), dtype=np.int64)
        costs = tuple(number(cost) for cost in several(document["costs"]))
        if len(costs) != len(PARTS):
            raise ValueError(f"{len(costs)} costs are not {len(PARTS)}")
        return Grid(axes, Roofline(whole(document["batch"], least=1), costs), nanoseconds.reshape(axes.shape))


@dataclass(frozen=True, eq=False)
class GridPrediction:
    """A predictor read off measured convolutions.

    `narrow` holds the rows with an image's few channels, None where there are none, as with `depthwise`. No
    layer takes less than `floor_nanoseconds`, the fastest row of the table.
    """

    dense: Grid
    narrow: Grid | None
    depthwise: Grid | None
    floor_nanoseconds: int

    @property
    def overhead_nanoseconds(self) -> int:
        """0: the rows were timed one at a time, and each holds the cost of starting it."""
        return 0

    @property
    def interval(self) -> None:
        """None: no whole network was measured."""
        return None

    @cached_property
    def covers(self) -> Coverage:
        """What the grids span; layers that are priced by the rows of others count as those do."""
        dense, image = _extent(self.dense), _extent(self.narrow or self.dense)
        found = {
            "dense conv": dense,
            "narrow conv": replace(image, inputs=(image.inputs[0], VECTOR - 1)),
            **dict.fromkeys(("gate conv", "classifier linear"), replace(dense, kernels=(1,), sides=(1, 1))),
        }
        moved = dense if self.depthwise is None else _extent(self.depthwise)
        pools = replace(moved, kernels=POOL_KERNELS, sides=(1, moved.sides[1]))
        found |= dict.fromkeys(POOLS, pools)
        if self.depthwise is not None:
            found["depthwise conv"] = moved
        return Coverage(tuple(found.items()))

    def nanoseconds(self, layer: Layer) -> Count:
        """Return the nanoseconds of `layer` for one batch: an int, or an int64 array for a record of arrays.

        Pools move elements as depthwise convolutions do and cost by that grid; a classifier is a 1x1 convolution
        on side 1. Raises `InputError` for a depthwise layer where the table has no such rows.
        """
        numbers = (layer.inputs, layer.outputs, layer.kernel)
        inputs, outputs, kernel = (np.atleast_1d(number) for number in np.broadcast_arrays(*numbers))
        found = self._predict(replace(layer, inputs=inputs, outputs=outputs, kernel=kernel))
        rounded = np.maximum(np.rint(found), self.floor_nanoseconds).astype(np.int64)
        return rounded if any(isinstance(number, np.ndarray) for number in numbers) else int(rounded[0])

    def _predict(self, layer: Layer) -> Floats:
        pool = layer.operation in ("average_pool", "global_pool")
        if layer.depthwise or pool:
            if self.depthwise is None and not pool:
                raise InputError("table: it holds no time of a depthwise convolution; import a file that does")
            return (self.depthwise or self.dense).predict(layer)
        narrow = layer.inputs < NARROW
        if self.narrow is None or not narrow.any():
            return self.dense.predict(layer)
        return np.where(narrow, self.narrow.predict(layer), self.dense.predict(layer))

    def to_dict(self) -> dict[str, Any]:
        """Return the predictor as a JSON document."""
        grids = {"dense": self.dense, "narrow": self.narrow, "depthwise": self.depthwise}
        return {
            "kind": "grid",
            "floor_nanoseconds": self.floor_nanoseconds,
            "grids": {name: grid.to_dict() for name, grid in grids.items() if grid is not None},
        }

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> "GridPrediction":
        """Return the predictor of a document that `to_dict` wrote. Raises `ValueError` or `KeyError` for another."""
        grids = {name: Grid.from_dict(mapping(found)) for name, found in mapping(document["grids"]).items()}
        floor = whole(document["floor_nanoseconds"])
        return GridPrediction(grids["dense"], grids.get("narrow"), grids.get("depthwise"), floor)


def _extent(grid: Grid) -> Extent:
    """Return what the cells of a grid span."""
    axes = grid.axes
    outputs, sides = (axes.outputs[0], axes.outputs[-1]), (max(1, axes.sides[0] // axes.strides[-1]), axes.sides[-1])
    ends = (axes.levels[0] * outputs[0], axes.levels[-1] * outputs[1]) if axes.relative else axes.levels
    inputs = outputs if axes.depthwise else (max(1, math.floor(ends[0])), math.ceil(ends[-1]))
    return Extent(axes.kernels, sides, inputs, outputs)


def _nearest(known: tuple[int, ...], wanted: Count) -> npt.NDArray[np.intp]:
    """Return the index of the known value nearest to `wanted`, the larger of two."""
    middles = [(below + above) / 2 for below, above in pairwise(known)]
    return np.asarray(np.searchsorted(np.array(middles), wanted, side="right"))


@dataclass(frozen=True, eq=False)
class _Position:
    """Where numbers stand on an axis: the two ends, each the index of a known value and its weight.

    On a known value both ends are that one. Beyond the last known value, not `inside`, they are the last.
    """

    ends: tuple[tuple[Any, Floats], tuple[Any, Floats]]
    inside: Bools


def _position(known: tuple[float, ...], wanted: Count) -> _Position:
    """Return where `wanted` stands between the known values, weighted by distance in the logarithm."""
    places, asked = np.log2(np.array(known, dtype=np.float64)), np.log2(np.asarray(wanted, dtype=np.float64))
    place = np.clip(asked, places[0], places[-1])
    above = np.searchsorted(places, place)
    below = np.where(places[above] == place, above, above - 1)
    width = np.where(above > below, places[above] - places[below], 1.0)
    share = (place - places[below]) / width
    return _Position(((below, 1 - share), (above, share)), place == asked)
