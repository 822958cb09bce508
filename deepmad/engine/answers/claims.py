"""What solvers claim, held against the networks known: a contradiction is an error, never a result.

Claims are that no network is better, that there is none, or no other. A network that was recounted from its layer
records and refutes one is worth more than any proof.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from deepmad.engine.program.problems import Problem
    from deepmad.search_spaces.architectures import Architecture

PROOF = "the proof that no network keeps the limits"
"""Who claims that, where it was shown by several means."""
ROUNDING = 1e-9
"""Relative distance by which a bound may lie below a network for the rounding of floating-point sums alone."""


class ContradictionError(Exception):
    """A solver's claim is refuted by a network; the message names who made it, the claim, and the network."""


def require_bound(problem: Problem, who: str, bound: float, network: Architecture, value: float | None = None) -> None:
    """Raise `ContradictionError` where a feasible `network` has an objective above an upper `bound` on all.

    `value` is the network's objective, where that is known.
    """
    value = problem.value(network) if value is None else value
    if exceeds(value, bound):
        none = "there is no network" if bound == -math.inf else f"no network has an objective above {bound:.10g}"
        _refuted(problem, who, none, network, f"objective {value:.10g}")


def require_none(problem: Problem, who: str, network: Architecture | None, claim: str = "there is no network") -> None:
    """Raise `ContradictionError` where a feasible `network` is known though a solver claims that there is none."""
    if network is not None:
        _refuted(problem, who, claim, network, f"objective {problem.value(network):.10g}")


def require_least(problem: Problem, who: str, name: str, least: float, network: Architecture) -> None:
    """Raise `ContradictionError` where a feasible `network` uses less of a limit than is claimed of all.

    Of a limit from below the claim is that none uses more.
    """
    used, sign = problem.usages(network)[name].used, problem.limits()[name].sign
    if exceeds(-sign * used, -sign * least):
        less = "less" if sign > 0 else "more"
        none = "there is no network" if math.isinf(least) else f"no network uses {less} {name} than {least:.10g}"
        _refuted(problem, who, none, network, f"{name} {used:.10g}")


def exceeds(value: float, bound: float) -> bool:
    """Return whether a value lies above an upper bound by more than rounding."""
    return value - bound > ROUNDING * max(abs(value), 0.0 if math.isinf(bound) else abs(bound))


def _refuted(problem: Problem, who: str, claim: str, network: Architecture, has: str) -> NoReturn:
    raise ContradictionError(
        f"{who} claims of space {problem.space.name} that {claim}, but a network of {has} is known: {_told(network)}; "
        "neither becomes a result: please report it, and try another --seed or another version of ortools"
    )


def _told(network: Architecture) -> str:
    """Return a network in a few words: block, out / width, kernel, depth and stride of every stage."""
    stages = (
        f"{stage.block} {stage.out}/{stage.width} k{stage.kernel} x{stage.depth} s{stage.stride}"
        for stage in network.stages
    )
    return f"stem {network.stem.out}, " + ", ".join(stages)
