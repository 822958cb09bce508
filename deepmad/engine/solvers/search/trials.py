"""Trials: repaired genomes and their scores, and the best feasible network met on the way."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.tables import Floats
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.evaluation import Evaluation, Evaluator
from deepmad.engine.solvers.population.genomes import Genomes
from deepmad.engine.solvers.search.repair import Repair
from deepmad.search_spaces.architectures import Architecture

FIRST_PENALTY = 3.0
"""What a relative excess of 1 costs, in units of the largest objective met."""
ROUNDING = 1e-12
"""A relative excess up to this may be rounding; the problem itself has the last word on such a network."""
POPULATION = 100
"""Networks from which on a trial's best objective tells how large objectives are."""

HASH = 1_000_003
"""A prime; the products may wrap around, which only makes two keys equal once in a long while."""


class Scorer(Protocol):
    """What scores networks in the evaluator's place, by another wish than the problem's objective."""

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth."""


@dataclass(frozen=True)
class Trial:
    """Repaired genomes (networks, genes) and their scores (networks,): objective less a penalty for excess."""

    genomes: Genomes
    scores: Floats
    feasible: npt.NDArray[np.bool_]

    def rows(self, chosen: npt.NDArray[np.intp]) -> "Trial":
        """Return some of the networks."""
        return Trial(self.genomes[chosen], self.scores[chosen], self.feasible[chosen])

    @property
    def best(self) -> "Trial":
        """The best network alone."""
        return self.rows(np.array([self.scores.argmax()]))

    @property
    def score(self) -> float:
        """The score of the first network."""
        return float(self.scores[0])

    def survivors(self, count: int, genes: Sequence[int], share: int) -> "Trial":
        """Return `count` different networks, best first, at most `share` with the same values of `genes` first.

        Where that leaves fewer than `count`, the best of the others fill up. Of networks with equal scores
        one is taken.
        """
        order = np.argsort(-self.scores, kind="stable")
        return self.rows(spread(order, self.scores, self.genomes, genes, count, share))


def spread(
    order: npt.NDArray[np.intp], scores: Floats, genomes: Genomes, genes: Sequence[int], count: int, share: int
) -> npt.NDArray[np.intp]:
    """Return up to `count` rows of `order`, best first, at most `share` with the same values of `genes` first.

    Where that leaves fewer than `count`, the best of the others fill up. Of networks with equal scores
    one is taken.
    """
    order = order[: 6 * count]
    _, first = np.unique(scores[order], return_index=True)
    order = order[np.sort(first)]
    crowded = np.array(_rank(genome_keys(genomes[order], genes)) >= share)
    chosen = np.concatenate([np.flatnonzero(~crowded), np.flatnonzero(crowded)])[:count]
    kept: npt.NDArray[np.intp] = order[np.sort(chosen)]
    return kept


def genome_keys(genomes: Genomes, genes: Sequence[int]) -> npt.NDArray[np.intp]:
    """Return a number for each network, (networks,), that is the same where the values of `genes` are."""
    key = np.zeros(len(genomes), dtype=np.intp)
    for gene in genes:
        key = key * HASH + genomes[:, gene]
    return key


def _rank(keys: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return how many equal keys stand before each."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[:1]] - 1))
    rank = np.empty(len(keys), dtype=np.intp)
    rank[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys)))
    return rank


def joined(one: Trial, other: Trial) -> Trial:
    """Return the networks of both."""
    names = ("genomes", "scores", "feasible")
    return Trial(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))


@dataclass
class Best:
    """The best feasible network so far, None before there is one; `on_better` is told of every better one."""

    on_better: Callable[[Architecture, float], None] | None = None
    network: Architecture | None = None
    genome: Genomes | None = None
    value: float = -np.inf


@dataclass
class Trials:
    """Repairs and scores genomes of one problem until `end` (`time.monotonic` seconds; None is no end)."""

    problem: Problem
    evaluator: Evaluator
    repair: Repair
    best: Best
    end: float | None = None
    penalty: float = FIRST_PENALTY
    scorer: Scorer | None = None
    _largest: float = field(default=1.0, init=False)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.end is not None and time.monotonic() >= self.end

    def __call__(self, genomes: Genomes) -> Trial:
        """Return `genomes` repaired and scored; the best feasible one is kept."""
        genomes = self.repair(genomes)
        found = (self.scorer or self.evaluator).evaluate(genomes)
        if len(genomes) >= POPULATION and np.isfinite(found.values.max()):
            self._largest = max(self._largest, abs(float(found.values.max())))
        feasible = found.excess <= ROUNDING
        penalties = np.where(feasible, 0.0, self.penalty * self._largest * found.excess)
        self._keep(genomes, np.where(feasible, found.values, -np.inf))
        return Trial(genomes, found.values - penalties, feasible)

    def _keep(self, genomes: Genomes, values: Floats) -> None:
        best = self.best
        while len(values) and values.max() > best.value:
            row = int(values.argmax())
            network = self.evaluator.coding.architecture(genomes[row])
            if not self.problem.broken(network):
                best.network, best.genome, best.value = network, genomes[row].copy(), float(values[row])
                if best.on_better is not None:
                    best.on_better(network, best.value)
                return
            values[row] = -np.inf
