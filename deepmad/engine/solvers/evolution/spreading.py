"""An island's epoch towards a front of objective against one cost: NSGA-II, and a climb below a drawn cost.

The generations spread networks along the front; alone they stay some percent below it. So every epoch also climbs
towards the highest objective below a cost drawn from the front's range, and what it meets joins the population.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from deepmad.engine.solvers.evolution.climbing import BEGUN, generator_at
from deepmad.engine.solvers.evolution.islands import (
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
from deepmad.engine.solvers.evolution.judging import Judged, as_trial, joined
from deepmad.engine.solvers.evolution.nondominated import front_survivors, fronts, tournament
from deepmad.engine.solvers.population.genomes import Genomes
from deepmad.engine.solvers.search.descent import descend
from deepmad.engine.solvers.search.variation import random_genomes

UNCAPPED = 0.1
"""Share of the climbs without a cost: they look for the front's upper end."""
NEAR = 60
"""Networks of the front, next below the cost drawn, that a climb begins from."""
CLIMB = 20
"""Generations of a climb."""


def spread(machine: Machine, island: Island, epoch: Epoch) -> tuple[Island, Record]:
    """Return the island after an epoch, and a line for the log."""
    rng = generator_at(island.generator)
    judge = machine.judge(epoch.verdicts, epoch.end())
    box = toolbox(judge, rng, epoch.size, partial(front_survivors, count=epoch.size), tournament)
    first = island.population
    if not len(first):
        first = random_genomes(machine.coding, rng, BEGUN * epoch.size)
    population = box.survive(judge.judged(np.concatenate([first, island.optima])))
    population = generations(box, judge, population, epoch.generations)
    climbed = judge.judged(_climbed(machine, rng, population, epoch, judge.end))
    population = box.survive(joined(population, climbed))
    island = replace(
        island,
        population=population.genomes,
        optima=_sparse(population),
        shown=best_of(population, SHOWN).genomes,
        generation=island.generation + epoch.generations,
        generator=dict(rng.bit_generator.state),
    )
    return island, record(island, judge, population)


def _climbed(
    machine: Machine, rng: np.random.Generator, population: Judged, epoch: Epoch, end: float | None
) -> Genomes:
    """Return the networks that a climb below a cost drawn from the front's range came to."""
    feasible = population.rows(population.feasible)
    if not len(feasible):
        return population.genomes[:0]
    front = feasible.rows(next(fronts(feasible.values, feasible.used)))
    drawn = float(np.exp(rng.uniform(*np.log(front.used[[0, -1]]))))
    cap = None if rng.random() < UNCAPPED else max(drawn, float(front.used[0]))
    below = front if cap is None else front.rows(front.used <= cap)
    judge = machine.judge(epoch.verdicts, end, cap)
    box = toolbox(judge, rng, epoch.size, spread_survivors(machine.coding))
    climbed = generations(box, judge, box.survive(judge.judged(below.genomes[-NEAR:])), CLIMB)
    if not climbed.feasible[0]:
        return climbed.genomes
    optimum = descend(judge, machine.around, as_trial(climbed.rows(np.array([0]))), deep=False)
    return np.concatenate([optimum.genomes, climbed.genomes])


def _sparse(population: Judged) -> Genomes:
    """Return the networks with which the next island shares its front, those of the least crowded places."""
    return population.genomes[population.feasible][:SHOWN]
