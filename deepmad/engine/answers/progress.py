"""What is known while a solve runs: the best network, the bound, and who is told."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from deepmad.engine.answers.claims import require_bound
from deepmad.engine.answers.solutions import (
    NOTHING_YET,
    WAY_OUT,
    Solution,
    SolverInfo,
    found,
    relative_gap,
    without_network,
)
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture


@dataclass(frozen=True)
class Progress:
    """One line of progress: best objective, upper bound, relative gap, seconds so far, and what is running.

    `warning` is something to be told that the solve goes on in spite of.
    """

    best: float | None
    bound: float | None
    gap: float | None
    seconds: float
    doing: str
    warning: str | None = None


Report = Callable[[Progress], None]

CP_SAT, BRANCH_AND_PRICE = "CP-SAT", "branch and price"
"""Who may claim a bound, or that there is no network."""


class Race:
    """The best network and the least upper bound so far; every network offered is checked anew.

    `start` is the clock's reading when the solve began, from which the time limit counts. A network above the bound
    raises `ContradictionError`, whichever comes first.
    """

    def __init__(self, problem: Problem, gap: float, report: Report | None, start: float) -> None:
        self.problem = problem
        self.gap_asked = gap
        self.report = report
        self.start = start
        self.network: Architecture | None = None
        self.best: float | None = None
        self.bound = math.inf
        self.bounded_by = ""
        self.doing = "starting"

    @property
    def seconds(self) -> float:
        """Seconds since the solve began."""
        return time.monotonic() - self.start

    @property
    def gap(self) -> float:
        """The relative gap between best and bound; infinite while either is missing."""
        return math.inf if self.best is None else relative_gap(self.best, self.bound)

    @property
    def closed(self) -> bool:
        """Whether the gap asked for is reached."""
        return self.gap <= self.gap_asked

    def offer(self, network: Architecture | None) -> None:
        """Take `network` if it is feasible and better than the best so far."""
        if network is None or self.problem.broken(network):
            return
        value = self.problem.value(network)
        require_bound(self.problem, self.bounded_by, self.bound, network, value)
        if self.best is None or value > self.best:
            self.network, self.best = network, value
            self.tell()

    def lower(self, bound: float | None, who: str) -> None:
        """Take the `bound` that `who` claims if it is the least so far; rounding may not take it below a network."""
        if bound is None or bound >= self.bound:
            return
        if self.network is not None and self.best is not None:
            require_bound(self.problem, who, bound, self.network, self.best)
            bound = max(bound, self.best)
        self.bound, self.bounded_by = bound, who
        self.tell()

    def update(self, network: Architecture | None, bound: float | None, _seconds: float) -> None:
        """Take a network and a bound at once, as the exact program reports them."""
        self.offer(network)
        self.lower(bound, CP_SAT)

    def tell(self, warning: str | None = None) -> None:
        """Report the state to whoever listens."""
        if self.report is not None:
            bound = self.bound if math.isfinite(self.bound) else None
            gap = self.gap if math.isfinite(self.gap) else None
            self.report(Progress(self.best, bound, gap, self.seconds, self.doing, warning))

    def solution(self, solver: SolverInfo, *, interrupted: bool = False) -> Solution:
        """Return the solution around the best network so far."""
        if self.network is not None:
            return found(
                self.problem, self.network, self.bound, gap=self.gap_asked, solver=solver, seconds=self.seconds
            )
        why = f"no network was found in {self.seconds:.0f} s, and none is proven impossible; {WAY_OUT}"
        return without_network(self.problem, NOTHING_YET if interrupted else why, solver, self.seconds, self.bound)


class Interrupted(KeyboardInterrupt):
    """An interrupt during a solve; `solution` is the best so far."""

    def __init__(self, solution: Solution) -> None:
        super().__init__("interrupted")
        self.solution = solution


class OutOfMemoryError(MemoryError):
    """Memory that was not to be had during a solve; `solution` is the best so far."""

    def __init__(self, solution: Solution) -> None:
        super().__init__("not enough memory")
        self.solution = solution


def stopped(stop: BaseException, solution: Solution) -> Interrupted | OutOfMemoryError:
    """Return what one of `STOPS` is raised as once there is a solution."""
    return OutOfMemoryError(solution) if isinstance(stop, MemoryError) else Interrupted(solution)
