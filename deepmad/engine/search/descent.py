"""Neighbourhood descent over pairs and triples of moves, and kicks out of a local optimum."""

from itertools import combinations

import numpy as np

from deepmad.engine.population.genomes import Coding, Genomes
from deepmad.engine.search.genetic import traded
from deepmad.engine.search.trials import Trial, Trials

BATCH = 8192
WIDE, NEAR = (1, 2, 3, 4, 6, 9), (1, 2)


def moves(coding: Coding, steps: tuple[int, ...]) -> Genomes:
    """Return moves of one gene by up to `steps` choices either way, shape (moves, genes)."""
    rows = []
    for gene, size in enumerate(coding.sizes):
        for step in steps:
            if step < size and (step < 3 or size > 32):
                unit = np.eye(len(coding.sizes), dtype=np.intp)[gene]
                rows += [step * unit, -step * unit]
    return np.array(rows, dtype=np.intp).reshape(len(rows), len(coding.sizes))


class Neighbourhood:
    """All sums of two wide moves, and of three near ones, shape (moves, genes) each."""

    def __init__(self, coding: Coding) -> None:
        wide, near = moves(coding, WIDE), moves(coding, NEAR)
        one, other = np.triu_indices(len(wide), 1)
        self.pairs = np.concatenate([wide, wide[one] + wide[other]])
        chosen = np.array(list(combinations(range(len(near)), 3)), dtype=np.intp)
        self.triples = near[chosen].sum(axis=1)
        self.near = moves(coding, (1,2,3))


def descend(trials: Trials, around: Neighbourhood, start: Trial, deep: bool, rng=None) -> Trial:
    point = start
    while not trials.over:
        for group in (around.pairs, around.triples) if deep else (around.pairs,):
            better = _best_neighbour(trials, point, group, rng)
            if better is not None:
                point = better
                break
        else:
            return point
    return point


def _best_neighbour(trials, point, group, rng):
    for first in range(0, len(group), BATCH):
        found = trials(point.genomes + group[first : first + BATCH]).best(1)
        if found.scores[0] > point.scores[0] + 1e-9:
            return found
        if trials.over:
            return None
    return None
