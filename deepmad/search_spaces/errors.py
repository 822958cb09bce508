"""The one error a user can cause, bad input, told in one line; and what such lines are made of."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

SHOWN_CHARACTERS = 80
"""Characters of a wrong value that a message repeats."""

ALIKE = 0.5
"""How alike two names are, from 0 to 1, of which one may be a misspelling of the other."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""What sets a terminal's colours in the messages of other libraries."""


class InputError(ValueError):
    """A value that cannot be used; the message names the value, the limit and the way out."""


STOPS = (KeyboardInterrupt, MemoryError)
"""What ends long work before its time; what is known by then is kept."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says without a terminal's colours, or its class where it says nothing."""
    return (_COLOURS.sub("", str(error)).strip().splitlines() or [type(error).__name__])[0]


def shown(value: object) -> str:
    """Return a value as a message shows it: on one line, and not all of a long one."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of thousands of digits"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def unknown(name: object, known: Iterable[str]) -> str:
    """Return that a name is unknown, with the names that it may be a misspelling of, and all that there are."""
    return f"{shown(name)} is unknown{near(name, known)}; choose from {', '.join(known)}"


def near(name: object, known: Iterable[str]) -> str:
    """Return a question, in brackets, after the names that `name` may misspell; nothing where there are none."""
    spelt = {one.lower(): one for one in known}
    found = [spelt[one] for one in get_close_matches(str(name).lower(), spelt, 3, ALIKE)]
    return f" (did you mean {' or '.join(found)}?)" if found else ""
