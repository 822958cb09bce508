"""Explanation: what limits and corners cost, told by designing again with one limit looser, or one corner left."""

import time
from collections.abc import Iterator
from dataclasses import replace

from deepmad.engine.answers.corners import Leaving, Step, steps
from deepmad.engine.answers.parts import Sensitivity
from deepmad.engine.answers.progress import Progress, Report, stopped
from deepmad.engine.answers.solutions import Solution, Status
from deepmad.engine.design import design
from deepmad.engine.program.limits import require_counted, with_limit
from deepmad.engine.program.measures import used_up
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS

LOOSER = 0.1
"""How much looser a limit is made."""
LIMITS_SHARE = 0.5
"""The limits' share of the time where there are corners to leave too."""


def explain(
    problem: Problem, solution: Solution, solver: CpSat, *, seconds: float, report: Report | None = None
) -> Solution:
    """Return the solution with what a 10 % looser limit would gain, and what leaving its corners would cost.

    Every limit in force is loosened alone, and every corner is left alone, by the nearest step inside; each of these
    problems is designed from the solution's network on. The limits share half of `seconds` (or of the solver's
    deterministic limit) evenly, the corners what is left then. What it took is added to the solution's seconds. Raises
    `Interrupted` with the solution and what is explained so far.
    """
    require_counted(problem, "an explanation")
    network = solution.architecture
    if network is None:
        return solution
    began, names, corners = time.monotonic(), list(problem.limits()), solution.corners or ()
    ways = [(place, step) for place, corner in enumerate(corners) for step in steps(problem.space, network, corner)]
    share = LIMITS_SHARE if ways else 1.0
    known: dict[str, Sensitivity] = {}
    costs: dict[int, list[Leaving]] = {}

    def told() -> Solution:
        explained = [
            replace(corner, leaving=tuple(costs[place])) if place in costs else corner
            for place, corner in enumerate(corners)
        ]
        return replace(solution, explanation=known, corners=tuple(explained))

    try:
        for name, settings in zip(names, _turns(solver, share, share * seconds, len(names)), strict=False):
            looser = _saying(report, f"{name} {LOOSER:.0%} looser")
            known[name] = _sensitivity(problem, name, network, settings, looser)
        left = began + seconds - time.monotonic()
        for (place, step), settings in zip(ways, _turns(solver, 1 - share, left, len(ways)), strict=False):
            costs.setdefault(place, []).append(_leaving(problem, step, solution, settings, report))
    except STOPS as stop:
        # What another problem had found is no solution of this one.
        raise stopped(stop, told()) from stop
    return replace(told(), seconds=solution.seconds + time.monotonic() - began)


def _turns(solver: CpSat, share: float, seconds: float, count: int) -> Iterator[CpSat]:
    """Yield the settings of so many solves: each gets an even part of the seconds left, fewer where none are.

    Where the solver's work is limited, each gets an even part of a share of that.
    """
    work, ends = solver.deterministic_limit, time.monotonic() + seconds
    for to_come in range(count, 0, -1):
        left = ends - time.monotonic()
        if work is not None:
            yield replace(solver, deterministic_limit=share * work / count, gap=0.0)
        elif left > 0:
            yield replace(solver, time_limit=left / to_come, gap=0.0)


def loosened(problem: Problem, name: str) -> Problem:
    """Return the problem with the limit `name` 10 % looser: one from below 10 % lower, all others 10 % higher."""
    limit, budget = problem.limits()[name], problem.budget
    if name != "latency_seconds":
        return with_limit(problem, name, (1 + limit.sign * LOOSER) * limit.value)
    if budget.throughput is not None and problem.batch / budget.throughput == limit.value:
        return replace(problem, budget=replace(budget, throughput=(1 - LOOSER) * budget.throughput))
    return replace(problem, budget=replace(budget, latency=(1 + LOOSER) * limit.value))


def _sensitivity(
    problem: Problem, name: str, network: Architecture, solver: CpSat, report: Report | None
) -> Sensitivity:
    """Return what loosening one limit would gain over `network`."""
    looser, objective = loosened(problem, name), problem.value(network)
    found = design(looser, solver, starts=[network], report=report)
    usage = problem.usages(network)[name]
    reached = objective if found.objective is None else max(found.objective, objective)
    most = None if found.bound is None else max(found.bound, reached) - objective
    return Sensitivity(
        used=usage.used,
        limit=usage.limit,
        share=used_up(usage.used, usage.limit, usage.sense),
        loosened=looser.limits()[name].value,
        objective=reached,
        bound=found.bound,
        gain=(reached - objective, most),
    )


def _leaving(problem: Problem, step: Step, solution: Solution, solver: CpSat, report: Report | None) -> Leaving:
    """Return what one step out of a corner costs the solution's network."""
    assert solution.objective is not None, "only a network is explained"
    where = "" if step.stage is None else f"stage {step.stage + 1}: "
    inside = replace(problem, space=step.space)
    found = design(inside, solver, starts=[step.start], report=_saying(report, f"{where}{step.inside}"))
    # What is inside belongs to the space too. The bound of a measured loop may be that of a tighter limit.
    outer = None if solution.rounds else solution.bound
    bounds = [bound for bound in (found.bound, outer) if bound is not None]
    impossible = found.status is Status.INFEASIBLE
    bound = None if impossible else min(bounds, default=None)
    least = None if bound is None else solution.objective - bound
    most = None if found.objective is None else solution.objective - found.objective
    return Leaving(step.stage, step.inside, found.objective, bound, impossible, (least, most))


def _saying(report: Report | None, what: str) -> Report | None:
    """Return a report that says which problem is being solved."""
    if report is None:
        return None

    def told(progress: Progress) -> None:
        report(replace(progress, doing=f"{what}, {progress.doing}"))

    return told
