"""A constraint model with the vocabulary the program needs: axes of values, lookups, choices, products."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd
from typing import Any, Literal

import numpy as np
from ortools.sat.python import cp_model

from deepmad.engine.solvers.cpsat.digits import Expression, selected, variable
from deepmad.engine.solvers.cpsat.terms import Array, Terms, maximum, minimum

LARGEST_TABLE = 2**12
"""Entries of the largest table that may not be replaced by a smaller one: CP-SAT expands each into literals, and
a table of 2^16 keeps it from looking at its time limit for many seconds."""

Rounding = Literal["down", "up"]


@dataclass(frozen=True)
class Axis:
    """A variable that takes one of `values`: value = unit * `step`, and `index` is its place among them."""

    values: Array
    index: Expression
    unit: Expression
    step: int

    @property
    def value(self) -> Expression:
        """The value itself."""
        return self.unit * self.step


@dataclass(frozen=True)
class Choice:
    """One of several options: a literal each, exactly one of them true, and the chosen one's index."""

    literals: list[Any]
    index: Expression


@dataclass
class Builder:
    """The constraint model under construction, with what it can use again."""

    model: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    products: dict[tuple[int, int], Expression] = field(default_factory=dict)
    literals: dict[int, list[Any]] = field(default_factory=dict)
    halves: dict[int, Axis] = field(default_factory=dict)
    rounded: set[str] = field(default_factory=set)

    def variable(self, low: int, high: int, name: str) -> Expression:
        """Return a new integer variable, or the number itself where there is nothing to choose."""
        return variable(self.model, low, high, name)

    def choice(self, count: int, name: str) -> Choice:
        """Return a choice among `count` options."""
        if count == 1:
            return Choice([self.model.new_constant(1)], 0)
        literals = [self.model.new_bool_var(f"{name}={option}") for option in range(count)]
        index = self.model.new_int_var(0, count - 1, name)
        self.model.add_exactly_one(literals)
        self.model.add(index == sum(option * literal for option, literal in enumerate(literals)))
        return Choice(literals, index)

    def axis(self, values: Sequence[int], name: str) -> Axis:
        """Return a variable that takes one of `values` (ascending)."""
        step = gcd(*values)
        units = np.asarray(values, dtype=np.int64) // step
        index = self.variable(0, len(values) - 1, name)
        return Axis(np.asarray(values, dtype=np.int64), index, self._along(index, units, name), step)

    def _along(self, index: Expression, array: Array, name: str) -> Expression:
        """Return array[index]: linear where the array is an arithmetic progression, else by a table."""
        if len(array) == 1:
            return int(array[0])
        slope = int(array[1] - array[0])
        if np.array_equal(array, array[0] + slope * np.arange(len(array))):
            return slope * index + int(array[0])
        return self.element(index, array, name)

    def element(self, index: Expression, array: Array, name: str) -> Expression:
        """Return array[index] as a variable."""
        target = self.model.new_int_var(int(array.min()), int(array.max()), f"{name}:value")
        self.model.add_element(index, array.tolist(), target)
        return target

    def indicators(self, axis: Axis) -> list[Any]:
        """Return a literal for each value of an axis, the same ones for the same axis."""
        if id(axis) not in self.literals:
            literals = [self.model.new_bool_var(f"value={value}") for value in axis.values]
            self.model.add_exactly_one(literals)
            self.model.add(axis.index == sum(place * literal for place, literal in enumerate(literals)))
            for place, literal in enumerate(literals):
                self.model.add(axis.index == place).only_enforce_if(literal)
            self.literals[id(axis)] = literals
        return self.literals[id(axis)]

    def product(self, first: Axis, second: Axis) -> Expression:
        """Return the product of two axes' units, the same variable for the same two axes."""
        key = (id(first), id(second))
        if key not in self.products:
            low, high = (int(first.values[i] // first.step * (second.values[i] // second.step)) for i in (0, -1))
            target = self.model.new_int_var(low, high, "product")
            self.model.add_multiplication_equality(target, [first.unit, second.unit])
            self.products[key] = target
        return self.products[key]

    def lookup(self, axes: Sequence[Axis], array: Array, name: str, rounding: Rounding | None = None) -> Expression:
        """Return array[indices of axes]: a polynomial of the widths where it is one, else by a table.

        `rounding` allows a table too large for the solver to be replaced by a smaller one: that lies below it for
        `down`, above it for `up`. `rounded` then holds `name`.
        """
        axes = [axis for axis in axes if len(axis.values) > 1]  # a width that is fixed is no variable
        array = array.reshape([len(axis.values) for axis in axes])
        if (found := self.polynomial(axes, array)) is not None:
            return found
        return self.stacked(Choice([], 0), axes, [array], name, rounding)

    def polynomial(self, axes: Sequence[Axis], array: Array) -> Expression | None:
        """Return an array over at most two axes as a polynomial of degree at most 2, or None."""
        units = [axis.values // axis.step for axis in axes]
        if array.size == 1:  # no axes, or axes of one value each: nothing to choose
            return int(array.item())
        fit = _quadratic(array, units[0]) if len(axes) == 1 else _bilinear(array, units[0], units[1])
        if fit is None:
            return None
        constant, *linear, mixed = fit
        terms = (slope * axis.unit for slope, axis in zip(linear, axes, strict=True) if slope)
        total: Expression = constant + sum(terms)
        return total + mixed * self.product(axes[0], axes[-1]) if mixed else total

    def stacked(
        self, choice: Choice, axes: Sequence[Axis], arrays: Sequence[Array], name: str, rounding: Rounding | None = None
    ) -> Expression:
        """Return arrays[choice][indices of axes] by one table over a linear index."""
        while rounding and len(arrays) * arrays[0].size > LARGEST_TABLE:
            self.rounded.add(name)
            longest = max(range(len(axes)), key=lambda axis: len(axes[axis].values))
            axes = [self._halved(axis) if place == longest else axis for place, axis in enumerate(axes)]
            pairs = np.arange(0, arrays[0].shape[longest], 2)
            extreme = np.minimum if rounding == "down" else np.maximum
            arrays = [extreme.reduceat(array, pairs, axis=longest) for array in arrays]
        index: Expression = choice.index
        for axis in axes:
            index = index * len(axis.values) + axis.index
        table = np.concatenate([array.ravel() for array in arrays])
        if len(axes) + (len(arrays) > 1) > 1:
            place = self.model.new_int_var(0, len(table) - 1, f"{name}:place")
            self.model.add(place == index)
            index = place
        return self.element(index, table, name)

    def _halved(self, axis: Axis) -> Axis:
        """Return an axis over neighbouring pairs of another's values; its values are the smaller ones."""
        if id(axis) not in self.halves:
            values = axis.values[::2]
            index = self.variable(0, len(values) - 1, "pair")
            self.model.add(2 * index <= axis.index)
            self.model.add(2 * index + 1 >= axis.index)
            self.halves[id(axis)] = Axis(values, index, axis.unit, axis.step)
        return self.halves[id(axis)]

    def chosen(
        self,
        choice: Choice,
        axes: Sequence[Axis],
        options: Sequence[Terms],
        name: str,
        rounding: Rounding | None = None,
    ) -> Expression:
        """Return the terms of the chosen option as a linear expression; `rounding` as for `lookup`."""
        shared: Expression = 0
        own: list[Expression] = [0] * len(options)
        for chosen_axes in dict.fromkeys(key for terms in options for key in terms):
            over = [axes[axis] for axis in chosen_axes]
            shape = tuple(len(axis.values) for axis in over)
            arrays = [np.asarray(terms.get(chosen_axes, np.zeros(shape, np.int64))) for terms in options]
            offsets = [int(array.flat[0] - arrays[0].flat[0]) for array in arrays]
            if all(np.array_equal(array, arrays[0] + offset) for array, offset in zip(arrays, offsets, strict=True)):
                shared += self.lookup(over, arrays[0], name, rounding)
                literals = zip(offsets, choice.literals, strict=True)
                shared += sum(offset * literal for offset, literal in literals if offset)
                continue
            polynomials = [self.polynomial(over, array) for array in arrays]
            if any(polynomial is None for polynomial in polynomials):
                shared += self.stacked(choice, over, arrays, name, rounding)
                continue
            own = [total + polynomial for total, polynomial in zip(own, polynomials, strict=True)]
        if all(isinstance(terms, int) and terms == 0 for terms in own):
            return shared
        cases = [(literal, shared + terms) for literal, terms in zip(choice.literals, own, strict=True)]
        return selected(self.model, cases, min(map(minimum, options)), max(map(maximum, options)), name)


def _quadratic(array: Array, units: Array) -> tuple[int, int, int] | None:
    """Return (a, b, c) with array == a + b u + c u^2, or None; whole numbers only."""
    count = len(units)
    if count == 2:
        slope = Fraction(int(array[1] - array[0]), int(units[1] - units[0]))
        line: tuple[int, int, int] | None = _whole(int(array[0]) - slope * int(units[0]), slope, Fraction(0))
        return line
    points = [(int(units[i]), int(array[i])) for i in (0, count // 2, count - 1)]
    (u0, y0), (u1, y1), (u2, y2) = points
    first, second = Fraction(y1 - y0, u1 - u0), Fraction(y2 - y1, u2 - u1)
    curve = (second - first) / (u2 - u0)
    slope = first - curve * (u0 + u1)
    fit: tuple[int, int, int] | None = _whole(y0 - slope * u0 - curve * u0 * u0, slope, curve)
    if fit is None:
        return None
    a, b, c = fit
    return fit if np.array_equal(array, a + b * units + c * units**2) else None


def _bilinear(array: Array, rows: Array, columns: Array) -> tuple[int, int, int, int] | None:
    """Return (a, b, c, d) with array == a + b r + c s + d r s, or None; whole numbers only."""
    r0, r1, s0, s1 = (int(units[i]) for units in (rows, columns) for i in (0, -1))
    y00, y01, y10, y11 = (int(array[i, j]) for i in (0, -1) for j in (0, -1))
    mixed = Fraction(y11 - y10 - y01 + y00, (r1 - r0) * (s1 - s0))
    along_rows = Fraction(y10 - y00, r1 - r0) - mixed * s0
    along_columns = Fraction(y01 - y00, s1 - s0) - mixed * r0
    fit = _whole(y00 - along_rows * r0 - along_columns * s0 - mixed * r0 * s0, along_rows, along_columns, mixed)
    if fit is None:
        return None
    a, b, c, d = fit
    r, s = rows[:, None], columns[None, :]
    return (a, b, c, d) if np.array_equal(array, a + b * r + c * s + d * r * s) else None


def _whole(*numbers: Fraction) -> Any:
    """Return the numbers as ints, or None where one is not whole."""
    return tuple(int(number) for number in numbers) if all(number.denominator == 1 for number in numbers) else None
