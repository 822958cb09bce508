"""The quick search with another wish than the problem's objective, and the wish to use little of one limit."""

import time
from itertools import count

import numpy as np

from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.evaluation import Evaluation, Evaluator
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search.descent import descend, neighbourhood
from deepmad.engine.solvers.search.genetic import generations
from deepmad.engine.solvers.search.repair import Repair
from deepmad.engine.solvers.search.trials import Best, Scorer, Trials
from deepmad.engine.solvers.search.variation import random_genomes, traded, varied
from deepmad.search_spaces.architectures import Architecture

GENERATIONS, SIZE = 120, 800


class LeastUse:
    """Scores networks by the logarithm of what they use of one limit: the less the better, or the more from below."""

    def __init__(self, evaluator: Evaluator, name: str) -> None:
        self._evaluator, self._name = evaluator, name
        self._sign = evaluator.limits[name].sign

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth."""
        found = self._evaluator.evaluate(genomes)
        return Evaluation(-self._sign * np.log(found.used[self._name]), found.used, found.excess)


def search_least(problem: Problem, name: str, *, seed: int, seconds: float) -> Architecture | None:
    """Return the network that uses least of the limit `name` among those found that keep all limits of `problem`.

    Of a limit from below it is the one that uses most. None where none was found within `seconds`.
    """
    ends = time.monotonic() + seconds
    evaluator = Evaluator(problem, ends)
    left = ends - time.monotonic()
    return search_scored(problem, evaluator, LeastUse(evaluator, name), seed=seed, seconds=left)


def search_scored(
    problem: Problem,
    evaluator: Evaluator,
    scorer: Scorer,
    *,
    seed: int,
    seconds: float,
    start: Architecture | None = None,
) -> Architecture | None:
    """Return the feasible network of highest score among those met within `seconds`, None where none was met.

    First comes a descent from `start` where it is given. Every round is a genetic search and a descent from its
    best, in turn from random networks and around the optima so far.
    """
    coding, repair, rng = evaluator.coding, Repair(evaluator.coding), np.random.default_rng(seed)
    if not repair.possible:
        return None
    trials = Trials(problem, evaluator, repair, Best(), time.monotonic() + seconds, scorer=scorer)
    around = neighbourhood(coding, rng)
    optima: Genomes = np.empty((0, len(coding.sizes)), dtype=np.intp)
    if start is not None:
        optima = descend(trials, around, trials(coding.nearest(start)[None]), deep=True).genomes
    for number in count():
        if trials.over:
            break
        again = len(optima) > 0 and (number % 2 == 1 or number == 0)
        first = _near(coding, rng, optima) if again else random_genomes(coding, rng, 4 * SIZE)
        elite = generations(trials, rng, first, GENERATIONS, SIZE)
        optima = np.concatenate([optima, descend(trials, around, elite.best, deep=True).genomes])
    return trials.best.network


def _near(coding: Coding, rng: np.random.Generator, optima: Genomes) -> Genomes:
    """Return the optima, and genomes around them with other depths."""
    copies = optima[rng.integers(0, len(optima), 4 * SIZE)]
    return np.concatenate([optima, varied(coding, rng, traded(coding, rng, copies))])
