"""The layer records of a space's stages and ends, over whole choices of widths and kernels instead of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.search_spaces.architectures import Stem, closing_parts, stem_part
from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.choices import StageSpace
from deepmad.search_spaces.layers import Body, Count
from deepmad.search_spaces.spaces import Space

Numbers = npt.NDArray[Any]
AXES = 4
C_IN, OUT, INNER, KERNEL = range(AXES)
"""The axes of a stage's grid: input and output channels, the inner choice (of width, or of expansion), the kernel."""


@dataclass(frozen=True)
class Grid:
    """What a stage may be, of one kind of block: numbers that broadcast together, perhaps one axis each."""

    kind: str
    c_in: Count
    out: Count
    width: Count
    kernel: Count


@dataclass(frozen=True)
class Option:
    """One way to fill a stage; `expansion` is None where the inner width is a choice of its own."""

    kind: str
    kernel: int
    expansion: float | None


def options(stage: StageSpace) -> tuple[Option, ...]:
    """Return every combination of block kind, kernel and expansion that a stage offers."""
    expansions: tuple[float | None, ...] = stage.expansion or (None,)
    return tuple(Option(b, k, e) for b in dict.fromkeys(stage.block) for k in stage.kernel for e in expansions)


def channels(space: Space) -> tuple[Numbers, ...]:
    """Return the channels on offer before every stage and after the last: the stem's, then every stage's."""
    return (np.array(space.stem.out), *(np.array(stage.out) for stage in space.stages))


def inner_widths(stage: StageSpace) -> Numbers:
    """Return the inner widths on offer, (out choices or 1, inner choices)."""
    if stage.width is not None:
        return np.array([stage.width])
    return np.array([[stage.expanded(expansion, out) for expansion in stage.expansion or ()] for out in stage.out])


def whole_grid(space: Space, index: int, kind: str) -> Grid:
    """Return the grid over all choices of a stage: (c_in, out, inner, kernel)."""
    ins, outs = channels(space)[index : index + 2]
    stage = space.stages[index]
    widths = inner_widths(stage)[None, :, :, None]
    return Grid(kind, along(C_IN, ins), along(OUT, outs), widths, along(KERNEL, stage.kernel))


def along(axis: int, values: Sequence[int] | Numbers) -> Numbers:
    """Return values along one axis of a stage's grid."""
    return np.asarray(values).reshape([-1 if place == axis else 1 for place in range(AXES)])


def option_grid(space: Space, index: int, option: Option) -> Grid:
    """Return the grid over the widths of one option of a stage, (c_in, out, inner, 1).

    The inner axis is 1 where the width follows from `out`.
    """
    ins, outs = channels(space)[index : index + 2]
    stage = space.stages[index]
    if option.expansion is None:
        widths = along(INNER, stage.width or ())
    else:
        widths = along(OUT, [stage.expanded(option.expansion, out) for out in stage.out])
    return Grid(option.kind, along(C_IN, ins), along(OUT, outs), widths, option.kernel)


def sides(space: Space) -> tuple[int, ...]:
    """Return the side of the feature map, in pixels, before every stage and after the last."""
    found = [space.resolution // space.stem.stride]
    for stage in space.stages:
        found.append(found[-1] // stage.stride)
    return tuple(found)


def stage_bodies(space: Space, index: int, grid: Grid) -> tuple[Body, Body]:
    """Return the body that opens a stage and that of its later blocks; their records' numbers are those of the grid."""
    block, (side, after) = BLOCKS[grid.kind], sides(space)[index : index + 2]
    opening = Shape(grid.c_in, grid.out, grid.width, grid.kernel, space.stages[index].stride, side)
    later = Shape(grid.out, grid.out, grid.width, grid.kernel, 1, after)
    return block.body(opening, first=True), block.body(later, first=False)


def told(body: Body, *, residual: bool) -> Body:
    """Return a body as it is where c_in equals out or where it does not, if that makes a difference to it."""
    if not np.ndim(body.residual):
        return body
    return Body(tuple(layer for layer in body.layers if residual or layer.role != "shortcut"), residual)


def end_bodies(space: Space, stem: Count, last: Count) -> tuple[Body, tuple[Body, ...]]:
    """Return the stem's body and those after the last stage (tail, classifier) for the channels on either side."""
    first = Stem(stem, space.stem.kernel, space.stem.stride)
    opening = stem_part(space.in_channels, space.resolution, first).body
    return opening, tuple(part.body for part in closing_parts(last, sides(space)[-1], space.tail, space.classes))


def end_grids(space: Space) -> tuple[Body, ...]:
    """Return the bodies of stem, tail and classifier over the widths they depend on, in that order.

    The stem's channels lie along the axis of c_in, those of the last stage along that of out.
    """
    choices = channels(space)
    opening, closing = end_bodies(space, along(C_IN, choices[0]), along(OUT, choices[-1]))
    return (opening, *closing)


@dataclass(frozen=True)
class ScaleEnd:
    """Where a scale ends: after so many stages, at a side; `channels` are those of a tail, None for the stage's."""

    stages: int
    side: int
    channels: int | None


def scale_ends(space: Space) -> tuple[ScaleEnd, ...]:
    """Return where the scales end: before every stage of stride 2, and behind tail or last stage."""
    found, count = sides(space), len(space.stages)
    halvings = [index for index, stage in enumerate(space.stages) if stage.stride == 2]
    ends = [ScaleEnd(index, found[index], None) for index in halvings]
    return (*ends, ScaleEnd(count, found[count], space.tail.out if space.tail else None))
