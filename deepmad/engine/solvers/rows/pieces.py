"""Pieces of work on a family of rows, each done by one process: a bound, and good networks on the way."""

import math
import time
from dataclasses import dataclass

from deepmad.engine.answers.claims import ContradictionError
from deepmad.engine.answers.progress import BRANCH_AND_PRICE, CP_SAT, Race
from deepmad.engine.answers.solutions import relative_gap
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture

STEPS_A_UNIT = 10
"""Steps of branch and price that count as a unit of deterministic work."""
SEARCH_SHARE, EXACT_SHARE = 0.25, 0.5
"""In a piece that solves: the search's share of the time, and in a small space CP-SAT's share of what is then left."""
BOUND_SHARE, LAST_SHARE = 0.8, 0.3
"""In a piece that only bounds: the bound's share of the time, and, if that did not close it, a search's of the rest."""


@dataclass(frozen=True)
class Effort:
    """How much a piece may take: `seconds` or, where that is None, `work` in deterministic units.

    With `solve` the search comes first, and CP-SAT takes part where the space is small. Without, the bound takes no
    more than `work` even where there are seconds.
    """

    seconds: float | None
    work: float
    solve: bool


@dataclass(frozen=True)
class Piece:
    """A problem with one stride a stage, to be settled as far as `effort` goes.

    `floor` is the best objective known of any row (None: none is known): networks that are no better are of no
    interest. `gap` is the relative gap to it that may stay open.
    """

    problem: Problem
    starts: tuple[Architecture, ...]
    floor: float | None
    gap: float
    seed: int
    effort: Effort


@dataclass(frozen=True)
class Settled:
    """What a piece of work brought: a feasible network or None, and a bound.

    No feasible network of the piece's problem has an objective above the larger of `bound` and the piece's floor;
    `bound` is inf where nothing is proven and -inf where there is no feasible network. `contradiction` says what a
    network refuted, if one did: then neither counts.
    """

    network: Architecture | None
    bound: float
    contradiction: str = ""


def settle(piece: Piece) -> Settled:
    """Return the best network met in a piece's problem, and what is proven of it within the piece's effort."""
    work = _Work(piece)
    try:
        work.go()
    except ContradictionError as error:  # what a piece of work raises would count as its failure
        return Settled(None, math.inf, str(error))
    return Settled(work.race.network, work.race.bound)


class _Work:
    """One piece while it is worked on; each part does nothing once the piece is closed or its time is over."""

    def __init__(self, piece: Piece) -> None:
        self.piece, self.effort = piece, piece.effort
        self.race = Race(piece.problem, piece.gap, None, time.monotonic())
        for network in piece.starts:
            self.race.offer(network)

    def go(self) -> None:
        """Do the parts of the piece, one after the other."""
        if self.effort.solve:
            self.search(SEARCH_SHARE)
            if self.piece.problem.small:
                self.prove(EXACT_SHARE)
            self.bound(1.0)
        else:
            self.bound(BOUND_SHARE)
            self.search(LAST_SHARE)

    @property
    def known(self) -> float | None:
        """The best objective known, here or of any row; None where none is known."""
        return max((value for value in (self.race.best, self.piece.floor) if value is not None), default=None)

    @property
    def over(self) -> bool:
        """Whether the time is up, or no more is to be found here than the gap leaves open."""
        known, bound = self.known, self.race.bound
        closed = bound == -math.inf if known is None else relative_gap(known, bound) <= self.piece.gap
        return closed or self.left <= 0

    @property
    def left(self) -> float:
        """Seconds left; infinite under a limit in units of work."""
        return math.inf if self.effort.seconds is None else self.effort.seconds - self.race.seconds

    def seconds(self, share: float) -> float | None:
        """Return a share of the seconds left; None under a limit in units of work."""
        return None if self.effort.seconds is None else share * self.left

    def search(self, share: float) -> None:
        """Search for better networks, from the best one known on: one round under a limit in units of work."""
        from deepmad.engine.solvers.search import search

        if self.over:
            return
        seconds, starts = self.seconds(share), () if self.race.network is None else (self.race.network,)
        rounds = 1 if seconds is None else None
        self.race.offer(search(self.piece.problem, seed=self.piece.seed, seconds=seconds, rounds=rounds, starts=starts))

    def prove(self, share: float) -> None:
        """Let CP-SAT search a small space, to its end where the effort suffices."""
        from deepmad.engine.solvers.cpsat import solve

        if self.over:
            return
        seconds = self.seconds(share)
        result = solve(
            self.piece.problem,
            hint=self.race.network,
            seconds=seconds,
            deterministic_limit=self.effort.work if seconds is None else None,
            workers=1,
            seed=self.piece.seed,
            gap=self.piece.gap,
        )
        self.race.offer(result.network)
        self.race.lower(-math.inf if result.status == "infeasible" else result.bound, CP_SAT)

    def bound(self, share: float) -> None:
        """Tighten the bound until nothing above the floor is left or the effort is spent."""
        from deepmad.engine.solvers.bounds import tighten

        if self.over:
            return
        endless = self.effort.solve and self.effort.seconds is not None
        steps = math.inf if endless else STEPS_A_UNIT * self.effort.work
        spare = 0.0 if self.effort.seconds is None else (1 - share) * self.left
        end = time.monotonic() + self.left - spare
        for count, step in enumerate(tighten(self.piece.problem, lambda: self.known, end), start=1):
            self.race.offer(step.proposal)
            self.race.lower(step.bound, BRANCH_AND_PRICE)
            if step.done or self.over or self.left <= spare or count >= steps:
                return
