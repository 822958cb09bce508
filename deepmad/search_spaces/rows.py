"""Rows: which block kind and which stride stands in each stage, where a space leaves them open."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

from deepmad.search_spaces.architectures import Architecture, Stride
from deepmad.search_spaces.errors import InputError, near
from deepmad.search_spaces.spaces import Space

Layout = tuple[Stride, ...]
"""One stride a stage."""
Kinds = tuple[tuple[str, ...], ...]
"""The block kinds that are still open in each stage."""


@dataclass(frozen=True)
class Row:
    """One block kind and one stride a stage."""

    blocks: tuple[str, ...]
    strides: Layout

    def __str__(self) -> str:
        return " ".join(f"{block}/{stride}" for block, stride in zip(self.blocks, self.strides, strict=True))


def row_of(network: Architecture) -> Row:
    """Return the row that a network stands in."""
    return Row(tuple(stage.block for stage in network.stages), tuple(stage.stride for stage in network.stages))


def kinds_of(space: Space) -> Kinds:
    """Return the different block kinds that each stage offers."""
    return tuple(tuple(dict.fromkeys(stage.block)) for stage in space.stages)


@dataclass(frozen=True)
class Layouts:
    """The layouts of a space in order: the strides that fit the resolution and whose number of scales fits alpha.

    They may be many more than can be listed, so each is worked out where it is asked for.
    """

    space: Space

    @cached_property
    def _ways(self) -> tuple[tuple[int, ...], ...]:
        """In how many ways the stages from each one on (none, in the end) have none, one, two and so on strides 2."""
        ways: list[tuple[int, ...]] = [(1,)]
        for stage in reversed(self.space.stages):
            behind = ways[-1]
            without = (*behind, 0) if 1 in stage.strides else (0,) * (len(behind) + 1)
            halved = (0, *behind) if 2 in stage.strides else (0,) * (len(behind) + 1)
            ways.append(tuple(one + other for one, other in zip(without, halved, strict=True)))
        return tuple(reversed(ways))

    @property
    def count(self) -> int:
        """The number of layouts."""
        return self._fitting(0, 0)

    def _fitting(self, stage: int, halvings: int) -> int:
        """Return how many ways the stages from `stage` on fit behind so many strides 2."""
        ways = self._ways[stage]
        wanted = (scales - 1 - halvings for scales in self.space.scale_counts)
        return sum(ways[count] for count in wanted if 0 <= count < len(ways))

    def __getitem__(self, place: int) -> Layout:
        """Return one of the layouts; raises `IndexError` where there are not so many."""
        if not 0 <= place < self.count:
            raise IndexError(place)
        found: list[Stride] = []
        for index, stage in enumerate(self.space.stages):
            for stride in stage.strides:
                fitting = self._fitting(index + 1, found.count(2) + (stride == 2))
                if place < fitting:
                    found.append(stride)
                    break
                place -= fitting
        return tuple(found)

    def place(self, layout: Layout) -> int:
        """Return the place of one of the layouts."""
        return sum(
            self._fitting(index + 1, layout[:index].count(2))
            for index, (stage, stride) in enumerate(zip(self.space.stages, layout, strict=True))
            if stride == 2 and 1 in stage.strides
        )

    def __iter__(self) -> Iterator[Layout]:
        return (self[place] for place in range(self.count))


def rows(space: Space) -> Iterator[Row]:
    """Yield every row of a space; they may be many more than can be looked at (`row_count`)."""
    for strides in Layouts(space):
        for blocks in product(*kinds_of(space)):
            yield Row(blocks, strides)


def row_count(space: Space) -> int:
    """Return the number of rows."""
    return Layouts(space).count * prod(len(kinds) for kinds in kinds_of(space))


def narrowed(space: Space, strides: Layout, kinds: Kinds) -> Space:
    """Return the part of a space with one stride a stage and some of the block kinds.

    An alpha that is not given follows from the number of scales. Raises `InputError` where the space does not offer
    a stride or a kind, or where the strides do not fit the resolution or the alpha.
    """
    if not len(strides) == len(kinds) == len(space.stages):
        raise InputError(f"row: it has {len(strides)} stages, the space has {len(space.stages)}; give as many")
    for place, (stage, stride, chosen) in enumerate(zip(space.stages, strides, kinds, strict=True)):
        _check_offered(f"stages[{place}].stride", [stride], stage.strides)
        _check_offered(f"stages[{place}].block", chosen, stage.block)
    stages = (
        replace(stage, block=chosen, strides=(stride,))
        for stage, stride, chosen in zip(space.stages, strides, kinds, strict=True)
    )
    return replace(space, stages=tuple(stages))


def restricted(space: Space, row: Row) -> Space:
    """Return the part of a space that stands in one row. Raises `InputError` as `narrowed` does."""
    return narrowed(space, row.strides, tuple((block,) for block in row.blocks))


def with_strides(space: Space, strides: Layout) -> Space:
    """Return the part of a space with these strides. Raises `InputError` as `narrowed` does."""
    return narrowed(space, strides, kinds_of(space))


def _check_offered(where: str, chosen: Sequence[object], offered: Sequence[object]) -> None:
    """Raise `InputError` unless all that is chosen is offered."""
    for one in chosen:
        if one not in offered:
            question = near(one, map(str, offered))
            raise InputError(f"{where}: {one} is not offered{question}; choose from {', '.join(map(str, offered))}")
