"""JSON read strictly: one meaning for every value, or an error in one line; and what is refused in any document."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from deepmad.search_spaces.errors import InputError, shown

MOST_DEPTH = 50
"""Lists and mappings within each other."""
MOST_DIGITS = 40
"""Digits of an integer: the state of a generator of random numbers has 39."""
TOO_DEEP = f"lists and mappings stand within each other more than {MOST_DEPTH} deep; no file of deepmad needs that"

_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]')


class _RepeatedError(Exception):
    """An object gives a key twice."""


def parsed_json(text: str, source: str) -> Any:
    """Return the document of a JSON text; `source` is what errors call it.

    Raises `InputError` for a syntax error and a key that is given twice, with the line, and for deep nesting, numbers
    that no float holds and text that is no text.
    """
    hooks: dict[str, Any] = {"parse_int": whole, "parse_float": decimal, "parse_constant": decimal}
    try:
        document = json.loads(text, object_pairs_hook=_unique, **hooks)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except _RepeatedError as error:
        raise InputError(f"{source}: {_repeated_key(text)}") from error
    except RecursionError as error:
        raise InputError(f"{source}: {TOO_DEEP}") from error
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    _check_depth(document, source)
    if "\\u" in text:
        for one in _texts(document):
            check_text(one, source)
    return document


def whole(digits: str) -> int:
    """Return an integer. Raises `InputError` for one of too many digits."""
    if len(digits) > MOST_DIGITS:
        raise InputError(f"{digits[:20]}... has {len(digits)} digits; no number here needs more than {MOST_DIGITS}")
    return int(digits)


def decimal(digits: str) -> float:
    """Return a decimal number. Raises `InputError` for one that is not finite."""
    if not math.isfinite(number := float(digits)):
        raise InputError(f"{digits[:40]} is no finite number; give one, or leave its key out")
    return number


def check_text(text: str, where: str) -> None:
    """Raise `InputError` for text that no file can hold or be named by."""
    if "\0" in text:
        raise InputError(f"{where}: the text {shown(text)} holds a NUL character; remove it")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"{where}: the text {shown(text)} holds half of a character; write it whole") from error


def twice(key: str, first: int) -> str:
    """Return that a key is given twice, first at a line."""
    return f"the key {shown(key)} is given twice, first at line {first}; keep one of them"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedError
    return found


def _repeated_key(text: str) -> str:
    """Return which key is given twice in one object, and at which lines; the text is JSON but for that."""
    opened: list[dict[str, int]] = []
    for match in _TOKEN.finditer(text):
        if match[0] == "{":
            opened.append({})
        elif match[0] == "}":
            opened.pop()
        elif match[2]:
            key, line = json.loads(match[1]), text.count("\n", 0, match.start()) + 1
            if key in opened[-1]:
                return f"line {line}: {twice(key, opened[-1][key])}"
            opened[-1][key] = line
    raise AssertionError("the parser met a key twice")


def _check_depth(document: Any, source: str) -> None:
    layer, depth = [document], 0
    while layer := [one for one in layer if isinstance(one, dict | list)]:
        depth += 1
        if depth > MOST_DEPTH:
            raise InputError(f"{source}: {TOO_DEEP}")
        layer = [child for one in layer for child in (one.values() if isinstance(one, dict) else one)]


def _texts(document: Any) -> Iterator[str]:
    """Yield every text of a document, keys included."""
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield from one
            left += one.values()
        elif isinstance(one, list):
            left += one
