"""Why a problem has no network: the limits that cannot be met together."""

import time
from dataclasses import replace
from itertools import combinations

from deepmad.engine.budgets import Budget
from deepmad.engine.cpsat.solving import find_feasible
from deepmad.engine.problems import Problem
from deepmad.search_spaces.architectures import Architecture

_FIELDS = {
    "macs": ("macs",),
    "params": ("params",),
    "rho": ("rho",),
    "latency_seconds": ("latency", "throughput"),
    "memory_bytes": ("memory",),
}
"""The fields of a budget behind each limit, by the names that `usages` gives them."""


def clashes(problem: Problem, *, seconds: float, workers: int, seed: int) -> list[str]:
    """Return a smallest set of limits, by the keys of `usages`, that no network of the space keeps together.

    Empty where the space's own rules already leave no network. Call it for an infeasible problem: where
    `seconds` do not suffice, the answer is all of its limits.
    """
    ends = time.perf_counter() + seconds
    limits = [name for name, fields in _FIELDS.items() if any(getattr(problem.budget, field) for field in fields)]
    witnesses: list[set[str]] = []
    # Sets of limits from the smallest on; one that a network found before keeps needs no search of its own.
    subsets = [set(some) for size in range(len(limits)) for some in combinations(limits, size)]
    for place, subset in enumerate(subsets):
        if any(subset <= kept for kept in witnesses):
            continue
        left = ends - time.perf_counter()
        if left <= 0:
            break
        share = max(left / 4, left / (len(subsets) - place))
        result = find_feasible(_only(problem, subset), seconds=share, workers=workers, seed=seed)
        if result.status == "infeasible":
            return [name for name in limits if name in subset]
        if result.network is not None:
            witnesses.append(_kept(problem, result.network))
    return limits


def _only(problem: Problem, names: set[str]) -> Problem:
    """Return the problem with no other limits than `names`."""
    lifted = [field for name, fields in _FIELDS.items() if name not in names for field in fields]
    budget: Budget = replace(problem.budget, **dict.fromkeys(lifted))
    return replace(problem, budget=budget)


def _kept(problem: Problem, network: Architecture) -> set[str]:
    """Return the limits of `problem` that `network` keeps."""
    return {name for name, usage in problem.usages(network).items() if usage.kept}
