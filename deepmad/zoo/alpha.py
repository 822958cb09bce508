"""Weights of the scales, as a spec gives them: a word, or a list of numbers."""

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.ranges import check
from deepmad.search_spaces.spaces import ALPHA_WORDS, AlphaWord


def _alpha(value: Any) -> Any:
    """Read weights of the scales: `uniform`, `last`, or a list of numbers."""
    if value is None or isinstance(value, tuple) or value in ALPHA_WORDS:
        return value
    if not isinstance(value, list) or not value:
        raise InputError(f"{shown(value)} is no list of weights like [1, 1, 1, 1, 8], nor uniform or last")
    return tuple(check("alpha", one, f"weight {place}") for place, one in enumerate(value, start=1))


_ALPHA: dict[str, Any] = {
    "anyOf": [
        {"enum": [*ALPHA_WORDS, None]},
        {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 1},
    ]
}
Alpha = Annotated[tuple[float, ...] | AlphaWord | None, BeforeValidator(_alpha), WithJsonSchema(_ALPHA)]
