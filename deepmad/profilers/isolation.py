"""Work in a process of its own, so that a crash or a hang takes that work down and not the rest."""

import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from deepmad.profilers.backends.role import first_line
from deepmad.profilers.measurements import Failure, Measurement, Request, measure_all

if TYPE_CHECKING:
    from deepmad.profilers.timing import Timer

T = TypeVar("T")
WATCH_SECONDS = 1.0
"""How often a process looks whether the one that started it still lives."""


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


def call_apart(function: Callable[..., T], *arguments: Any, limit_seconds: float | None = None) -> T | Broken:
    """Return what `function` returns in a new process, or why it returned nothing.

    The process starts afresh: it shares no CUDA context and no library's state with this one or another. It is
    killed after `limit_seconds`, and ends where this process does, however that ends.
    """
    # A process of loky takes functions and modules of the caller's script, and does not run that script again.
    from loky.backend import get_context

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.pickle"
        process = get_context("loky").Process(target=_call_into, args=(path, os.getpid(), function, arguments))
        try:
            process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            return Broken(f"it cannot be sent to another process ({first_line(error)})")
        try:
            process.join(limit_seconds)
        except BaseException:
            process.terminate()
            raise
        if process.exitcode is None:
            assert process.pid is not None, "started"
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            return Broken(f"its process did not end within {limit_seconds:g} s")
        if not path.is_file():
            return Broken(f"its process {_end(process.exitcode)}")
        found: T | Broken = pickle.loads(path.read_bytes())  # written by the process started above
        return found


def _call_into(path: Path, parent: int, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Write what the function returns, or the reason why there is nothing, where the parent looks for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts both processes; the parent ends this one
    Thread(target=_end_with, args=(parent,), name="end-with-parent", daemon=True).start()
    result: object
    try:
        result = function(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever a library raises costs this call only
        result = Broken(first_line(error))
    path.write_bytes(pickle.dumps(result))


def _measure_one(request: Request, timer: "Timer", reference: bool, describe: bool) -> Measurement:
    return measure_all([request], timer=timer, reference=reference, describe=describe)[0]


def _end_with(parent: int) -> None:
    """End this process as soon as its parent is gone: nobody waits for its result any more."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _end(exit_code: int | None) -> str:
    """Return in words how a process ended that left no result."""
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with code {exit_code}"
