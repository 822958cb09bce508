"""The quick search for networks that use little of one limit while they keep the others."""

import numpy as np

from deepmad.engine.population.evaluation import Evaluation, Evaluator
from deepmad.engine.population.genomes import Coding, Genomes
from deepmad.engine.problems import Problem
from deepmad.engine.search import search
from deepmad.search_spaces.architectures import Architecture


class LeastUse:
    """Scores networks by the logarithm of what they use of one limit, the less the better."""

    def __init__(self, problem: Problem, name: str) -> None:
        self._evaluator, self._name = Evaluator(problem), name

    @property
    def coding(self) -> Coding:
        """How networks are written as genomes."""
        return self._evaluator.coding

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth."""
        found = self._evaluator.evaluate(genomes)
        return Evaluation(-np.log(found.used[self._name]), found.used, found.excess)


def search_least(problem: Problem, name: str, *, seed: int, seconds: float) -> Architecture | None:
    """Return the network that uses least of the limit `name` among those found that keep all limits of `problem`.

    None where none was found within `seconds`.
    """
    return search(problem, seed=seed, seconds=seconds, scorer=LeastUse(problem, name))
