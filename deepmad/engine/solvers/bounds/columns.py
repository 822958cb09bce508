"""Columns: stages worth combining, every one found so far and the few that a master is solved over."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deepmad.engine.solvers.bounds.linear import Basis
from deepmad.engine.solvers.bounds.pricing import Box, Choice, choice_costs
from deepmad.engine.solvers.bounds.tables import Array, Bools, Ints, SpaceTables

CONVS, DEPTH = -2, -1
"""Columns of `Columns.numbers`, after those of a cost table: main-path convolutions and depth."""


_MOST = 100
"""Columns of a master: those of a box that were of use last. Any that it lacks, pricing finds again."""
_PER_OPTION = 3
"""But room for so many of each option offered: one round of pricing finds one each, and all have to be seen."""


@dataclass(frozen=True)
class Columns:
    """Some columns of a pool: `fields` as there, `numbers` the costs of a table, main-path convolutions and depth."""

    fields: Ints
    numbers: Array

    @property
    def stage(self) -> Ints:
        """The stage of every column."""
        return self.fields[:, 0]

    def names(self, space: SpaceTables) -> list[int]:
        """Return a number for each column that is its own in the whole space."""
        most = [
            max(len(tables.options) for tables in space.tables),
            max(map(len, space.depths)),
            *[max(map(len, space.channels))] * 2,
            max(len(tables.offered) for tables in space.tables),
        ]
        found = self.stage
        for size, field in zip(most, self.fields.T[1:], strict=True):
            found = found * size + field
        names: list[int] = found.tolist()
        return names

    def channels(self, index: int) -> tuple[Bools, Ints]:
        """Return which columns say what the channels before stage `index` are, and the index they give."""
        if index == 0:
            return self.stage == 0, self.fields[:, 3]
        return self.stage == index - 1, self.fields[:, 4]

    def read(self, index: int, values: Array) -> Array:
        """Return values[channels before stage `index`] for the columns that say it, 0 for the others."""
        mask, found = self.channels(index)
        return np.where(mask, values[np.where(mask, found, 0)], 0.0)


class Pool:
    """Every column found so far, and when each was of use last.

    `fields` are (columns, 6): stage, option, depth, c_in, out and width indices.
    """

    def __init__(self, space: SpaceTables) -> None:
        self.space = space
        self.places: dict[tuple[int, Choice], int] = {}
        self.fields: Ints = np.zeros((0, 6), dtype=np.int64)
        self.numbers: Array = np.zeros((0, 3 + len(space.limits)))
        self.used: Ints = np.zeros(0, dtype=np.int64)
        self.chosen: Ints = np.zeros(0, dtype=np.int64)
        self.turn = 0
        self.basis: Basis | None = None

    def add(self, columns: Iterable[tuple[int, Choice]]) -> int:
        """Add (stage, choice) columns; return how many the last master lacked."""
        fields: list[tuple[int, ...]] = []
        numbers: list[tuple[float, ...]] = []
        lacked = 0
        chosen = set(self.chosen.tolist())
        for stage, choice in columns:
            place = self.places.setdefault((stage, choice), len(self.places))
            if place < len(self.used):
                self.used[place] = self.turn
                lacked += place not in chosen
            elif place == len(self.used) + len(fields):
                fields.append((stage, choice.option, choice.depth, choice.c_in, choice.out, choice.width))
                convs, depth = self.space.tables[stage].convs[choice.option], self.space.depths[stage][choice.depth]
                numbers.append((*choice_costs(self.space, stage, choice), convs[0] + (depth - 1) * convs[1], depth))
        if fields:
            self.fields = np.concatenate([self.fields, np.array(fields)])
            self.numbers = np.concatenate([self.numbers, np.array(numbers)])
            self.used = np.concatenate([self.used, np.full(len(fields), self.turn)])
        return lacked + len(fields)

    def put(self, fields: Ints | None) -> None:
        """Add columns by their fields, as `inside` hands them out; None adds none."""
        if fields is not None:
            self.add((stage, Choice(*choice)) for stage, *choice in fields.tolist())

    def inside(self, box: Box) -> Columns:
        """Return the columns that lie in a box: the most recently used ones where they are many."""
        keep: Bools = np.ones(len(self.fields), dtype=bool)
        stage, option, depth, c_in, out, width = self.fields.T
        for values, intervals in (
            (depth, box.depths),
            (c_in, box.channels[:-1]),
            (out, box.channels[1:]),
            (width, box.widths),
        ):
            bounds = np.array(intervals)
            keep &= (bounds[stage, 0] <= values) & (values <= bounds[stage, 1])
        offered = np.zeros((self.space.stages, max(len(tables.options) for tables in self.space.tables)), dtype=bool)
        for index, chosen in enumerate(box.options):
            offered[index, list(chosen)] = True
        self.chosen = np.flatnonzero(keep & offered[stage, option])
        most = max(_MOST, _PER_OPTION * sum(map(len, box.options)))
        if len(self.chosen) > most:
            latest = np.argsort(-self.used[self.chosen], kind="stable")[:most]
            self.chosen = np.sort(self.chosen[latest])
        return Columns(self.fields[self.chosen], self.numbers[self.chosen])

    def mark(self, shares: Array) -> None:
        """Note which of the columns handed out last have a share in the master's solution."""
        self.turn += 1
        self.used[self.chosen[shares > 0]] = self.turn
