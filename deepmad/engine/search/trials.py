"""Trials: repaired genomes and their scores, shared by every part of the search, with the best network so far."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepmad.engine.population.evaluation import Evaluator
from deepmad.engine.population.genomes import Genomes
from deepmad.engine.population.tables import Floats
from deepmad.engine.problems import Problem
from deepmad.engine.search.repair import Repair
from deepmad.search_spaces.architectures import Architecture

PENALTY = 3.0
"""What a relative excess of 1 costs, in units of the largest objective seen."""
ROUNDING = 1e-12
"""A relative excess up to this may be rounding; such a network is checked by the problem itself."""


@dataclass(frozen=True)
class Trial:
    """Repaired genomes (networks, genes) and their scores (networks,): objective less penalty for excess."""

    genomes: Genomes
    scores: Floats

    def best(self, count: int) -> "Trial":
        """Return the `count` best different ones, best first."""
        order = np.argsort(-self.scores, kind="stable")[: 3 * count]
        _, first = np.unique(self.scores[order], return_index=True)
        chosen = order[np.sort(first)][:count]
        return Trial(self.genomes[chosen], self.scores[chosen])


class Trials:
    """Repairs and scores genomes of one problem; `best` is the best network met that is feasible."""

    def __init__(
        self, problem: Problem, seconds: float | None, on_better: Callable[[Architecture, float], None] | None
    ) -> None:
        self.problem = problem
        self.evaluator = Evaluator(problem)
        self.coding = self.evaluator.coding
        self.repair = Repair(self.coding)
        self.best: Architecture | None = None
        self.best_genome: Genomes | None = None
        self.best_value = -np.inf
        self.evaluated = 0
        self._largest = 1.0
        self._end = None if seconds is None else time.monotonic() + seconds
        self._on_better = on_better

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and time.monotonic() >= self._end

    def __call__(self, genomes: Genomes) -> Trial:
        """Return `genomes` repaired and scored; the best is kept."""
        genomes = self.repair(genomes)
        found = self.evaluator.evaluate(genomes)
        self.evaluated += len(genomes)
        finite = found.values[np.isfinite(found.values)]
        self._largest = max(self._largest, float(np.abs(finite).max(initial=0.0)))
        feasible = found.excess <= ROUNDING
        scores = np.where(feasible, found.values, found.values - PENALTY * self._largest * found.excess)
        self._keep(genomes, np.where(feasible, found.values, -np.inf))
        return Trial(genomes, scores)

    def _keep(self, genomes: Genomes, values: Floats) -> None:
        while values.max(initial=-np.inf) > self.best_value:
            row = int(values.argmax())
            network = self.coding.architecture(genomes[row])
            if not self.problem.broken(network):
                self.best, self.best_genome, self.best_value = network, genomes[row].copy(), float(values[row])
                if self._on_better is not None:
                    self._on_better(network, self.best_value)
                return
            values[row] = -np.inf
