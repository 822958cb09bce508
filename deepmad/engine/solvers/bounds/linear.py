"""Linear programs of the bound: HiGHS begins each from the basis of the one before, column by column, row by row."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmad.engine.solvers.bounds.tables import Array

if TYPE_CHECKING:
    from highspy import Highs
else:
    Highs = Any

_DUAL, _PRIMAL = 1, 4
"""The simplex method of HiGHS: by default, and where the basis is feasible but for new columns."""


@dataclass(frozen=True)
class Basis:
    """Where a program ended: names of the columns that were `basic`, and of the rows that were `tight`."""

    basic: frozenset[Hashable]
    tight: frozenset[Hashable]


class Rows:
    """Rows of a linear program in the order they are added, each with a name that it keeps in later programs."""

    def __init__(self) -> None:
        self.names: list[Hashable] = []
        self.rows: list[Array] = []
        self.right: list[float] = []

    def add(self, name: Hashable, row: Array, right: float) -> int:
        """Add a row and its right side; return its place."""
        self.names.append(name)
        self.rows.append(row)
        self.right.append(right)
        return len(self.rows) - 1

    def extend(self, names: Sequence[Hashable], rows: Array, right: Array) -> slice:
        """Add rows (rows, columns) and their right sides; return their places."""
        first = len(self.rows)
        self.names.extend(names)
        self.rows.extend(rows)
        self.right.extend(right)
        return slice(first, len(self.rows))


@dataclass(frozen=True)
class Program:
    """Maximise gain . x where upper x <= its right sides, equal x = its right sides and x >= least.

    `names` are those of the columns.
    """

    names: Sequence[Hashable]
    gain: Array
    upper: Rows
    equal: Rows
    least: Array


@dataclass(frozen=True)
class Optimum:
    """An optimum: `x`, its value, the multipliers of both kinds of rows (those of upper rows at least 0), its basis."""

    x: Array
    value: float
    upper: Array
    equal: Array
    basis: Basis


def solve(program: Program, basis: Basis | None) -> Optimum | None:
    """Return the optimum, begun from a basis of a like program if there is one; None where none was found.

    Nothing is proven by it: the bound holds for any multipliers.
    """
    highs = _highs()
    _hand_over(highs, program)
    if basis is not None:
        _begin_from(highs, program, basis)
        if (found := _run(highs, program, _PRIMAL)) is not None:
            return found
        highs.clearSolver()
    return _run(highs, program, _DUAL)


@cache
def _highs() -> Highs:
    """Return this process's solver."""
    from highspy import _Highs  # type: ignore[attr-defined]  # `Highs` adds callbacks, and prints as it is made

    highs: Highs = _Highs()
    for option, value in (("output_flag", False), ("presolve", "off"), ("threads", 1), ("parallel", "off")):
        highs.setOptionValue(option, value)
    return highs


def _hand_over(highs: Highs, program: Program) -> None:
    dense = np.array([*program.upper.rows, *program.equal.rows])
    rows, columns = np.nonzero(dense)
    starts = np.searchsorted(rows, np.arange(len(dense) + 1)).astype(np.int32)
    right = np.array([*program.upper.right, *program.equal.right])
    left = right.copy()
    left[: len(program.upper.rows)] = -np.inf
    most = np.full(len(program.gain), np.inf)
    by_rows, minimise = 2, 1
    highs.passModel(
        len(program.gain),
        len(dense),
        len(rows),
        by_rows,
        minimise,
        0.0,
        -program.gain,
        program.least,
        most,
        left,
        right,
        starts,
        columns.astype(np.int32),
        dense[rows, columns],
        np.zeros(len(program.gain), dtype=np.int32),
    )


def _begin_from(highs: Highs, program: Program, basis: Basis) -> None:
    """Hand over a basis by names: what is new among the rows is slack, what is new among the columns is 0."""
    from highspy import HighsBasis, HighsBasisStatus

    basic, lower, upper = HighsBasisStatus.kBasic, HighsBasisStatus.kLower, HighsBasisStatus.kUpper
    start = HighsBasis()
    start.col_status = [basic if name in basis.basic else lower for name in program.names]
    start.row_status = [
        *(upper if name in basis.tight else basic for name in program.upper.names),
        *(lower if name in basis.tight else basic for name in program.equal.names),
    ]
    start.valid, start.alien = True, True
    highs.setBasis(start)


def _run(highs: Highs, program: Program, method: int) -> Optimum | None:
    from highspy import HighsBasisStatus, HighsModelStatus

    highs.setOptionValue("simplex_strategy", method)
    highs.run()
    if highs.getModelStatus() != HighsModelStatus.kOptimal:
        return None
    solution, basis, upper = highs.getSolution(), highs.getBasis(), len(program.upper.rows)
    duals = -np.array(solution.row_dual)
    basic = HighsBasisStatus.kBasic
    names = [*program.upper.names, *program.equal.names]
    return Optimum(
        np.array(solution.col_value),
        -float(highs.getInfo().objective_function_value),
        np.maximum(0.0, duals[:upper]),
        duals[upper:],
        Basis(
            frozenset(name for name, at in zip(program.names, basis.col_status, strict=True) if at == basic),
            frozenset(name for name, at in zip(names, basis.row_status, strict=True) if at != basic),
        ),
    )
