"""When a command began: what it reads and prepares counts under a time limit, as does what it takes to load it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_BEGAN: ContextVar[float] = ContextVar("began")


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
