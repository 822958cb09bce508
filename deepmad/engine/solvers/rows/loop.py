"""The memetic loop over rows: evolution looks for good ones, bounds drop what they can, the exact solver does the rest.

Rows are handled in families, all rows of a layout of strides at first. A family whose bound leaves nothing above the
best network known is dropped, and that bound is the proof for all of its rows; else it is split by a stage's block
kinds. A row that stands alone is searched and bounded for longer each time. The largest bound over all families
bounds the whole: this is branch and bound (Land and Doig, Econometrica 28(3), 1960) over rows.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from deepmad.engine.answers.claims import ContradictionError, require_bound
from deepmad.engine.answers.parts import RowCounts
from deepmad.engine.answers.progress import Interrupted, OutOfMemoryError, Race, Report, stopped
from deepmad.engine.answers.solutions import Solution, SolverInfo, relative_gap
from deepmad.engine.program.limits import require_counted
from deepmad.engine.program.problems import Problem
from deepmad.engine.program.recounts import recounted
from deepmad.engine.solvers.nearest import infeasible
from deepmad.engine.solvers.rows.exploring import Exploration, explore
from deepmad.engine.solvers.rows.families import Families, Family
from deepmad.engine.solvers.rows.ledger import Ledger, Met, Node
from deepmad.engine.solvers.rows.pieces import Effort, Piece, Settled, settle
from deepmad.engine.solvers.settings import Rows
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS
from deepmad.search_spaces.rows import Layout, row_of
from deepmad.tasks import Failed, Outcome, Tasks, open_tasks

T = TypeVar("T")
R = TypeVar("R")

EXPLORED_SHARE, LEAST_EXPLORED_SECONDS = 0.2, 0.3
"""The share of the time for exploring rows, and the least seconds that a layout of strides gets of it."""
SMALL_EXPLORED_SECONDS, MOST_EXPLORED_SECONDS = 0.5, 10.0
"""The most seconds that a layout gets: in a small space, where the exact solver is soon done, and in a large one."""
EVOLVED_SHARE = 0.6
"""The share of the time for exploring rows where an evolution is asked for."""
MOST_EXPLORED_SHARE = 0.7
"""The share of the time after which no more rows are explored, however long the workers took to start."""
GENERATIONS = 30
"""Generations a layout under a limit in units of work."""
FAMILY_SECONDS, ROW_SECONDS, SOLVE_SECONDS = 10.0, 6.0, 6.0
"""The most seconds for the bound of a family, of a row, and for a row's first solve; the next gets twice as many."""
FAMILY_WORK, ROW_WORK, SOLVE_WORK = 15.0, 40.0, 40.0
"""The same in units of work. A bound takes no more of these even where it has seconds left: it soon stalls."""
MOST_FAILURES = 2
ROW_BOUNDS = "the bounds of the rows"
"""Who claims what is proven of rows, CP-SAT or branch and price."""
CLOSING_SECONDS = 0.5
"""Time kept for ending the solve."""


def design_rows(
    problem: Problem,
    settings: Rows | None = None,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
) -> Solution:
    """Return the network of highest objective over all rows of the problem's space, with a bound over all of them.

    `starts` are networks to begin from; `report` is told of progress. `Solution.rows` says what was found and proven
    of which row. Raises `Interrupted` with the best so far on an interrupt, and `InputError` for a limit that is a
    function, and where `settings.on` names no place to work.
    """
    require_counted(problem, "a choice between rows")
    settings = settings or Rows()
    loop = _Loop(problem, settings, report)
    try:
        with open_tasks(settings.on, settings.workers) as tasks:
            loop.go(tasks, starts)
    except STOPS as stop:
        raise stopped(stop, loop.solution(interrupted=True)) from stop
    return loop.infeasible() if loop.proven_infeasible else loop.solution()


class _Loop:
    """One solve: families that wait, those that were dropped with their proof, and those that failed too often.

    Families are drawn as they are needed; of those that were not yet, nothing is proven.
    """

    def __init__(self, problem: Problem, settings: Rows, report: Report | None) -> None:
        self.problem, self.settings = problem, settings
        self.limit = settings.deterministic_limit
        self.race = Race(problem, settings.gap, report, time.monotonic())
        self.ledger = Ledger(problem)
        self.families = Families(problem)
        self.waiting: list[Node] = []
        self.dropped: list[Node] = []
        self.given_up: list[Node] = []
        self.of_layout: dict[Layout, list[Node]] = {}
        self.workers = settings.info.workers
        self.work = 0.0  # units spent so far
        self.pieces = 0
        self.failure = ""

    @property
    def left(self) -> float:
        """Seconds left; under a limit in units of work infinite until that is spent."""
        if self.limit is not None:
            return math.inf if self.work < self.limit else 0.0
        return self.settings.time_limit - CLOSING_SECONDS - self.race.seconds

    @property
    def nodes(self) -> list[Node]:
        """All families that were drawn; together with those that were not they hold every row once."""
        return [*self.waiting, *self.dropped, *self.given_up]

    @property
    def proven_infeasible(self) -> bool:
        """Whether no row holds a feasible network."""
        drawn = self.families.left == 0 and all(node.bound == -math.inf for node in self.nodes)
        return self.race.network is None and drawn

    def go(self, tasks: Tasks, starts: Sequence[Architecture]) -> None:
        """Explore the rows, then settle families until the gap is closed or the time is over."""
        self.workers = tasks.workers
        for network in starts:
            self.take(network, "start")
        self.explore(tasks)
        while batch := self.batch():
            self.settle(tasks, batch)

    def wait(self, nodes: Sequence[Node]) -> None:
        """Let families wait that were drawn, or split from another."""
        for node in nodes:
            self.waiting.append(node)
            self.of_layout.setdefault(node.family.strides, []).append(node)

    def draw(self, strides: Layout) -> None:
        """Draw the family of some strides, unless it was before."""
        if (family := self.families.draw(strides)) is not None:
            self.wait([Node(family)])

    def take(self, network: Architecture | None, found_by: str) -> None:
        """Take a network that was met. Raises `ContradictionError` where it refutes the bound of its row."""
        if network is None:
            return
        (counted,) = recounted(self.problem, [network])
        if counted.broken:
            return
        row = row_of(network)
        self.draw(row.strides)
        node = next(node for node in self.of_layout[row.strides] if node.family.holds(row))
        # A bound leaves out what is no better than the best network, one that says "none" does not.
        best = -math.inf if self.race.best is None or node.bound == -math.inf else self.race.best
        require_bound(self.problem, ROW_BOUNDS, max(node.bound, best), network, counted.value)
        node.best = max(node.best, counted.value)
        self.ledger.offer(Met(network, counted.value, found_by))
        if self.race.best is None or counted.value > self.race.best:
            self.race.offer(network)

    def explore(self, tasks: Tasks) -> None:
        """Let an evolution look for good rows, as many layouts at once as there are workers until its time is over."""
        self.race.doing = "exploring rows"
        chosen, seconds, worked = self.explored()
        ends, together = self.race.seconds + MOST_EXPLORED_SHARE * self.left, self.workers
        if self.limit is not None:
            ends, together = math.inf, len(chosen)
        for first in range(0, len(chosen), together):
            wishes = [
                self.exploration(place, chosen[place], seconds) for place in range(len(chosen))[first:][:together]
            ]
            for _, outcome in self.outcomes(tasks, explore, wishes):
                worked -= outcome.seconds
                if isinstance(outcome, Failed):
                    self.fail(outcome)
                    continue
                for network in outcome.value:  # best first
                    if self.left > 0 or self.race.best is None:
                        self.take(network, "evolution")
            if worked <= 0 or self.race.seconds >= ends:
                return

    def fail(self, outcome: Failed) -> None:
        """Keep why a piece of work failed, unless the end of the time cut it off."""
        if self.left > 0:
            self.failure = outcome.reason

    def outcomes(self, tasks: Tasks, work: Callable[[T], R], items: Sequence[T]) -> Iterable[tuple[int, Outcome[R]]]:
        """Return the outcomes of work on items as they come; what runs on past the end of the time is cut off.

        Under a limit in units of work they stand in the order of the items: of two networks that are as good the first
        is kept, and which that is must not depend on which worker was quicker. One worker works in this process, and
        cannot be cut off.
        """
        if tasks.workers == 1:
            return tasks.run(work, items)
        if self.limit is None:
            return tasks.run(work, items, until=self.race.start + self.settings.time_limit)
        return enumerate(tasks.run_in_order(work, items))

    def explored(self) -> tuple[list[Layout], float | None, float]:
        """Return the layouts to explore, each one's seconds (None for generations), and the seconds of all together.

        Under a limit on time some where they are too many, and several times where they are few.
        """
        evolution, layouts = self.settings.evolution, self.families.layouts
        if self.limit is not None:
            return list(layouts), None, math.inf
        part = EXPLORED_SHARE if evolution is None else EVOLVED_SHARE
        share = max(part * self.left * self.workers, LEAST_EXPLORED_SECONDS)
        chosen = self.families.spread(max(1, int(share / LEAST_EXPLORED_SECONDS)))
        chosen *= max(1, self.workers // len(chosen))
        return chosen, share / len(chosen), share

    def exploration(self, place: int, strides: Layout, seconds: float | None) -> Exploration:
        """Return what to explore of one layout; `place` tells it from others of the same strides."""
        node, evolution = self.of_strides(strides), self.settings.evolution
        problem, seed = node.family.part_of(self.problem), self.settings.seed + place
        if seconds is not None and evolution is None:
            seconds = min(seconds, SMALL_EXPLORED_SECONDS if problem.small else MOST_EXPLORED_SECONDS)
        local = self.limit is None and self.settings.on == "local"
        ends = self.race.start + self.settings.time_limit - CLOSING_SECONDS if local else math.inf
        return Exploration(problem, seed, seconds, GENERATIONS, self.starts(node), evolution, ends)

    def of_strides(self, strides: Layout) -> Node:
        """Return the family of a layout, drawn now if it was not before; none was split yet."""
        self.draw(strides)
        (node,) = self.of_layout[strides]
        return node

    def starts(self, node: Node) -> tuple[Architecture, ...]:
        """Return the best network met of a family, where there is one."""
        best = self.ledger.best_in(node.family)
        return () if best is None else (best.network,)

    def batch(self) -> list[Node]:
        """Return the families to look at next, those of the largest bound first; none where the solve is over.

        Of equal bounds the family comes first in which the best network was met, and those not drawn before come last.
        """
        closed = [node for node in self.waiting if self.closed(node)]
        self.dropped += closed
        self.waiting = [node for node in self.waiting if not self.closed(node)]
        if self.left > 0:
            unbounded = sum(node.bound == math.inf for node in self.waiting)
            self.wait([Node(family) for family in islice(self.families, max(0, self.workers - unbounded))])
        if self.families.left == 0:  # of a family that was not drawn nothing is proven
            self.race.lower(max(node.bound for node in self.nodes), ROW_BOUNDS)
        if self.left <= 0:
            return []
        self.waiting.sort(key=lambda node: (node.bound, node.best), reverse=True)
        return self.waiting[: self.workers]

    def closed(self, node: Node) -> bool:
        """Whether a family's bound leaves no more above the best network than the gap asked for."""
        if self.race.best is None:
            return node.bound == -math.inf
        return relative_gap(self.race.best, node.bound) <= self.settings.gap

    def settle(self, tasks: Tasks, batch: list[Node]) -> None:
        """Work on families, each in a process of its own, and keep what came of it."""
        self.race.doing = "bounding rows"
        self.race.tell()
        pieces = [self.piece(node) for node in batch]
        for place, outcome in self.outcomes(tasks, settle, pieces):
            self.keep(batch[place], outcome)
        self.work += sum(piece.effort.work for piece in pieces)

    def piece(self, node: Node) -> Piece:
        """Return the next piece of work on a family."""
        self.pieces += 1
        return Piece(
            node.family.part_of(self.problem),
            self.starts(node),
            self.race.best,
            self.settings.gap,
            self.settings.seed + self.pieces,
            self.effort(node),
        )

    def effort(self, node: Node) -> Effort:
        """Return how much the next piece of work on a family may take: a bound first, then ever longer solves."""
        more = 2.0 ** max(0, node.looks - 1)
        solves = node.family.row is not None and node.looks > 0
        if solves:
            seconds, work = SOLVE_SECONDS * more, SOLVE_WORK * more
        elif node.family.row is not None:
            seconds, work = ROW_SECONDS, ROW_WORK
        else:  # looked at again only where the first time did not suffice for any bound
            seconds, work = FAMILY_SECONDS * 2.0**node.looks, FAMILY_WORK
        if self.limit is None:
            return Effort(min(seconds, self.left), work, solves)
        return Effort(None, min(work, self.limit - self.work), solves)

    def keep(self, node: Node, outcome: Outcome[Settled]) -> None:
        """Take what a piece of work brought; split the family where that did not close it."""
        node.seconds += outcome.seconds
        if isinstance(outcome, Failed):
            self.fail(outcome)
            node.failures += 1
            if node.failures >= MOST_FAILURES:
                self.waiting.remove(node)
                self.given_up.append(node)
            return
        if outcome.value.contradiction:
            raise ContradictionError(outcome.value.contradiction)
        node.looks += 1
        node.bound = min(node.bound, outcome.value.bound)
        self.take(outcome.value.network, "cpsat")
        untold = self.limit is None and node.bound == math.inf  # the time did not suffice for a first bound
        if node.family.row is None and not untold and not self.closed(node):
            self.waiting.remove(node)
            self.of_layout[node.family.strides].remove(node)
            self.wait([self.part(node, family) for family in node.family.parts()])

    def part(self, node: Node, family: Family) -> Node:
        """Return a part of a family with its bound."""
        best = self.ledger.best_in(family)
        return Node(family, node.bound, -math.inf if best is None else best.objective)

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver."""
        return replace(self.settings.info, workers=self.workers)

    def solution(self, *, interrupted: bool = False) -> Solution:
        """Return the solution around the best network so far."""
        return self.told(self.race.solution(self.info, interrupted=interrupted))

    def told(self, solution: Solution) -> Solution:
        """Return the solution with what is known of the rows; its message counts them."""
        delivered = None if solution.architecture is None else row_of(solution.architecture)
        records = self.ledger.records(self.dropped, [*self.waiting, *self.given_up], delivered)
        counts = self.ledger.counts(self.dropped, records, delivered)
        message = f"{solution.message}; {_sentence(counts)}"
        if self.failure:
            message += f"; a piece of work failed: {self.failure}"
        return replace(solution, message=message, rows=records, row_counts=counts)

    def infeasible(self) -> Solution:
        """Return the solution of a problem that no row holds a network of: from which limits on there is one.

        Raises `Interrupted` with what is known by then.
        """
        try:
            return self.told(infeasible(self.race, self.settings, self.info, seconds=self.left, clashes=None))
        except (Interrupted, OutOfMemoryError) as stop:
            raise stopped(stop, self.told(stop.solution)) from stop


def _sentence(counts: RowCounts) -> str:
    """Return in words how many rows became what."""
    return (
        f"of {counts.total} rows {counts.dropped} were dropped by their bounds, {counts.open} are open and "
        f"{counts.not_looked_at} were not looked at"
    )
