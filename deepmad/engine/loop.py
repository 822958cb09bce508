"""The measured loop: design, measure, correct the prediction, design again until the target is met.

A latency table predicts a few percent wrong, and always in a similar way for similar networks. So the
ratio of measured to predicted of the last network corrects the limit of the next round.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from deepmad.engine.budgets import Budget
from deepmad.engine.problems import Problem
from deepmad.engine.progress import Report
from deepmad.engine.solutions import Measured, Solution
from deepmad.engine.solvers import CpSat, Interrupted, design
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

Measure = Callable[[Architecture], Measured]
TIGHT = 0.95
"""A network that uses at least this share of the latency limit hits it tightly."""
SAFE = 0.985
"""A network above this share of the limit is improved on: the next measurement may well exceed the limit."""
AIM = 0.97
"""Where in the limit the corrected prediction aims: the middle between tight and safe."""
MEASUREMENTS = 3
"""Measurements of a network in one round; an odd number."""


@dataclass(frozen=True)
class Round:
    """One round: the limit given to the program, and what came of it, in seconds for one batch."""

    number: int
    limit: float
    solution: Solution


def design_measured(
    problem: Problem,
    solver: CpSat,
    measure: Measure,
    *,
    rounds: int = 6,
    report: Report | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Solution:
    """Return the network of highest objective whose *measured* latency meets the problem's limit.

    Each round solves under the corrected limit and measures the network three times: the middle one decides,
    so that neither a lucky time is delivered nor a burst of other work corrected for. The loop ends with a
    tight hit (95 to 98.5 % of the limit), when another limit binds, or after `rounds`; the best network that
    met the limit is returned, else the fastest measured one, marked as a violation. Raises `InputError`
    where there is no latency limit, and `Interrupted` with what would be delivered by then on an interrupt (an
    unmeasured network in the first round).
    """
    target = problem.budget.latency_seconds(problem.batch)
    if target is None:
        raise InputError("measure: there is no latency or throughput limit to meet; give --latency or --throughput")
    delivered: Solution | None = None
    try:
        for found in _rounds(problem, solver, measure, target, rounds, report):
            if found.solution.measured is None:
                return delivered or found.solution
            delivered = _better(delivered, found.solution)
            if on_round is not None:
                on_round(found)
    except KeyboardInterrupt as interrupt:
        if delivered is None:
            raise
        raise Interrupted(delivered) from interrupt
    assert delivered is not None, "every round that goes on delivers"
    return delivered


def _rounds(
    problem: Problem, solver: CpSat, measure: Measure, target: float, rounds: int, report: Report | None
) -> Iterator[Round]:
    """Yield the rounds up to the one that ends the loop; one without a network has no measurement."""
    correction = 1.0
    starts: tuple[Architecture, ...] = ()
    for number in range(1, rounds + 1):
        limit = target if number == 1 else target * AIM / correction
        solution = design(_limited(problem, limit), solver, starts=starts, report=report)
        network, predicted = solution.architecture, solution.predicted
        if network is None or predicted is None:
            yield Round(number, limit, solution)
            return
        measured = _middle(solution, network, measure)
        yield Round(number, limit, _with_measurement(solution, measured, target))
        used = measured.latency_seconds / target
        other_limit_binds = predicted.latency_seconds < TIGHT * limit
        if used <= SAFE and (used >= TIGHT or other_limit_binds):
            return
        correction = measured.latency_seconds / predicted.latency_seconds
        starts = (network,)


def _middle(solution: Solution, network: Architecture, measure: Measure) -> Measured:
    """Return the middle one of the measurements. Raises `Interrupted` with the solution as it was designed."""
    try:
        times = sorted((measure(network) for _ in range(MEASUREMENTS)), key=lambda found: found.latency_seconds)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(solution) from interrupt
    return times[MEASUREMENTS // 2]


def _limited(problem: Problem, seconds: float) -> Problem:
    """Return the problem under another latency limit, for one batch."""
    budget: Budget = replace(problem.budget, latency=seconds, throughput=None)
    return replace(problem, budget=budget)


def _with_measurement(solution: Solution, measured: Measured, target: float) -> Solution:
    """Return the solution with its measurement, and the message that says what that means."""
    violated = measured.latency_seconds > target
    verdict = "misses" if violated else "meets"
    message = f"{solution.message}; measured {measured.latency_seconds * 1e3:.4g} ms {verdict} {target * 1e3:.4g} ms"
    limits = dict(solution.limits)
    limits["latency_seconds"] = replace(limits["latency_seconds"], limit=target)
    return replace(solution, measured=replace(measured, violated=violated), message=message, limits=limits)


def _better(delivered: Solution | None, solution: Solution) -> Solution:
    """Return the one to deliver: a safe one before one that just meets the target, then by objective.

    Where neither meets it, the faster one.
    """
    if delivered is None:
        return solution

    def rank(candidate: Solution) -> tuple[bool, bool, float]:
        measured, objective = candidate.measured, candidate.objective
        assert measured is not None
        assert objective is not None
        if measured.violated:
            return False, False, -measured.latency_seconds
        safe = measured.latency_seconds <= SAFE * candidate.limits["latency_seconds"].limit
        return True, safe, objective

    return max(delivered, solution, key=rank)
