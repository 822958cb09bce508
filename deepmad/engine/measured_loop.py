"""The measured loop: design, measure, correct the prediction, design again until the target is met or none can meet it.

A latency table predicts a few percent wrong, and always in a similar way for similar networks. So the
ratio of measured to predicted of the last network corrects the limit of the next round.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from deepmad.engine.answers.limit_uses import LimitUse
from deepmad.engine.answers.parts import Round
from deepmad.engine.answers.progress import Report, stopped
from deepmad.engine.answers.repeated import DRIFTED, MEASUREMENTS, Machine, middle, undecided
from deepmad.engine.answers.solutions import Measured, Solution, Status, found
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.limits import require_counted, with_limit
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.nearest import Nearest, nearest
from deepmad.engine.solvers.settings import Solver
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS, InputError
from deepmad.search_spaces.units import human

Measure = Callable[[Architecture], Measured]
TIGHT = 0.95
"""A network that uses at least this share of the latency limit is a tight hit."""
ENOUGH = 0.955
"""A network that uses at least this share is not improved on. It is above TIGHT: the next measurement may be lower."""
SAFE = 0.985
"""A network that uses more than this share is corrected for: its next measurement may well exceed the limit."""
AIM = 0.97
"""Where in the limit the corrected prediction aims: midway between ENOUGH and SAFE."""
PREDICTED, MEASURED = ", among those predicted within ", "; measured "
"""What the loop adds to the message of a design."""
LEAST_SECONDS = 20.0
"""Seconds at least for the network of least predicted latency, even past the solver's time limit: its proof matters."""


@dataclass(frozen=True)
class _Loop:
    """What stays the same from round to round; `target` is in seconds for one batch."""

    problem: Problem
    solver: Solver
    measure: Measure
    target: float
    report: Report | None
    confirm: bool
    machine: Machine = field(default_factory=Machine)


def design_measured(
    problem: Problem,
    solver: Solver,
    measure: Measure,
    *,
    rounds: int = 6,
    first: Solution | None = None,
    confirm: bool = True,
    report: Report | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> Solution:
    """Return the network of highest objective whose *measured* latency meets the problem's limit.

    Each round solves under the corrected limit and measures the network three times, or more where they disagree or
    would end the loop: the middle one decides, so that neither a lucky time is delivered nor a burst of other work
    corrected for. Measurements beside which the reference network drifted are taken again and left out. Where no
    network is predicted within the limit, the one of least predicted latency is measured. If it misses the target too,
    which its 95 % interval leaves no doubt of, and its prediction is proven least, the solution is infeasible: proven
    as far as the prediction, corrected by that measurement, holds.

    The loop ends with that proof, with 95.5 to 98.5 % of the limit used, when another limit binds, when the corrected
    limit leads to the same network again, or after `rounds`; the best network that met the limit is returned, else the
    fastest measured one, marked as a violation. All rounds are in the solution. `first` is the first round's design,
    where that has been made before, or a solution of this loop, which then goes on from it. Without `confirm` its user
    times what is delivered again, since a time that ends the loop may be a lucky one. Raises `InputError` where
    there is no latency limit, and `Interrupted` with what would be delivered by then on an interrupt (an unmeasured
    network in the first round).
    """
    require_counted(problem, "the measured loop")
    target = problem.budget.latency_seconds(problem.batch)
    if target is None:
        raise InputError("measure: there is no latency or throughput limit to meet; give --latency or --throughput")
    told: list[Round] = []
    delivered: Solution | None = None
    try:
        for one, solution in _rounds(_Loop(problem, solver, measure, target, report, confirm), rounds, first):
            told.append(one)
            delivered = _better(delivered, one, solution)
            if on_round is not None:
                on_round(one)
    except STOPS as stop:
        if delivered is None:
            raise
        raise stopped(stop, _finished(delivered, told)) from stop
    assert delivered is not None, "there is at least one round"
    return _finished(delivered, told)


def _rounds(loop: _Loop, rounds: int, first: Solution | None) -> Iterator[tuple[Round, Solution]]:
    """Yield the rounds up to the one that ends the loop, each with the solution that it is worth."""
    limit, met = _limit_of(first) or loop.target, False
    starts: tuple[Architecture, ...] = ()
    for number in range(1, rounds + 1):
        if number == 1 and first is not None:
            solution = replace(first, message=_designed(first.message))
        else:
            solution = design(_limited(loop.problem, limit), loop.solver, starts=starts, report=loop.report)
        fastest = _fastest(loop, solution) if solution.architecture is None and not met else None
        within = solution if fastest is None else _around(loop, fastest, solution)
        network, predicted = within.architecture, within.predicted
        if network is None or predicted is None:
            yield Round(number, limit), solution
            return
        if (network,) == starts:  # no other is predicted nearer to the target
            return
        share, none_faster = predicted.latency_seconds / limit, fastest is not None and fastest.proven
        measured, left_out = _measured(loop, solution, network, share, fastest=none_faster)
        within = _with_measurement(within, measured, loop.target, limit)
        one = replace(_round(number, limit, within), left_out=left_out)
        violated = measured.latency_seconds > loop.target
        certain = not undecided(measured, loop.target) and loop.machine.drift(measured) <= DRIFTED
        if violated and none_faster and certain:
            yield one, _impossible(loop, solution, one)
            return
        yield one, within
        if _ends(measured.latency_seconds / loop.target, predicted.latency_seconds / limit):
            return
        met = met or not violated
        limit = loop.target * AIM * predicted.latency_seconds / measured.latency_seconds
        starts = (network,)


def _limit_of(solution: Solution | None) -> float | None:
    """Return the limit that the loop designed a solution under; None for one that is not the loop's."""
    rounds = solution.rounds if solution and solution.rounds else ()
    return next((one.limit for one in rounds if solution and one.architecture == solution.architecture), None)


def in_the_end(solution: Solution, times: Sequence[Measured]) -> Solution:
    """Return a solution of the loop with later measurements, whose middle one counts from now on.

    Of an even number the slower of the two in the middle does.
    """
    target, measured = solution.limits["latency_seconds"].limit, middle(times)
    violated = measured.latency_seconds > target
    verdict = "misses" if violated else "meets"
    told, within = human(measured.latency_seconds, "seconds"), human(target, "seconds")
    message = f"{solution.message.partition(MEASURED)[0]}{MEASURED}{told} in the end {verdict} {within}"
    message += _unsteady(measured, target)
    return replace(solution, measured=replace(measured, violated=violated), message=message)


def _designed(message: str) -> str:
    """Return what a message says of the design, without what the loop has added to it."""
    return message.partition(MEASURED)[0].partition(PREDICTED)[0]


def borne_out(solution: Solution) -> bool:
    """Whether later measurements bear a checked solution out: within the target, and tight where that decides."""
    target, limit = solution.limits["latency_seconds"].limit, _limit_of(solution)
    assert solution.predicted is not None
    assert solution.measured is not None
    assert limit is not None, "it is the loop's"
    used, predicted = solution.measured.latency_seconds / target, solution.predicted.latency_seconds / limit
    return used <= 1 and (used >= TIGHT or predicted < ENOUGH)


def _ends(used: float, predicted: float) -> bool:
    """Whether nothing is left to correct, given the shares of the target measured and of the round's limit predicted.

    A prediction above the limit is the least there is.
    """
    if predicted > 1:
        return used >= ENOUGH
    another_limit_binds = predicted < ENOUGH
    return used <= SAFE and (used >= ENOUGH or another_limit_binds)


def _limited(problem: Problem, seconds: float) -> Problem:
    """Return the problem under another latency limit, for one batch."""
    budget: Budget = replace(problem.budget, latency=seconds, throughput=None)
    return replace(problem, budget=budget)


def _fastest(loop: _Loop, solution: Solution) -> Nearest | None:
    """Return the network of least predicted latency that keeps the other limits; None where none was found.

    Raises `Interrupted` with the solution of the round.
    """
    try:
        return nearest(
            loop.problem,
            "latency_seconds",
            seconds=max(loop.solver.time_limit or 0.0, LEAST_SECONDS),
            workers=loop.solver.info.workers,
            seed=loop.solver.seed,
        )
    except STOPS as stop:
        raise stopped(stop, solution) from stop


def _around(loop: _Loop, fastest: Nearest, solution: Solution) -> Solution:
    """Return the solution around the network of least predicted latency, of a round in which none kept the limit."""
    problem = with_limit(loop.problem, "latency_seconds", fastest.value)
    one = found(
        problem,
        fastest.network,
        float("inf"),
        gap=loop.solver.gap,
        solver=solution.solver,
        seconds=solution.seconds,
    )
    proof = "proven least" if fastest.proven else "the least found"
    return replace(one, message=f"the network of least predicted latency ({proof}) keeps every other limit")


def _measured(
    loop: _Loop, solution: Solution, network: Architecture, predicted: float, *, fastest: bool
) -> tuple[Measured, int]:
    """Return the middle one of the network's measurements, and how many of them were left out.

    `predicted` is the share of the round's limit predicted. A time that ends the loop may be a lucky one, and one of
    the `fastest` network that misses an unlucky one: it is confirmed by as many measurements again and one. Raises
    `Interrupted` with the solution as it was designed.
    """
    machine = loop.machine
    try:
        times = machine.agreeing(partial(loop.measure, network))
        one = machine.middle(times)
        ends = _ends(one.latency_seconds / loop.target, predicted)
        if (loop.confirm and ends) or (fastest and one.latency_seconds > loop.target):
            times += [machine.see(loop.measure(network)) for _ in range(MEASUREMENTS + 1)]
    except STOPS as stop:
        raise stopped(stop, solution) from stop
    return machine.middle(times), machine.left_out(times)


def _with_measurement(solution: Solution, measured: Measured, target: float, limit: float) -> Solution:
    """Return the solution with its measurement, and the message that says what that and the bound mean."""
    violated = measured.latency_seconds > target
    verdict = "misses" if violated else "meets"
    limits = dict(solution.limits)
    used = limits["latency_seconds"]
    message = solution.message
    if used.used is not None and used.used <= limit != target:
        message += f"{PREDICTED}{human(limit, 'seconds')}"
    message += f"{MEASURED}{human(measured.latency_seconds, 'seconds')} {verdict} {human(target, 'seconds')}"
    message += _unsteady(measured, target)
    limits["latency_seconds"] = replace(used, limit=target)
    return replace(solution, measured=replace(measured, violated=violated), message=message, limits=limits)


def _unsteady(measured: Measured, target: float) -> str:
    """Return what is added to a verdict that another measurement may turn."""
    if not undecided(measured, target):
        return ""
    low, high = (human(seconds, "seconds") for seconds in (measured.low, measured.high))
    return f", unsteady: the 95 % interval, {low} to {high}, holds the target"


def _round(number: int, limit: float, solution: Solution) -> Round:
    """Return the round that a measured solution came of."""
    predicted, measured = solution.predicted, solution.measured
    assert predicted is not None
    assert measured is not None
    return Round(
        number,
        limit,
        predicted.latency_seconds,
        measured.latency_seconds,
        measured.low,
        measured.high,
        solution.objective,
        measured.violated,
        solution.architecture,
    )


def _impossible(loop: _Loop, solution: Solution, one: Round) -> Solution:
    """Return the solution of a target that the network of least predicted latency, proven so, was seen to miss.

    `solution` is that of the program, which has none either; the limits in it get back the target.
    """
    assert one.predicted is not None
    assert one.measured is not None
    assert one.low is not None
    assert one.high is not None
    asked = human(loop.target, "seconds")
    if loop.problem.budget.throughput is not None:
        asked += f" a batch ({loop.problem.batch / loop.target:.4g}/s)"
    message = (
        f"no network of space {loop.problem.space.name} meets {asked}: the one of least predicted latency, proven so "
        f"({human(one.predicted, 'seconds')}), was measured at {human(one.measured, 'seconds')} (95 % interval "
        f"{human(one.low, 'seconds')} to {human(one.high, 'seconds')}); this holds as far as the prediction, times "
        f"{one.measured / one.predicted:.3g} as measured here, holds for the others"
    )
    return replace(
        solution,
        status=Status.INFEASIBLE,
        message=message,
        limits=solution.limits | {"latency_seconds": LimitUse(loop.target, None)},
        clash=solution.clash or ("latency_seconds",),
        nearest={"latency_seconds": one.measured},
    )


def _better(delivered: Solution | None, one: Round, solution: Solution) -> Solution:
    """Return the solution to deliver after another round.

    That is a safe one before one that just meets the target, then by objective; where none meets it, the proof
    that none can, else the fastest measured one.
    """
    if delivered is None or (one.measured is not None and solution.measured is None):  # a measured proof
        return solution
    return delivered if one.measured is None else max(delivered, solution, key=_rank)


def _rank(solution: Solution) -> tuple[bool, bool, float]:
    """Return what orders measured solutions, the best last."""
    measured, objective = solution.measured, solution.objective
    assert measured is not None
    assert objective is not None
    if measured.violated:
        return False, False, -measured.latency_seconds
    return True, measured.latency_seconds <= SAFE * solution.limits["latency_seconds"].limit, objective


def _finished(solution: Solution, rounds: Sequence[Round]) -> Solution:
    """Return the solution with its rounds; the message says so where they ended without meeting the target."""
    message = solution.message
    if solution.measured is not None and solution.measured.violated:
        message += f" in {len(rounds)} round(s); that none meets it is not proven, more rounds may find one"
    return replace(solution, rounds=tuple(rounds), message=message)
