"""What a black-box limit is: a function of the user, the most that it may return, and how it is called."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from numbers import Real
from typing import TYPE_CHECKING, Literal, get_args

from deepmad.search_spaces.errors import InputError, unknown
from deepmad.search_spaces.ranges import check

if TYPE_CHECKING:
    from deepmad.search_spaces.architectures import Architecture

Takes = Literal["architecture", "module"]
CALL_SECONDS = 60.0
"""Seconds after which a call is given up, unless a limit says otherwise."""


@dataclass(frozen=True)
class BlackBox:
    """A limit that only a function knows: `function(network)` must return a number of at most `limit`.

    The function gets an `Architecture`, or with `takes="module"` the `torch.nn.Module` built from it (with random
    weights); by default what its first parameter is annotated with, an architecture where that says nothing. Where
    the limit is 0, it may also return True (kept) or False. It is called in other processes, once a network, and
    killed after `seconds`: an exception, an end by the clock, NaN, infinity or anything that is no number rules that
    network out and nothing else. `at_once` calls may run at a time; what is timed has to run alone. `name` is what the
    solution calls the limit, by default the function's name.
    Raises `InputError` for a function, limit or time that cannot be used.
    """

    function: Callable[..., object]
    limit: float = 0.0
    name: str = ""
    seconds: float = CALL_SECONDS
    takes: Takes | None = None
    at_once: int = 1

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"extra: {self.function!r} is no function; give a function or BlackBox(function, limit)")
        name = self.name or getattr(self.function, "__name__", type(self.function).__name__)
        object.__setattr__(self, "name", name)
        if isinstance(self.limit, bool) or not isinstance(self.limit, Real) or not math.isfinite(self.limit):
            raise InputError(f"{name}: the limit {self.limit!r} must be a finite number")
        check("time_limit", self.seconds, f"{name}: seconds")
        if self.takes is None:
            object.__setattr__(self, "takes", takes_of(self.function))
        check("workers", self.at_once, f"{name}: at_once")
        if self.takes not in get_args(Takes):
            raise InputError(f"{name}: takes: {unknown(self.takes, get_args(Takes))}")

    def excess(self, used: float) -> float:
        """Return by how much `used` is above the limit, as a share of the limit (absolute where that is 0)."""
        return max(0.0, used - self.limit) / (abs(self.limit) or 1.0)

    def number(self, answer: object) -> float:
        """Return what the function returned as a number. Raises `ValueError` that says why it is none."""
        value = _plain(answer)
        if isinstance(value, bool):
            if self.limit:
                raise ValueError(f"it returned {value}; to keep a limit of {self.limit:g} it has to be a number")
            return 0.0 if value else 1.0
        if not isinstance(value, Real):
            raise ValueError(f"it returned {type(answer).__name__}, not a number")
        if not math.isfinite(value):
            raise ValueError(f"it returned {float(value)}")
        return float(value)


def black_boxes(extra: Sequence[BlackBox | Callable[..., object]], taken: Collection[str]) -> tuple[BlackBox, ...]:
    """Return the extra limits of a budget; a plain function is one with the limit 0: it says whether it is kept.

    Raises `InputError` where two have one name, or one of the names `taken`.
    """
    if not isinstance(extra, Sequence):
        raise InputError(f"extra: {extra!r} is no list of limits; give [BlackBox(function, limit), ...]")
    boxes = tuple(one if isinstance(one, BlackBox) else BlackBox(one) for one in extra)
    seen = set(taken)
    for box in boxes:
        if box.name in seen:
            raise InputError(f"extra: two limits are called {box.name}; tell them apart with BlackBox(..., name=...)")
        seen.add(box.name)
    return boxes


def answer(item: "tuple[BlackBox, Architecture]") -> float:
    """Return what a black box's function says of a network. Raises whatever it raises, `ValueError` for no number."""
    box, network = item
    if box.takes == "module":
        from deepmad.search_spaces.torch_builder import build

        return box.number(box.function(build(network)))
    return box.number(box.function(network))


def _plain(answer: object) -> object:
    """Return the number in an array or a tensor of one element, and anything else as it is."""
    item = getattr(answer, "item", None)
    try:
        return item() if callable(item) else answer
    except (TypeError, ValueError, RuntimeError):  # several elements, or an `item` of another meaning
        return answer


def takes_of(function: Callable[..., object]) -> Takes:
    """Return what the function's first parameter is annotated with; PyTorch is not imported to find out."""
    try:
        first = next(iter(signature(function).parameters.values()), None)
    except (TypeError, ValueError):  # a function written in C may not tell
        return "architecture"
    annotation = Parameter.empty if first is None else first.annotation
    if isinstance(annotation, str):
        return "module" if annotation.rpartition(".")[2] == "Module" else "architecture"
    bases = getattr(annotation, "__mro__", ())
    is_module = any(base.__module__ == "torch.nn.modules.module" and base.__name__ == "Module" for base in bases)
    return "module" if is_module else "architecture"
