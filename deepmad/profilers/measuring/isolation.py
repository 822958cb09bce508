"""Work in a process of its own, so that a crash or a hang takes that work down and not the rest."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from deepmad.profilers.measuring.steps import Tell, untold
from deepmad.search_spaces.errors import InputError
from deepmad.tasks.role import Done

T = TypeVar("T")
KILLED = "killed by SIGKILL"
_LASTING, _BRIEF, _LAST = b"+", b"-", b"."
"""How lines begin: those worth telling for good, others, and the one that ends the listening."""
_READ_BYTES = 4096
_LONGEST_LINE = 500
"""Letters of a line: what a pipe takes at once, whole."""


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
    if isinstance(outcome, Done):
        return outcome.value
    killed = outcome.reason.endswith(KILLED)  # what a system that is short of memory does
    return Broken(f"{outcome.reason}, perhaps for want of memory: free some" if killed else outcome.reason)


@contextmanager
def heard(tell: Tell) -> Iterator[Tell]:
    """Yield what another process, started in the `with` block, can be given to tell its steps to `tell` here."""
    if tell is untold:
        yield untold
        return
    with ExitStack() as stack:
        try:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "steps"
            os.mkfifo(path)
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, reader)
            writer = os.open(path, os.O_WRONLY)  # kept open: a pipe without writers is at its end
            stack.callback(os.close, writer)
        except OSError:  # the steps are not worth a failure
            yield untold
            return
        os.set_blocking(reader, True)
        listener = Thread(target=_listen, args=(reader, tell), name="steps", daemon=True)
        listener.start()
        try:
            yield _Teller(path)
        finally:
            os.write(writer, _LAST + b"\n")
            listener.join()


@dataclass(frozen=True)
class _Teller:
    """Tells the process that waits at the other end of a pipe."""

    path: Path

    def __call__(self, step: str, *, lasting: bool = False) -> None:
        """Tell it, unless it is gone."""
        line = " ".join(step.split())[:_LONGEST_LINE]
        with suppress(OSError):
            pipe = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.set_blocking(pipe, True)
                os.write(pipe, (_LASTING if lasting else _BRIEF) + line.encode() + b"\n")
            finally:
                os.close(pipe)


def _listen(reader: int, tell: Tell) -> None:
    """Hand on the lines that come, until the last one."""
    pending = b""
    while True:
        *lines, pending = (pending + os.read(reader, _READ_BYTES)).split(b"\n")
        for line in lines:
            if line.startswith(_LAST):
                return
            with suppress(OSError):  # of a standard error that is closed, for one
                tell(line[1:].decode(errors="replace"), lasting=line.startswith(_LASTING))
