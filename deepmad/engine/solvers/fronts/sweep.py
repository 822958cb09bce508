"""The sweep over the limits of a front: where the next work is done, and what is known and proven so far."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

import numpy as np

from deepmad.engine.answers.claims import require_bound
from deepmad.engine.answers.progress import BRANCH_AND_PRICE
from deepmad.engine.program.problems import Problem
from deepmad.engine.program.recounts import recounted
from deepmad.engine.solvers.bounds import Share
from deepmad.engine.solvers.evolution.nondominated import fronts
from deepmad.engine.solvers.evolution.running import UNREACHED
from deepmad.engine.solvers.fronts.curves import Array, Bound, area, gap, lowest, needed
from deepmad.engine.solvers.fronts.pieces import Piece, Worked, chargeable, work
from deepmad.engine.solvers.fronts.planning import sections
from deepmad.search_spaces.architectures import Architecture
from deepmad.tasks import Done, Tasks

TOLERANCES = (3e-3, 1e-3, 2e-4, 0.0)
"""What trees leave open, as a share of the best objective within their limit, round after round, anew each time.

A tree is through with a wide tolerance in a fraction of the time, and the next one begins with its columns.
"""
PIECE_SECONDS, PIECE_NODES = 2.5, 25
"""How long a piece of work takes, or how many boxes it looks at where generations rule."""
PASSES = 4
"""Pieces of work on each limit at most where generations rule."""
MOST_VISITS = 8
"""Pieces of work on a limit in a round but the last."""
MOST_FAILURES = 3
"""Pieces on a limit that may fail before no more is tried there."""
LEAST_SECONDS = 0.5
"""Seconds that a piece is worth beginning for."""


@dataclass(frozen=True)
class Member:
    """A network of a front: recounted, with its objective and what it uses of the cost."""

    network: Architecture
    value: float
    used: float


class Known:
    """The networks of a front so far, each recounted from its layer records and held against every bound."""

    def __init__(self, problem: Problem, against: str) -> None:
        self.problem, self.against = problem, against
        self.members: list[Member] = []
        self.bounds: list[Bound] = []
        self.seen: set[Architecture] = set()

    def offer(self, networks: Sequence[Architecture]) -> None:
        """Take the networks that keep all limits and that no other one beats."""
        networks = [one for one in dict.fromkeys(networks) if one not in self.seen]
        counted = zip(networks, recounted(self.problem, networks), strict=True)
        news = [
            Member(network, found.value, float(found.usages[self.against].used))
            for network, found in counted
            if not found.broken
        ]
        self._hold(news)
        joined = [*self.members, *news]
        values, used = (np.array([getattr(one, name) for one in joined]) for name in ("value", "used"))
        self.members = [joined[row] for row in next(fronts(values, used), np.empty(0, dtype=np.intp))]
        self.seen.update(networks)

    def lower(self, bound: Bound) -> None:
        """Take a bound; rounding may not take it below a network."""
        self._hold(self.members, [bound])
        costs, values = self.curve
        short = values - bound.over(costs)
        rise = max(0.0, float(short.max())) if len(short) else 0.0
        low = float(costs[0]) if len(costs) else 0.0
        self.bounds = needed([*self.bounds, replace(bound, objective=bound.objective + rise)], low)

    @property
    def curve(self) -> tuple[Array, Array]:
        """The costs and the objectives of the networks, ascending."""
        return np.array([one.used for one in self.members]), np.array([one.value for one in self.members])

    @property
    def gap(self) -> float | None:
        """The area between networks and bounds over that under the bounds; None while one is missing."""
        return gap(*self.curve, self.bounds)

    def best(self, limit: float) -> Member:
        """Return the best network within a limit that one keeps."""
        return [member for member in self.members if member.used <= limit][-1]

    def _hold(self, members: Sequence[Member], bounds: Sequence[Bound] | None = None) -> None:
        """Hold networks against bounds, all by default. Raises `ContradictionError` where one is above."""
        bounds = self.bounds if bounds is None else bounds
        heights = lowest(bounds, np.array([member.used for member in members]))
        for member, height in zip(members, heights.tolist(), strict=True):
            if member.value > height:
                bound = min(bounds, key=lambda one: float(one.over(member.used)))
                who = f"{BRANCH_AND_PRICE} under {self.against} {bound.limit:.10g}"
                require_bound(self.problem, who, height, member.network, member.value)


@dataclass
class Stretch:
    """A limit of the sweep, and the costs up to it, from `low` on, with a `charge` for a unit of cost.

    `at` is a cost where its line is told, `share` what its tree has open, `closed` the bound on what that has closed.
    """

    low: float
    limit: float
    at: float
    charge: float
    share: Share = field(default_factory=lambda: Share((), -math.inf, begun=False))
    closed: float = -math.inf
    proposals: tuple[Architecture, ...] = ()
    visits: int = 0
    failures: int = 0

    @property
    def through(self) -> bool:
        """Whether nothing is left open, or work failed too often."""
        return (self.share.begun and not self.share.nodes) or self.failures == MOST_FAILURES


class Sweep:
    """Bounds for limits along a front, `count` of them, and one for the problem itself.

    It begins from the networks `known`, of which there is one at least, and adds to them. Once all limits are through
    with a tolerance, others are laid along the front known by then.
    """

    def __init__(self, known: Known, count: int, seed: int) -> None:
        self.known, self.seed, self.turns = known, seed, 0
        self.key = uuid4().hex
        self.warning: str | None = None
        problem, against = known.problem, known.against
        limit = problem.limits()[against]
        self.own = limit.value if limit.sense == "at most" and limit.value < UNREACHED else math.inf
        self.count = count if chargeable(problem, against) else 0
        self.round = len(TOLERANCES) - 1 if problem.small else 0
        self.stretches = self._laid()

    def _laid(self) -> list[Stretch]:
        """Return the stretches along the front, and behind them that of the problem itself, without a charge."""
        costs, values = self.known.curve
        laid = sections(costs, values, self.count) if self.count else []
        top = float(costs[-1])
        last = Stretch(top if laid else float(costs[0]), self.own, top, 0.0)
        return [*(Stretch(one.low, one.limit, one.limit, one.slope) for one in laid), last]

    @property
    def over(self) -> bool:
        """Whether all that could be proven is."""
        return self.round == len(TOLERANCES)

    def go(self, tasks: Tasks | None, end: float, told: Callable[[], None]) -> None:
        """Work until the clock (`time.monotonic`) is at `end`; `told` is called after every piece of work."""
        while not self.over and (left := end - time.monotonic()) > LEAST_SECONDS:
            self._work(self._chosen(1 if tasks is None else tasks.workers), tasks, min(PIECE_SECONDS, left), left)
            told()

    def go_by_nodes(self, tasks: Tasks | None, told: Callable[[], None]) -> None:
        """Give every limit the same number of boxes, whatever time that takes."""
        for _ in range(PASSES):
            if self.over:
                break
            self._work([stretch for stretch in self.stretches if not self._through(stretch)], tasks, None, math.inf)
            told()

    def _chosen(self, count: int) -> list[Stretch]:
        """Return the stretches where work promises most: those of the largest area for the work done so far."""
        costs, values = self.known.curve

        def promise(stretch: Stretch) -> tuple[float, float]:
            low, high = max(stretch.low, float(costs[0])), min(stretch.limit, float(costs[-1]))
            size = area(costs, values, self.known.bounds, low, high).between if low < high else 0.0
            unseen = not stretch.visits and math.isinf(self._height(high))
            return (math.inf if unseen else size / (1 + stretch.visits)), stretch.limit

        return sorted((one for one in self.stretches if not self._through(one)), key=promise, reverse=True)[:count]

    def _height(self, cost: float) -> float:
        return float(lowest(self.known.bounds, np.array([cost]))[0])

    def _work(self, chosen: list[Stretch], tasks: Tasks | None, seconds: float | None, left: float) -> None:
        """Do a piece of work on each of some stretches, and take what came of it."""
        pieces = [self._piece(stretch, seconds, left) for stretch in chosen]
        if tasks is None:
            for stretch, piece in zip(chosen, pieces, strict=True):
                self._take(stretch, work(piece))
        else:
            for stretch, outcome in zip(chosen, tasks.run_in_order(work, pieces), strict=True):
                if isinstance(outcome, Done):
                    self._take(stretch, outcome.value)
                else:
                    stretch.failures, stretch.visits = stretch.failures + 1, stretch.visits + 1
                    self.warning = f"work on a bound was lost: {outcome.reason}"
        if all(map(self._through, self.stretches)):
            self.round += 1
            if not self.over:
                self.stretches = self._laid()

    def _through(self, stretch: Stretch) -> bool:
        """Whether a stretch is done with in this round: a limit that is hard is left for the next one."""
        last = self.round == len(TOLERANCES) - 1
        return stretch.through or (stretch.visits >= MOST_VISITS and not last)

    def _piece(self, stretch: Stretch, seconds: float | None, left: float) -> Piece:
        self.turns += 1
        best = self.known.best(stretch.limit)
        aim = self._emptiest(stretch) if stretch.visits % 2 else stretch.limit
        worth = [one.value - stretch.charge * one.used for one in self.known.members if one.used <= stretch.limit]
        return Piece(
            self.key,
            self.known.problem,
            self.known.against,
            stretch.limit,
            stretch.charge,
            max(worth),
            TOLERANCES[self.round] * abs(best.value),
            stretch.share,
            () if seconds is None and stretch.visits else (*stretch.proposals[-1:], self.known.best(aim).network),
            aim,
            self.seed + self.turns,
            seconds,
            PIECE_NODES if seconds is None else None,
            left,
        )

    def _emptiest(self, stretch: Stretch) -> float:
        """Return the cost in the middle of the stretch's two neighbours with the largest area above the lower one."""
        costs, values = self.known.curve
        inside = (stretch.low <= costs) & (costs <= stretch.limit)
        costs, values = costs[inside], values[inside]
        if len(costs) < 2:
            return stretch.limit
        middles = (costs[:-1] + costs[1:]) / 2
        return float(middles[np.argmax((lowest(self.known.bounds, middles) - values[:-1]) * np.diff(costs))])

    def _take(self, stretch: Stretch, found: Worked) -> None:
        """Take what came of a piece of work on a stretch."""
        stretch.visits += 1
        self.known.offer(found.networks)
        stretch.proposals = found.networks
        if found.share is None:
            return
        stretch.share = found.share
        stretch.closed = max(stretch.closed, found.closed)
        height = max(stretch.closed, found.open) + stretch.charge * stretch.at
        self.known.lower(Bound(stretch.limit, stretch.at, height, stretch.charge))
