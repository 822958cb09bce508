"""Families: rows with the same strides, bounded together until one has to look closer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.rows import Kinds, Layout, Layouts, Row, kinds_of, narrowed


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


class Families(Iterator[Family]):
    """One family for every layout of strides, drawn as they are asked for: together they hold all rows, each once."""

    def __init__(self, problem: Problem) -> None:
        self.layouts, self.kinds = Layouts(problem.space), kinds_of(problem.space)
        self._drawn: set[Layout] = set()
        self._next = 0

    @property
    def left(self) -> int:
        """The number of families that were not drawn yet."""
        return self.layouts.count - len(self._drawn)

    def draw(self, strides: Layout) -> Family | None:
        """Return the family of some strides; None where it was drawn before."""
        if strides in self._drawn:
            return None
        self._drawn.add(strides)
        return Family(strides, self.kinds)

    def __next__(self) -> Family:
        """Return the first family that was not drawn yet."""
        while self._next < self.layouts.count:
            self._next += 1
            if (family := self.draw(self.layouts[self._next - 1])) is not None:
                return family
        raise StopIteration

    def spread(self, most: int) -> list[Layout]:
        """Return up to `most` of the layouts that lie evenly among all, those that halve the picture most often first.

        A budget buys most where the picture is small. Among equals the order is even from the first on.
        """
        step = -(-self.layouts.count // most)
        found = [self.layouts[step * place] for place in _scattered(-(-self.layouts.count // step))]
        return sorted(found, key=lambda layout: layout.count(2), reverse=True)


def _scattered(count: int) -> list[int]:
    """Return the numbers below `count` so that each prefix lies evenly among them (by their bits reversed)."""
    bits = (count - 1).bit_length()
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2) if bits else 0)
