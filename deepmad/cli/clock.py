"""When a command began, and what its end takes: both count under a time limit, as does what it takes to load it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from deepmad.tasks.pace import slowness

_BEGAN: ContextVar[float] = ContextVar("began")
ENDING_SECONDS = 0.3
"""Seconds of work from the end of a solve to that of the process, about: write, print, end others, tear down."""
STAT = Path("/proc/self/stat")
"""Where Linux tells when a process was started, in ticks since the machine was, in the 20th field after its name."""


def process_began(loaded: float, stat: Path = STAT) -> float:
    """Return when this process was started by the monotonic clock; `loaded`, known to be later, where nobody tells."""
    try:
        ticks = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return loaded
    return min(loaded, time.monotonic() - age)


@contextmanager
def began_at(moment: float | None) -> Iterator[None]:
    """Let a command begin, by the monotonic clock now or at a moment before."""
    token = _BEGAN.set(time.monotonic() if moment is None else moment)
    try:
        yield
    finally:
        _BEGAN.reset(token)


def seconds_so_far() -> float:
    """Return the seconds since the command began; 0 outside of one."""
    now = time.monotonic()
    return now - _BEGAN.get(now)


def seconds_to_end(more: float = 0.0) -> float:
    """Return the seconds that the end takes at the pace of this machine, with `more` seconds of work before it."""
    return (ENDING_SECONDS + more) * slowness()
