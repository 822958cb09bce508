"""The ledger: what is known of the rows while they are looked at, and the records that are told at the end."""

import math
from dataclasses import dataclass, field

from deepmad.engine.answers.parts import RowCounts, RowRecord
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.rows.families import Family
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.rows import Layout, Row, row_count, row_of


@dataclass(eq=False)
class Node:
    """A family of rows with its bound: the least proven of it, or of a family that it was split from.

    `best` is the objective of the best network met in it, -inf where there is none. `looks` counts the pieces of work
    spent on it, `failures` those that failed, `seconds` is their time together.
    """

    family: Family
    bound: float = math.inf
    best: float = -math.inf
    looks: int = 0
    failures: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Met:
    """The best network met of a row, and by what: "evolution", "cpsat" or, where it was given, "start"."""

    network: Architecture
    objective: float
    found_by: str


@dataclass
class Ledger:
    """The best network met of every row, by the row's strides."""

    problem: Problem
    met: dict[Layout, dict[Row, Met]] = field(default_factory=dict)

    def offer(self, met: Met) -> None:
        """Take a feasible network if it is the best of its row so far."""
        row = row_of(met.network)
        known = self.met.setdefault(row.strides, {})
        if row not in known or met.objective > known[row].objective:
            known[row] = met

    def met_in(self, family: Family) -> dict[Row, Met]:
        """Return the best network met of each of a family's rows."""
        return {row: met for row, met in self.met.get(family.strides, {}).items() if family.holds(row)}

    def best_in(self, family: Family) -> Met | None:
        """Return the best network met of a family; None where there is none."""
        return max(self.met_in(family).values(), key=lambda met: met.objective, default=None)

    def records(self, dropped: list[Node], others: list[Node], delivered: Row | None) -> tuple[RowRecord, ...]:
        """Return a record of every row that a network was met of or that was bounded alone, the best first.

        `dropped` and `others` hold every row once between them, but those of families that were not drawn.
        """
        found = [
            record
            for nodes, is_dropped in ((dropped, True), (others, False))
            for node in nodes
            for record in self._records(node, dropped=is_dropped, delivered=delivered)
        ]
        return tuple(sorted(found, key=_rank, reverse=True))

    def _records(self, node: Node, *, dropped: bool, delivered: Row | None) -> list[RowRecord]:
        alone, met = node.family.row, self.met_in(node.family)
        bound = None if math.isinf(node.bound) else node.bound
        seconds = node.seconds if alone is not None else 0.0
        told = [
            RowRecord(
                row.blocks, row.strides, one.found_by, one.objective, bound, dropped and row != delivered, seconds
            )
            for row, one in met.items()
        ]
        if alone is not None and not met and node.looks:
            told.append(RowRecord(alone.blocks, alone.strides, None, None, bound, dropped, seconds))
        return told

    def counts(self, dropped: list[Node], records: tuple[RowRecord, ...], delivered: Row | None) -> RowCounts:
        """Return how many rows were dropped, are open, and were not looked at; `delivered` is none of them."""
        total, ruled_out = row_count(self.problem.space), sum(node.family.count for node in dropped)
        if delivered is not None and any(node.family.holds(delivered) for node in dropped):
            ruled_out -= 1
        still_open = sum(not record.dropped for record in records) - (delivered is not None)
        rest = total - ruled_out - still_open - (delivered is not None)
        return RowCounts(total, ruled_out, still_open, rest)


def _rank(record: RowRecord) -> tuple[float, float]:
    """Return what orders records, the best last: the objective met, then what the bound allows."""
    objective = -math.inf if record.objective is None else record.objective
    return objective, -math.inf if record.bound is None else record.bound
