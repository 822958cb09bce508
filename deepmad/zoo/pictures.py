"""Pictures of networks: the geometry that the report's template draws as SVG.

A network is a row of blocks. A stage is as long as its depth, and as high as the square root of its channels, because
a linear height would show the first stages of most networks as a line.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepmad.zoo.formats import plural

COLUMN = 92.0
"""The least width of a column of labels, in units of the picture (pixels at its own size)."""


@dataclass(frozen=True)
class Piece:
    """A stem, a stage or a tail: `depth` blocks in a row, and the lines that are written below them.

    `role` is stem, stage or tail. `inner` is the width inside the blocks, None for a single convolution.
    """

    role: str
    depth: int
    out: int
    inner: int | None
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """What a picture's sides mean: `width` for `depth` blocks in a row, `height` for `channels` channels."""

    width: float
    height: float
    depth: int
    channels: int


@dataclass(frozen=True)
class Rectangle:
    """A rectangle; its corner and sides in units of the picture."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Drawn:
    """A piece where it is drawn: its channels out and inside, the borders between its blocks, its column of labels."""

    piece: Piece
    out: Rectangle
    inner: Rectangle | None
    dividers: tuple[float, ...]
    column: float


def pieces(entry: Mapping[str, Any]) -> tuple[Piece, ...]:
    """Return the pieces of an entry's network in order, the classifier left out."""
    return tuple(_pieces(entry))


def _pieces(entry: Mapping[str, Any]) -> Iterator[Piece]:
    stem, tail = entry["stem"], entry["tail"]
    yield Piece("stem", 1, stem["out"], None, ("stem", "convolution", "1 layer", *_labels(stem, stem["stride"])))
    for number, stage in enumerate(entry["stages"], start=1):
        depth, inner = stage["depth"], stage["width"]
        labels = (f"stage {number}", stage["block"], plural(depth, "block"), *_labels(stage, stage["stride"], inner))
        yield Piece("stage", depth, stage["out"], inner, labels)
    if tail:
        yield Piece("tail", 1, tail["out"], None, ("tail", "convolution", "1 layer", *_labels(tail, 1)))


def _labels(part: Mapping[str, Any], stride: int, inner: int | None = None) -> tuple[str, str, str]:
    """Return kernel and stride, channels, and the side of the output."""
    channels = f"{part['out']} channels" if inner is None else f"{part['out']} ({inner}) ch."
    return f"{part['kernel']}×{part['kernel']}, stride {stride}", channels, f"{part['side']}×{part['side']} px"


def shared_frame(networks: Sequence[Sequence[Piece]], width: float, height: float) -> Frame:
    """Return a frame in which networks stand beside each other: the deepest one fills it, and so does the widest."""
    depth = max((sum(piece.depth for piece in network) for network in networks), default=1)
    channels = max((max(piece.out, piece.inner or 0) for network in networks for piece in network), default=1)
    return Frame(width, height, depth, channels)


def own_frame(network: Sequence[Piece], height: float = 120.0) -> Frame:
    """Return the frame that a network fills alone, wide enough for a column of labels below every piece."""
    return shared_frame([network], max(760.0, COLUMN * len(network)), height)


def drawn(network: Sequence[Piece], frame: Frame) -> tuple[Drawn, ...]:
    """Return where every piece is drawn, from left to right, its channels around the middle of the frame."""
    placed: list[Drawn] = []
    x = 0.0
    column = frame.width / len(network)
    for index, piece in enumerate(network):
        width = frame.width * piece.depth / frame.depth
        inner = None if piece.inner is None else _rectangle(x, width, piece.inner, frame)
        dividers = tuple(x + width * block / piece.depth for block in range(1, piece.depth))
        out = _rectangle(x, width, piece.out, frame)
        placed.append(Drawn(piece, out, inner, dividers, column * (index + 0.5)))
        x += width
    return tuple(placed)


def _rectangle(x: float, width: float, channels: int, frame: Frame) -> Rectangle:
    """Return the rectangle of so many channels, with a slit to its neighbours."""
    height = frame.height * math.sqrt(channels / frame.channels)
    slit = min(1.5, width / 4)
    return Rectangle(x + slit / 2, (frame.height - height) / 2, width - slit, height)
