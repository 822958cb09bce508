"""Quantities with their units: `4.13G`, `25.55M`, `5ms`, `2000/s`, `64MB`; a bare number is SI."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.ranges import check

Kind = Literal["count", "seconds", "per second", "bytes", "number", "joules"]

_COUNT = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS: dict[Kind, dict[str, float]] = {
    "number": {"": 1.0},
    "count": _COUNT,
    "seconds": {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "per second": {"": 1.0, "/s": 1.0, "k/s": 1e3},
    "bytes": {"": 1.0, "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "joules": {"": 1.0, "J": 1.0, "mJ": 1e-3},
}
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z/]*)\s*", re.ASCII)
_ROUNDING = 1e-6
"""How far, relatively, a computed count may be from a whole number."""


def quantity(value: object, kind: Kind, name: str) -> float:
    """Return `value` in SI units.

    `name` is what the user calls it, for the error. Raises `InputError` for anything that is not a
    positive finite number with a unit of that kind, and for a count or bytes that are no whole
    number.
    """
    units = _UNITS[kind]
    known = ", ".join(unit for unit in units if unit) or "none"
    match = _NUMBER.fullmatch(str(value))
    if match is None or match[2] not in units:
        raise InputError(f"{name}: {shown(value)} is not a {kind} value; a number with one of the units: {known}")
    found = float(match[1]) * units[match[2]]
    if not (found > 0 and math.isfinite(found)):
        raise InputError(f"{name}: {shown(value)} is out of range; it must be positive and finite")
    if kind in ("count", "bytes") and abs(found - round(found)) > _ROUNDING * found:
        larger = " or ".join(f"{found:g}{unit}" for unit in (("G", "M") if kind == "count" else ("MB", "kB")))
        raise InputError(f"{name}: {shown(value)} is no whole number; did you mean {larger}?")
    return found


def number(text: str) -> float | None:
    """Return the number that a text is, an infinite one where it is too large for a float; None for anything else."""
    match = _NUMBER.fullmatch(text)
    return None if match is None or match[2] else float(match[1])


@dataclass(frozen=True)
class AtLeast:
    """A limit from below, inclusive; a bare number is one from above."""

    value: float

    def __str__(self) -> str:
        return f">={self.value!r}"


def bound(value: object, of: str, name: str | None = None) -> float | AtLeast:
    """Return a limit on a count: `>=6M` is one from below; `<=3M`, `3M` and a bare number are from above.

    `of` is its quantity in `ranges`, `name` what the user calls it, for the error. Raises `InputError` for anything
    that is no whole number in the quantity's range.
    """
    text = str(value).strip()
    sign = text[:2] if text.startswith((">=", "<=")) else ""
    if not sign and text.startswith(("<", ">", "=")):
        raise InputError(f"{name or of}: {shown(value)} is no limit; 6M or <=6M is one from above, >=6M from below")
    found = quantity(text.removeprefix(sign), "count", name or of)
    check(of, found, name or of)
    return AtLeast(found) if sign == ">=" else found


def any_quantity(text: str, name: str) -> float:
    """Return the number in `text` in SI units, whichever of all units it has; zero and below are allowed.

    `name` is what the user calls it, for the error. Raises `InputError` for anything else than a finite number.
    """
    scales = {unit: scale for units in _UNITS.values() for unit, scale in units.items()}
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in scales or not math.isfinite(found := float(match[1]) * scales[match[2]]):
        known = ", ".join(unit for unit in scales if unit)
        raise InputError(f"{name}: {shown(text)} is no value; a finite number, alone or with one of the units: {known}")
    return found


def human(value: float, kind: Kind) -> str:
    """Return `value` (SI) with the largest unit that keeps it at 1 or above, to four digits."""
    if kind == "number" or value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    units = {unit: scale for unit, scale in _UNITS[kind].items() if unit not in ("K", "KB", "KiB", "MiB", "GiB")}
    if kind != "count":
        del units[""]
    unit, scale = max(
        ((unit, scale) for unit, scale in units.items() if abs(value) >= scale * 0.99995),
        key=lambda item: item[1],
        default=min(units.items(), key=lambda item: item[1]),
    )
    return f"{value / scale:.4g} {unit}".rstrip()
