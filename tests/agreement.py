"""CP-SAT, the bounds and `design` beside brute force on one problem: what agrees, and a sentence for what does not."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from deepmad.engine.answers.solutions import DIFFERENT_STAGES, Solution, Status
from deepmad.engine.design import design
from deepmad.engine.solvers.bounds import BoundStep, tighten
from deepmad.engine.solvers.cpsat import ExactResult, next_best, solve
from deepmad.engine.solvers.nearest import nearest
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from tests.brute_force import count_one
from tests.random_problems import Case

WORK = 5.0
"""CP-SAT's own deterministic units a solve may take; every problem drawn so far was settled within."""
TOP, GAP = 3, 0.3
"""Networks in all that are compared with the best others, and how far below the best one they may be."""
PATIENCE = 300.0
"""Seconds for proofs that take a fraction of one, on a machine that is busy too."""
NEAREST_ERROR = (1e-12, 2e-6)
"""Relative distance within which a least value counts as right: a whole number, or rho."""
BOUND_STEPS = 60
AGREES = 1e-6
"""Relative distance within which two objectives count as equal."""
BOUND_ERROR = 1e-9
"""Relative distance by which branch and price, whose sums are in floating point, may understate the optimum."""
EXACT_ERROR = 1e-12
"""The same for CP-SAT, whose roundings all overstate: only the order of floating-point sums differs."""


@dataclass(frozen=True)
class Agreement:
    """What CP-SAT and the bounds gave for a case; `disagreements` has a sentence for each that is wrong.

    `least_slack` is the smallest (bound - optimum) / |optimum| of any bound that branch and price gave.
    """

    exact: ExactResult
    objective: float | None
    relative_error: float | None
    least_slack: float | None
    disagreements: tuple[str, ...]


def agreement(case: Case) -> Agreement:
    """Solve a case in every way and compare each with brute force."""
    exact = solve(case.problem, seconds=None, deterministic_limit=WORK, workers=1, seed=0, gap=0.0)
    designed = design(case.problem, CpSat(gap=0.0, workers=1, seed=0, deterministic_limit=WORK))
    steps = list(_bound_steps(case))
    objective = None if exact.network is None else case.problem.value(exact.network)
    optimum = case.optimum
    return Agreement(
        exact,
        objective,
        None if objective is None or optimum is None else abs(objective - optimum) / abs(optimum),
        None if optimum is None else min((step.bound - optimum) / abs(optimum) for _, step in steps),
        (
            *_wrong_exact(case, exact),
            *_wrong_steps(case, steps),
            *_wrong_design(case, designed),
            *_wrong_alternatives(case, exact.network),
            *_wrong_nearest(case),
        ),
    )


def _wrong_exact(case: Case, found: ExactResult) -> Iterator[str]:
    """Yield what is wrong with CP-SAT's result."""
    expected = "infeasible" if case.optimum is None else "optimal"
    if found.status != expected:
        yield f"CP-SAT says {found.status}, brute force {expected} with optimum {case.optimum}"
    yield from _wrong_answer(case, "CP-SAT", found.network, found.bound)


def _wrong_answer(case: Case, who: str, network: Architecture | None, bound: float | None) -> Iterator[str]:
    """Yield what is wrong with a network and a bound that should be optimal."""
    problem, optimum = case.problem, case.optimum
    if optimum is None or network is None or bound is None:
        if (optimum, network, bound) != (None, None, None):
            yield f"{who} gives {network} and bound {bound}, brute force has optimum {optimum}"
        return
    alone = count_one(problem, network)
    if broken := problem.broken(network):
        yield f"{who} gives a network that is not feasible: {broken}"
    if not alone.feasible(problem).all():
        yield f"{who} gives a network that uses {alone.used}, against {problem.limits()}"
    for value in (problem.value(network), float(alone.objectives[problem.objective][0])):
        if abs(value - optimum) > AGREES * abs(optimum):
            yield f"{who} gives a network of objective {value!r}, the optimum is {optimum!r}"
    if not -EXACT_ERROR * abs(optimum) <= bound - optimum <= AGREES * abs(optimum):
        yield f"{who} gives bound {bound!r}, the optimum is {optimum!r}"


def _bound_steps(case: Case) -> Iterator[tuple[float | None, BoundStep]]:
    """Yield incumbents and steps: without an incumbent, with the second best objective, and with the best."""
    incumbents = [None, case.optimum]
    if case.optimum is not None:
        incumbents += case.values[case.values < case.optimum - AGREES * abs(case.optimum)][-1:].tolist()
    for incumbent in dict.fromkeys(incumbents):
        for step in itertools.islice(tighten(case.problem, lambda: incumbent), BOUND_STEPS):  # noqa: B023
            yield incumbent, step


def _wrong_steps(case: Case, steps: Iterable[tuple[float | None, BoundStep]]) -> Iterator[str]:
    """Yield what is wrong with the steps of branch and price."""
    optimum = -math.inf if case.optimum is None else case.optimum
    error = 0.0 if case.optimum is None else abs(case.optimum)
    for incumbent, step in steps:
        told = f"the bound with incumbent {incumbent!r} is {step.bound!r}, done {step.done}"
        if step.infeasible and case.optimum is not None:
            yield f"{told}, and the problem infeasible; the optimum is {optimum!r}"
        if max(step.bound, incumbent or -math.inf) < optimum - BOUND_ERROR * error:
            yield f"{told}; the optimum is {optimum!r}"
        if step.done and step.bound > optimum + AGREES * error:
            yield f"{told}; the optimum is {optimum!r}"
        if step.proposal is not None and case.problem.space.violations(step.proposal):
            yield f"{told}; it proposes {step.proposal}, which is no member of the space"


def _wrong_design(case: Case, found: Solution) -> Iterator[str]:
    """Yield what is wrong with the solution of `design`."""
    expected = Status.INFEASIBLE if case.optimum is None else Status.OPTIMAL
    if found.status is not expected:
        yield f"design says {found.status}, brute force {expected} with optimum {case.optimum}"
    yield from _wrong_answer(case, "design", found.architecture, found.bound)
    if found.architecture is not None and found.objective != case.problem.value(found.architecture):
        yield f"design gives objective {found.objective}, not that of its network"
    smallest = smallest_clashes(case)
    named = None if found.clash is None else frozenset(found.clash)
    if (named in smallest) is not bool(smallest):
        yield f"design says that {found.clash} clash, brute force {[sorted(names) for names in smallest]}"


def _wrong_alternatives(case: Case, best: Architecture | None) -> Iterator[str]:
    """Yield what is wrong with the networks next to the best one, each the best that differs from those before."""
    problem = case.problem
    if best is None or case.optimum is None:
        return
    floor = case.optimum - GAP * abs(case.optimum)
    near = case.counted.feasible(problem) & (case.counted.objectives[problem.objective] >= floor)
    chosen = [best]
    while len(chosen) < TOP:
        near &= case.counted.different(count_one(problem, chosen[-1]), DIFFERENT_STAGES)
        values = case.counted.objectives[problem.objective][near]
        expected = float(values.max()) if len(values) else None
        found = next_best(problem, chosen, floor=floor, seconds=PATIENCE, workers=1, seed=0)
        told = f"after {len(chosen)} networks the next best is {found}, brute force has {expected!r}"
        if found.status != ("infeasible" if expected is None else "optimal"):
            yield told
        if found.network is None or expected is None:
            return
        if abs(problem.value(found.network) - expected) > AGREES * abs(expected):
            yield told
        chosen.append(found.network)


def _wrong_nearest(case: Case) -> Iterator[str]:
    """Yield what is wrong with the tightest value of each limit at which the others leave a network."""
    problem, limits = case.problem, case.problem.limits()
    for name in limits:
        kept = np.ones(len(case.counted), dtype=bool)
        for other, limit in limits.items():
            kept &= case.counted.keeps(other, limit.value, limit.sense) | (other == name)
        values = case.counted.used[name][kept]
        found = nearest(problem, name, seconds=PATIENCE, workers=1, seed=0)
        end = values.max if limits[name].sense == "at least" else values.min
        least = float(end()) if len(values) else None
        right = found is None and least is None
        if found is not None and least is not None:
            right = found.proven and abs(found.value - least) <= NEAREST_ERROR[name == "rho"] * least
        if not right:
            yield f"the tightest {name} is {found}, brute force has {least!r}"


def smallest_clashes(case: Case) -> list[frozenset[str]]:
    """Return the smallest sets of limits that no network keeps together; none where all can be kept."""
    limits = case.problem.limits()
    for size in range(len(limits) + 1):
        found = []
        for names in itertools.combinations(limits, size):
            kept = np.ones(len(case.counted), dtype=bool)
            for name in names:
                kept &= case.counted.keeps(name, limits[name].value, limits[name].sense)
            if not kept.any():
                found.append(frozenset(names))
        if found:
            return found
    return []
