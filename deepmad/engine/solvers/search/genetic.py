"""Genetic search: generations that keep several combinations of depths alive, so that none takes over early."""

import numpy as np

from deepmad.engine.solvers.population.genomes import Genomes
from deepmad.engine.solvers.search.trials import Trial, Trials, joined
from deepmad.engine.solvers.search.variation import children

ELITE = 250
SHARE = 3
"""Networks with the same depths that survive a generation while there are others."""
PATIENCE = 10
"""Generations without a feasible best after which infeasibility costs more."""
STEEPEST = 1e6


def generations(trials: Trials, rng: np.random.Generator, start: Genomes, count: int, size: int) -> Trial:
    """Return the elite, best first, after `count` generations of `size` children; earlier where time is up."""
    coding = trials.evaluator.coding
    depths = coding.genes("depth")
    elite = trials(start).survivors(ELITE, depths, SHARE)
    for generation in range(count):
        if trials.over:
            break
        if generation % PATIENCE == PATIENCE - 1 and not elite.feasible[0] and trials.penalty < STEEPEST:
            trials.penalty *= 2
            elite = trials(elite.genomes)
        born = trials(children(coding, rng, elite.genomes, size))
        elite = joined(elite, born).survivors(ELITE, depths, SHARE)
    return elite
