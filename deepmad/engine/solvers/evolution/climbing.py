"""An island's epoch towards the highest objective: generations, then a descent from the best of its networks.

An island climbs until its generations gain little, descends to the local optimum, those of the most promising depths,
kernels and blocks around it included, and looks further around that: a population that trades depth for width evolves
for an epoch, and its best network of other depths descends in turn. Where several looks in a row bring nothing better,
the island begins anew, from random networks or from those around the optima known so far.
"""

from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.solvers.evolution.islands import (
    OPTIMA,
    SHOWN,
    Epoch,
    Island,
    Machine,
    Record,
    best_of,
    generations,
    record,
    spread_survivors,
    toolbox,
)
from deepmad.engine.solvers.evolution.judging import DebJudge, DebScorer, Judged, as_trial, joined
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search import SMALL_SPACE
from deepmad.engine.solvers.search.agenda import Agenda
from deepmad.engine.solvers.search.descent import descend
from deepmad.engine.solvers.search.trials import Best, Trial, Trials, genome_keys
from deepmad.engine.solvers.search.variation import random_genomes, traded, varied

BEGUN = 4
"""Networks that an island begins from, in populations."""
LEAST_CLIMB, LITTLE = 40, 1e-3
"""Generations that an island climbs at least, and the relative gain of an epoch from which on it climbs further."""
LOST = 400
"""Generations without a feasible network after which an island begins anew."""
LOOKS = 4
"""Looks around an optimum that may fail in a row."""
PROMISING = 0.003
"""A local optimum over pairs of moves is looked at more closely within this part of the point's objective."""


def climb(machine: Machine, island: Island, epoch: Epoch) -> tuple[Island, Record]:
    """Return the island after an epoch, and a line for the log."""
    rng = generator_at(island.generator)
    judge = machine.judge(epoch.verdicts, epoch.end())
    box = toolbox(judge, rng, epoch.size, spread_survivors(machine.coding))
    optima = best_of(judge.judged(island.optima), OPTIMA)
    island = _begun(machine.coding, rng, replace(island, optima=optima.genomes), epoch.size)
    before = box.survive(judge.judged(_breeding(machine, rng, island, epoch.size)))
    population = generations(box, judge, before, epoch.generations)
    island = replace(
        island,
        population=population.genomes,
        generation=island.generation + epoch.generations,
        climbed=island.climbed + epoch.generations,
    )
    if len(island.point) or _settled(island, before, population):
        island = _Look(machine, judge, rng).around(island, population, optima)
    island = replace(island, shown=_shown(judge, island, population), generator=dict(rng.bit_generator.state))
    return island, record(island, judge, population)


def generator_at(state: dict[str, object]) -> np.random.Generator:
    """Return a generator of random numbers in a state that one was in."""
    rng = np.random.default_rng(0)
    rng.bit_generator.state = state
    return rng


def _begun(coding: Coding, rng: np.random.Generator, island: Island, size: int) -> Island:
    """Return the island with a first population where it has none: random, or every other time around its optima."""
    if len(island.population):
        return island
    first = random_genomes(coding, rng, BEGUN * size)
    if len(island.optima) and island.beginnings % 2 == 0:
        copies = island.optima[rng.integers(0, len(island.optima), BEGUN * size)]
        first = np.concatenate([island.optima, varied(coding, rng, traded(coding, rng, copies))])
    return replace(island, population=first, climbed=0, failed=0, beginnings=island.beginnings + 1)


def _breeding(machine: Machine, rng: np.random.Generator, island: Island, size: int) -> Genomes:
    """Return the genomes that an epoch begins with: the population, or networks of other depths around the point."""
    if not len(island.point):
        return island.population
    coding, depths = machine.coding, machine.coding.genes("depth")
    copies = np.repeat(island.point, BEGUN * size, axis=0)
    around = machine.repair(varied(coding, rng, traded(coding, rng, copies)))
    elsewhere = (around[:, depths] != island.point[0, depths]).any(axis=1)
    return around[elsewhere] if elsewhere.any() else around


def _settled(island: Island, before: Judged, population: Judged) -> bool:
    """Whether a climbing population gains so little that a descent from its best is worth more."""
    if not before.feasible[0]:
        return not population.feasible[0] and island.climbed >= LOST
    gain = float(population.values[0] - before.values[0])
    return island.climbed >= LEAST_CLIMB and not gain > LITTLE * abs(float(population.values[0]))


@dataclass(frozen=True)
class _Look:
    """A look for a better optimum: what knows the problem, what judges networks, and the random numbers."""

    machine: Machine
    judge: DebJudge
    rng: np.random.Generator

    def around(self, island: Island, population: Judged, optima: Judged) -> Island:
        """Return the island once it has descended from the best network of depths that no optimum known has."""
        start = _start(self.machine.coding, population, optima)
        point = self.judge(island.point) if len(island.point) else None
        found = None if start is None else self._descended(start, point)
        better = found is not None and (point is None or found.score > point.score)
        failed = 0 if better else island.failed + 1
        if found is not None:
            optima = best_of(joined(optima, self.judge.judged(found.genomes)), OPTIMA)
        island = replace(island, optima=optima.genomes, failed=failed)
        if found is not None and better:
            return replace(island, point=found.genomes)
        if point is None or failed >= LOOKS:
            nothing = island.population[:0]
            return replace(island, population=nothing, point=nothing)
        return island

    def _descended(self, start: Judged, point: Trial | None) -> Trial:
        """Return the optimum that `start` leads to, looked at more closely where it comes near the point's score."""
        found = descend(self.judge, self.machine.around, as_trial(start), deep=False)
        if point is None:
            return self._best_frame(found)
        if found.score > point.score - PROMISING * abs(point.score):
            found = descend(self.judge, self.machine.around, found, deep=True)
        return found

    def _best_frame(self, start: Trial) -> Trial:
        """Return the best network met among those of depths, kernels and blocks around `start`, the promising first.

        In a small space the generations meet them all, and only triples of moves are looked at.
        """
        machine, judge = self.machine, self.judge
        if machine.evaluator.problem.space.size() <= SMALL_SPACE:
            return descend(judge, machine.around, start, deep=True)
        trials = Trials(
            machine.evaluator.problem, machine.evaluator, machine.repair, Best(), judge.end, scorer=DebScorer(judge)
        )
        met = Agenda(trials, self.rng, machine.around, machine.widths).work(trials(start.genomes))
        if met is None or not met.feasible[0]:
            return start
        found = judge(met.genomes)
        return found if found.score > start.score else start


def _start(coding: Coding, population: Judged, optima: Judged) -> Judged | None:
    """Return the best feasible network that has other depths than every optimum, or is better than all of them."""
    depths = coding.genes("depth")
    fresh = ~np.isin(genome_keys(population.genomes, depths), genome_keys(optima.genomes, depths))
    if len(optima):
        fresh |= population.values > optima.values.max()
    rows = np.flatnonzero(fresh & population.feasible)
    return population.rows(rows[:1]) if len(rows) else None


def _shown(judge: DebJudge, island: Island, population: Judged) -> Genomes:
    """Return the best feasible networks of an epoch."""
    return best_of(joined(population, judge.judged(island.optima)), SHOWN).genomes
