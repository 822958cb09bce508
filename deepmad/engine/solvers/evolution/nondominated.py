"""Non-dominated sorting and crowding for two wishes, a high objective and a low cost, over whole populations.

(K. Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.) DEAP sorts lists of
individuals in pairs, which takes seconds for a population of a generation here; with two wishes a front is what
reaches a new highest objective in the order of costs.
"""

from collections.abc import Iterator

import numpy as np

from deepmad.engine.costs.tables import Floats
from deepmad.engine.solvers.evolution.judging import Judged, Rows
from deepmad.engine.solvers.population.genomes import Genomes


def fronts(values: Floats, used: Floats) -> Iterator[Rows]:
    """Yield the non-dominated fronts, first to last, as rows of `values` and `used`, each (networks,).

    Within a front both ascend. Of networks that are equal in both, each stands in a front of its own.
    """
    left = np.lexsort((-values, used))
    while len(left):
        highest = np.maximum.accumulate(values[left])
        first = np.append(True, values[left][1:] > highest[:-1])
        yield left[first]
        left = left[~first]


def crowding(values: Floats, used: Floats) -> Floats:
    """Return the crowding distance of each network of a front, whose `values` and `used` ascend, shape (networks,)."""
    distance = np.zeros(len(values))
    for axis in (values, used):
        distance[1:-1] += (axis[2:] - axis[:-2]) / (axis[-1] - axis[0])
    distance[[0, -1]] = np.inf
    return distance


def front_survivors(judged: Judged, count: int) -> Judged:
    """Return up to `count` networks: the first fronts, less crowded ones first in each, then infeasible ones.

    Of the infeasible networks those of least excess come first (Deb's rules).
    """
    feasible, chosen, found = np.flatnonzero(judged.feasible), [], 0
    for front in fronts(judged.values[feasible], judged.used[feasible]):
        rows = feasible[front]
        chosen.append(rows[np.argsort(-crowding(judged.values[rows], judged.used[rows]), kind="stable")])
        found += len(rows)
        if found >= count:
            break
    infeasible = np.flatnonzero(~judged.feasible)
    chosen.append(infeasible[np.argsort(judged.excess[infeasible], kind="stable")])
    return judged.rows(np.concatenate(chosen)[:count])


def tournament(rng: np.random.Generator, genomes: Genomes, count: int) -> tuple[Genomes, Genomes]:
    """Return `count` pairs of parents, each the better one of two drawn from `genomes`, which stand best first."""
    drawn = rng.integers(0, len(genomes), (2, 2, count)).min(axis=0)
    return genomes[drawn[0]], genomes[drawn[1]]


def hypervolume(values: Floats, used: Floats, reference: tuple[float, float]) -> float:
    """Return the area that networks dominate within a reference point (objective, used), which all of it dominate.

    Networks that do not dominate the reference point count for nothing.
    """
    inside = (values > reference[0]) & (used < reference[1])
    if not inside.any():
        return 0.0
    front = next(fronts(values[inside], used[inside]))
    heights, costs = values[inside][front] - reference[0], used[inside][front]
    return float((heights * np.diff(costs, append=reference[1])).sum())
