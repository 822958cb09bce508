"""A rough time of any layer on a GPU, by which measured times are divided before they are interpolated.

Dense convolutions run as matrix products: rows are the batch's output pixels, columns the output channels. The
product is cut into tiles, and the tiles run in waves, one a multiprocessor at a time; a last wave that is nearly
empty takes as long as a full one. Whatever the shape, there is a cost of starting, one of the multiply-accumulates
themselves, and one of moving the elements. All these costs are fitted on the measured rows, so that nothing here is a
device's data sheet but its number of multiprocessors, and that only shapes the stair steps.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepmad.search_spaces.layers import Count, Layer

Floats = npt.NDArray[np.float64]

MULTIPROCESSORS = 80
"""Of an NVIDIA V100 (its architecture whitepaper, 2017)."""
TILES = ((256, 128, 1.05), (128, 128, 1.0), (128, 64, 0.85), (64, 64, 0.7), (128, 32, 0.6), (64, 32, 0.5))
"""Rows, columns and relative speed of the tiles that a library chooses among: small ones read elements more often."""
PARTS = ("start", "multiply-accumulates", "multiply-accumulates in full waves", "elements moved")
"""What a layer's time is made of."""
WORKLOADS = (12, 13, 15, *range(22, 22 + 3 * len(TILES), 3))
"""The `features` that a time may grow with, logarithms of base 2: multiply-accumulates, elements moved, the roofline,
and the waves of every tile."""
FAN_IN_STEP = 32
"""Products are added up so many at a time."""


@dataclass(frozen=True)
class Roofline:
    """Nanoseconds of a layer for one batch as `costs` times its `work`."""

    batch: int
    costs: tuple[float, ...]

    def nanoseconds(self, layer: Layer) -> Floats:
        """Return the rough nanoseconds of `layer`, an array of the shape of its numbers."""
        return np.asarray(sum(cost * part for cost, part in zip(self.costs, work(layer, self.batch), strict=True)))


def work(layer: Layer, batch: int) -> tuple[Floats, ...]:
    """Return what a layer's time grows with for one batch: the `PARTS`, arrays of one shape."""
    macs = batch * layer.macs
    dense = layer.operation == "linear" or (layer.operation == "conv" and not layer.depthwise)
    in_waves = _dense_operations(layer, batch) if dense else macs
    moved = batch * (layer.input_elements + (1 + layer.adds) * layer.output_elements) + layer.weights
    return tuple(np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in (1, macs, in_waves, moved))))


def _dense_operations(layer: Layer, batch: int) -> Count:
    """Return the multiply-accumulates of a matrix product cut into the tiles that suit it best, idle ones included."""
    rows = batch * layer.out_side**2
    best: Count = np.inf
    for height, width, speed in TILES:
        tiles = -(-rows // height) * -(-layer.outputs // width)
        waves = -(-tiles // MULTIPROCESSORS)
        best = np.minimum(best, waves * (MULTIPROCESSORS * height * width / speed))
    return best * (-(-layer.fan_in // FAN_IN_STEP) * FAN_IN_STEP)


def features(layer: Layer, batch: int, nanoseconds: Floats) -> Floats:
    """Return what a layer's choice of algorithm may hang on, an array (*shape of its numbers, features).

    The layer's numbers, its `work` and its roofline's `nanoseconds` as logarithms; remainders of its channels, by
    which vectorised algorithms are ruled out; and for every tile the waves, how full the last one is, and how much of
    the tiles is used.
    """
    rows = batch * layer.out_side**2
    found: list[Count] = [layer.kernel, layer.stride, int(layer.adds), layer.side % 4, layer.out_side % 8]
    numbers = (batch, layer.inputs, layer.outputs, layer.inputs / layer.outputs, layer.side, rows, layer.fan_in)
    _, macs, _, moved = work(layer, batch)
    found += [np.log2(number) for number in (*numbers, macs, moved, macs / moved, nanoseconds)]
    found += [layer.inputs % 8, layer.inputs % 32, layer.inputs % 64]
    found += [layer.outputs % 64, layer.outputs % 128, layer.outputs % 256]
    for height, width, _ in TILES:
        tiles = -(-rows // height) * -(-layer.outputs // width)
        waves = -(-tiles // MULTIPROCESSORS)
        found += [
            np.log2(waves),
            tiles / (waves * MULTIPROCESSORS),
            rows * layer.outputs / (tiles * height * width),
        ]
    return np.stack(np.broadcast_arrays(*(np.asarray(one, dtype=np.float64) for one in found)), axis=-1)


def fit_roofline(batch: int, parts: Floats, nanoseconds: Floats) -> Roofline:
    """Return the roofline of the least squared relative errors.

    `parts` has shape (rows, PARTS), the `work` of every row; `nanoseconds` has shape (rows,).
    """
    from scipy.optimize import nnls

    relative = parts / nanoseconds[:, None]
    scale = relative.mean(axis=0)
    scale[scale == 0] = 1.0
    costs, _ = nnls(relative / scale, np.ones(len(relative)))
    return Roofline(batch, tuple(float(cost) for cost in costs / scale))
