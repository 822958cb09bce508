"""The layer records of a space's stages and ends, over whole choices of widths and kernels instead of numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.search_spaces.architectures import Stem, closing_parts, stem_part
from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.layers import Body, Count
from deepmad.search_spaces.spaces import Space, StageSpace

Numbers = npt.NDArray[Any]
C_IN, OUT, INNER, KERNEL = range(4)
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
    widths = inner_widths(stage)[:, :, None]
    return Grid(kind, ins[:, None, None, None], outs[:, None, None], widths, np.array(stage.kernel))


def option_grid(space: Space, index: int, option: Option) -> Grid:
    """Return the grid over the widths of one option of a stage, (c_in, out, inner, 1).

    The inner axis is 1 where the width follows from `out`.
    """
    ins, outs = channels(space)[index : index + 2]
    stage = space.stages[index]
    if option.expansion is None:
        widths = np.array(stage.width)[:, None]
    else:
        widths = np.array([stage.expanded(option.expansion, out) for out in stage.out])[:, None, None]
    return Grid(option.kind, ins[:, None, None, None], outs[:, None, None], widths, option.kernel)


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


def end_bodies(space: Space, stem: Count, last: Count) -> tuple[Body, tuple[Body, ...]]:
    """Return the stem's body and those after the last stage (tail, classifier) for the channels on either side."""
    first = Stem(stem, space.stem.kernel, space.stem.stride)
    opening = stem_part(space.in_channels, space.resolution, first).body
    return opening, tuple(part.body for part in closing_parts(last, sides(space)[-1], space.tail, space.classes))


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
