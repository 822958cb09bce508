"""What it means to do many independent calls: asked in one way, wherever they run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Done(Generic[R]):
    """A call that returned `value`, after `seconds`."""

    value: R
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A call that has no value, the reason in one line, after `seconds`."""

    reason: str
    seconds: float


Outcome = Done[R] | Failed


class Tasks(Protocol):
    """Does many independent calls on `workers` workers, which it starts when they are needed and keeps.

    It is a context manager: at its end, and at the end of the program, its workers end too.
    """

    workers: int

    def run(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        seconds: float | None = None,
        until: float | None = None,
    ) -> Iterator[tuple[int, Outcome[R]]]:
        """Yield (index, outcome) of `function(item)` as calls finish, in any order, each index exactly once.

        `seconds` limits every single call, loading its function and item included: one that takes longer is killed
        and `Failed`. So is one that raises, and every one that is not over at `until`, by `time.monotonic`. A call
        whose worker is lost (a killed process, a lost machine) runs again elsewhere, twice at most, and is `Failed`
        then. Function, items and values travel by value: what a call changes in them is seen by no other call, and not
        here. The calls go on while the iterator is waited for; where it is given up, those that run are killed.

        Raises `InputError` for a limit that is no positive number, a function that cannot be sent to another process,
        and where another run is not over.
        """

    def run_in_order(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        seconds: float | None = None,
        until: float | None = None,
    ) -> list[Outcome[R]]:
        """Return the outcomes of `run` in the order of the items."""

    def close(self) -> None:
        """End all workers; nothing runs after it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
