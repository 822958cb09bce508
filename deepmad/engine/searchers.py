"""Other processes that search while one bounds."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from deepmad.engine.problems import Problem
from deepmad.engine.progress import Race
from deepmad.search_spaces.architectures import Architecture


class Searchers:
    """Other processes that search while this one bounds, each turn from a new seed."""

    def __init__(self, problem: Problem, count: int, seed: int) -> None:
        from loky import ProcessPoolExecutor  # needs no __main__ guard in the user's script

        self.pool = ProcessPoolExecutor(count)
        self.problem, self.count, self.seed = problem, count, seed
        self.running: list[Future[Architecture | None]] = []

    def turn(self, race: Race, seconds: float) -> None:
        """Take what finished, and start as many searches anew where there is time for them."""
        for future in [future for future in self.running if future.done()]:
            self.running.remove(future)
            race.offer(future.result())
        while len(self.running) < self.count and seconds > 0.5:
            self.seed += 1
            starts = (race.network,) if race.network and self.seed % 2 else ()
            self.running.append(self.pool.submit(_search, self.problem, self.seed, seconds, starts))


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
        searchers.pool.shutdown(kill_workers=True)
