"""Block kinds, each written once as layer records; everything else is read from these records."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from deepmad.search_spaces.layers import Body, Count, Layer


@dataclass(frozen=True)
class Shape:
    """What one block is asked to be: channels in and out, inner width, kernel, stride and input side."""

    c_in: Count
    out: Count
    width: Count
    kernel: Count
    stride: int
    side: int


class Block(ABC):
    """A block kind: the layers of the block that opens a stage and of those that follow it."""

    @abstractmethod
    def body(self, shape: Shape, *, first: bool) -> Body:
        """Return the layer records of one block; `first` marks the one that opens its stage."""


def _shortcut_pool(shape: Shape) -> tuple[Layer, ...]:
    """Return the 2x2 average pool that brings a shortcut to the block's output side."""
    if shape.stride == 1:
        return ()
    return (Layer("shortcut", "average_pool", shape.c_in, shape.c_in, shape.side, 2, 2, norm=False),)


def _projection(shape: Shape, *, first: bool) -> tuple[Layer, ...]:
    """Return the residual families' shortcut: pool and 1x1 convolution in the first block, identity later."""
    if not first:
        return ()
    side = shape.side // shape.stride
    return (*_shortcut_pool(shape), Layer("shortcut", "conv", shape.c_in, shape.out, side))


class Bottleneck(Block):
    """1x1, kxk, 1x1 with a residual shortcut (SuperResK1KXK1 of the published code)."""

    def body(self, shape: Shape, *, first: bool) -> Body:
        """Return the layer records; the kxk convolution carries the stride."""
        side = shape.side // shape.stride
        main = (
            Layer("main", "conv", shape.c_in, shape.width, shape.side, activation="relu"),
            Layer("main", "conv", shape.width, shape.width, shape.side, shape.kernel, shape.stride, activation="relu"),
            Layer("main", "conv", shape.width, shape.out, side, activation="relu", adds=True),
        )
        return Body(main + _projection(shape, first=first), residual=True)


class Basic(Block):
    """Two kxk convolutions with a residual shortcut (SuperResKXKX of the published code)."""

    def body(self, shape: Shape, *, first: bool) -> Body:
        """Return the layer records; the first convolution carries the stride."""
        side = shape.side // shape.stride
        main = (
            Layer("main", "conv", shape.c_in, shape.width, shape.side, shape.kernel, shape.stride, activation="relu"),
            Layer("main", "conv", shape.width, shape.out, side, shape.kernel, activation="relu", adds=True),
        )
        return Body(main + _projection(shape, first=first), residual=True)


class MBConv(Block):
    """Inverted residual: 1x1, depthwise kxk, 1x1 (SuperResK1DWK1 of the published code)."""

    def gate(self, width: Count, side: int) -> tuple[Layer, ...]:
        """Layers of the gate that multiplies the depthwise output; none in this kind."""
        del width, side
        return ()

    def body(self, shape: Shape, *, first: bool) -> Body:
        """Return the layer records; the depthwise convolution carries the stride."""
        side, width = shape.side // shape.stride, shape.width
        residual = shape.c_in == shape.out
        pool = _shortcut_pool(shape) if np.any(residual) else ()
        layers = (
            Layer("main", "conv", shape.c_in, width, shape.side, activation="relu"),
            Layer(
                "main", "conv", width, width, shape.side, shape.kernel, shape.stride, depthwise=True, activation="relu"
            ),
            *self.gate(width, side),
            # a first block that happens to keep its channels adds too; its layer is priced as if it did not
            Layer("main", "conv", width, shape.out, side, activation="relu", adds=not first),
            *pool,
        )
        return Body(layers, residual=residual)


class MBConvSE(MBConv):
    """Inverted residual with squeeze-excitation (SuperResK1DWSEK1 of the published code)."""

    def gate(self, width: Count, side: int) -> tuple[Layer, ...]:
        """Pool, 1x1 to `squeeze_width`, SiLU, 1x1 back, sigmoid; its product gates the main path."""
        squeezed = squeeze_width(width)
        return (
            Layer("gate", "global_pool", width, width, side, norm=False),
            Layer("gate", "conv", width, squeezed, 1, activation="silu"),
            Layer("gate", "conv", squeezed, width, 1, activation="sigmoid"),
        )


def squeeze_width(width: Count) -> Count:
    """Channels inside squeeze-excitation: q = 8 * floor(round(w / 4) / 8), at least 8."""
    if isinstance(width, int):
        return max(8, 8 * (round(width / 4) // 8))
    return np.maximum(8, 8 * (np.rint(width / 4).astype(np.int64) // 8))


BLOCKS: dict[str, Block] = {
    "bottleneck": Bottleneck(),
    "basic": Basic(),
    "mbconv": MBConv(),
    "mbconv_se": MBConvSE(),
}
