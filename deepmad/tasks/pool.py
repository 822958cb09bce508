"""Who does which call, for how long, and what becomes of a call whose worker is lost; wherever the workers are."""

import atexit
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from deepmad.search_spaces.errors import InputError
from deepmad.tasks.calls import call, packed, unpacked
from deepmad.tasks.role import Failed, Outcome

T = TypeVar("T")
R = TypeVar("R")
STARTED = b""
"""A worker's first message."""
MAX_LOSSES = 3
"""Workers that one call may cost: it runs again elsewhere twice."""


class Worker(Protocol):
    """A process, here or on another machine, that does one call at a time.

    It owes one message at a time: first `STARTED`, then the packed outcome of every call it began.
    """

    def begin(self, function: bytes, item: bytes) -> None:
        """Let it do a packed call; it owes no message before."""

    def dismiss(self) -> None:
        """Let it end by itself, and give back what it holds; it is at no call. `end` sees to it that it does end."""

    def end(self) -> None:
        """End it at once, whatever it does; one that was dismissed gets a little time."""


W = TypeVar("W", bound=Worker)


@dataclass(frozen=True)
class Lost:
    """Stands for the message of a worker that is gone, and says in a few words how it went."""

    how: str


class Workplace(Protocol[W]):
    """Where workers are: this machine, or a cluster."""

    def start(self) -> W:
        """Return a worker that is being started."""

    def wait(self, workers: Sequence[W], seconds: float | None) -> dict[W, bytes | Lost]:
        """Return all messages that are there, waiting for a first one for `seconds` at most (it may be less)."""

    def close(self) -> None:
        """Leave the place; its workers have ended."""


@dataclass(eq=False)
class _Call:
    """A call by the index of its item: the workers it has cost, and when it began the last time."""

    index: int
    losses: int = 0
    began: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began


class _Crew(Generic[W]):
    """The workers of a place, `size` at most, by what they do."""

    def __init__(self, place: Workplace[W], size: int) -> None:
        self.place, self.size = place, size
        self.starting: list[W] = []
        self.idle: list[W] = []
        self.busy: dict[W, _Call] = {}

    def grow(self, calls: int) -> None:
        """Start workers until there are as many as calls, or as there may be."""
        for _ in range(min(self.size, calls) - len(self.starting) - len(self.idle) - len(self.busy)):
            self.starting.append(self.place.start())

    def stop(self) -> None:
        """End the workers that are at a call."""
        while self.busy:
            self.busy.popitem()[0].end()

    def end(self) -> None:
        """End all workers."""
        self.stop()
        for worker in self.idle:
            worker.dismiss()
        for workers in (self.starting, self.idle):
            while workers:
                workers.pop().end()


class Pool(Generic[W]):
    """`Tasks` on the workers of one place.

    With `here`, one worker and no time limit, the calls run in this very process. `max_losses` is how many workers
    one call may cost.
    """

    def __init__(self, place: Workplace[W], workers: int, *, here: bool = False, max_losses: int = MAX_LOSSES) -> None:
        self.workers = workers
        self._here, self._max_losses = here, max_losses
        self._crew = _Crew(place, workers)
        self._open, self._running = True, False
        atexit.register(self.close)

    def run(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        seconds: float | None = None,
        until: float | None = None,
    ) -> Iterator[tuple[int, Outcome[R]]]:
        """Yield the outcomes of all calls; see `Tasks.run`."""
        if seconds is not None and not 0 < seconds < math.inf:
            raise InputError(f"seconds: {seconds} is no positive number of seconds; leave it out for no limit")
        self._check_open()
        if self._here and self.workers == 1 and seconds is None and until is None:
            return ((index, call(function, item)) for index, item in enumerate(items))
        limits = _Limits(seconds, math.inf if until is None else until, self._max_losses)
        return self._outcomes(_Run(self._crew, packed(function, "the function"), items, limits))

    def run_in_order(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        seconds: float | None = None,
        until: float | None = None,
    ) -> list[Outcome[R]]:
        """Return the outcomes of `run` in the order of the items."""
        outcomes = dict(self.run(function, items, seconds=seconds, until=until))
        return [outcomes[index] for index in range(len(items))]

    def close(self) -> None:
        """End all workers and leave the place; nothing runs after it."""
        if self._open:
            self._open = False
            atexit.unregister(self.close)
            try:
                self._crew.end()
            finally:  # an interrupt may come meanwhile
                self._crew.place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _outcomes(self, run: "_Run[W]") -> Iterator[tuple[int, Outcome[Any]]]:
        """Yield the outcomes of a run; where it is given up, the workers at its calls end."""
        if self._running:
            raise InputError("tasks: another run is not over; take all its outcomes first, or open other tasks")
        self._running = True
        try:
            yield from run.hand_out()
            while not run.over:
                self._check_open()
                yield from run.turn()
        except KeyboardInterrupt:
            self._crew.end()
            raise
        finally:
            self._running = False
            self._crew.stop()

    def _check_open(self) -> None:
        if not self._open:
            raise InputError("tasks: they are closed; open others")


@dataclass(frozen=True)
class _Limits:
    """What a call may take: seconds, until when by the monotonic clock, and the workers that it may cost."""

    seconds: float | None
    until: float
    losses: int


class _Run(Generic[W]):
    """One run of a packed function over items: the calls that wait, those that run, and what became of the others."""

    def __init__(self, crew: _Crew[W], function: bytes, items: Sequence[object], limits: _Limits) -> None:
        self.crew, self.function, self.items = crew, function, items
        self.seconds, self.until, self.max_losses = limits.seconds, limits.until, limits.losses
        self.waiting = deque(_Call(index) for index in range(len(items)))

    @property
    def over(self) -> bool:
        """Whether every call has an outcome."""
        return not self.waiting and not self.crew.busy

    def turn(self) -> list[tuple[int, Outcome[Any]]]:
        """Wait for workers and let them go on; return the calls that are over."""
        messages = self.crew.place.wait([*self.crew.starting, *self.crew.busy], self._patience())
        heard = [outcome for worker, message in messages.items() for outcome in self._hear(worker, message)]
        return [*heard, *self._cut(), *self.hand_out()]

    def hand_out(self) -> list[tuple[int, Outcome[Any]]]:
        """Give idle workers the calls that wait, start workers for the others; return the calls that cannot be sent."""
        unsent: list[tuple[int, Outcome[Any]]] = []
        while self.waiting and self.crew.idle:
            one = self.waiting.popleft()
            try:
                item = packed(self.items[one.index], "its input")
            except InputError as error:
                unsent.append((one.index, Failed(str(error), 0.0)))
                continue
            worker = self.crew.idle.pop()
            one.began = time.monotonic()
            self.crew.busy[worker] = one
            worker.begin(self.function, item)
        self.crew.grow(len(self.waiting) + len(self.crew.busy))
        return unsent

    def _patience(self) -> float | None:
        """Return the seconds until the first call is over its time; None where none has a limit."""
        left = self.until - time.monotonic()
        if self.seconds is not None and self.crew.busy:
            left = min(left, self.seconds - max(one.seconds for one in self.crew.busy.values()))
        return None if left == math.inf else max(0.0, left)

    def _hear(self, worker: W, message: bytes | Lost) -> list[tuple[int, Outcome[Any]]]:
        """Take a worker's message; return the call that is over with it, if there is one."""
        if worker in self.crew.starting:
            self.crew.starting.remove(worker)
        one = self.crew.busy.pop(worker, None)
        if isinstance(message, Lost):
            worker.end()
            return self._lose(one, message.how)
        self.crew.idle.append(worker)
        if one is None:  # it has started
            return []
        outcome = unpacked(message)
        if self.seconds is not None and outcome.seconds > self.seconds:  # it ended while nobody looked
            outcome = Failed(self._too_long(), outcome.seconds)
        return [(one.index, outcome)]

    def _lose(self, one: _Call | None, how: str) -> list[tuple[int, Outcome[Any]]]:
        """Let the call of a lost worker run again elsewhere, or return it where it has cost too many.

        A worker lost before its first call is one that the next call has cost, so that a run ends also where no
        worker can be started.
        """
        if one is None:
            if not self.waiting:
                return []
            one = self.waiting.popleft()
            one.began = time.monotonic()
        one.losses += 1
        if one.losses >= self.max_losses:
            return [(one.index, Failed(f"its process died: {how}", one.seconds))]
        self.waiting.appendleft(one)
        return []

    def _cut(self) -> list[tuple[int, Outcome[Any]]]:
        """End the workers whose call is over its time; return these calls, and those that wait after the end of all."""
        ended = time.monotonic() >= self.until
        most = math.inf if self.seconds is None else self.seconds
        over = {worker: one for worker, one in self.crew.busy.items() if ended or one.seconds >= most}
        for worker in over:
            worker.end()
            del self.crew.busy[worker]
        if not ended:
            return [(one.index, Failed(self._too_long(), one.seconds)) for one in over.values()]
        late = [(one.index, one.seconds) for one in over.values()] + [(one.index, 0.0) for one in self.waiting]
        self.waiting.clear()
        return [(index, Failed("the time was over", seconds)) for index, seconds in late]

    def _too_long(self) -> str:
        return f"took longer than {self.seconds:g} s"
