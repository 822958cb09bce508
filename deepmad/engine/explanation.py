"""Explanation: what every limit costs, told by designing again with that limit alone 10 % looser."""

import time
from dataclasses import replace

from deepmad.engine.answers.parts import Sensitivity
from deepmad.engine.answers.progress import Progress, Report, stopped
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.program.limits import require_counted, with_limit
from deepmad.engine.program.measures import used_up
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS

LOOSER = 0.1
"""How much looser a limit is made."""


def explain(
    problem: Problem, solution: Solution, solver: CpSat, *, seconds: float, report: Report | None = None
) -> Solution:
    """Return the solution with what a 10 % looser limit would gain, for every limit in force.

    Each loosened problem is designed from the solution's network on, within an even share of `seconds` (or of
    the solver's deterministic limit). What it took is added to the solution's seconds. Raises
    `Interrupted` with the solution and the limits explained so far.
    """
    require_counted(problem, "an explanation")
    network = solution.architecture
    if network is None:
        return solution
    began, names, work = time.monotonic(), list(problem.limits()), solver.deterministic_limit
    known: dict[str, Sensitivity] = {}
    try:
        for place, name in enumerate(names):
            if work is None:
                share = (began + seconds - time.monotonic()) / (len(names) - place)
                if share <= 0:
                    break
                settings = replace(solver, time_limit=share, gap=0.0)
            else:
                settings = replace(solver, deterministic_limit=work / len(names), gap=0.0)
            known[name] = _sensitivity(problem, name, network, settings, _renamed(report, name))
    except STOPS as stop:
        # What the loosened problem had found is no solution of this one.
        raise stopped(stop, replace(solution, explanation=known)) from stop
    return replace(solution, explanation=known, seconds=solution.seconds + time.monotonic() - began)


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


def _renamed(report: Report | None, name: str) -> Report | None:
    """Return a report that says which limit is being loosened."""
    if report is None:
        return None

    def told(progress: Progress) -> None:
        report(replace(progress, doing=f"{name} {LOOSER:.0%} looser, {progress.doing}"))

    return told
