"""Terms of the integer program, read from the layer records: what each cost is as a function of the widths.

A block is asked for its layers with whole axes of widths instead of numbers: c_in along the first axis, out
along the second, the inner width along the third. Every cost then comes back as an array whose shape shows
what it depends on, whatever the block.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepmad.search_spaces.architectures import Stage, Stem, network_parts
from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.choices import StageSpace
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Body, Count, Layer, Part
from deepmad.search_spaces.spaces import Space

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]
Terms = dict[Axes, Array]
"""A function of the widths as a sum: for each set of axes (0 c_in, 1 out, 2 width) an array over them."""


@dataclass(frozen=True)
class Variant:
    """What a stage may be made of; `expansion` is None where the inner width is a choice of its own."""

    kind: str
    kernel: int
    expansion: float | None


def variants(stage: StageSpace) -> tuple[Variant, ...]:
    """Return every combination of block kind, kernel and expansion that a stage offers."""
    expansions: tuple[float | None, ...] = stage.expansion or (None,)
    return tuple(Variant(b, k, e) for b in dict.fromkeys(stage.block) for k in stage.kernel for e in expansions)


class _Channels(np.ndarray[Any, Any]):
    """Input channels that compare with the output channels as told, not as they are.

    A block may have other layers where its input and output widths agree (a shortcut), so it is asked twice.
    """

    agree: bool

    def __eq__(self, other: object) -> Any:
        return self.agree

    def __ne__(self, other: object) -> Any:
        return not self.agree

    __hash__ = None


def _axis(values: Iterable[int], axis: int) -> Array:
    """Return the values along one of three axes."""
    return np.asarray(tuple(values), dtype=np.int64).reshape([-1 if i == axis else 1 for i in range(3)])


def _inner(stage: StageSpace, variant: Variant) -> Array:
    """Return the inner width: an axis of its own, or a function of out."""
    if variant.expansion is None:
        return _axis(stage.width or (), 2)
    return _axis((stage.expanded(variant.expansion, out) for out in stage.out), 1)


def opening(c_in: Iterable[int], stage: StageSpace, variant: Variant, side: int, *, agree: bool) -> Body:
    """Return the body that opens a stage over all its widths; `agree` says whether c_in equals out."""
    channels = _axis(c_in, 0).view(_Channels)
    channels.agree = agree
    shape = Shape(channels, _axis(stage.out, 1), _inner(stage, variant), variant.kernel, stage.stride, side)
    return _plain(BLOCKS[variant.kind].body(shape, first=True))


def following(stage: StageSpace, variant: Variant, side: int) -> Body:
    """Return the body of a stage's later blocks over all its widths; `side` is the stage's output side."""
    out = _axis(stage.out, 1)
    shape = Shape(out, out, _inner(stage, variant), variant.kernel, 1, side)
    return _plain(BLOCKS[variant.kind].body(shape, first=False))


def _plain(body: Body) -> Body:
    """Return the body with every width a plain three-dimensional array and one yes or no for the shortcut."""
    layers = tuple(replace(layer, inputs=_three(layer.inputs), outputs=_three(layer.outputs)) for layer in body.layers)
    return Body(layers, bool(np.all(body.residual)))


def _three(count: Count) -> Array:
    array = np.asarray(count)
    return array if array.ndim == 3 else array.reshape(1, 1, 1)


def summed(body: Body, cost: Callable[[Layer], Count]) -> Terms:
    """Return a cost of a body as the sum over its layers.

    Raises `InputError` where a layer depends on more than two widths: such a table would not fit.
    """
    found: Terms = {}
    for layer in body.layers:
        array = _three(cost(layer))
        axes = tuple(axis for axis, length in enumerate(array.shape) if length > 1)
        if len(axes) > 2:
            raise InputError(f"{layer.operation}: depends on c_in, out and width at once; split it into two layers")
        found[axes] = found.get(axes, 0) + array.squeeze(tuple(set(range(3)) - set(axes)))
    return found


def difference(first: Terms, second: Terms) -> Terms:
    """Return first - second without the terms that cancel."""
    none = np.zeros((), dtype=np.int64)
    found = {axes: np.asarray(first.get(axes, none) - second.get(axes, none)) for axes in {**first, **second}}
    return {axes: array for axes, array in found.items() if np.any(array)}


def in_units(terms: Terms, unit: int) -> Terms:
    """Return a sum of terms in whole units that all its numbers are multiples of."""
    return {axes: np.asarray(array // unit) for axes, array in terms.items()}


def minimum(terms: Terms) -> int:
    """Return a lower bound on a sum of terms, term by term."""
    return sum(int(array.min()) for array in terms.values())


def maximum(terms: Terms) -> int:
    """Return an upper bound on a sum of terms, term by term."""
    return sum(int(array.max()) for array in terms.values())


def flat(function: Callable[[Layer], Count]) -> Callable[[Layer], Array]:
    """Return `function` of a layer whose widths lie on axes, computed on plain lists of networks."""

    def computed(layer: Layer) -> Array:
        inputs, outputs = np.broadcast_arrays(layer.inputs, layer.outputs)
        values = function(replace(layer, inputs=inputs.ravel(), outputs=outputs.ravel()))
        return np.broadcast_to(np.asarray(values), (inputs.size,)).reshape(inputs.shape)

    return computed


LOG_UNIT = 2**24
"""One nat of ln w_l in the program: logarithms are whole multiples of 1 / LOG_UNIT, rounded up."""


def scaled_logs(terms: Terms) -> Terms:
    """Return logarithms in units of 1 / LOG_UNIT, rounded up so that no entropy is ever understated.

    The smallest value is rounded apart from the rest, so that tables that differ by a constant (two kernels,
    say) still do afterwards. The error is below 3 units a term.
    """
    found: Terms = {}
    for axes, array in terms.items():
        offset = array.min()
        found[axes] = _up(np.round(array - offset, 10)) + _up(offset)
    return found


def _up(logs: Array) -> Array:
    """Round up, with room for the rounding of floating point (below 1e-9 nats)."""
    return np.asarray(np.ceil(logs * LOG_UNIT + 0.02)).astype(np.int64)


def ends(space: Space) -> tuple[Part, ...]:
    """Return the parts outside the stages over the widths they depend on: stem.out and the last stage's out."""
    placeholders = [Stage(stage.block[0], 1, 1, 1, 1, stage.stride) for stage in space.stages]
    widths: tuple[Count, Count] = (_axis(space.stem.out, 0), _axis(space.stages[-1].out, 1))
    placeholders[-1] = replace(placeholders[-1], out=widths[1])
    stem = Stem(widths[0], space.stem.kernel, space.stem.stride)
    parts = network_parts(space.in_channels, space.resolution, stem, placeholders, space.tail, space.classes)
    return tuple(replace(part, body=_plain(part.body)) for part in parts if part.stage is None)
