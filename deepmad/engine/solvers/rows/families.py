"""Families: rows with the same strides, bounded together until one has to look closer."""

from dataclasses import dataclass, replace
from math import prod

from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.rows import Kinds, Layout, Row, kinds_of, layouts, narrowed


@dataclass(frozen=True)
class Family:
    """The rows of one layout of strides whose block kinds are among `kinds`, a tuple a stage."""

    strides: Layout
    kinds: Kinds

    @property
    def count(self) -> int:
        """The number of rows."""
        return prod(len(kinds) for kinds in self.kinds)

    @property
    def row(self) -> Row | None:
        """The only row; None where there are several."""
        return Row(tuple(kinds[0] for kinds in self.kinds), self.strides) if self.count == 1 else None

    def holds(self, row: Row) -> bool:
        """Whether `row` is one of the family's."""
        offered = zip(row.blocks, self.kinds, strict=True)
        return row.strides == self.strides and all(block in kinds for block, kinds in offered)

    def parts(self) -> list["Family"]:
        """Return the family split by the block kind of its last open stage; itself where there is one row.

        The last stages weigh most: every scale after them counts their entropy, the last one eight times.
        """
        place = max((place for place, kinds in enumerate(self.kinds) if len(kinds) > 1), default=0)
        before, after = self.kinds[:place], self.kinds[place + 1 :]
        return [Family(self.strides, (*before, (kind,), *after)) for kind in self.kinds[place]]

    def part_of(self, problem: Problem) -> Problem:
        """Return the problem on the family's networks alone."""
        return replace(problem, space=narrowed(problem.space, self.strides, self.kinds))


def families(problem: Problem) -> list[Family]:
    """Return one family for every layout of strides; together they hold all rows, each once."""
    kinds = kinds_of(problem.space)
    return [Family(strides, kinds) for strides in layouts(problem.space)]
