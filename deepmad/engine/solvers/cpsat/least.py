"""The least (of a limit from below, the most) that a network uses while it keeps the others: the nearest feasible."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ortools.sat.python import cp_model

from deepmad.engine.answers.claims import require_least
from deepmad.engine.answers.progress import CP_SAT
from deepmad.engine.costs.records import end_grids
from deepmad.engine.program.measures import BYTES_PER_ELEMENT
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.cpsat.digits import SAFE, Expression, at_most, bounds
from deepmad.engine.solvers.cpsat.program import OutOfTimeError, Program, build_program
from deepmad.engine.solvers.cpsat.scales import scale_totals
from deepmad.engine.solvers.cpsat.solving import Effort, Search, searched
from deepmad.engine.solvers.cpsat.stages import add_memory_limit, keep_alive_within
from deepmad.engine.solvers.cpsat.terms import LOG_UNIT
from deepmad.search_spaces.architectures import Architecture

_LARGEST_LOG = 64
"""No effectiveness is below exp(-64) or above exp(64)."""
_TOLERANCE = {"rho": 1e-6 * LOG_UNIT}
"""Within what the program's bound counts as reached: its logarithms are rounded; all else is whole numbers."""


@dataclass(frozen=True)
class Least:
    """A network that uses little of a limit, and whether no other is proven to use less.

    Without a network, `proven` says that the limits leave none.
    """

    network: Architecture | None
    proven: bool


def least_use(
    problem: Problem, name: str, *, hint: Architecture | None, seconds: float, workers: int, seed: int
) -> Least:
    """Return the network that uses least of the limit `name` of `problem` among those that keep all its limits.

    Of a limit from below it is the one that uses most.

    The limit itself is where the search starts, so it should be loose, or what `hint` uses, a network that keeps
    all limits. Raises `InputError` for a block kind whose layers the program cannot tabulate, and `ContradictionError`
    where a network uses less than what is claimed to be the least.
    """
    sign = problem.limits()[name].sign

    def worth(network: Architecture) -> float:
        return -sign * _amount(problem, name, network)

    def refuted(network: Architecture, bound: float) -> None:
        require_least(problem, CP_SAT, name, _used(problem, name, -sign * bound), network)

    search = Search(worth, refuted, None, math.inf, time.perf_counter())
    if hint is not None:
        search.take(hint)
    try:
        program = build_program(problem, objective=False, ends=search.ends(seconds))
    except OutOfTimeError:
        return Least(search.network, proven=False)
    amount = _MEASURES.get(name, _total)(program, name)
    program.builder.model.maximize(-sign * amount)
    status = searched(replace(program, objective=-sign * amount), search, Effort(seconds, None, workers, seed, 0.0))
    if search.network is None:
        return Least(None, status == cp_model.INFEASIBLE)
    return Least(search.network, proven=search.bound - search.value <= _TOLERANCE.get(name, 0.5))


def _amount(problem: Problem, name: str, network: Architecture) -> float:
    """Return what `network` uses of a limit, in the program's units; of rho in whole ones, rounded up as there."""
    used = problem.usages(network)[name].used
    if name == "rho":
        return math.ceil(math.log(used) * LOG_UNIT)
    if name == "latency_seconds":
        return round(used * 1e9)
    return used / (problem.batch * BYTES_PER_ELEMENT[problem.precision]) if name == "memory_bytes" else used


def _used(problem: Problem, name: str, amount: float) -> float:
    """Return an amount in the program's units in the unit of `usages`."""
    if name == "rho":
        return math.exp(amount / LOG_UNIT)
    if name == "latency_seconds":
        return amount / 1e9
    return amount * problem.batch * BYTES_PER_ELEMENT[problem.precision] if name == "memory_bytes" else amount


def _total(program: Program, name: str) -> Expression:
    """Return a cost that is a sum over the layers; a latency is that of the slowest device."""
    totals = [total for key, total in program.totals.items() if key.partition("@")[0] == name]
    if len(totals) == 1:
        return totals[0]
    model = program.builder.model
    slowest = model.new_int_var(0, max(bounds(total)[1] for total in totals), f"least {name}")
    for total in totals:
        at_most(model, total - slowest, 0, name)
    return slowest


def _peak(program: Program, name: str) -> Expression:
    """Return the peak of the elements alive at once, or more where the solver has no reason to go lower."""
    model, most = program.builder.model, program.problem.limit_elements
    assert most is not None, "what has a least is limited"
    peak = model.new_int_var(0, most, f"least {name}")
    units: dict[int, Expression] = {}

    def in_units(unit: int) -> Expression:
        if unit not in units:
            units[unit] = model.new_int_var(0, min(most // unit, SAFE // 2), f"{name} in {unit}")
            at_most(model, unit * units[unit] - peak, 0, name)
        return units[unit]

    for stage in program.stages:
        add_memory_limit(program.builder, stage, in_units)
    for body in end_grids(program.problem.space):
        keep_alive_within(program.builder, [program.stem, program.stages[-1].out], body, in_units, [])
    return peak


def _log_effectiveness(program: Program, name: str) -> Expression:
    """Return ln rho in units of 1 / LOG_UNIT: E_i >= n_i (ln n_i - ln rho) at every scale i, E_i rounded up."""
    builder, most = program.builder, _LARGEST_LOG * LOG_UNIT
    least = builder.model.new_int_var(-most, most, f"least {name}")
    for scale in scale_totals(builder, program.problem.space, program.stem, program.stages):
        low, high = scale.depth.low, scale.depth.high
        needed = [math.floor(LOG_UNIT * count * math.log(count)) - 1 for count in range(low, high + 1)]
        count = builder.axis(range(low, high + 1), "convolutions")
        builder.model.add(count.value == scale.depth.expression)
        product = builder.model.new_int_var(-most * high, most * high, "n ln rho")
        builder.model.add_multiplication_equality(product, [count.value, least])
        missing = _looked_up(program, count.index, needed) - product - scale.log_widths.expression
        at_most(builder.model, missing, 0, name)
    return least


def _looked_up(program: Program, index: Expression, values: list[int]) -> Expression:
    """Return values[index]."""
    if len(values) == 1:
        return values[0]
    target = program.builder.model.new_int_var(min(values), max(values), "needed entropy")
    program.builder.model.add_element(index, values, target)
    return target


_MEASURES: dict[str, Callable[[Program, str], Expression]] = {"rho": _log_effectiveness, "memory_bytes": _peak}
"""How the program measures a limit that is no sum over the layers."""
