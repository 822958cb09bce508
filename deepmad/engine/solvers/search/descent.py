"""Neighbourhood descent: over pairs of moves, then over triples, until none of them is better."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search.trials import Trial
from deepmad.engine.solvers.search.variation import with_width

BATCH = 8192
WIDE, NEAR = (1, 2, 3, 4, 6, 9), (1, 2)
MANY_CHOICES = 32
"""Choices from which on a gene is moved by more than `NEAR` steps."""
MOST_NEIGHBOURS = 200_000
IMPROVEMENT = 1e-9


class Judge(Protocol):
    """What scores genomes for a descent: `Trials`, or anything that does the same."""

    evaluator: Evaluator

    @property
    def over(self) -> bool:
        """Whether the time is up."""

    def __call__(self, genomes: Genomes) -> Trial:
        """Return `genomes`, shape (networks, genes), repaired and scored."""


@dataclass(frozen=True)
class Neighbourhood:
    """Which moves are made together: rows of positions in `moves`, the wide ones for pairs, the near for triples."""

    genes: tuple[int, ...]
    pairs: npt.NDArray[np.intp]
    triples: npt.NDArray[np.intp]


def moves(coding: Coding, genome: Genomes, steps: tuple[int, ...], chosen: Sequence[int]) -> Genomes:
    """Return single moves from `genome` as differences, shape (moves, genes).

    A gene goes up or down by up to `steps` choices; a stage's two widths go together; the first move is none.
    """
    genes = len(coding.sizes)
    rows = [np.zeros(genes, dtype=np.intp)]
    for gene in chosen:
        size = coding.sizes[gene]
        unit = np.zeros(genes, dtype=np.intp)
        unit[gene] = 1
        reach = [step for step in steps if step < size and (step in NEAR or size > MANY_CHOICES)]
        rows += [sign * step * unit for step in reach for sign in (-1, 1)]
    for stage, choice in enumerate(coding.space.stages):
        if choice.width is not None:
            both = np.array([-2, -1, 1, 2])
            rows += list(with_width(coding, stage, np.repeat(genome[None], len(both), axis=0), both) - genome)
    return np.array(rows)


def neighbourhood(coding: Coding, rng: np.random.Generator, genes: Sequence[int] | None = None) -> Neighbourhood:
    """Return the combinations of two wide and of three near moves in random order, a sample where they are many."""
    genome = np.zeros(len(coding.sizes), dtype=np.intp)
    chosen = tuple(range(len(coding.sizes)) if genes is None else genes)
    groups = []
    for steps, together in ((WIDE, 2), (NEAR, 3)):
        count = len(moves(coding, genome, steps, chosen))
        if comb(count, together) > MOST_NEIGHBOURS:
            groups.append(rng.integers(0, count, (MOST_NEIGHBOURS, together)))
        else:
            rows = np.array(list(combinations(range(count), together)), dtype=np.intp)
            groups.append(rng.permutation(rows.reshape(-1, together)))
    return Neighbourhood(chosen, *groups)


def descend(trials: Judge, around: Neighbourhood, start: Trial, *, deep: bool) -> Trial:
    """Return the local optimum that better neighbours lead to from `start`, one network.

    `deep` looks at triples where no pair is better. Ends early where the time is up.
    """
    point = start
    while (better := _better(trials, around, point, deep=deep)) is not None:
        point = better
    return point


def _better(trials: Judge, around: Neighbourhood, point: Trial, *, deep: bool) -> Trial | None:
    for neighbours in _neighbours(trials.evaluator.coding, around, point.genomes[0], deep=deep):
        if trials.over:
            return None
        found = trials(neighbours).best
        if found.score > point.score + IMPROVEMENT:
            return found
    return None


def _neighbours(coding: Coding, around: Neighbourhood, genome: Genomes, *, deep: bool) -> Iterator[Genomes]:
    """Yield the neighbours of a genome in batches."""
    for steps, rows in ((WIDE, around.pairs), (NEAR, around.triples))[: 2 if deep else 1]:
        single = moves(coding, genome, steps, around.genes)
        for first in range(0, len(rows), BATCH):
            together = rows[first : first + BATCH]
            yield genome + sum(single[together[:, column]] for column in range(together.shape[1]))
