"""Alternatives: several networks near the best one that differ from each other, for a user to choose from."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.answers.claims import require_bound, require_none
from deepmad.engine.answers.progress import CP_SAT, stopped
from deepmad.engine.answers.solutions import DIFFERENT_STAGES, Solution, alternative, found
from deepmad.engine.costs.tables import Floats
from deepmad.engine.program.limits import require_counted
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.evaluation import Evaluation, Evaluator
from deepmad.engine.solvers.population.genomes import Genomes
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS
from deepmad.search_spaces.rows import row_of, with_strides

ARCHIVE = 20_000
"""Networks kept of those met within the gap, the best ones."""
MEETING_SECONDS, MEETING_SHARE = 0.5, 0.05
"""Seconds of the search before the proofs in a small space, and its share of the time at most."""


@dataclass(frozen=True)
class Alternatives:
    """Networks near the best one; `complete` says that there are proven to be no more."""

    networks: list[Architecture]
    complete: bool = False


def different(one: Architecture, other: Architecture) -> bool:
    """Return whether two networks of a space differ in two stages at least."""
    return sum(a != b for a, b in zip(one.stages, other.stages, strict=True)) >= DIFFERENT_STAGES


def with_alternatives(problem: Problem, solution: Solution, count: int, solver: CpSat, *, seconds: float) -> Solution:
    """Return the solution with `count` networks in all, each within the gap asked for of the best.

    They differ pairwise in two stages at least. In a small space each is the best one that differs from those
    before it, as far as the time suffices for the proof; in a large one they come from a search around the best,
    of different depths, kernels and blocks where it met such. A better network than the solution's becomes the
    solution's. Where strides are a choice, all have those of the solution. The message says where there are fewer.
    Raises `Interrupted` with the solution as it was.
    """
    require_counted(problem, "alternatives")
    if solution.architecture is None or count < 2:
        return solution
    inside = ""
    if not problem.space.strides_fixed:
        inside, strides = ", with its strides,", row_of(solution.architecture).strides
        problem = replace(problem, space=with_strides(problem.space, strides))
    try:
        more = _alternatives(problem, solution.architecture, count, solver, seconds)
    except STOPS as stop:
        raise stopped(stop, solution) from stop
    ranked = sorted([solution.architecture, *more.networks], key=problem.value, reverse=True)
    if solution.measured is not None:  # the network that was measured is the one delivered
        ranked = ranked[ranked.index(solution.architecture) :]
    best = ranked[0]
    if best is not solution.architecture:
        bound = math.inf if solution.bound is None else solution.bound
        better = found(problem, best, bound, gap=solver.gap, solver=solution.solver, seconds=solution.seconds)
        solution = replace(better, rows=solution.rows, row_counts=solution.row_counts)
    kept = [network for network in ranked[1:] if problem.value(network) >= _floor(problem, best, solver.gap)]
    message = solution.message
    if len(kept) < count - 1:
        why = "there are no more" if more.complete else "no more were found in the time"
        message += f"; {len(kept) + 1} of {count} networks that differ in two stages{inside} are within the gap: {why}"
    return replace(solution, alternatives=tuple(alternative(problem, network) for network in kept), message=message)


def _floor(problem: Problem, best: Architecture, gap: float) -> float:
    """Return the least objective within the gap of the best network's."""
    value = problem.value(best)
    return value - gap * abs(value)


def _alternatives(problem: Problem, best: Architecture, count: int, solver: CpSat, seconds: float) -> Alternatives:
    """Return up to `count` - 1 networks that differ from `best` and from each other."""
    if len(problem.space.stages) < DIFFERENT_STAGES:
        return Alternatives([], complete=True)
    if problem.small:
        return _exact(problem, best, count, solver, seconds)
    return Alternatives(_searched(problem, [best], count, solver, seconds))


def _exact(problem: Problem, best: Architecture, count: int, solver: CpSat, seconds: float) -> Alternatives:
    """Take the best next network again and again; search for the rest where the time does not suffice for a proof.

    A quick search comes first: what it met is where each proof begins, and what the proof is held against.
    """
    from deepmad.engine.solvers.cpsat import next_best

    ends, networks, floor = time.monotonic() + seconds, [best], _floor(problem, best, solver.gap)
    workers, seed = solver.info.workers, solver.seed
    met = _met(problem, best, solver, min(MEETING_SECONDS, MEETING_SHARE * seconds))
    while len(networks) < count and (left := ends - time.monotonic()) > 0:
        share = left / (count - len(networks))
        others = (network for network in met if all(different(network, one) for one in networks))
        hint = next(others, None)
        result = next_best(problem, networks, floor=floor, hint=hint, seconds=share, workers=workers, seed=seed)
        if result.status == "infeasible":
            require_none(problem, CP_SAT, hint, f"there is no other network of objective {floor:.10g} or more")
            return Alternatives(networks[1:], complete=True)
        if result.network is None:
            return Alternatives(_searched(problem, networks, count, solver, max(0.0, ends - time.monotonic())))
        if result.status == "optimal" and result.bound is not None and hint is not None:
            require_bound(problem, CP_SAT, result.bound, hint)
        assert all(different(result.network, network) for network in networks), "the program holds them apart"
        networks.append(result.network)
    return Alternatives(networks[1:])


class _Archive:
    """Scores networks as the problem does, and keeps those that are feasible and reach `floor`."""

    def __init__(self, evaluator: Evaluator, floor: float) -> None:
        self._evaluator, self._floor = evaluator, floor
        self.genomes: Genomes = np.empty((0, len(evaluator.coding.sizes)), dtype=np.intp)
        self.values: Floats = np.empty(0)

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth."""
        evaluation = self._evaluator.evaluate(genomes)
        near = (evaluation.excess == 0) & (evaluation.values >= self._floor)
        if near.any():
            self._keep(genomes[near], evaluation.values[near])
        return evaluation

    def _keep(self, genomes: Genomes, values: Floats) -> None:
        """Keep the best of the archive and the new networks; of those with one value, one."""
        values, first = np.unique(np.concatenate([self.values, values]), return_index=True)
        self.genomes = np.concatenate([self.genomes, genomes])[first[-ARCHIVE:]]
        self.values = values[-ARCHIVE:]

    def best_first(self) -> Iterable[Architecture]:
        """Yield the networks, best first."""
        return (self._evaluator.coding.architecture(genome) for genome in self.genomes[::-1])


def _searched(
    problem: Problem, known: Sequence[Architecture], count: int, solver: CpSat, seconds: float
) -> list[Architecture]:
    """Return the networks `known` but for the first, the best one, and others met by a search around it."""
    return _chosen(known, _met(problem, known[0], solver, seconds), count)


def _met(problem: Problem, best: Architecture, solver: CpSat, seconds: float) -> list[Architecture]:
    """Return the networks within the gap that a search around the best one meets, best first."""
    from deepmad.engine.solvers.search.scored import search_scored

    evaluator = Evaluator(problem)
    archive = _Archive(evaluator, _floor(problem, best, solver.gap))
    search_scored(problem, evaluator, archive, seed=solver.seed, seconds=seconds, start=best)
    return [network for network in archive.best_first() if not problem.broken(network)]


def _chosen(known: Sequence[Architecture], networks: Sequence[Architecture], count: int) -> list[Architecture]:
    """Return up to `count` - 1 networks that differ from the best, `known[0]`, and pairwise: `known`, then `networks`.

    Of `networks` (best first), first those whose depths, kernels and blocks no other one has, then any.
    """
    chosen, forms = list(known), {_form(network) for network in known}
    for new_forms in (True, False):
        for network in networks:
            if len(chosen) == count:
                return chosen[1:]
            if new_forms and _form(network) in forms:
                continue
            if all(different(network, other) for other in chosen):
                chosen.append(network)
                forms.add(_form(network))
    return chosen[1:]


def _form(network: Architecture) -> tuple[tuple[str, int, int], ...]:
    """Return what a network is but for its widths."""
    return tuple((stage.block, stage.kernel, stage.depth) for stage in network.stages)
