"""Polynomials in named unknowns, which layer records count with as they do with numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

Operand = Union["Polynomial", int, float]


def log_name(name: str) -> str:
    """Return the name of the unknown that stands for the natural logarithm of another."""
    return f"ln {name}"


@dataclass(frozen=True)
class Polynomial:
    """A sum of coefficients times products of unknowns, each product a sorted tuple of names."""

    terms: Mapping[tuple[str, ...], float]

    @staticmethod
    def of(value: Operand) -> "Polynomial":
        """Return `value` as a polynomial."""
        return value if isinstance(value, Polynomial) else Polynomial({(): value})

    @staticmethod
    def unknown(name: str) -> "Polynomial":
        """Return the polynomial of one unknown."""
        return Polynomial({(name,): 1})

    def __add__(self, other: Operand) -> "Polynomial":
        terms = dict(self.terms)
        for names, coefficient in Polynomial.of(other).terms.items():
            terms[names] = terms.get(names, 0) + coefficient
        return Polynomial({names: coefficient for names, coefficient in terms.items() if coefficient})

    __radd__ = __add__

    def __sub__(self, other: Operand) -> "Polynomial":
        return self + Polynomial.of(other) * -1

    def __mul__(self, other: Operand) -> "Polynomial":
        total = Polynomial({})
        for left, one in self.terms.items():
            for right, two in Polynomial.of(other).terms.items():
                total = total + Polynomial({tuple(sorted(left + right)): one * two})
        return total

    __rmul__ = __mul__

    def __pow__(self, exponent: int) -> "Polynomial":
        power = Polynomial.of(1)
        for _ in range(exponent):
            power = power * self
        return power

    def log(self) -> "Polynomial":
        """Return the logarithm of a single product: a sum of logarithms. NumPy's `log` calls this."""
        ((names, coefficient),) = self.terms.items()
        total = Polynomial({(): math.log(coefficient)}) if coefficient != 1 else Polynomial({})
        for name in names:
            total = total + Polynomial.unknown(log_name(name))
        return total
