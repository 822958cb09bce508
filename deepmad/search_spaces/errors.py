"""The one error a user can cause, bad input, told in one line; and one line of any other error."""

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""What sets a terminal's colours in the messages of other libraries."""


class InputError(ValueError):
    """A value that cannot be used; the message names the value, the limit and the way out."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says without a terminal's colours, or its class where it says nothing."""
    return (_COLOURS.sub("", str(error)).strip().splitlines() or [type(error).__name__])[0]
