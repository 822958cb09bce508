"""Alternatives: several networks near the best one that differ from each other, for a user to choose from."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from deepmad.engine.answers.claims import require_bound, require_none
from deepmad.engine.answers.progress import CP_SAT, stopped
from deepmad.engine.answers.solutions import DIFFERENT_STAGES, Solution, alternatives, found
from deepmad.engine.costs.tables import Floats
from deepmad.engine.program.limits import require_counted
from deepmad.engine.program.problems import Problem
from deepmad.engine.program.recounts import recounted
from deepmad.engine.solvers.population.evaluation import Evaluation, Evaluator
from deepmad.engine.solvers.population.genomes import Genomes
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture, Stage
from deepmad.search_spaces.errors import STOPS
from deepmad.search_spaces.rows import row_of, with_strides

ARCHIVE = 20_000
"""Networks kept of those met within the gap, the best ones."""
MEETING_SECONDS, MEETING_SHARE = 0.5, 0.05
"""Seconds of the search before the proofs in a small space, and its share of the time at most."""
SEARCHING_SHARE, CHOOSING_SHARE = 0.6, 0.5
"""The search's share of the time for networks met, and the share of the rest for choosing among them; what is then left
is for the figures of those chosen."""
EVALUATIONS_A_UNIT, LEAST_EVALUATIONS = 100_000, 50_000
"""Networks that the search evaluates for a unit of deterministic work, and the least of them."""
SLICE, RECOUNTED = 200, 50
"""Networks that are read from their genomes, and that are recounted, at once: between two looks at the clock."""


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
    All of it takes `seconds`, which are added to the solution's, or the solver's deterministic limit where it has one:
    the same networks then come twice. Raises `Interrupted` with the solution as it was.
    """
    require_counted(problem, "alternatives")
    if solution.architecture is None or count < 2:
        return solution
    began, inside = time.monotonic(), ""
    if not problem.space.strides_fixed:
        inside, strides = ", with its strides,", row_of(solution.architecture).strides
        problem = replace(problem, space=with_strides(problem.space, strides))
    try:
        more = _alternatives(problem, solution.architecture, count, solver, _Effort.of(solver, seconds))
    except STOPS as stop:
        raise stopped(stop, solution) from stop
    others = sorted(alternatives(problem, more.networks), key=lambda one: one.objective, reverse=True)
    best = problem.value(solution.architecture)
    above = [one for one in others if one.objective > best]
    others = others[len(above) :]
    if above and solution.measured is None:  # a network that was measured is the one delivered
        others = [*above[1:], *alternatives(problem, [solution.architecture]), *others]
        best, solution = above[0].objective, _around(problem, above[0].architecture, solution, solver)
    least = _floor(best, solver.gap)
    kept = tuple(one for one in others if one.objective >= least)
    message = solution.message
    if len(kept) < count - 1:
        why = "there are no more" if more.complete else f"no more were found in the {_what(solver)}"
        message += f"; {len(kept) + 1} of {count} networks that differ in two stages{inside} are within the gap: {why}"
    passed = solution.seconds + time.monotonic() - began
    return replace(solution, alternatives=kept, message=message, seconds=passed)


def _around(problem: Problem, network: Architecture, solution: Solution, solver: CpSat) -> Solution:
    """Return the solution around a better network than its own; it has a bound, which holds all the same."""
    bound = math.inf if solution.bound is None else solution.bound
    better = found(problem, network, bound, gap=solver.gap, solver=solution.solver, seconds=solution.seconds)
    return replace(better, rows=solution.rows, row_counts=solution.row_counts)


def _floor(objective: float, gap: float) -> float:
    """Return the least objective within the gap of the best network's."""
    return objective - gap * abs(objective)


@dataclass(frozen=True)
class _Effort:
    """What finding networks may take: until `ends` by the monotonic clock or, where there is `work`, units of that."""

    ends: float
    work: float | None

    @staticmethod
    def of(solver: CpSat, seconds: float) -> "_Effort":
        """Return the effort of so many seconds from now on, or of the solver's deterministic limit."""
        work = solver.deterministic_limit
        return _Effort(math.inf if work is not None else time.monotonic() + seconds, work)

    @property
    def left(self) -> float:
        """Seconds left; infinite under a limit on work."""
        return self.ends - time.monotonic()

    def part(self, share: float, most: float = math.inf) -> "_Effort":
        """Return a share of what is left, `most` seconds or units of it."""
        if self.work is not None:
            return _Effort(math.inf, min(share * self.work, most))
        return _Effort(time.monotonic() + min(share * max(0.0, self.left), most), None)


def _alternatives(problem: Problem, best: Architecture, count: int, solver: CpSat, effort: _Effort) -> Alternatives:
    """Return up to `count` - 1 networks that differ from `best` and from each other."""
    if len(problem.space.stages) < DIFFERENT_STAGES:
        return Alternatives([], complete=True)
    if problem.small:
        return _exact(problem, best, count, solver, effort)
    return Alternatives(_searched(problem, [best], count, solver, effort))


def _exact(problem: Problem, best: Architecture, count: int, solver: CpSat, effort: _Effort) -> Alternatives:
    """Take the best next network again and again; search for the rest where the time does not suffice for a proof.

    A quick search comes first: what it met is where each proof begins, and what the proof is held against.
    """
    from deepmad.engine.solvers.cpsat import next_best

    apart, networks, floor = Apart([best]), [best], _floor(problem.value(best), solver.gap)
    workers, seed = solver.info.workers, solver.seed
    met = list(_met(problem, best, solver, effort.part(MEETING_SHARE, MEETING_SECONDS)).best_first())
    while len(networks) < count and effort.left > 0:
        part = effort.part(1 / (count - (len(networks) if effort.work is None else 1)))
        hint = next((network for network in met if apart.differs(network) and not problem.broken(network)), None)
        result = next_best(
            problem,
            networks,
            floor=floor,
            hint=hint,
            seconds=None if part.work is not None else max(0.0, part.left),
            deterministic_limit=part.work,
            workers=workers,
            seed=seed,
        )
        if result.status == "infeasible":
            require_none(problem, CP_SAT, hint, f"there is no other network of objective {floor:.10g} or more")
            return Alternatives(networks[1:], complete=True)
        if result.network is None:
            return Alternatives(_searched(problem, networks, count, solver, effort))
        if result.status == "optimal" and result.bound is not None and hint is not None:
            require_bound(problem, CP_SAT, result.bound, hint)
        assert apart.differs(result.network), "the program holds them apart"
        networks.append(result.network)
        apart.add(result.network)
    return Alternatives(networks[1:])


class Apart:
    """Networks of a space that differ pairwise in two stages at least, and whether another one differs so from all.

    Two networks differ in fewer stages where what stands before one of them and what stands behind it is the same. So
    a network is known by what is left of it without each of its stages: to ask takes one look-up a stage, however many
    networks there are.
    """

    def __init__(self, networks: Iterable[Architecture] = ()) -> None:
        assert DIFFERENT_STAGES == 2, "one stage is left out of what is looked up"
        self._before: dict[tuple[int, Stage], int] = {}
        self._behind: dict[tuple[int, Stage], int] = {}
        self._rests: set[tuple[int, int]] = set()
        for network in networks:
            self.add(network)

    def differs(self, network: Architecture) -> bool:
        """Return whether a network differs in two stages at least from each of those added."""
        before, behind = _known(self._before, network.stages), _known(self._behind, network.stages[::-1])
        return self._rests.isdisjoint(zip(before, reversed(behind), strict=True))

    def add(self, network: Architecture) -> None:
        """Add a network."""
        for numbers, stages in ((self._before, network.stages), (self._behind, network.stages[::-1])):
            number = NOTHING
            for stage in stages[:-1]:
                number = numbers.setdefault((number, stage), len(numbers))
        before, behind = _known(self._before, network.stages), _known(self._behind, network.stages[::-1])
        self._rests.update(zip(before, reversed(behind), strict=True))


NOTHING, UNKNOWN = -1, -2
"""The numbers of no stages at all, and of a row of stages that no network has that was added."""


def _known(numbers: dict[tuple[int, Stage], int], stages: Sequence[Stage]) -> list[int]:
    """Return the number of the first none, one, two and so on of `stages`, of all but the last of them at most."""
    found = [NOTHING]
    for stage in stages[:-1]:
        found.append(numbers.get((found[-1], stage), UNKNOWN))
    return found


class _EnoughError(Exception):
    """As many networks were evaluated as were asked for; there is no other way to end a search but by the clock."""


class _Archive:
    """Scores networks as the problem does, and keeps those that are feasible and reach `floor`.

    Raises `_EnoughError` where `most` networks were evaluated before.
    """

    def __init__(self, evaluator: Evaluator, floor: float, most: int | None = None) -> None:
        self._evaluator, self._floor, self._left = evaluator, floor, most
        self.genomes: Genomes = np.empty((0, len(evaluator.coding.sizes)), dtype=np.intp)
        self.values: Floats = np.empty(0)

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth."""
        if self._left is not None:
            if self._left <= 0:
                raise _EnoughError
            self._left -= len(genomes)
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

    def best_first(self) -> Iterator[Architecture]:
        """Yield the networks, best first."""
        return self._read(np.arange(len(self.genomes))[::-1])

    def new_forms_first(self, known: Sequence[Architecture]) -> Iterator[Architecture]:
        """Yield the best network of each form that none of `known` has, best first, then the others, best first.

        A form is what a network is but for its widths: depths, kernels and blocks.
        """
        coding, count = self._evaluator.coding, len(self.genomes)
        genes = [gene for name in ("block", "kernel", "depth") for gene in coding.genes(name)]
        genomes = np.concatenate([*(coding.nearest(network)[None] for network in known), self.genomes[::-1]])
        _, first = np.unique(genomes[:, genes], axis=0, return_index=True)
        ranks = np.sort(first[first >= len(known)]) - len(known)
        others = np.setdiff1d(np.arange(count), ranks)
        return self._read(count - 1 - np.concatenate([ranks, others]))

    def _read(self, rows: npt.NDArray[np.intp]) -> Iterator[Architecture]:
        for first in range(0, len(rows), SLICE):
            yield from self._evaluator.coding.architectures(self.genomes[rows[first : first + SLICE]])


def _searched(
    problem: Problem, known: Sequence[Architecture], count: int, solver: CpSat, effort: _Effort
) -> list[Architecture]:
    """Return the networks `known` but for the first, the best one, and others met by a search around it."""
    met = _met(problem, known[0], solver, effort.part(SEARCHING_SHARE))
    return _chosen(problem, known, met.new_forms_first(known), count, effort.part(CHOOSING_SHARE))


def _met(problem: Problem, best: Architecture, solver: CpSat, effort: _Effort) -> _Archive:
    """Return the networks within the gap that a search around the best one meets.

    What rounding alone let pass is among them: each has to be recounted before it is taken.
    """
    from deepmad.engine.solvers.search.scored import search_scored

    evaluator = Evaluator(problem, effort.ends)
    most = None if effort.work is None else max(LEAST_EVALUATIONS, round(EVALUATIONS_A_UNIT * effort.work))
    archive = _Archive(evaluator, _floor(problem.value(best), solver.gap), most)
    with suppress(_EnoughError):
        search_scored(problem, evaluator, archive, seed=solver.seed, seconds=effort.left, start=best)
    return archive


def _chosen(
    problem: Problem, known: Sequence[Architecture], networks: Iterable[Architecture], count: int, effort: _Effort
) -> list[Architecture]:
    """Return up to `count` - 1 networks that differ from the best, `known[0]`, and pairwise: `known`, then `networks`.

    Of `networks` the first ones are taken, as far as the effort suffices.
    """
    chosen, others = list(known), _differing(known, networks, effort)
    while len(chosen) < count and (some := list(islice(others, min(RECOUNTED, count - len(chosen))))):
        chosen += [one for one, counted in zip(some, recounted(problem, some), strict=True) if not counted.broken]
    return chosen[1:]


def _differing(
    known: Sequence[Architecture], networks: Iterable[Architecture], effort: _Effort
) -> Iterator[Architecture]:
    """Yield the networks that differ from those known and from each other, as far as the effort suffices."""
    apart = Apart(known)
    for network in networks:
        if effort.left <= 0:
            return
        if apart.differs(network):
            apart.add(network)
            yield network


def _what(solver: CpSat) -> str:
    """Return what ran out where there are fewer networks than asked for."""
    return "time" if solver.deterministic_limit is None else "work that was allowed"
