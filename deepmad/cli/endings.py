"""How a program ends before its time: an interrupt, a signal to terminate, too little memory."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deepmad.search_spaces.errors import STOPS

INTERRUPTED, TERMINATED = 130, 143
"""The exit codes of a shell for SIGINT and SIGTERM."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which timeout, Slurm, systemd and docker stop send before they kill: it ends what Ctrl-C ends."""


def listen() -> None:
    """Raise `Terminated` on SIGTERM, once: while what was found is being written, another one changes nothing."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


@contextmanager
def keeping(kept: Callable[[], str]) -> Iterator[None]:
    """Let what ends the work inside before its time say what `kept` returns then."""
    try:
        yield
    except STOPS as stop:
        raise told(stop, kept()) from stop


def told(stop: BaseException, kept: str) -> KeyboardInterrupt | MemoryError:
    """Return what ended the work as an error that says what was kept of it."""
    return MemoryError(kept) if isinstance(stop, MemoryError) else KeyboardInterrupt(kept)


def ending(interrupt: KeyboardInterrupt) -> tuple[str, int]:
    """Return the line that an interrupt ends with, and the exit code; the interrupt may say what was kept."""
    cause: BaseException | None = interrupt
    while cause is not None and not isinstance(cause, Terminated):
        cause = cause.__cause__ or cause.__context__
    word, code = ("interrupted", INTERRUPTED) if cause is None else ("terminated", TERMINATED)
    return f"{word}: {interrupt}" if str(interrupt) else word, code
