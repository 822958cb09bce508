"""`design(problem, solver)`: a quick search, the exact program and a separate bound, one after the other.

The search finds good networks, CP-SAT proves the optimum where the space is small enough (and looks for a network
where the search met none), and branch and price over stages bounds the rest. None of them is trusted: every
network is recounted from its records.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from os import cpu_count
from typing import Any

from deepmad.engine.answers.progress import Race, Report
from deepmad.engine.answers.solutions import Solution, SolverInfo, Status, found, unused_limits
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.settings import Evolution
from deepmad.engine.solvers.nearest import Nearest, clash_message, nearest_each
from deepmad.engine.solvers.rows.settings import Rows
from deepmad.engine.solvers.searchers import Searchers, searching
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.tasks import check_place

SMALL_EXACT_SHARE = 0.7
"""CP-SAT's share of the time in a small space; the rest is for the separate bound, where it does not finish."""
FIRST_SEARCH_SECONDS, FIRST_SEARCH_SHARE = 4.0, 0.2
"""Enough for a round or two of the search on the largest presets, and its share of the time at most."""
SMALL_SEARCH_SECONDS = 1.0
SEARCH_SECONDS = 8.0
EXACT_SHARE = 0.1
"""CP-SAT's share of the time left on a large space in which the search met no feasible network."""
EXTRA_SECONDS = 10.0
"""Time at most that a solve goes on once the gap is closed, and no longer than it took so far: good enough is not
yet good, and the network delivered matters more than the seconds saved."""
CLOSING_SECONDS = 1.0
"""Time kept for ending the solve."""
BOUND_STEPS_PER_SEARCH = 25
SEARCH_ROUNDS = 1
GENERATIONS_A_UNIT = 20
"""Generations of evolution for a unit of deterministic work."""
LEAST_EXPLAINING_SECONDS, CLASH_SHARE = 10.0, 0.5
"""Seconds to say why there is no network, even past the time limit (but no longer than that again), and the share in
which the clash is looked for."""


@dataclass(frozen=True)
class CpSat:
    """Settings of the exact solver.

    `time_limit` is in wall-clock seconds, everything included; `deterministic_limit`, in CP-SAT's own
    units of work, replaces it and, with one worker, gives the same answer twice for a `seed`. `gap` is
    the relative gap at which the solve ends; `workers` defaults to the machine's cores.
    """

    time_limit: float = 60.0
    gap: float = 0.01
    workers: int | None = None
    seed: int = 0
    deterministic_limit: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.time_limit < math.inf:
            raise InputError(f"time_limit: {self.time_limit} is no positive number of seconds")
        if not 0 <= self.gap < math.inf:
            raise InputError(f"gap: {self.gap} is negative; 0.01 is one percent")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers: {self.workers} is below 1")
        if self.deterministic_limit is not None and not 0 < self.deterministic_limit < math.inf:
            raise InputError(f"deterministic_limit: {self.deterministic_limit} is no positive number")

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver."""
        return SolverInfo("cpsat", version("ortools"), self.seed, self.workers or cpu_count() or 1)


@dataclass(frozen=True)
class Auto:
    """Settings of the solver that chooses between the others: those of `CpSat`, which holds the proofs.

    CP-SAT answers where it can express every limit. Where one is a function (`Budget.extra`), evolution does, from
    CP-SAT's network without it and with CP-SAT's bound, which holds for the whole problem. Where CP-SAT met no network
    in 70 % of the time and has not proven that there is none, evolution gets the rest. `on` ("local", "ray" or
    "ray://HOST:PORT") is where evolution, rows and the calls of functions run, CP-SAT on this machine alone. Raises
    `InputError`.
    """

    time_limit: float = 60.0
    gap: float = 0.01
    workers: int | None = None
    seed: int = 0
    deterministic_limit: float | None = None
    on: str = "local"

    def __post_init__(self) -> None:
        self.exact()
        self.evolution(self.time_limit)

    def exact(self, share: float = 1.0) -> CpSat:
        """Return the settings of CP-SAT with a share of the time, or of the deterministic work."""
        work = self.deterministic_limit
        return CpSat(share * self.time_limit, self.gap, self.workers, self.seed, None if work is None else share * work)

    def evolution(self, seconds: float) -> Evolution:
        """Return the settings of evolution with so many seconds, or with generations under a deterministic limit."""
        work = self.deterministic_limit
        limits: dict[str, Any] = (
            {"time_limit": seconds} if work is None else {"generations": max(1, round(GENERATIONS_A_UNIT * work))}
        )
        return Evolution(**limits, seed=self.seed, workers=self.workers, on=self.on)

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver where CP-SAT answers."""
        return self.exact().info


Solver = Auto | CpSat | Evolution | Rows


class Interrupted(KeyboardInterrupt):
    """An interrupt during a solve; `solution` is the best so far."""

    def __init__(self, solution: Solution) -> None:
        super().__init__("interrupted")
        self.solution = solution


def design(
    problem: Problem,
    solver: Solver | None = None,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
) -> Solution:
    """Return the network of highest objective, with a proven bound on how far from the optimum it is.

    `solver` is `Auto` by default. Where strides are a choice, and with `Rows` as the solver, `design_rows` decides
    between the rows of block kinds and strides. An `Evolution` proves no bound: its solution is feasible, or unknown
    where it found no network. `starts` are networks to begin from; `report` is told of progress. Never raises for
    limits that cannot be met: the solution's status says so. Raises `InputError` where the solver cannot take a limit
    and where nothing can run at the place it names (`on`), and `Interrupted` (a `KeyboardInterrupt`) with the best so
    far on an interrupt.
    """
    solver = solver or Auto()
    if not isinstance(solver, CpSat):
        check_place(solver.on)
    if isinstance(solver, Rows) or not problem.space.strides_fixed:
        from deepmad.engine.solvers.rows.loop import design_rows

        return design_rows(problem, Rows.of(solver), starts=starts, report=report)
    if isinstance(solver, CpSat):
        return design_exactly(problem, solver, starts=starts, report=report)
    if problem.black_boxes:
        from deepmad.engine.solvers.blackbox.solving import design_with_calls

        return design_with_calls(problem, solver, starts=starts, report=report)
    if isinstance(solver, Evolution):
        from deepmad.engine.solvers.evolution.solving import evolve

        return evolve(problem, solver, starts=starts, report=report)
    from deepmad.engine.solvers.auto import design_automatically

    return design_automatically(problem, solver, starts=starts, report=report)


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
                return run.solution()
    except KeyboardInterrupt as interrupt:
        raise Interrupted(run.solution(interrupted=True)) from interrupt
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

    @property
    def left(self) -> float:
        """Seconds left; infinite where a deterministic limit rules."""
        if self.solver.deterministic_limit is not None:
            return math.inf
        share = self.empty_handed_share if self.race.network is None else 1.0
        return share * self.solver.time_limit - self.race.seconds

    def go(self, starts: Sequence[Architecture]) -> bool:
        """Run until the gap is closed or the time is over; return whether there is no feasible network."""
        for network in starts:
            self.race.offer(network)
        if self.problem.small:
            return self.go_small(starts)
        with searching(self.problem, self.workers - 1, self.solver.seed) as searchers:
            first = min(FIRST_SEARCH_SECONDS, FIRST_SEARCH_SHARE * self.left)
            if searchers:
                searchers.turn(self.race, first)
            self.search(first, self.solver.seed, starts)
            if self.race.network is None and self.exact(EXACT_SHARE):
                return True
            return self.bound(searchers)

    def go_small(self, starts: Sequence[Architecture]) -> bool:
        """As `go`, with most of the time for CP-SAT, in a space that it may search to the end."""
        self.search(min(SMALL_SEARCH_SECONDS, FIRST_SEARCH_SHARE * self.left), self.solver.seed, starts)
        if self.exact(SMALL_EXACT_SHARE):
            return True
        return self.bound(None)

    def search(self, seconds: float, seed: int, starts: Sequence[Architecture]) -> None:
        """Search in this process for a share of the time, or a fixed number of rounds."""
        from deepmad.engine.solvers.search import search

        self.race.doing = "searching"
        seconds = min(seconds, self.left)
        limited = self.solver.deterministic_limit is None
        self.race.offer(
            search(
                self.problem,
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
            return self.race.network is None
        self.race.offer(result.network)
        self.race.lower(result.bound)
        return False

    def bound(self, searchers: Searchers | None) -> bool:
        """Tighten the bound in this process while others search; return whether there is no network."""
        from deepmad.engine.solvers.bounds import tighten

        if self.race.closed or self.left <= CLOSING_SECONDS:
            return False
        ends: _End | None = None
        for count, step in enumerate(tighten(self.problem, lambda: self.race.best), start=1):
            self.race.doing = "bounding"
            if step.infeasible and self.race.network is None:
                return True
            self.race.offer(step.proposal)
            self.race.lower(step.bound)
            if searchers:
                searchers.turn(self.race, min(SEARCH_SECONDS, self.left - CLOSING_SECONDS))
            if ends is None and self.race.closed:
                ends = _End(2 * count, self.race.seconds + min(EXTRA_SECONDS, self.race.seconds))
            if step.done or self.race.gap == 0 or self.over(count, ends):
                return False
            if searchers is None and count % BOUND_STEPS_PER_SEARCH == 0:
                starts = [network for network in (step.proposal, self.race.network) if network]
                self.search(min(SEARCH_SECONDS / 2, self.left), self.solver.seed + count, starts)
        return False

    def over(self, steps: int, ends: "_End | None") -> bool:
        """Whether the bound has had its time, or its number of steps under a deterministic limit."""
        most = self.solver.deterministic_limit
        if most is not None:
            return steps >= min(10 * most, math.inf if ends is None else ends.steps)
        return self.left <= CLOSING_SECONDS or (ends is not None and self.race.seconds >= ends.seconds)

    def solution(self, *, interrupted: bool = False) -> Solution:
        """Return the solution around the best network so far."""
        race = self.race
        if race.network is None or race.best is None:
            return Solution(
                Status.UNKNOWN,
                "interrupted before a network was found"
                if interrupted
                else f"no network was found in {race.seconds:.0f} s, and none is proven impossible; "
                "give more time or loosen a limit",
                self.solver.info,
                race.seconds,
                bound=race.bound if math.isfinite(race.bound) else None,
                limits=unused_limits(self.problem),
            )
        return found(
            self.problem, race.network, race.bound, gap=self.solver.gap, solver=self.solver.info, seconds=race.seconds
        )

    def infeasible(self) -> Solution:
        """Return the solution of a problem without a feasible network: the limits that clash, the nearest feasible.

        Raises `Interrupted` with what is known by then.
        """
        from deepmad.engine.solvers.cpsat import clashes

        self.race.doing = "explaining"
        self.empty_handed_share = 1.0  # it is known now that no other solver finds one
        self.race.tell()
        least = min(LEAST_EXPLAINING_SECONDS, self.solver.time_limit)
        ends = time.monotonic() + max(self.left if math.isfinite(self.left) else 0.0, least)
        options = {"workers": self.workers, "seed": self.solver.seed}
        names: list[str] | None = None
        near: dict[str, Nearest] = {}
        try:
            names = clashes(self.problem, seconds=CLASH_SHARE * (ends - time.monotonic()), **options)
            near.update(nearest_each(self.problem, names, seconds=ends - time.monotonic(), **options))
        except KeyboardInterrupt as interrupt:
            raise Interrupted(self.without_network(names, near)) from interrupt
        return self.without_network(names, near)

    def without_network(self, clash: list[str] | None, near: Mapping[str, Nearest]) -> Solution:
        """Return the solution of a problem that has no network; `clash` is None where it is not known yet."""
        names = list(self.problem.limits()) if clash is None else clash
        return Solution(
            Status.INFEASIBLE,
            clash_message(self.problem, names, near),
            self.solver.info,
            self.race.seconds,
            limits=unused_limits(self.problem),
            clash=None if clash is None else tuple(clash),
            nearest={name: found.value for name, found in near.items()} or None,
        )
