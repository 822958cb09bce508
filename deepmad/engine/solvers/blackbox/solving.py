"""Designing under black-box limits: a bound without them, networks worth a call, and evolution with calls.

Without its black boxes a problem is a relaxation of itself: CP-SAT solves that first, and its bound holds for the whole
problem. Its network is called for, then those that guesses aim at, and evolution starts from all of them.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from deepmad.engine.answers.limit_uses import unused
from deepmad.engine.answers.progress import Progress, Report, stopped
from deepmad.engine.answers.solutions import (
    NOTHING_YET,
    WAY_OUT,
    Solution,
    SolverInfo,
    Status,
    found,
    relative_gap,
    without_network,
)
from deepmad.engine.program.limits import without_black_boxes
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.alternatives import with_alternatives
from deepmad.engine.solvers.blackbox.calls import Calls, Screen, text
from deepmad.engine.solvers.blackbox.guide import Guess, guess, guided
from deepmad.engine.solvers.evolution.solving import evolve
from deepmad.engine.solvers.exact import design_exactly
from deepmad.engine.solvers.search import search
from deepmad.engine.solvers.settings import Auto, Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS, InputError
from deepmad.tasks import open_tasks

EXACT_SHARE = 0.3
"""CP-SAT's share of the time, for the problem without black boxes."""
ALTERNATIVES, ALTERNATIVES_GAP, ALTERNATIVES_SHARE = 5, 0.1, 0.1
"""Where CP-SAT's network breaks a limit: the networks near it, itself included, that are called for; how far below its
objective they may be; their share of the time left. The second is also how far above the limit it may be for that,
unless there is no guess to aim with instead."""
AIMS, AIMING_SHARE = 12, 0.5
"""Networks that guesses aim at, and their share of the time left."""
AIM, LOWER, ENOUGH = 0.98, 0.97, 0.955
"""The share of a black-box limit that a guess aims at; the factor by which it aims lower after it led to a network that
is known to break a limit; the share that is enough: a network that keeps the limit and uses so much ends the aiming."""
SEARCH_SECONDS, SEARCH_SHARE = 3.0, 0.05
"""Seconds of a search for such a network at most, and its share of the time limit."""
LEAST_SLACK, MOST_SLACK = 1.05, 1.5
"""How far above a limit (as a factor) a network may be guessed for evolution to look at it: never less than the first.
A guess so rough that it would need more than the second is left out."""


def design_with_calls(
    problem: Problem,
    solver: Auto | Evolution,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
) -> Solution:
    """Return the best network found that keeps all limits, those that only functions know included.

    Every network delivered was called for, in another process: its values are in the solution's limits, what became
    of all calls in `black_boxes`. With `Evolution` there is no bound. Raises as `design` does.
    """
    if isinstance(solver, Evolution) and solver.checkpoint is not None:
        raise InputError("checkpoint: an evolution that calls functions cannot go on from one; leave it out")
    began = time.monotonic()
    boxes = problem.black_boxes
    limit = _seconds(solver)
    ends = math.inf if limit is None else began + limit
    evolution = solver if isinstance(solver, Evolution) else solver.evolution(solver.time_limit)
    # Calls and islands take turns on the same workers: a second pool could wait for cores that the first one holds.
    workers = max(evolution.processes, *(box.at_once for box in boxes))
    run: _Run | None = None
    try:
        with open_tasks(on=solver.on, workers=workers) as tasks:  # to leave a cluster takes a while, too
            run = _Run(problem, solver, Screen(problem, Calls(boxes, tasks, ends=ends)), report, began)
            run.go(starts)
    except STOPS as stop:
        if run is None:
            raise
        raise stopped(stop, run.solution(interrupted=True)) from stop
    return run.solution()


def _seconds(solver: Auto | Evolution) -> float | None:
    """Return the solver's time limit, None where its work is limited instead."""
    work = solver.deterministic_limit if isinstance(solver, Auto) else solver.generations
    return solver.time_limit if work is None else None


class _Run:
    """One design: what CP-SAT told of the problem without black boxes, and the networks called for.

    `began` is the reading of the monotonic clock from which the time limit counts.
    """

    def __init__(
        self, problem: Problem, solver: Auto | Evolution, screen: Screen, report: Report | None, began: float
    ) -> None:
        self.problem, self.solver, self.screen, self.report = problem, solver, screen, report
        self.relaxed = without_black_boxes(problem)
        self.limit, self.began = _seconds(solver), began
        self.exact: Solution | None = None
        self.evolution: SolverInfo | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the design began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds left; infinite where work is limited instead."""
        return math.inf if self.limit is None else self.limit - self.seconds

    @property
    def bound(self) -> float:
        """The bound of the problem without black boxes; infinite where there is none."""
        return math.inf if self.exact is None or self.exact.bound is None else self.exact.bound

    @property
    def closed(self) -> bool:
        """Whether the best network is within the gap asked for."""
        best = self.screen.best
        return best is not None and relative_gap(self.problem.value(best), self.bound) <= self.solver.gap

    def go(self, starts: Sequence[Architecture]) -> None:
        """Run until the gap is closed, the time is over, or the rest is proven to have no network."""
        if starts:
            self.call_for(starts)
        if isinstance(self.solver, Auto):
            self.solve_exactly(self.solver, starts)
            if self.closed or (self.exact is not None and self.exact.status is Status.INFEASIBLE):
                return
        self.aim()
        if not self.closed and self.left > 0:
            self.evolve()

    def solve_exactly(self, solver: Auto, starts: Sequence[Architecture]) -> None:
        """Let CP-SAT solve the problem without black boxes; call for its network, and for others near it."""
        exact = solver.exact(EXACT_SHARE)
        self.exact = design_exactly(self.relaxed, exact, starts=starts, report=self.told)
        if self.exact.architecture is None:
            return
        (excess,) = self.call_for([self.exact.architecture])
        promising = excess <= ALTERNATIVES_GAP or not self.guesses(AIM)
        timed = self.limit is not None and self.left > 0
        if self.screen.best is None and promising and timed and self.relaxed.small:  # in large spaces it takes long
            near = replace(exact, gap=ALTERNATIVES_GAP)
            seconds = ALTERNATIVES_SHARE * self.left
            others = with_alternatives(self.relaxed, self.exact, ALTERNATIVES, near, seconds=seconds).alternatives
            self.call_for([other.architecture for other in others or ()])

    def call_for(self, networks: Sequence[Architecture]) -> list[float]:
        """Call the functions for networks; return how far each is above the limits."""
        excess = self.screen(networks)
        self.tell("calling functions")
        return excess

    def aim(self) -> None:
        """Call for the best networks that are guessed to keep the limits, guessing better with every call."""
        until, aim = self.seconds + AIMING_SHARE * self.left, AIM
        for _ in range(AIMS):
            guesses = self.guesses(aim)
            network = self.searched(guided(self.problem, guesses))
            if network is None or self.seconds > until:
                return
            if text(network) not in self.screen.seen:
                self.call_for([network])
                if self.closed or self.used_up(network):
                    return
            elif guesses and not self.kept(network):
                aim *= LOWER
            else:
                return

    def searched(self, problem: Problem) -> Architecture | None:
        """Return the best network that a quick search finds."""
        seconds = None if self.limit is None else min(SEARCH_SECONDS, SEARCH_SHARE * self.limit)
        starts = [self.screen.best] if self.screen.best else []
        return search(
            problem, seed=self.solver.seed, seconds=seconds, rounds=1 if seconds is None else None, starts=starts
        )

    def guesses(self, aim: float) -> list[Guess]:
        """Return guesses of what the functions return, made so that a network at a guess is at `aim` of the limit."""
        made = (guess(self.problem, box, self.observed(box.name)) for box in self.problem.black_boxes)
        return [one.looser(aim) for one in made if one is not None]

    def observed(self, name: str) -> list[tuple[Architecture, float]]:
        """Return the networks for which a function returned a number, with that number."""
        return [(network, called[name]) for network, called in self.screen.seen.values() if name in called]

    def kept(self, network: Architecture) -> bool:
        """Whether a network that was called for keeps all limits."""
        return not self.problem.broken(network, self.screen.seen[text(network)][1])

    def used_up(self, network: Architecture) -> bool:
        """Whether a network keeps all limits and nearly reaches that of a function."""
        called = self.screen.seen[text(network)][1]
        near = (box.limit > 0 and called[box.name] >= ENOUGH * box.limit for box in self.problem.black_boxes)
        return self.kept(network) and any(near)

    def evolve(self) -> None:
        """Give the time left to evolution, from all networks called for, among those not guessed far above a limit."""
        if isinstance(self.solver, Auto):
            settings = self.solver.evolution(max(self.left, 0.1))
        else:
            settings = self.solver if self.limit is None else replace(self.solver, time_limit=max(self.left, 0.1))
        self.evolution = settings.info
        slacks = [(one, max(LEAST_SLACK, 1 + 2 * one.error)) for one in self.guesses(1.0)]
        problem = guided(self.problem, [one.looser(slack) for one, slack in slacks if slack <= MOST_SLACK])
        starts = [network for network, _ in self.screen.seen.values()]
        tasks = self.screen.calls.tasks
        evolve(problem, settings, starts=starts, report=self.told, screen=self.judged, tasks=tasks)

    def judged(self, networks: Sequence[Architecture]) -> list[float]:
        """Return how far networks are above the limits; a new one that would not be the best is not worth a call."""
        best = self.screen.best
        floor = -math.inf if best is None else self.problem.value(best)
        worth = [one for one in networks if text(one) in self.screen.seen or self.problem.value(one) > floor]
        excess = dict(zip(map(text, worth), self.call_for(worth), strict=True))
        return [excess.get(text(network), math.inf) for network in networks]

    def told(self, progress: Progress) -> None:
        """Report the progress of a part of the design as that of the whole."""
        self.tell(progress.doing, math.inf if progress.bound is None else progress.bound)

    def tell(self, doing: str, bound: float = math.inf) -> None:
        """Report the best network that keeps all limits, and the least bound."""
        if self.report is None:
            return
        least = min(bound, self.bound)
        best = None if self.screen.best is None else self.problem.value(self.screen.best)
        gap = None if best is None or math.isinf(least) else relative_gap(best, least)
        self.report(Progress(best, None if math.isinf(least) else least, gap, self.seconds, doing))

    def solution(self, *, interrupted: bool = False) -> Solution:
        """Return the solution around the best network that keeps all limits, with what became of the calls."""
        info = self.evolution or (self.exact.solver if self.exact is not None else self.solver.info)
        records = self.screen.calls.records()
        if self.screen.best is None:
            return replace(self.without_network(info, interrupted), black_boxes=records)
        solution = found(
            self.problem,
            self.screen.best,
            self.bound,
            gap=self.solver.gap,
            solver=info,
            seconds=self.seconds,
            called=self.screen.called,
        )
        return replace(solution, message=f"{solution.message}; {self.why()}", black_boxes=records)

    def why(self) -> str:
        """Return in words which solver answered, and why."""
        names, best = " and ".join(box.name for box in self.problem.black_boxes), self.screen.best
        first = None if self.exact is None else self.exact.architecture
        if best is not None and first is not None and text(best) == text(first):
            return f"CP-SAT, which cannot express {names}, found it without; a call shows that it keeps that too"
        how = "a search" if self.evolution is None else "evolution"
        bound = "; its bound without holds" if math.isfinite(self.bound) else ""
        return f"{how} answered, since CP-SAT cannot express {names}{bound}"

    def without_network(self, info: SolverInfo, interrupted: bool) -> Solution:
        """Return the solution where no network that keeps all limits was found."""
        if self.exact is not None and self.exact.status is Status.INFEASIBLE:
            return replace(self.exact, limits=unused(self.problem), seconds=self.seconds)
        message = NOTHING_YET
        if not interrupted:
            names = " and ".join(box.name for box in self.problem.black_boxes)
            message = (
                f"no network that keeps the limit on {names} was found in {self.seconds:.0f} s among "
                f"{len(self.screen.seen)} called for, and none is proven impossible; {self.failures()}{WAY_OUT}"
            )
        return without_network(self.problem, message, info, self.seconds, self.bound)

    def failures(self) -> str:
        """Return in words how many calls failed, and one of the reasons, and how many did not end; nothing for none."""
        records = self.screen.calls.records().values()
        failed = sum(one.failed for one in records)
        reasons = [reason for one in records for reason in one.reasons]
        told = f"{failed} call(s) failed, like: {reasons[0]}; " if failed else ""
        if cut_off := self.screen.calls.cut_off:
            told += f"{cut_off} call(s) had not ended by then (--limit-seconds, a limit's seconds, ends them earlier); "
        return told
