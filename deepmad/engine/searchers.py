"""Other processes that search while one bounds."""

from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from deepmad.engine.problems import Problem
from deepmad.engine.progress import Race
from deepmad.search_spaces.architectures import Architecture

MOST_LOSSES = 3
"""Times that a process may be lost before the design goes on without any."""


class Searchers:
    """Other processes that search while this one bounds, each turn from a new seed.

    A process that is lost (something killed it, or the memory was full) costs the searches that ran, and nothing else.
    """

    def __init__(self, problem: Problem, count: int, seed: int) -> None:
        from loky import ProcessPoolExecutor  # needs no __main__ guard in the user's script

        self._open = ProcessPoolExecutor
        self.pool = self._open(count)
        self.problem, self.count, self.seed, self.losses = problem, count, seed, 0
        self.running: list[Future[Architecture | None]] = []

    def turn(self, race: Race, seconds: float) -> None:
        """Take what finished, and start as many searches anew where there is time for them."""
        try:
            lost = self._take(race)
            if not lost:
                self._start(race, seconds)
        except BrokenProcessPool:  # while searches were handed out
            lost = True
        if lost:
            self._begin_anew()

    def close(self) -> None:
        """End all processes."""
        self.pool.shutdown(kill_workers=True)

    def _take(self, race: Race) -> bool:
        """Take what finished; return whether a process was lost."""
        lost = False
        for future in [future for future in self.running if future.done()]:
            self.running.remove(future)
            try:
                race.offer(future.result())
            except BrokenProcessPool:
                lost = True
        return lost

    def _start(self, race: Race, seconds: float) -> None:
        """Start as many searches as there are processes free, where there is time for them."""
        while len(self.running) < self.count and seconds > 0.5:
            self.seed += 1
            starts = (race.network,) if race.network and self.seed % 2 else ()
            self.running.append(self.pool.submit(_search, self.problem, self.seed, seconds, starts))

    def _begin_anew(self) -> None:
        """Have new processes for the next turn; none where too many were lost."""
        self.close()
        self.running.clear()
        self.losses += 1
        if self.losses == MOST_LOSSES:
            self.count = 0
        else:
            self.pool = self._open(self.count)


def _search(problem: Problem, seed: int, seconds: float, starts: tuple[Architecture, ...]) -> Architecture | None:
    from deepmad.engine.search import search

    return search(problem, seed=seed, seconds=seconds, starts=starts)


@contextmanager
def searching(problem: Problem, count: int, seed: int) -> Iterator[Searchers | None]:
    """Yield `count` searching processes, ended with the block; None where there is no worker for one."""
    if count < 1:
        yield None
        return
    searchers = Searchers(problem, count, seed)
    try:
        yield searchers
    finally:
        searchers.close()
