"""What targets of one family tell of each other.

A network within a tight target is within every looser one, and no network within a tight target is better than the
bound of a looser one.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from deepmad.engine.answers.solutions import Solution, Status, found
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture


def starts_for(place: int, solved: Sequence[Solution | None], free: Architecture | None) -> tuple[Architecture, ...]:
    """Return the networks that the solve of a target begins from: those of the targets beside it, the tighter first.

    `solved` holds what is known of the family by then, the loosest target first; `free` is the network without a
    target, which stands for neighbours that have none.
    """
    beside = [solved[other] for other in (place + 1, place - 1) if 0 <= other < len(solved)]
    networks = tuple(solution.architecture for solution in beside if solution and solution.architecture)
    return networks or ((free,) if free else ())


def exchanged(problems: Sequence[Problem], solutions: Sequence[Solution | None], gap: float) -> list[Solution | None]:
    """Return the solutions of a family, each with the best network and the least bound that any of them gives it.

    The loosest target comes first; None stands for one that failed. `gap` is the relative gap asked for.
    """
    bounds, least = [], inf
    for solution in solutions:
        least = min(least, inf if solution is None or solution.bound is None else solution.bound)
        bounds.append(least)
    best: Solution | None = None
    told: list[Solution | None] = []
    for problem, solution, bound in reversed(list(zip(problems, solutions, bounds, strict=True))):
        if solution is None:
            told.append(None)
            continue
        improved = _improved(problem, solution, best, bound, gap)
        best = improved if improved.architecture is not None else best
        told.append(improved)
    return told[::-1]


def _improved(problem: Problem, solution: Solution, tighter: Solution | None, bound: float, gap: float) -> Solution:
    """Return a solution with a tighter target's network where that is better, and with a lesser bound."""
    objective = -inf if solution.objective is None else solution.objective
    network = solution.architecture
    if tighter is not None and tighter.objective is not None and tighter.objective > objective:
        network = tighter.architecture
    if solution.status is Status.INFEASIBLE or network is None:
        return solution
    if network is solution.architecture and bound >= (inf if solution.bound is None else solution.bound):
        return solution
    better = found(problem, network, bound, gap=gap, solver=solution.solver, seconds=solution.seconds)
    return replace(better, rows=solution.rows, row_counts=solution.row_counts)
