"""Judging networks by Deb's rules: feasible before infeasible, then the objective; of infeasible ones the nearest.

(K. Deb, "An efficient constraint handling method for genetic algorithms", 2000.) There is no penalty to choose: two
columns, the total relative excess over the limits and the objective, are compared one after the other.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.tables import Floats
from deepmad.engine.solvers.population.evaluation import Evaluation, Evaluator
from deepmad.engine.solvers.population.genomes import Genomes
from deepmad.engine.solvers.search.repair import Repair
from deepmad.engine.solvers.search.trials import ROUNDING, Trial, genome_keys, spread

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Judged:
    """Genomes (networks, genes) that keep the rules of their space, and what they are worth, each (networks,).

    `values` are objectives; `excess` is the sum over the limits of max(0, used / limit - 1), 0 where all are kept;
    `used` is what each network uses of the cost that a front looks at, 0 where there is none.
    """

    genomes: Genomes
    values: Floats
    excess: Floats
    used: Floats

    def __len__(self) -> int:
        return len(self.genomes)

    @property
    def order(self) -> Rows:
        """The rows from best to worst by Deb's rules."""
        return np.lexsort((-self.values, self.excess))

    @property
    def feasible(self) -> npt.NDArray[np.bool_]:
        """Which networks keep every limit."""
        return np.asarray(self.excess == 0)

    def rows(self, chosen: Rows | npt.NDArray[np.bool_]) -> "Judged":
        """Return some of the networks."""
        return Judged(self.genomes[chosen], self.values[chosen], self.excess[chosen], self.used[chosen])

    def survivors(self, count: int, genes: Sequence[int], share: int) -> "Judged":
        """Return `count` different networks, best first, at most `share` with the same values of `genes` first."""
        return self.rows(spread(self.order, self.values, self.genomes, genes, count, share))


def joined(one: Judged, other: Judged) -> Judged:
    """Return the networks of both."""
    names = ("genomes", "values", "excess", "used")
    return Judged(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))


@dataclass(frozen=True)
class Verdicts:
    """What closer looks said of networks: `genomes` (networks, genes) and their total relative `excess` (networks,).

    The closer looks are the limits that only a function tells, and the recount of every network that is delivered.
    An excess of 0 keeps every limit, an infinite one says that the look failed.
    """

    genomes: Genomes
    excess: Floats

    @staticmethod
    def none(genes: int) -> "Verdicts":
        """Return no verdicts, on genomes of that many genes."""
        return Verdicts(np.empty((0, genes), dtype=np.intp), np.empty(0))

    def places(self, genomes: Genomes) -> tuple[Rows, Rows]:
        """Return the rows of `genomes`, (networks, genes), that have a verdict, and where in here each stands."""
        if not len(self.excess):
            return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
        genes = range(genomes.shape[1])
        own = genome_keys(self.genomes, genes)
        order = np.argsort(own, kind="stable")
        place = order[np.minimum(np.searchsorted(own[order], genome_keys(genomes, genes)), len(own) - 1)]
        rows = np.flatnonzero((self.genomes[place] == genomes).all(axis=1))
        return rows, place[rows]

    def known(self, genomes: Genomes) -> npt.NDArray[np.bool_]:
        """Return which of `genomes`, (networks, genes), have a verdict."""
        known = np.zeros(len(genomes), dtype=bool)
        known[self.places(genomes)[0]] = True
        return known

    def kept(self, genomes: Genomes) -> npt.NDArray[np.bool_]:
        """Return which of `genomes`, (networks, genes), are known to keep every limit."""
        kept = np.zeros(len(genomes), dtype=bool)
        rows, places = self.places(genomes)
        kept[rows] = self.excess[places] == 0
        return kept

    def with_one(self, genome: Genomes, excess: float) -> "Verdicts":
        """Return the verdicts with one more, on a genome (genes,)."""
        return Verdicts(np.concatenate([self.genomes, genome[None]]), np.append(self.excess, excess))


@dataclass
class DebJudge:
    """Repairs genomes and judges them, until `end` (`time.monotonic` seconds; None is no end).

    `against` names the cost that a front looks at, as `usages` does; `cap` is a limit on it beside the problem's.
    """

    evaluator: Evaluator
    repair: Repair
    verdicts: Verdicts
    end: float | None = None
    against: str | None = None
    cap: float | None = None
    networks: int = field(default=0, init=False)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.end is not None and time.monotonic() >= self.end

    def judged(self, genomes: Genomes) -> Judged:
        """Return `genomes`, shape (networks, genes), repaired and judged."""
        genomes = self.repair(genomes)
        self.networks += len(genomes)
        found = self.evaluator.evaluate(genomes)
        excess = np.where(found.excess <= ROUNDING, 0.0, found.excess)
        used: Any = np.zeros(len(genomes)) if self.against is None else found.used[self.against]
        if self.cap is not None:
            excess += np.maximum(used / self.cap - 1, 0)
        rows, places = self.verdicts.places(genomes)
        excess[rows] += self.verdicts.excess[places]
        return Judged(genomes, found.values, excess, used)

    def __call__(self, genomes: Genomes) -> Trial:
        """Return `genomes` repaired and scored for a descent, which no infeasible network can take part in."""
        return as_trial(self.judged(genomes))


@dataclass(frozen=True)
class DebScorer:
    """Scores networks for a search of the frames around one, which weighs excess against objective by itself."""

    judge: DebJudge

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth, verdicts heeded."""
        judged = self.judge.judged(genomes)
        return Evaluation(judged.values, {}, judged.excess)


def as_trial(judged: Judged) -> Trial:
    """Return networks scored by their objective, and below any objective where they break a limit."""
    feasible = judged.feasible
    return Trial(judged.genomes, np.where(feasible, judged.values, -np.inf), feasible)
