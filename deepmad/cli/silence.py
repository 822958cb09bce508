"""Signs of life: where a command says nothing for a few seconds, a line tells what it is at and for how long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

LONGEST_SILENCE = 4.0
"""Seconds without a line after which one is said."""
LOOK_SECONDS = 0.5
"""How often the thread looks."""


class Silence:
    """When a command last said something, and what it is at; `clock` gives seconds.

    Of works that lie inside each other the last one begun is told. While something moves on a terminal (`moving`),
    nothing has to be said.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._said = clock()
        self._works: list[Work] = []
        self._moving = 0

    def broken(self) -> None:
        """Take note that something is said now."""
        with self._lock:
            self._said = self._clock()

    def noted(self, note: str) -> None:
        """Keep what the work begun last has to tell; it is said with the next line at the latest."""
        with self._lock:
            if self._works:
                self._works[-1].note = note

    @contextmanager
    def at(self, what: str, *, moving: bool = False) -> Iterator["Work"]:
        """Be at a work until the block ends; `what` may change as it goes on."""
        with self._lock:
            work = Work(what, self._clock())
            self._works.append(work)
            self._moving += moving
        try:
            yield work
        finally:
            with self._lock:
                self._works.remove(work)
                self._moving -= moving

    def due(self) -> str | None:
        """Return the line that has to be said now; None where something was said lately, or moves."""
        with self._lock:
            now = self._clock()
            if self._moving or not self._works or now - self._said < LONGEST_SILENCE:
                return None
            self._said = now
            return self._works[-1].line(now)


class Work:
    """What a command is at, since when, and what it told last."""

    def __init__(self, what: str, began: float) -> None:
        self.what, self.began, self.note = what, began, ""

    def line(self, now: float) -> str:
        """Return what is said of the work."""
        last = f"; last {self.note}" if self.note else ""
        return f"{self.what}: {now - self.began:.0f} s so far{last}"


SILENCE = Silence()
"""That of this process: it has one standard error."""


@contextmanager
def never_silent(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Let `say` get a line whenever nothing else was said for `LONGEST_SILENCE`, until the block ends."""
    over = Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if (line := SILENCE.due()) is not None:
                say(line)

    thread = Thread(target=watch, name="never-silent", daemon=True)
    with SILENCE.at(what):
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
