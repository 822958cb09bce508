"""What `Auto` does where CP-SAT can express every limit: it solves, and evolution helps out where it finds nothing."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from deepmad.engine.answers.progress import Interrupted, OutOfMemoryError, Report, stopped
from deepmad.engine.answers.solutions import Solution, Status, found
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.solving import evolve
from deepmad.engine.solvers.exact import design_exactly
from deepmad.engine.solvers.nearest import with_fastest_met
from deepmad.engine.solvers.settings import Auto
from deepmad.search_spaces.architectures import Architecture
from deepmad.tasks.pace import slowness

EMPTY_HANDED_SHARE = 0.7
"""CP-SAT's share of the time as long as it has no network; the rest is for evolution."""
ENDING_SECONDS = 0.5
"""Seconds kept for what an evolution is at when its time is over."""
SPREAD_SECONDS = 5.0
"""Seconds from which on evolution has several islands, in processes: these take a second or more to start."""
LOADING_SECONDS = 0.6
"""Seconds of work that it takes to load and start an evolution, about; where there are less, there is none."""
FASTEST_SHARE, FASTEST_SECONDS = 0.05, 2.0
"""The share of the time, and the most seconds, kept to look for the fastest network where a latency cannot be met."""


def design_automatically(
    problem: Problem, solver: Auto, *, starts: Sequence[Architecture] = (), report: Report | None = None
) -> Solution:
    """Return the solution of CP-SAT, or of evolution where that found no network in its share of the time."""
    began, share = time.monotonic(), EMPTY_HANDED_SHARE
    exact = design_exactly(problem, solver.exact(), starts=starts, report=report, empty_handed_share=share)
    if exact.status is not Status.UNKNOWN:
        return exact
    looking = min(FASTEST_SHARE * solver.time_limit, FASTEST_SECONDS)
    left = solver.time_limit - ENDING_SECONDS - looking - (time.monotonic() - began)
    if solver.deterministic_limit is not None:
        left = math.inf
    elif left < LOADING_SECONDS * slowness():
        return exact
    joined = evolved_further(problem, exact, solver, left, starts=starts, report=report)
    if joined.architecture is not None:
        return joined
    return with_fastest_met(problem, joined, seconds=looking, seed=solver.seed)


def evolved_further(
    problem: Problem,
    exact: Solution,
    solver: Auto,
    seconds: float,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
) -> Solution:
    """Return what evolution finds within `seconds` where CP-SAT's solution `exact` has no network, with its bound.

    Raises `Interrupted` with what it found by then.
    """
    try:
        settings = solver.evolution(seconds)
        if seconds < SPREAD_SECONDS:
            settings = replace(settings, workers=1, islands=1)
        evolution = evolve(problem, settings, starts=starts, report=report)
    except (Interrupted, OutOfMemoryError) as stop:
        raise stopped(stop, _joined(problem, exact, stop.solution, solver.gap)) from stop
    return _joined(problem, exact, evolution, solver.gap)


def _joined(problem: Problem, exact: Solution, evolution: Solution, gap: float) -> Solution:
    """Return the network of an evolution, where it has one, with the bound of CP-SAT, which has none."""
    took = exact.seconds + evolution.seconds
    if evolution.architecture is None:
        return replace(exact, message=f"{exact.message}; evolution found none either", seconds=took)
    bound = math.inf if exact.bound is None else exact.bound
    network, info = evolution.architecture, evolution.solver
    solution = found(problem, network, bound, gap=gap, solver=info, seconds=took)
    why = f"evolution answered, since CP-SAT found no network in {exact.seconds:.0f} s"
    return replace(solution, message=f"{solution.message}; {why}")
