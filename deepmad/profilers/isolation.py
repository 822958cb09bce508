"""Measuring in a process of its own, so that a crash takes one network down and not the rest."""

import pickle
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from deepmad.profilers.backends.role import first_line
from deepmad.profilers.measurements import Failure, Measurement, Request, measure_all

if TYPE_CHECKING:
    from deepmad.profilers.timing import Timer

Found = TypeVar("Found")


def measure_apart(request: Request, timer: "Timer") -> Measurement | Failure:
    """Prepare and time one network in a new process; return what it found, or why it failed."""
    found = call_apart(partial(_measured, request, timer))
    return Failure(request, found) if isinstance(found, str) else found


def call_apart(task: Callable[[], Found]) -> Found | str:
    """Return what a task finds in a new process, or a sentence on why it found nothing.

    The process starts afresh: it shares no CUDA context and no library's state with this one or another.
    """
    # A process of loky takes functions and modules of the caller's script, and does not run that script again.
    from loky.backend import get_context

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.pickle"
        process = get_context("loky").Process(target=_call_into, args=(path, task))
        try:
            process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            return f"the network cannot be sent to another process ({first_line(error)})"
        try:
            process.join()
        except BaseException:
            process.terminate()
            raise
        if not path.is_file():
            return f"its process {_end(process.exitcode)}"
        found: Found | str = pickle.loads(path.read_bytes())  # written by the process started above
        return found


def _measured(request: Request, timer: "Timer") -> Measurement:
    return measure_all([request], timer=timer)[0]


def _call_into(path: Path, task: Callable[[], object]) -> None:
    """Write what the task finds, or the reason why it finds nothing, where the parent looks for it."""
    try:
        result = task()
    except Exception as error:  # noqa: BLE001 - whatever a library raises costs this task only
        result = first_line(error)
    path.write_bytes(pickle.dumps(result))


def _end(exit_code: int | None) -> str:
    """Return in words how a process ended that left no result."""
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with code {exit_code}"
