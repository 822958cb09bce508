"""Reading what a table file stores, strictly: a value of another type or out of its range is a `ValueError`.

Files are edited, cut off and copied badly; a number that is none must not reach a prediction.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

MOST = 2**63 - 1
"""The largest whole number that SQLite stores and that predictions count with."""


def whole(value: Any, *, least: int = 0, most: int = MOST) -> int:
    """Return a whole number within its range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{_shown(value)} is no whole number from {least} to {most}")
    return value


def wholes(values: Any, *, least: int = 0, most: int = MOST) -> tuple[int, ...]:
    """Return a list of at least one whole number within their range."""
    return tuple(whole(value, least=least, most=most) for value in several(values))


def number(value: Any, *, above: float = -math.inf) -> float:
    """Return a finite number above a bound."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < math.inf:
        wanted = "a finite number" if above == -math.inf else f"a finite number above {above:g}"
        raise ValueError(f"{_shown(value)} is not {wanted}")
    return float(value)


def numbers(values: Any, *, above: float = -math.inf) -> list[float]:
    """Return a list of at least one finite number above a bound."""
    return [number(value, above=above) for value in several(values)]


def several(values: Any) -> Sequence[Any]:
    """Return a list that is not empty."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"{_shown(values)} is no list with an entry")
    return values


def words(value: Any) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{_shown(value)} is no text")
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no object")
    return value


def rising(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return values that rise."""
    if list(values) != sorted(set(values)):
        raise ValueError(f"{_shown(list(values))} does not rise")
    return values


def interval(value: Any) -> tuple[float, float] | None:
    """Return the bounds of an interval of ratios, or None where there is none."""
    if value is None:
        return None
    low, high = numbers(value, above=0)
    if low > high:
        raise ValueError(f"{_shown(value)} is no interval")
    return low, high


def _shown(value: Any) -> str:
    return repr(value)[:60]
