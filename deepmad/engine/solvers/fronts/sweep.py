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
from deepmad.search_spaces.architectures import Architecture
from deepmad.tasks import Done, Tasks

TOLERANCES = (3e-3, 1e-3, 2e-4, 0.0)
"""What a tree leaves open, as a share of the best objective within its limit: one after the other, anew each time.

A tree is through with a wide tolerance in a fraction of the time, and the next one begins with its columns.
"""
PIECE_SECONDS, PIECE_NODES = 2.5, 25
"""How long a piece of work takes, or how many boxes it looks at where generations rule."""
PASSES = 4
"""Pieces of work on each limit at most where generations rule."""
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
    """A limit of the sweep, and the costs up to it, from `low` on.

    `charge` and `at` are those of its present tree, `share` what that has open, `closed` the bound on what it has
    closed; `level` counts the tolerances that it is through with.
    """

    low: float
    limit: float
    at: float
    charge: float = 0.0
    level: int = 0
    share: Share = field(default_factory=lambda: Share((), -math.inf, begun=False))
    closed: float = -math.inf
    proposals: tuple[Architecture, ...] = ()
    visits: int = 0
    failures: int = 0

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.level == len(TOLERANCES) or self.failures == MOST_FAILURES


class Sweep:
    """Bounds for limits along a front, `count` of them, and one for the problem itself.

    It begins from the networks `known`, of which there is one at least, and adds to them.
    """

    def __init__(self, known: Known, count: int, seed: int) -> None:
        self.known, self.seed, self.turns = known, seed, 0
        self.key = uuid4().hex
        self.warning: str | None = None
        problem, against = known.problem, known.against
        limit = problem.limits()[against]
        self.own = limit.value if limit.sense == "at most" and limit.value < UNREACHED else math.inf
        self.stretches = [Stretch(*ends) for ends in self._ends(count if chargeable(problem, against) else 0)]
        for stretch in self.stretches:
            stretch.level = len(TOLERANCES) - 1 if problem.small else 0
            self._set_out(stretch)

    def _ends(self, count: int) -> list[tuple[float, float, float]]:
        """Return the stretches' least cost, limit and the cost of the best network within it.

        The limits lie evenly along the networks' curve, seen in a square, so that lines follow it well.
        """
        costs, values = self.known.curve
        steps = np.diff(costs) / max(np.ptp(costs), 1e-300) + np.diff(values) / max(np.ptp(values), 1e-300)
        length = np.concatenate([[0.0], np.cumsum(steps)])
        wanted = np.linspace(0.0, length[-1], count + 1)[1:]
        rows = np.unique(np.searchsorted(length, wanted - 1e-9)) if len(costs) > 1 else np.empty(0, dtype=np.intp)
        ends = [float(cost) for cost in costs[rows]]
        lows = [float(costs[0]), *ends]
        top = float(costs[-1])
        return [*((low, end, end) for low, end in zip(lows, ends, strict=False)), (lows[-1], self.own, top)]

    @property
    def over(self) -> bool:
        """Whether all that could be proven is."""
        return all(stretch.over for stretch in self.stretches)

    def go(self, tasks: Tasks | None, end: float, told: Callable[[], None]) -> None:
        """Work until the clock (`time.monotonic`) is at `end`; `told` is called after every piece of work."""
        while not self.over and (left := end - time.monotonic()) > LEAST_SECONDS:
            self._work(self._chosen(1 if tasks is None else tasks.workers), tasks, min(PIECE_SECONDS, left), left)
            told()

    def go_by_nodes(self, tasks: Tasks | None, told: Callable[[], None]) -> None:
        """Give every limit the same number of boxes, whatever time that takes."""
        for _ in range(PASSES):
            self._work([stretch for stretch in self.stretches if not stretch.over], tasks, None, math.inf)
            told()

    def _chosen(self, count: int) -> list[Stretch]:
        """Return the stretches where work promises most: those of the largest area for the work done so far."""
        costs, values = self.known.curve

        def promise(stretch: Stretch) -> tuple[float, float]:
            low, high = max(stretch.low, float(costs[0])), min(stretch.limit, float(costs[-1]))
            size = area(costs, values, self.known.bounds, low, high).between if low < high else 0.0
            unseen = not stretch.visits and math.isinf(self._height(high))
            return (math.inf if unseen else size / (1 + stretch.visits)), stretch.limit

        return sorted((one for one in self.stretches if not one.over), key=promise, reverse=True)[:count]

    def _height(self, cost: float) -> float:
        return float(lowest(self.known.bounds, np.array([cost]))[0])

    def _work(self, chosen: list[Stretch], tasks: Tasks | None, seconds: float | None, left: float) -> None:
        """Do a piece of work on each of some stretches, and take what came of it."""
        pieces = [self._piece(stretch, seconds, left) for stretch in chosen]
        if tasks is None:
            for stretch, piece in zip(chosen, pieces, strict=True):
                self._take(stretch, work(piece))
            return
        for stretch, outcome in zip(chosen, tasks.run_in_order(work, pieces), strict=True):
            if isinstance(outcome, Done):
                self._take(stretch, outcome.value)
            else:
                stretch.failures, stretch.visits = stretch.failures + 1, stretch.visits + 1
                self.warning = f"work on a bound was lost: {outcome.reason}"

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
            TOLERANCES[stretch.level] * abs(best.value),
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
        if not found.share.nodes:
            stretch.level += 1
            self._set_out(stretch)

    def _set_out(self, stretch: Stretch) -> None:
        """Let a stretch begin a tree, its charge the slope of the networks' curve there."""
        stretch.share, stretch.closed = Share((), -math.inf, begun=False), -math.inf
        stretch.charge = 0.0 if stretch is self.stretches[-1] else self._slope(stretch)

    def _slope(self, stretch: Stretch) -> float:
        """Return the least slope from the curve at earlier limits to that at the stretch's."""
        here = self.known.best(stretch.limit).value
        lows = [one.low for one in self.stretches if one.low < stretch.limit]
        return max(0.0, min((here - self.known.best(low).value) / (stretch.limit - low) for low in lows))
