"""What is wrong with a value of a file, in the words of who wrote the file; pydantic finds it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepmad.search_spaces.errors import shown

_FAULTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is missing; give it",
    "missing_argument": lambda _: "is missing; give it",
    "bool_type": lambda _: "must be true or false",
    "dataclass_type": lambda _: "must be a mapping of keys to values",
    "float_type": lambda _: "must be a number, without quotes",
    "int_from_float": lambda _: "must be a whole number",
    "int_type": lambda _: "must be a whole number, without quotes",
    "finite_number": lambda _: "must be a finite number",
    "greater_than": lambda limit: f"must be above {limit['gt']:g}",
    "greater_than_equal": lambda limit: f"must be {_number(limit['ge'])} or more",
    "less_than": lambda limit: f"must be below {limit['lt']:g}",
    "less_than_equal": lambda limit: f"must be {_number(limit['le'])} or less",
    "list_type": lambda _: "must be a list",
    "literal_error": lambda limit: f"must be {limit['expected']}",
    "string_pattern_mismatch": lambda limit: f"holds a character that may not be there, by {limit['pattern']}",
    "string_too_long": lambda limit: f"must have {limit['max_length']} characters at most",
    "string_too_short": lambda _: "must not be empty",
    "string_type": lambda _: "must be a text",
    "too_long": lambda limit: f"must have {limit['max_length']} entries at most, not {limit['actual_length']}",
    "too_short": lambda limit: f"must have at least {limit['min_length']} entry, not {limit['actual_length']}",
    "tuple_type": lambda _: "must be a list",
}
"""What each kind of error of pydantic says of a value, given its limits."""
_WITHOUT_VALUE = ("missing", "missing_argument", "too_long", "too_short")
_ENTRY = re.compile(r"(\w+)\[\d+\]")


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


def fault_told(kind: str, message: str, limits: Mapping[str, Any], value: object) -> str:
    """Return what is wrong with a value: `must be 1 or 2, not 3`.

    `kind`, `message` and `limits` are pydantic's type of error, its message and its context; the message serves where
    the type has no words of its own here.
    """
    told = _FAULTS[kind](limits) if kind in _FAULTS else message[:1].lower() + message[1:]
    return told if kind in _WITHOUT_VALUE else f"{told}, not {shown(value)}"


def place_told(steps: Sequence[str | int]) -> str:
    """Return the place of a value in a document: `stages[0].kernel`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def counted(message: str) -> str:
    """Return a message with a word on how entries are counted, where it names one by its number."""
    entry = _ENTRY.search(message)
    return f"{message} ({entry[1]}[0] is the first)" if entry else message
