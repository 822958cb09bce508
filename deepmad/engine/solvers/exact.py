"""Solving exactly: a quick search, branch and price, and the integer program where these two do not finish.

The search finds good networks, branch and price over stages bounds the rest; CP-SAT looks for a network where the
search met none, and searches a small space to its end where branch and price did not. None of them is trusted: every
network is recounted from its records.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from deepmad.engine.answers.claims import require_none
from deepmad.engine.answers.progress import BRANCH_AND_PRICE, CP_SAT, Race, Report, stopped
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.crew import PROPOSAL_SECONDS, SEARCH_SHARE, Crew, Proposals, helped
from deepmad.engine.solvers.nearest import infeasible
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS, InputError
from deepmad.tasks.pace import slowness

if TYPE_CHECKING:
    from deepmad.engine.solvers.search import Searcher

SMALL_BOUND_SHARE, SMALL_EXACT_SHARE = 0.4, 0.9
"""Branch and price's share of the time in a small space, and, where it does not finish, CP-SAT's of what is left.
Thinned presets of up to 1e9 networks take CP-SAT three to six times as long."""
BRIEF_SEARCH_SECONDS, FIRST_SEARCH_SECONDS, SECOND_SEARCH_SECONDS = 0.1, 0.3, 4.0
"""Seconds of the search before the bound, around scouted networks, where others search meanwhile and where none does,
beside a part of what scouting took: large spaces take longer to look at. And those of a second search where the first
met no feasible network."""
FIRST_SEARCH_SHARE = 0.2
"""The share of the time left that scouting, and each of these searches, may take."""
SMALL_SEARCH_SECONDS = 0.2
SEARCH_SECONDS = 8.0
EXACT_SHARE = 0.1
"""CP-SAT's share of the time left on a large space in which the search met no feasible network."""
EXTRA_SECONDS = 10.0
"""Time at most that a solve goes on once the gap is closed, and no longer than it took so far: good enough is not
yet good, and the network delivered matters more than the seconds saved."""
CLOSING_SECONDS = 1.0
"""Time kept for ending the solve."""
LOADING_SECONDS = 1.0
"""Seconds of work that it takes to load CP-SAT, about: what has less left goes without it."""
BOUND_STEPS_PER_SEARCH = 25
SEARCH_ROUNDS = 1


def design_exactly(
    problem: Problem,
    solver: CpSat,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
    empty_handed_share: float = 1.0,
) -> Solution:
    """Return what search, CP-SAT and branch and price make of the problem; see `design`.

    The solve ends after `empty_handed_share` of the time limit where there is no network by then. Raises `InputError`
    for a limit that only a function knows.
    """
    if problem.black_boxes:
        names = " and ".join(box.name for box in problem.black_boxes)
        raise InputError(f"solver: CP-SAT cannot express {names}, a function; choose auto (CP-SAT, then evolution)")
    run = _Solve(problem, solver, Race(problem, solver.gap, report, time.monotonic()), empty_handed_share)
    try:
        with _imports_interrupted():
            if not run.go(starts):
                return run.race.solution(solver.info)
    except STOPS as stop:
        raise stopped(stop, run.race.solution(solver.info, interrupted=True)) from stop
    return run.infeasible()


@contextmanager
def _imports_interrupted() -> Iterator[None]:
    """Raise an interrupt as what it is: a C++ module whose import it broke off turns it into an `ImportError`."""
    try:
        yield
    except ImportError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


@dataclass(frozen=True)
class _End:
    """Where a solve whose gap is closed ends: the bound's steps, and the seconds since it began."""

    steps: int
    seconds: float


class _Solve:
    """One solve: its settings and the race between best and bound."""

    def __init__(self, problem: Problem, solver: CpSat, race: Race, empty_handed_share: float) -> None:
        self.problem, self.solver, self.race = problem, solver, race
        self.workers = solver.info.workers
        self.empty_handed_share = empty_handed_share
        self.starts: Sequence[Architecture] = ()
        self.searcher: Searcher | None = None

    @property
    def left(self) -> float:
        """Seconds left; infinite where a deterministic limit rules."""
        if self.solver.deterministic_limit is not None:
            return math.inf
        share = self.empty_handed_share if self.race.network is None else 1.0
        return share * self.solver.time_limit - self.race.seconds

    @property
    def loadable(self) -> bool:
        """Whether there is time to load CP-SAT, at the pace of a machine that may be busy."""
        return self.left > LOADING_SECONDS * slowness()

    def go(self, starts: Sequence[Architecture]) -> bool:
        """Run until the gap is closed or the time is over; return whether there is no feasible network."""
        self.starts = starts
        for network in starts:
            self.race.offer(network)
        if self.problem.small:
            return self.go_small(starts)
        with helped(self.problem, self.workers - 1, self.solver.seed) as crew:
            around = [*starts, *self.scouted()]
            if crew:
                for network in around:
                    crew.proposals.add(network)
                crew.turn(self.race, min(SEARCH_SECONDS, self.left - CLOSING_SECONDS))
                self.search_around(around, BRIEF_SEARCH_SECONDS, 0.25)
            if crew is None or self.race.network is None:
                self.search_around(around, FIRST_SEARCH_SECONDS, 0.5)
            if self.race.network is None:
                self.search(SECOND_SEARCH_SECONDS, self.solver.seed, starts, FIRST_SEARCH_SHARE)
            if self.race.network is None and self.loadable and self.exact(EXACT_SHARE):
                return True
            return self.bound(crew)

    def go_small(self, starts: Sequence[Architecture]) -> bool:
        """As `go`, in a space that CP-SAT may search to the end, if branch and price does not."""
        self.search(SMALL_SEARCH_SECONDS, self.solver.seed, starts, FIRST_SEARCH_SHARE)
        if self.bound(None, SMALL_BOUND_SHARE):
            return True
        return not self.race.closed and self.exact(SMALL_EXACT_SHARE)

    def scouted(self) -> list[Architecture]:
        """Return networks near the optimum of a thin part of the space, feasible or not."""
        from deepmad.engine.solvers.search.scouting import scout

        self.race.doing = "searching"
        found, end = [], self.race.seconds + FIRST_SEARCH_SHARE * self.left
        for network in scout(self.problem, lambda: self.race.best, self.race.start + end):
            if network is not None:
                self.race.offer(network)
                found.append(network)
            if self.race.seconds >= end:
                break
        return found

    def search_around(self, starts: Sequence[Architecture], seconds: float, share: float) -> None:
        """Search from networks, if any, for some seconds and a share of the time so far."""
        if starts:
            self.search(seconds + share * self.race.seconds, self.solver.seed, starts, FIRST_SEARCH_SHARE)

    def search(self, seconds: float, seed: int, starts: Sequence[Architecture], share: float = 1.0) -> None:
        """Search in this process for some seconds, a share of those left at most, or for a fixed number of rounds."""
        from deepmad.engine.solvers.search import Searcher

        self.race.doing = "searching"
        self.searcher = self.searcher or Searcher(self.problem, self.race.start + self.race.seconds + self.left)
        seconds = min(seconds, share * self.left)
        limited = self.solver.deterministic_limit is None
        self.race.offer(
            self.searcher.search(
                seed=seed,
                seconds=seconds if limited else None,
                rounds=None if limited else SEARCH_ROUNDS,
                starts=starts,
                on_better=lambda network, _: self.race.offer(network),
            )
        )

    def exact(self, share: float) -> bool:
        """Give CP-SAT a share of the time left; return whether it proved that there is no network."""
        from deepmad.engine.solvers.cpsat import solve

        self.race.doing = "proving"
        limit = self.solver.deterministic_limit
        result = solve(
            self.problem,
            hint=self.race.network,
            seconds=max(share * self.left, 0.1) if limit is None else None,
            deterministic_limit=limit,
            workers=self.workers,
            seed=self.solver.seed,
            gap=self.solver.gap,
            on_progress=self.race.update,
        )
        if result.status == "infeasible":
            require_none(self.problem, CP_SAT, self.race.network)
            return True
        self.race.offer(result.network)
        self.race.lower(result.bound, CP_SAT)
        return False

    def bound(self, crew: Crew | None, share: float = 1.0) -> bool:
        """Tighten the bound for a share of the time left while others help; return whether there is no network."""
        from deepmad.engine.solvers.bounds import Tree

        if self.race.closed or self.left <= CLOSING_SECONDS:
            return False
        if crew:  # others search from here on; the tables take memory
            self.searcher = None
        ends: _End | None = None
        began, searched, until = self.race.seconds, 0.0, self.race.seconds + share * (self.left - CLOSING_SECONDS)
        proposals = crew.proposals if crew else Proposals()
        tree = Tree(self.problem, lambda: self.race.best, self.race.start + until)
        for count, step in enumerate(tree.steps(), start=1):
            self.race.doing = "bounding"
            if step.infeasible:
                require_none(self.problem, BRANCH_AND_PRICE, self.race.network)
                return True
            self.race.offer(step.proposal)
            self.race.lower(step.bound, BRANCH_AND_PRICE)
            proposals.add(step.proposal)
            if crew:
                crew.turn(self.race, min(SEARCH_SECONDS, self.left - CLOSING_SECONDS), tree)
            if ends is None and self.race.closed:
                ends = _End(2 * count, self.race.seconds + min(EXTRA_SECONDS, self.race.seconds))
            if step.done or self.race.gap == 0 or self.over(count, until, ends):
                return False
            if crew is None and self.turn_to_search(count, began, searched):
                before = self.race.seconds
                starts = [network for network in (proposals.take(), self.race.network) if network]
                self.search(PROPOSAL_SECONDS, self.solver.seed + count, starts)
                searched += self.race.seconds - before
        return False

    def turn_to_search(self, steps: int, began: float, searched: float) -> bool:
        """Whether a single worker searches now, `searched` seconds since the bound `began`: it has a share of the time.

        Under a deterministic limit it is one round now and then.
        """
        if self.solver.deterministic_limit is not None:
            return steps % BOUND_STEPS_PER_SEARCH == 0
        return searched + PROPOSAL_SECONDS < SEARCH_SHARE * (self.race.seconds - began)

    def over(self, steps: int, until: float, ends: "_End | None") -> bool:
        """Whether the bound has had its time, or its number of steps under a deterministic limit."""
        most = self.solver.deterministic_limit
        if most is not None:
            return steps >= min(10 * most, math.inf if ends is None else ends.steps)
        return (
            self.race.seconds >= until
            or self.left <= CLOSING_SECONDS
            or (ends is not None and self.race.seconds >= ends.seconds)
        )

    def infeasible(self) -> Solution:
        """Return the solution of a problem without a feasible network: the limits that clash, the nearest feasible.

        Raises `Interrupted` with what is known by then.
        """
        self.empty_handed_share = 1.0  # it is known now that no other solver finds one
        finding: Callable[..., list[str]] | None = None
        if self.loadable:
            from deepmad.engine.solvers.cpsat import clashes

            finding = partial(clashes, known=self.starts)
        return infeasible(self.race, self.solver, self.solver.info, seconds=self.left, clashes=finding)
