"""Frames: which depths, kernels and blocks deserve a closer look, and what networks they lead to."""

from itertools import permutations

import numpy as np

from deepmad.engine.population.genomes import Coding, Genomes
from deepmad.engine.population.tables import Floats
from deepmad.engine.search.descent import Neighbourhood, descend
from deepmad.engine.search.relaxed import SETTLED, Prices, Relaxation, Relaxed
from deepmad.engine.search.trials import Trial, Trials, joined

FIRST, GENERATIONS, CHILDREN, PARENTS = 256, 12, 128, 60
LEVELS = (0.08, 0.15, 0.3, 0.6, 1.0)
"""Parts of the depths on offer that random frames draw from."""
APART = 4
"""Blocks by which two scouted frames differ at least, summed over the stages."""
PASSES = 3
MOST_NEIGHBOURS = 160
CLOSER = 3
"""Frames around one whose widths are looked for on the lattice."""


def scouted(trials: Trials, relaxation: Relaxation, rng: np.random.Generator, count: int) -> Genomes:
    """Return up to `count` promising frames, best first, that differ in their depths, with coarse widths."""
    frames, values = _evolved(trials, relaxation, rng)
    depths = frames[:, trials.evaluator.coding.genes("depth")]
    chosen: list[int] = []
    for row in np.argsort(-values):
        if len(chosen) < count and all(np.abs(depths[row] - depths[other]).sum() >= APART for other in chosen):
            chosen.append(int(row))
    return frames[chosen]


def settled(trials: Trials, relaxation: Relaxation, widths: Neighbourhood, frame: Genomes) -> Trial:
    """Return the best network found around a frame: refined frames nearby, their widths descended to an optimum."""
    found = relaxation(frame[None])
    best, prices, center = frame, found.prices, _middle(found, 0)
    for number in range(PASSES):
        frames = neighbours(trials.evaluator.coding, best) if number else best[None]
        found = Relaxation(trials.evaluator, center)(frames, prices.of(0, len(frames)))
        row = int(found.values.argmax())
        best, prices, center = frames[row], found.prices.of(row, 1), _middle(found, row)
    return closer(trials, widths, found)


def closer(trials: Trials, widths: Neighbourhood, found: Relaxed) -> Trial:
    """Return the best network of the few most promising of refined frames."""
    best: Trial | None = None
    for row in np.argsort(-found.values)[:CLOSER]:
        tried = trials(np.concatenate([found.tries[:, row], _middle(found, int(row))[None]]))
        point = descend(trials, widths, tried.best, deep=True)
        best = point if best is None or point.score > best.score else best
        if trials.over:
            break
    assert best is not None, "there is a frame at least"
    return best


def neighbours(coding: Coding, frame: Genomes) -> Genomes:
    """Return a frame and those around it: a stage deeper or shallower, depth moved, another kernel or block."""
    unit = np.eye(len(coding.sizes), dtype=np.intp)
    depths = coding.genes("depth")
    moves = [0 * unit[0]]
    moves += [step * unit[gene] for gene in depths for step in (-2, -1, 1, 2)]
    moves += [unit[one] - unit[other] for one, other in permutations(depths, 2)]
    moves += [step * unit[gene] for name in ("kernel", "block") for gene in coding.genes(name) for step in (-1, 1)]
    found = frame + np.array(moves)
    return found[((found >= 0) & (found < coding.sizes)).all(1)]


def _middle(found: Relaxed, row: int) -> Genomes:
    """Return the mean of the networks that the pricing swung between: nearly optimal, and nearly feasible."""
    return np.rint(found.tries[SETTLED:, row].mean(0)).astype(np.intp)


def _evolved(trials: Trials, relaxation: Relaxation, rng: np.random.Generator) -> tuple[Genomes, Floats]:
    """Return frames and what they are worth relaxed, from a genetic search over them."""
    coding = trials.evaluator.coding
    sizes, depths = coding.sizes, coding.genes("depth")
    frames = np.zeros((FIRST, len(sizes)), dtype=np.intp)
    level = rng.choice(LEVELS, (FIRST, len(depths)))
    frames[:, depths] = (rng.random(level.shape) * level * sizes[depths]).astype(np.intp)
    for name in ("kernel", "block"):
        genes = coding.genes(name)
        frames[:, genes] = np.minimum(rng.integers(0, sizes[genes].max(), (FIRST, 1)), sizes[genes] - 1)
    frames = np.unique(frames, axis=0)
    values = relaxation(frames).values
    for _ in range(GENERATIONS):
        if trials.over:
            break
        parents = frames[np.argsort(-values)[:PARENTS]]
        born = np.unique(_children(coding, rng, parents), axis=0)
        born = born[~(born[:, None] == frames).all(2).any(1)]
        if len(born):
            frames, values = np.concatenate([frames, born]), np.concatenate([values, relaxation(born).values])
    return frames, values


def _children(coding: Coding, rng: np.random.Generator, parents: Genomes) -> Genomes:
    """Return frames crossed from `parents`, best first, and changed in one to three places."""
    depths = np.array(coding.genes("depth"))
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
            elif kind < 0.9:
                row[one] = rng.integers(0, coding.sizes[one])
            else:
                gene = rng.choice(others)
                row[gene] = rng.integers(0, coding.sizes[gene])
    return np.clip(born, 0, coding.sizes - 1)
