"""Limits that are functions on the command line: `--limit module:function<=VALUE`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.named import named_function
from deepmad.search_spaces.units import any_quantity, quantity

if TYPE_CHECKING:
    from deepmad.engine.program.black_boxes import BlackBox


def function_limits(texts: Sequence[str], seconds: str) -> "tuple[BlackBox, ...]":
    """Return the limits that the options `texts` tell, each call with a time limit like 60 or 90s.

    The functions are imported, which runs their modules. Raises `InputError`.
    """
    from deepmad.engine.program.black_boxes import BlackBox, takes_of

    longest = quantity(seconds, "seconds", "--limit-seconds")
    boxes = []
    for text in texts:
        name, operator, value = (part.strip() for part in text.partition("<="))
        if not operator:
            raise InputError(
                f"--limit: {text!r} has no <=; write 'module:function<=VALUE' in quotes (for a least value, let the "
                "function return its negative)"
            )
        most = any_quantity(value, f"--limit {name}")
        try:
            function = named_function(name)
        except InputError as error:
            raise InputError(f"--limit: {error}") from error
        boxes.append(BlackBox(function, most, name, longest, takes_of(function.load())))
    return tuple(boxes)
