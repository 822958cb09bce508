"""Work in a process of its own, so that a crash or a hang takes that work down and not the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from deepmad.search_spaces.errors import InputError
from deepmad.tasks.role import Done

T = TypeVar("T")


@dataclass(frozen=True)
class Broken:
    """What was done apart has no result, and why, in a sentence."""

    reason: str


def call_apart(function: Callable[..., T], *arguments: Any, limit_seconds: float | None = None) -> T | Broken:
    """Return what `function` returns in a new process, or why it returned nothing.

    The process shares no CUDA context and no library's state with this one or another. It is killed after
    `limit_seconds`, and ends where this process does, however that ends. A crash is told; nothing runs twice.
    """
    from deepmad.tasks.local import Processes
    from deepmad.tasks.pool import Pool

    with Pool(Processes(), workers=1, max_losses=1) as apart:
        try:
            [outcome] = apart.run_in_order(lambda given: function(*given), [arguments], seconds=limit_seconds)
        except InputError as error:
            return Broken(str(error))
    return outcome.value if isinstance(outcome, Done) else Broken(outcome.reason)
