"""A coarse lattice of a box: a few of its channels and widths, to find multipliers with. It claims no bound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.solvers.bounds.pricing import Box, Choice, Interval, Prices
from deepmad.engine.solvers.bounds.tables import Ints, SpaceTables, StageTables

MANY_CELLS = 400_000
"""Cells of (c_in, out, width) a stage, over its options, from which on a box is looked at coarsely first."""
_CHANNEL_STEP, _WIDTH_STEP = 1.3, 1.4
"""Ratio of neighbouring channels and widths of a lattice, at least."""


@dataclass(frozen=True)
class Lattice:
    """Some channels and widths of a box: their tables, the whole of it as a `box`, and their indices in the space."""

    space: SpaceTables
    box: Box
    channels: tuple[Ints, ...]
    widths: tuple[Ints, ...]
    options: tuple[tuple[int, ...], ...]

    def prices(self, prices: Prices) -> Prices:
        """Return the multipliers for the lattice's channels."""
        return replace(prices, channels=tuple(row[at] for row, at in zip(prices.channels, self.channels, strict=True)))

    def placed(self, stage: int, choice: Choice) -> Choice:
        """Return a choice of the lattice by its indices in the space, depths excepted, which are the space's."""
        return Choice(
            self.options[stage][choice.option],
            choice.depth,
            int(self.channels[stage][choice.c_in]),
            int(self.channels[stage + 1][choice.out]),
            int(self.widths[stage][choice.width]),
        )


def cells(box: Box) -> float:
    """Return about how many cells of (c_in, out, width) the pricing of a box looks at in a stage."""
    channels, widths = ([high - low + 1 for low, high in intervals] for intervals in (box.channels, box.widths))
    found = [
        ins * outs * inner * len(options)
        for ins, outs, inner, options in zip(channels, channels[1:], widths, box.options, strict=False)
    ]
    return sum(found) / len(found)


def coarse(space: SpaceTables, box: Box) -> Lattice:
    """Return a coarse lattice of a box; its ends are part of it."""
    channels = [_picked(values, at, _CHANNEL_STEP) for values, at in zip(space.channels, box.channels, strict=True)]
    widths = [
        np.zeros(1, dtype=np.int64) if tables.widths is None else _picked(tables.widths, at, _WIDTH_STEP)
        for tables, at in zip(space.tables, box.widths, strict=True)
    ]
    parts = tuple(
        _part(tables, box.options[stage], channels[stage], channels[stage + 1], widths[stage])
        for stage, tables in enumerate(space.tables)
    )
    small = replace(
        space,
        channels=tuple(values[at] for values, at in zip(space.channels, channels, strict=True)),
        tables=parts,
        frames={},
        allowed=tuple(
            space.allowed[stage][np.ix_(channels[stage], channels[stage + 1])] for stage in range(space.stages)
        ),
    )
    inner = replace(
        box,
        channels=tuple((0, len(at) - 1) for at in channels),
        widths=tuple((0, len(at) - 1) for at in widths),
        options=tuple(tuple(range(len(row))) for row in box.options),
    )
    return Lattice(small, inner, tuple(channels), tuple(widths), box.options)


def _picked(values: Sequence[int] | Ints, at: Interval, step: float) -> Ints:
    """Return indices of an interval whose values grow by `step` at least from one to the next, and both ends."""
    found = [at[0]]
    for index in range(at[0] + 1, at[1] + 1):
        if values[index] >= step * values[found[-1]]:
            found.append(index)
    return np.array(found if found[-1] == at[1] else [*found, at[1]])


def _part(tables: StageTables, keys: tuple[int, ...], ins: Ints, outs: Ints, chosen: Ints) -> StageTables:
    """Return the tables of a stage for some options, channels and widths alone."""
    return StageTables(
        tuple(tables.options[key] for key in keys),
        tables.convs[keys, :],
        None if tables.widths is None else tuple(tables.widths[place] for place in chosen),
        tables.pair.part(keys, ins, outs),
        tables.into.part(keys, chosen, ins),
        tables.out_of.part(keys, chosen, outs),
        tables.same.part(keys, chosen, outs),
        tables.later.part(keys, chosen, outs),
        tables.offered[np.ix_(chosen, outs)],
    )
