"""Numbers of any size in rows that hold small ones alone: their digits, and comparisons digit by digit.

OR-Tools 9.15 adds up the coefficients of a row's Booleans in 32 bits where a literal enforces the row, and may then
drop the literal: a wrong proof. Its presolve also makes such rows of inequalities, and Booleans of variables of two
values. So every row with a literal and every inequality holds numbers up to `SAFE`. A larger number is written as
digits, variables that an equality without a literal ties to it; a row whose two bounds both bind never gets one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from ortools.sat.python import cp_model

Expression = Any
"""A linear expression of OR-Tools, a variable or an int."""
SAFE = 2**30
"""The largest sum of |coefficient| times largest |value|, and |bound|, of a row that has a literal or one bound."""
ROOM = 29
"""Bits of the numbers on either side of such a row."""
_UNBOUNDED = 2**62


@dataclass(frozen=True)
class Digit:
    """One digit of a number: it counts `weight` times its value, which lies between `low` and `high`."""

    weight: int
    value: Expression
    low: int
    high: int


def variable(model: cp_model.CpModel, low: int, high: int, name: str) -> Expression:
    """Return a new integer variable, or the number itself where there is nothing to choose."""
    return low if low == high else model.new_int_var(low, high, name)


def bounds(expression: Expression) -> tuple[int, int]:
    """Return a lower and an upper bound on an expression, from the domains of its variables."""
    offset, terms = _terms(expression)
    return offset + sum(min(ends) for ends in terms), offset + sum(max(ends) for ends in terms)


def activity(expression: Expression) -> int:
    """Return the largest sum of the absolute values of an expression's terms."""
    offset, terms = _terms(expression)
    return abs(offset) + sum(max(map(abs, ends)) for ends in terms)


def _terms(expression: Expression) -> tuple[int, list[tuple[int, int]]]:
    """Return the constant of an expression, and of each of its other terms the values at the ends of the domain."""
    if isinstance(expression, int):
        return expression, []
    flat = cp_model.FlatIntExpr(expression)
    terms = []
    for one, coefficient in zip(flat.vars, flat.coeffs, strict=True):
        domain = list(one.proto.domain)  # in OR-Tools 9.15 the field itself gives nonsense for the index -1
        terms.append((int(coefficient) * domain[0], int(coefficient) * domain[-1]))
    return int(flat.offset), terms


def reduced(expression: Expression) -> tuple[Expression, int]:
    """Return an expression in the largest whole unit that all its numbers are multiples of, and that unit."""
    if isinstance(expression, int):
        return min(1, expression), max(1, expression)
    flat = cp_model.FlatIntExpr(expression)
    unit = gcd(int(flat.offset), *map(int, flat.coeffs))
    terms = [coefficient // unit * one for one, coefficient in zip(flat.vars, flat.coeffs, strict=True)]
    return sum(terms, int(flat.offset) // unit), unit


def split(
    model: cp_model.CpModel, expression: Expression, low: int, high: int, name: str, bits: int = ROOM
) -> list[Digit]:
    """Return the digits, most significant first, of an expression that lies between `low` and `high`.

    They are the fewest of so many bits each. The first one alone may be negative.
    """
    count = 1
    while max(abs(low), abs(high)) >> (bits * count):
        count += 1
    weights = [2 ** (bits * place) for place in reversed(range(count))]
    ends = [(low // weights[0], high // weights[0]), *[(0, 2**bits - 1)] * (count - 1)]
    if isinstance(expression, int):
        values = [
            expression // weight % 2**bits if place else expression // weight for place, weight in enumerate(weights)
        ]
    elif count == 1 and activity(expression) < 2**bits:
        values = [expression]
    else:
        values = [variable(model, *end, f"{name}:digit") for end in ends]
        model.add(sum(weight * value for weight, value in zip(weights, values, strict=True)) == expression)
    return [Digit(weight, value, *end) for weight, value, end in zip(weights, values, ends, strict=True)]


def selected(
    model: cp_model.CpModel, cases: Sequence[tuple[Expression, Expression]], low: int, high: int, name: str
) -> Expression:
    """Return the expression of that one of (literal, expression) whose literal holds; it lies in `low` to `high`."""
    largest = max(abs(low), abs(high))
    if all(largest + activity(expression) <= SAFE for _, expression in cases):
        target = variable(model, low, high, name)
        for literal, expression in cases:
            model.add(target == expression).only_enforce_if(literal)
        return target
    # An expression that is not chosen may lie anywhere.
    ends = [bounds(expression) for _, expression in cases]
    widest = min(low, *(end[0] for end in ends)), max(high, *(end[1] for end in ends))
    numbers = [split(model, expression, *widest, name) for _, expression in cases]
    total: Expression = 0
    for place, digits in enumerate(zip(*numbers, strict=True)):
        options = [(literal, digit.value) for (literal, _), digit in zip(cases, digits, strict=True)]
        one = digits[0]
        nearest = (
            (max(one.low, low // one.weight), min(one.high, high // one.weight)) if place == 0 else (one.low, one.high)
        )
        total += one.weight * selected(model, options, *nearest, name)
    return total


def at_most(model: cp_model.CpModel, expression: Expression, limit: int, name: str) -> None:
    """Keep an expression within a limit."""
    low, high = bounds(expression)
    if high <= limit:
        return
    if low > limit:
        model.add_bool_or([])
    elif activity(expression) + abs(limit) <= SAFE:
        model.add(expression <= limit)
    else:
        digits = split(model, expression, low, limit, name)
        # The first digit that differs from the limit's decides.
        equal: list[Expression] = []
        for digit, most in zip(digits, split(model, limit, low, limit, name), strict=True):
            model.add(digit.value <= most.value).only_enforce_if(*equal)
            less = model.new_bool_var("less")
            model.add(digit.value <= most.value - 1).only_enforce_if(less)
            equal.append(~less)


def require_safe_rows(model: cp_model.CpModel) -> None:
    """Assert that every row with a literal, and every inequality, holds numbers up to `SAFE` alone."""
    for row in unsafe_rows(model):
        raise AssertionError(f"a row of the integer program holds numbers above {SAFE}: {row}")


def unsafe_rows(model: cp_model.CpModel) -> Iterator[Any]:
    """Yield linear rows that hold numbers above `SAFE` beside a literal, or where one bound alone binds."""
    domains = [(min(one.domain), max(one.domain)) for one in model.proto.variables]
    for row in model.proto.constraints:
        if not _is_linear(row):
            continue
        pairs = zip(row.linear.vars, row.linear.coeffs, strict=True)
        terms = [(coefficient * domains[place][0], coefficient * domains[place][1]) for place, coefficient in pairs]
        ends = [end for end in row.linear.domain if abs(end) < _UNBOUNDED]
        largest = max(sum(max(map(abs, both)) for both in terms), *map(abs, ends), 0)
        if largest > SAFE and (row.enforcement_literal or not _both_bind(terms, ends)):
            yield row


def _both_bind(terms: list[tuple[int, int]], ends: list[int]) -> bool:
    """Return whether a row is an equality, or has two bounds neither of which its terms keep anyway."""
    if len(ends) < 2:
        return False
    return ends[0] == ends[-1] or (sum(map(min, terms)) < ends[0] and ends[-1] < sum(map(max, terms)))


def _is_linear(row: Any) -> bool:
    """Return whether a row is linear: in OR-Tools 9.15 asking any other for its linear part makes it an empty one."""
    return bool(row.has_linear() if hasattr(row, "has_linear") else row.HasField("linear"))
