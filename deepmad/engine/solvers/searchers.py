"""Other processes that search while one bounds."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from threading import Thread
from typing import Any

from deepmad.engine.answers.progress import Race
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture

MOST_LOSSES = 3
"""Times that a process may be lost before the design goes on without any."""
MOST_PROPOSALS = 5
"""Networks of the bound that wait to be searched around."""
PROPOSAL_SECONDS, TURN_SECONDS = 1.5, 3.0
"""How long a search around one of them takes, and any other: the next one knows a better network to begin from."""
WATCH_SECONDS = 1.0
"""How often a searching process looks whether the one that started it still lives."""


class Proposals:
    """Networks near the bound's solutions, feasible or not, to search around: one of each frame, the newest first.

    A frame is what a network is but for its widths: block kinds, kernels and depths.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[tuple[str, int, int], ...]] = set()
        self._waiting: list[Architecture] = []

    def add(self, network: Architecture | None) -> None:
        """Keep a network whose frame is new, and forget the oldest where many wait."""
        if network is None:
            return
        frame = tuple((stage.block, stage.kernel, stage.depth) for stage in network.stages)
        if frame not in self._seen:
            self._seen.add(frame)
            self._waiting = [*self._waiting, network][-MOST_PROPOSALS:]

    def take(self) -> Architecture | None:
        """Return the newest network, which waits no longer; None where none does."""
        return self._waiting.pop() if self._waiting else None


class Searchers:
    """Other processes that search while this one bounds, each turn from a new seed.

    A process that is lost (something killed it, or the memory was full) costs the searches that ran, and nothing else.
    All end where this process does, however that ends.
    """

    def __init__(self, problem: Problem, count: int, seed: int) -> None:
        self.problem, self.count, self.seed, self.losses = problem, count, seed, 0
        self.pool = self._opened()
        self.running: list[Future[Architecture | None]] = []
        self.proposals = Proposals()

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
            proposal = self.proposals.take()
            known = race.network if proposal is None and self.seed % 2 else None
            starts = tuple(network for network in (proposal, known) if network is not None)
            longest = min(seconds, TURN_SECONDS if proposal is None else PROPOSAL_SECONDS)
            self.running.append(self.pool.submit(_search, self.problem, self.seed, longest, starts))

    def _begin_anew(self) -> None:
        """Have new processes for the next turn; none where too many were lost."""
        self.close()
        self.running.clear()
        self.losses += 1
        if self.losses == MOST_LOSSES:
            self.count = 0
        else:
            self.pool = self._opened()

    def _opened(self) -> Any:
        """Return an executor with as many processes as there are to be."""
        from loky import ProcessPoolExecutor  # needs no __main__ guard in the user's script

        return ProcessPoolExecutor(self.count, initializer=_end_with, initargs=(os.getpid(),))


def _end_with(parent: int) -> None:
    """Let this process end as soon as its parent is gone: nobody waits for its networks any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=watch, name="end-with-parent", daemon=True).start()


def _search(problem: Problem, seed: int, seconds: float, starts: tuple[Architecture, ...]) -> Architecture | None:
    from deepmad.engine.solvers.search import search

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
