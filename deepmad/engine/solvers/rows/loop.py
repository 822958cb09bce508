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
from typing import TypeVar

from deepmad.engine.answers.claims import ContradictionError, require_bound
from deepmad.engine.answers.parts import RowCounts
from deepmad.engine.answers.progress import Interrupted, OutOfMemoryError, Race, Report, stopped
from deepmad.engine.answers.solutions import Solution, SolverInfo, relative_gap
from deepmad.engine.program.limits import require_counted
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.nearest import infeasible
from deepmad.engine.solvers.rows.exploring import Exploration, explore
from deepmad.engine.solvers.rows.families import families
from deepmad.engine.solvers.rows.ledger import Ledger, Node
from deepmad.engine.solvers.rows.pieces import Effort, Piece, Settled, settle
from deepmad.engine.solvers.settings import Rows
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS
from deepmad.search_spaces.rows import row_of
from deepmad.tasks import Failed, Outcome, Tasks, open_tasks

T = TypeVar("T")
R = TypeVar("R")

EXPLORED_SHARE, LEAST_EXPLORED_SECONDS = 0.2, 0.3
"""The share of the time for exploring rows, and the least seconds that a layout of strides gets of it."""
SMALL_EXPLORED_SECONDS, MOST_EXPLORED_SECONDS = 0.5, 10.0
"""The most seconds that a layout gets: in a small space, where the exact solver is soon done, and in a large one."""
EVOLVED_SHARE = 0.6
"""The share of the time for exploring rows where an evolution is asked for."""
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
    """One solve: families that wait, those that were dropped with their proof, and those that failed too often."""

    def __init__(self, problem: Problem, settings: Rows, report: Report | None) -> None:
        self.problem, self.settings = problem, settings
        self.limit = settings.deterministic_limit
        self.race = Race(problem, settings.gap, report, time.monotonic())
        self.ledger = Ledger(problem)
        self.waiting = [Node(family) for family in families(problem)]
        self.dropped: list[Node] = []
        self.given_up: list[Node] = []
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
        """All families; together they hold every row once."""
        return [*self.waiting, *self.dropped, *self.given_up]

    @property
    def proven_infeasible(self) -> bool:
        """Whether no row holds a feasible network."""
        return self.race.network is None and all(node.bound == -math.inf for node in self.nodes)

    def go(self, tasks: Tasks, starts: Sequence[Architecture]) -> None:
        """Explore the rows, then settle families until the gap is closed or the time is over."""
        self.workers = tasks.workers
        for network in starts:
            self.take(network, "start")
        self.explore(tasks)
        while batch := self.batch():
            self.settle(tasks, batch)

    def take(self, network: Architecture | None, found_by: str) -> None:
        """Take a network that was met. Raises `ContradictionError` where it refutes the bound of its row."""
        if network is not None and not self.problem.broken(network):
            row = row_of(network)
            for node in self.nodes:
                if node.family.holds(row):
                    # A bound leaves out what is no better than the best network, one that says "none" does not.
                    best = -math.inf if self.race.best is None or node.bound == -math.inf else self.race.best
                    require_bound(self.problem, ROW_BOUNDS, max(node.bound, best), network)
        self.ledger.offer(network, found_by)
        self.race.offer(network)

    def explore(self, tasks: Tasks) -> None:
        """Let an evolution look for good rows."""
        self.race.doing = "exploring rows"
        for _, outcome in self.outcomes(tasks, explore, self.explorations()):
            if isinstance(outcome, Failed):
                self.failure = outcome.reason
                continue
            for network in outcome.value:
                self.take(network, "evolution")

    def outcomes(self, tasks: Tasks, work: Callable[[T], R], items: Sequence[T]) -> Iterable[tuple[int, Outcome[R]]]:
        """Return the outcomes of work on items as they come.

        Under a limit in units of work they stand in the order of the items: of two networks that are as good the first
        is kept, and which that is must not depend on which worker was quicker.
        """
        if self.limit is None or tasks.workers == 1:
            return tasks.run(work, items)
        return enumerate(tasks.run_in_order(work, items))

    def explorations(self) -> list[Exploration]:
        """Return what to explore: every layout, some of them where they are too many, from several seeds where few."""
        nodes, evolution = self.waiting, self.settings.evolution
        seconds: float | None = None
        if self.limit is None:
            part = EXPLORED_SHARE if evolution is None else EVOLVED_SHARE
            share = max(part * self.left * self.workers, LEAST_EXPLORED_SECONDS)
            nodes = nodes[:: math.ceil(len(nodes) * LEAST_EXPLORED_SECONDS / share)]
            nodes = nodes * max(1, self.workers // len(nodes))
            seconds = share / len(nodes)
        wishes = []
        for place, node in enumerate(nodes):
            problem, seed = node.family.part_of(self.problem), self.settings.seed + place
            most = SMALL_EXPLORED_SECONDS if problem.small else MOST_EXPLORED_SECONDS
            own = seconds if seconds is None or evolution is not None else min(seconds, most)
            wishes.append(Exploration(problem, seed, own, GENERATIONS, self.starts(node), evolution))
        return wishes

    def starts(self, node: Node) -> tuple[Architecture, ...]:
        """Return the best network met of a family, where there is one."""
        best = self.ledger.best_in(node.family)
        return () if best is None else (best.network,)

    def batch(self) -> list[Node]:
        """Return the families to look at next, those of the largest bound first; none where the solve is over.

        Of equal bounds the family comes first in which the best network was met.
        """
        for node in [node for node in self.waiting if self.closed(node)]:
            self.waiting.remove(node)
            self.dropped.append(node)
        self.race.lower(max(node.bound for node in self.nodes), ROW_BOUNDS)
        if self.left <= 0:
            return []
        self.waiting.sort(key=self.order)
        return self.waiting[: self.workers]

    def order(self, node: Node) -> tuple[float, float]:
        """Return what families are sorted by."""
        best = self.ledger.best_in(node.family)
        return -node.bound, math.inf if best is None else -best.objective

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
            self.failure, node.failures = outcome.reason, node.failures + 1
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
            self.waiting += [Node(part, node.bound) for part in node.family.parts()]

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
