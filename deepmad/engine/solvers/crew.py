"""Other processes that search, and work on open boxes, while this one bounds."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

from deepmad.engine.answers.progress import Race
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import Outcome, Share, Tree
from deepmad.search_spaces.architectures import Architecture

if TYPE_CHECKING:
    from deepmad.engine.solvers.search import Searcher

MOST_LOSSES = 3
"""Times that a process may be lost before the design goes on without any."""
MOST_PROPOSALS = 5
"""Networks of the bound that wait to be searched around."""
PROPOSAL_SECONDS, TURN_SECONDS = 1.5, 3.0
"""How long a search around one of them takes, and any other: the next one knows a better network to begin from."""
SHARE_SECONDS = 0.5
"""How long a process works on boxes before it hands back what is open."""
SEARCH_SHARE, LEAST_SEARCH_SHARE = 0.4, 0.1
"""The share of the time that goes to searches once there are boxes to work on, and what is left of it in the end: each
search in a row that brings nothing halves it."""
TURN_SHARE, LEAST_TURN_SECONDS = 0.25, 0.3
"""A search lasts this share of the time so far at most, for what closes at once needs none, and these seconds at least.
"""
WAIT_SECONDS = 0.1
"""How long the process that hands out boxes waits at once for one to come back, where it has none itself."""
TABLES_ARE_NO_LEAK = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e12"}
"""Where psutil is installed, loky restarts processes that grow by 300 MB, and warns; ours keep tables on purpose."""
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


@dataclass(frozen=True)
class _Job:
    """Something that runs in another process since `began`: a search, or work on a share of the open boxes."""

    future: "Future[Any]"
    share: Share | None
    began: float


class Crew:
    """Other processes that work while this one bounds: they search, each turn from a new seed, or bound as well.

    A process that is lost (something killed it, or the memory was full) costs the work that ran, and nothing else.
    All end where this process does, however that ends.
    """

    def __init__(self, problem: Problem, count: int, seed: int) -> None:
        self.problem, self.count, self.seed, self.losses = problem, count, seed, 0
        self.running: list[_Job] = []
        self.pool = self._opened()
        self.proposals = Proposals()
        self.searched = self.bounded = 0.0  # seconds of finished work
        self.fruitless = 0  # searches in a row that brought nothing

    def turn(self, race: Race, seconds: float, tree: Tree | None = None) -> None:
        """Take what finished, and give every process that is free something to do, where there is time for it."""
        if tree is not None and tree.idle:
            wait([job.future for job in self.running], WAIT_SECONDS, FIRST_COMPLETED)
        try:
            lost = self._take(race, tree)
            while not lost and len(self.running) < self.count and seconds > 0.5:
                self._start(race, seconds, tree)
        except BrokenProcessPool:  # while work was handed out
            lost = True
        if lost:
            self._begin_anew(tree)

    def close(self) -> None:
        """End all processes."""
        self.pool.shutdown(kill_workers=True)

    def _take(self, race: Race, tree: Tree | None) -> bool:
        """Take what finished; return whether a process was lost."""
        lost = False
        for job in [job for job in self.running if job.future.done()]:
            try:
                found = job.future.result()
            except BrokenProcessPool:
                lost = True
                continue
            self.running.remove(job)
            took = time.monotonic() - job.began
            if job.share is None or tree is None:
                self.searched += took
                before = race.best
                race.offer(found)
                self.fruitless = self.fruitless + 1 if race.best == before else 0
                continue
            self.bounded += took
            race.offer(found.met)
            for network in found.proposals:
                race.offer(network)
                self.proposals.add(network)
            tree.take_back(job.share, found)
        return lost

    def _start(self, race: Race, seconds: float, tree: Tree | None) -> None:
        """Give one process something to do: boxes where the searches had their share of the time, else a search."""
        search_share = max(LEAST_SEARCH_SHARE, SEARCH_SHARE / 2**self.fruitless)
        turn_to_bound = self.searched > search_share * (self.searched + self.bounded)
        share = tree.share() if tree is not None and turn_to_bound else None
        if share is not None:
            future = self.pool.submit(_bound, share, min(seconds, SHARE_SECONDS))
        else:
            self.seed += 1
            proposal = self.proposals.take()
            known = race.network if proposal is None and self.seed % 2 else None
            starts = tuple(network for network in (proposal, known) if network is not None)
            longest = min(
                seconds,
                TURN_SECONDS if proposal is None else PROPOSAL_SECONDS,
                max(LEAST_TURN_SECONDS, TURN_SHARE * race.seconds),
            )
            future = self.pool.submit(_search, self.seed, longest, starts)
        self.running.append(_Job(future, share, time.monotonic()))

    def _begin_anew(self, tree: Tree | None) -> None:
        """Have new processes for the next turn; none where too many were lost. Boxes that were out are open again."""
        self.close()
        for job in self.running:
            if job.share is not None and tree is not None:
                tree.take_back(job.share, None)
        self.running.clear()
        self.losses += 1
        if self.losses == MOST_LOSSES:
            self.count = 0
        else:
            self.pool = self._opened()

    def _opened(self) -> Any:
        """Return an executor with as many processes as there are to be."""
        from loky import ProcessPoolExecutor  # needs no __main__ guard in the user's script

        pool = ProcessPoolExecutor(
            self.count, initializer=_begin, initargs=(os.getpid(), self.problem), env=TABLES_ARE_NO_LEAK
        )
        for _ in range(self.count):  # they start at once, whenever the first work comes
            pool.submit(_ready)
        return pool


class _Here:
    """What a process of the crew works on; there is one for each process."""

    problem: Problem
    tree: Tree | None = None
    searcher: "Searcher | None" = None


def _begin(parent: int, problem: Problem) -> None:
    """Make this process one of a crew."""
    _Here.problem = problem
    _end_with(parent)


def _end_with(parent: int) -> None:
    """Let this process end as soon as its parent is gone: nobody waits for its networks any more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=watch, name="end-with-parent", daemon=True).start()


def _ready() -> None:
    """Load what the work needs."""
    from deepmad.engine.solvers import search  # noqa: F401


def _search(seed: int, seconds: float, starts: tuple[Architecture, ...]) -> Architecture | None:
    from deepmad.engine.solvers.search import Searcher

    if _Here.searcher is None:
        _Here.searcher = Searcher(_Here.problem)
    return _Here.searcher.search(seed=seed, seconds=seconds, starts=starts)


def _bound(share: Share, seconds: float) -> Outcome:
    """Work on open boxes; the tables are read once in a process."""
    if _Here.tree is None:
        _Here.tree = Tree(_Here.problem, lambda: None)
    end = time.monotonic() + seconds
    return _Here.tree.work_on(share, lambda: time.monotonic() >= end)


@contextmanager
def helped(problem: Problem, count: int, seed: int) -> Iterator[Crew | None]:
    """Yield a crew of `count` processes, ended with the block; None where there is no worker for one."""
    if count < 1:
        yield None
        return
    crew = Crew(problem, count, seed)
    try:
        yield crew
    finally:
        crew.close()
