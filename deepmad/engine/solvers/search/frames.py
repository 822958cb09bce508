"""Frames: which depths, kernels and blocks deserve a closer look, and what networks they lead to."""

from itertools import permutations

import numpy as np

from deepmad.engine.costs.tables import Floats
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search.relaxed import Prices, Relaxation
from deepmad.engine.solvers.search.trials import Trials

FIRST, GENERATIONS, CHILDREN, PARENTS = 256, 12, 128, 60
LEVELS = (0.08, 0.15, 0.3, 0.6, 1.0)
"""Parts of the depths on offer that random frames draw from."""
APART = 4
"""Blocks by which two scouted frames differ at least, summed over the stages."""


def scouted(trials: Trials, relaxation: Relaxation, rng: np.random.Generator, count: int) -> Genomes:
    """Return up to `count` promising frames, best first, that differ in their depths."""
    coding = trials.evaluator.coding
    frames, values = evolved(trials, relaxation, rng, _random_frames(coding, rng), None, GENERATIONS)
    depths = frames[:, coding.genes("depth")]
    chosen: list[int] = []
    for row in np.argsort(-values):
        if len(chosen) < count and all(np.abs(depths[row] - depths[other]).sum() >= APART for other in chosen):
            chosen.append(int(row))
    return frames[chosen]


def neighbours(coding: Coding, frame: Genomes) -> Genomes:
    """Return a frame and those around it: a stage deeper or shallower, depth moved, another kernel or block."""
    unit = np.eye(len(coding.sizes), dtype=np.intp)
    depths = coding.genes("depth")
    moves = [0 * unit[0]]
    moves += [step * unit[gene] for gene in depths for step in (-2, -1, 1, 2)]
    moves += [unit[one] - unit[other] for one, other in permutations(depths, 2)]
    moves += [step * unit[gene] for name in ("kernel", "block") for gene in coding.genes(name) for step in (-1, 1)]
    inners = [gene for gene, stage in zip(coding.genes("inner"), coding.space.stages, strict=True) if stage.width]
    moves += [step * unit[gene] for gene in inners for step in (-1, 1)]
    moves += [unit[one] - unit[other] for one, other in permutations(inners, 2)]
    found: Genomes = frame + np.array(moves)
    inside: Genomes = found[((found >= 0) & (found < coding.sizes)).all(1)]
    return inside


def evolved(
    trials: Trials,
    relaxation: Relaxation,
    rng: np.random.Generator,
    frames: Genomes,
    prices: Prices | None,
    generations: int,
) -> tuple[Genomes, Floats]:
    """Return frames and what they are worth relaxed, from a genetic search that begins with `frames`."""

    def worth(genomes: Genomes) -> Floats:
        return relaxation(genomes, prices and prices.of(0, len(genomes))).values

    values = worth(frames)
    for _ in range(generations):
        if trials.over:
            break
        parents = frames[np.argsort(-values)[:PARENTS]]
        born = np.unique(_children(trials.evaluator.coding, rng, parents), axis=0)
        born = born[~(born[:, None] == frames).all(2).any(1)]
        if len(born):
            frames, values = np.concatenate([frames, born]), np.concatenate([values, worth(born)])
    return frames, values


def _random_frames(coding: Coding, rng: np.random.Generator) -> Genomes:
    """Return random frames, every one with the same kernel and block choice all along."""
    sizes, depths = coding.sizes, coding.genes("depth")
    frames = np.zeros((FIRST, len(sizes)), dtype=np.intp)
    level = rng.choice(LEVELS, (FIRST, len(depths)))
    frames[:, depths] = (rng.random(level.shape) * level * sizes[depths]).astype(np.intp)
    for name in ("kernel", "block"):
        genes = coding.genes(name)
        frames[:, genes] = np.minimum(rng.integers(0, sizes[genes].max(), (FIRST, 1)), sizes[genes] - 1)
    return np.unique(frames, axis=0)


def _children(coding: Coding, rng: np.random.Generator, parents: Genomes) -> Genomes:
    """Return frames crossed from `parents`, best first, and changed in one to three places."""
    depths = np.array(coding.genes("depth"))
    inners = [gene for gene, stage in zip(coding.genes("inner"), coding.space.stages, strict=True) if stage.width]
    others = np.array(coding.genes("kernel") + coding.genes("block"))
    born = parents[(len(parents) * rng.random(CHILDREN) ** 2).astype(np.intp)]
    other = parents[rng.integers(0, len(parents), CHILDREN)]
    born = np.where(rng.random(born.shape) < rng.choice([0.0, 0.0, 0.5], (CHILDREN, 1)), other, born)
    for row in born:
        for _ in range(rng.integers(1, 4)):
            one, two = rng.choice(depths, 2)
            kind = rng.random()
            if kind < 0.5:
                row[one] += rng.integers(-2, 3)
            elif kind < 0.65:
                row[one], row[two] = row[two], row[one]
            elif kind < 0.8:
                blocks = rng.integers(0, max(1, row[one] + 1))
                row[one] -= blocks
                row[two] += blocks
            elif kind < 0.85:
                row[one] = rng.integers(0, coding.sizes[one])
            elif kind < 0.95 and inners:
                row[rng.choice(inners)] += 1
                row[rng.choice(inners)] -= rng.integers(0, 2)
            else:
                gene = rng.choice(others)
                row[gene] = rng.integers(0, coding.sizes[gene])
    return np.clip(born, 0, coding.sizes - 1)
