"""Work in a process of its own, so that a crash or a hang takes that work down and not the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from deepmad.profilers.measuring.measurements import Failure, Measurement, Request, measure_all
from deepmad.search_spaces.errors import InputError
from deepmad.tasks.role import Done

if TYPE_CHECKING:
    from deepmad.profilers.measuring.timing import Timer

T = TypeVar("T")


@dataclass(frozen=True)
class Broken:
    """What was done apart has no result, and why, in a sentence."""

    reason: str


def measure_apart(
    request: Request,
    timer: "Timer",
    *,
    reference: bool = False,
    describe: bool = False,
    limit_seconds: float | None = None,
) -> Measurement | Failure:
    """Prepare and time one network in a new process; return what it found, or why it failed.

    The reference network, where it is asked for, runs before and after in the same process.
    """
    found = call_apart(_measure_one, request, timer, reference, describe, limit_seconds=limit_seconds)
    return Failure(request, found.reason.removeprefix(f"{request.label}: ")) if isinstance(found, Broken) else found


def measure_both_apart(
    request: Request, companion: Request, timer: "Timer", *, limit_seconds: float | None = None
) -> tuple[Measurement, Measurement] | Failure:
    """Time two networks in turns in a new process; return what was found about each, or why that failed."""
    found = call_apart(_measure_both, request, companion, timer, limit_seconds=limit_seconds)
    return Failure(request, found.reason.removeprefix(f"{request.label}: ")) if isinstance(found, Broken) else found


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


def _measure_one(request: Request, timer: "Timer", reference: bool, describe: bool) -> Measurement:
    return measure_all([request], timer=timer, reference=reference, describe=describe)[0]


def _measure_both(request: Request, companion: Request, timer: "Timer") -> tuple[Measurement, Measurement]:
    first, second = measure_all([request, companion], timer=timer, reference=False)
    return first, second
