"""Exploring rows: an evolution that keeps many rows alive, and remembers the best network of each that it met."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.tables import Floats
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.evaluation import Evaluation, Evaluator
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search import search
from deepmad.engine.solvers.search.repair import Repair
from deepmad.engine.solvers.search.trials import ROUNDING, Best, Trials, joined
from deepmad.engine.solvers.search.variation import children, random_genomes
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture

POPULATION, FIRST, ELITE = 800, 3200, 400
"""Networks born in a generation, in the first one, and those that survive."""
SHARE = 8
"""Networks of one row that survive while there are other rows."""
STIRRED = 0.25
"""Part of the newborn that get another block kind in a stage: near choices of a gene mean nothing among kinds."""
PATIENCE, STEEPEST = 10, 1e6
"""Generations without a feasible network after which infeasibility costs twice as much, up to the latter."""
EVOLVED_SHARE, POLISHED = 0.5, 4
"""Its share of the time; the rest is for a search from the best networks of so many rows."""
KEPT = 50
"""Rows told, the best ones."""


@dataclass(frozen=True)
class Exploration:
    """What to explore: a problem with one stride a stage; how long: `seconds`, or `generations` where that is None.

    `evolution` explores in the place of the one in here, for as long or for its own number of generations. What is
    limited in seconds ends at `ends` at the latest, by the monotonic clock that processes of a machine share.
    """

    problem: Problem
    seed: int
    seconds: float | None
    generations: int
    starts: tuple[Architecture, ...] = ()
    evolution: Evolution | None = None
    ends: float = math.inf


def explore(wish: Exploration) -> list[Architecture]:
    """Return the best network met of every row met, best first, `KEPT` rows at most.

    Where there are seconds, the network that a search comes to from the best of them stands before them. Without, the
    answer is deterministic for a seed.
    """
    began = time.monotonic()
    if wish.seconds is not None:
        wish = replace(wish, seconds=min(wish.seconds, wish.ends - began))
        if began >= wish.ends:
            return []
    if wish.evolution is not None:
        return _evolved(wish, wish.evolution)
    if wish.seconds is None:
        return _best_of_rows(wish, None)
    found = _best_of_rows(wish, began + EVOLVED_SHARE * wish.seconds)
    left = max(0.0, wish.seconds - (time.monotonic() - began))
    polished = search(wish.problem, seed=wish.seed, seconds=left, starts=found[:POLISHED])
    return found if polished is None else [polished, *found]


def _best_of_rows(wish: Exploration, end: float | None) -> list[Architecture]:
    """Return the best network of every row that an evolution met until `end`, or in its generations where None."""
    evaluator = Evaluator(wish.problem, end)
    coding, rng = evaluator.coding, np.random.default_rng(wish.seed)
    repair = Repair(coding)
    if not repair.possible:
        return []
    archive = _RowArchive(evaluator)
    trials = Trials(wish.problem, evaluator, repair, Best(), end, scorer=archive)
    given = [coding.nearest(network)[None] for network in wish.starts]
    elite = trials(np.concatenate([*given, random_genomes(coding, rng, FIRST)]))
    generation, blocks = 0, coding.genes("block")
    while not trials.over and (end is not None or generation < wish.generations):
        elite = elite.survivors(ELITE, blocks, SHARE)
        generation += 1
        if generation % PATIENCE == 0 and not elite.feasible[0] and trials.penalty < STEEPEST:
            trials.penalty *= 2
            elite = trials(elite.genomes)
        born = _stirred(coding, rng, children(coding, rng, elite.genomes, POPULATION))
        elite = joined(elite, trials(born))
    return [network for network in archive.networks(KEPT) if not wish.problem.broken(network)]


def _evolved(wish: Exploration, evolution: Evolution) -> list[Architecture]:
    """Return the best network that an evolution met, in a list of its own."""
    from deepmad.engine.solvers.evolution.solving import evolve

    generations = evolution.generations
    if generations is None and wish.seconds is None:  # what is limited in work must not depend on the clock
        generations = wish.generations
    solver = replace(evolution, time_limit=wish.seconds, generations=generations, seed=wish.seed, workers=1, on="local")
    network = evolve(wish.problem, solver, starts=wish.starts).architecture
    return [] if network is None else [network]


def _stirred(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return `genomes`, shape (networks, genes), some with a random block kind in one stage."""
    rows = np.flatnonzero(rng.random(len(genomes)) < STIRRED)
    genes = rng.choice(coding.genes("block"), len(rows))
    genomes[rows, genes] = rng.integers(0, coding.sizes[genes])
    return genomes


class _RowArchive:
    """Scores networks as the problem does, and keeps the best feasible one of every row, best first."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._genomes: Genomes = np.empty((0, len(evaluator.coding.sizes)), dtype=np.intp)
        self._values: Floats = np.empty(0)

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth."""
        evaluation = self._evaluator.evaluate(genomes)
        kept = np.flatnonzero(evaluation.excess <= ROUNDING)
        if len(kept):
            self._keep(genomes[kept], evaluation.values[kept])
        return evaluation

    def _keep(self, genomes: Genomes, values: Floats) -> None:
        genomes, values = np.concatenate([self._genomes, genomes]), np.concatenate([self._values, values])
        order = np.argsort(-values, kind="stable")
        _, first = np.unique(self._row_numbers(genomes[order]), return_index=True)
        chosen = order[np.sort(first)]
        self._genomes, self._values = genomes[chosen], values[chosen]

    def _row_numbers(self, genomes: Genomes) -> npt.NDArray[np.intp]:
        """Return a number for each network, (networks,), that is the same where the block kinds are."""
        numbers: npt.NDArray[np.intp] = np.zeros(len(genomes), dtype=np.intp)
        coding = self._evaluator.coding
        for gene in coding.genes("block"):
            numbers = numbers * coding.sizes[gene] + genomes[:, gene]
        return numbers

    def networks(self, count: int) -> list[Architecture]:
        """Return the best networks, best first, one a row."""
        return [self._evaluator.coding.architecture(genome) for genome in self._genomes[:count]]
