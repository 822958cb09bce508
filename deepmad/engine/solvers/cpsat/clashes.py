"""Why a problem has no network: the limits that cannot be met together."""

import time
from collections.abc import Sequence
from itertools import combinations

from deepmad.engine.answers.claims import PROOF, require_none
from deepmad.engine.program.limits import only
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import tighten
from deepmad.engine.solvers.cpsat.solving import ExactResult, find_feasible
from deepmad.engine.solvers.search import search
from deepmad.search_spaces.architectures import Architecture

SEARCH_SHARE, CPSAT_SHARE = 0.15, 0.15
"""Shares of the time for the quick search and for CP-SAT, the last to be asked, in a large space; branch and price has
the rest."""
SUBSET_SHARE = 0.6
"""Share of the time left that one set of limits may take: those that can be met take next to none."""


def clashes(
    problem: Problem, *, known: Sequence[Architecture] = (), seconds: float, workers: int, seed: int
) -> list[str]:
    """Return a smallest set of limits, by the keys of `usages`, that no network of the space keeps together.

    Empty where the space's own rules already leave no network. Call it for an infeasible problem: where
    `seconds` do not suffice, the answer is all of its limits. `known` are networks that keep some of them, perhaps.
    Raises `ContradictionError` where a network is found that keeps all.
    """
    ends = time.monotonic() + seconds
    limits = list(problem.limits())
    witnesses = [_kept(problem, network) for network in known if not problem.space.violations(network)]
    # Sets of limits from the smallest on; one that a network found before keeps needs no search of its own.
    subsets = [set(some) for size in range(len(limits)) for some in combinations(limits, size)]
    for place, subset in enumerate(subsets):
        if any(subset <= kept for kept in witnesses):
            continue
        left = ends - time.monotonic()
        if left <= 0:
            break
        share = max(SUBSET_SHARE * left, left / (len(subsets) - place))
        result = _feasible(only(problem, subset), seconds=share, workers=workers, seed=seed)
        if result.status == "infeasible":
            return [name for name in limits if name in subset]
        if result.network is not None:
            if not problem.broken(result.network):
                require_none(problem, PROOF, result.network)
            witnesses.append(_kept(problem, result.network))
    return limits


def _feasible(problem: Problem, *, seconds: float, workers: int, seed: int) -> ExactResult:
    """Return a network that keeps the limits, or the proof that there is none.

    On a large space a quick search finds the network, if there is one, and branch and price the proof.
    """
    ends = time.monotonic() + seconds
    if not problem.small:
        try:
            search(problem, seed=seed, seconds=SEARCH_SHARE * seconds, on_better=_met)
        except _FoundError as met:
            return ExactResult("feasible", met.network, None)
        for step in tighten(problem, lambda: None, ends - CPSAT_SHARE * seconds):
            if step.infeasible:
                return ExactResult("infeasible", None, None)
            if step.proposal is not None and not problem.broken(step.proposal):
                return ExactResult("feasible", step.proposal, None)
            if time.monotonic() > ends - CPSAT_SHARE * seconds:
                break
    return find_feasible(problem, seconds=ends - time.monotonic(), workers=workers, seed=seed)


class _FoundError(Exception):
    """A feasible network was met; there is no need to search on."""

    def __init__(self, network: Architecture) -> None:
        super().__init__()
        self.network = network


def _met(network: Architecture, _value: float) -> None:
    raise _FoundError(network)


def _kept(problem: Problem, network: Architecture) -> set[str]:
    """Return the limits of `problem` that `network` keeps."""
    return {name for name, usage in problem.usages(network).items() if usage.kept}
