"""Genetic search: restarts from random populations, with moves that trade depth against width."""

import numpy as np

from deepmad.engine.population.genomes import Coding, Genomes
from deepmad.engine.search.trials import Trial, Trials

SIZE = 1500
ELITE = 250
STEPS = (0.0, 0.012, 0.035)
"""Mutation steps, in parts of a gene's number of choices; no step is below one choice."""


def random_genomes(coding: Coding, rng: np.random.Generator, count: int) -> Genomes:
    """Return random genomes, shape (count, genes), from small networks to large; half of them evenly deep."""
    scale = rng.choice([0.08, 0.15, 0.3, 0.6, 1.0], (count, 1))
    genomes = (rng.random((count, len(coding.sizes))) * (coding.sizes * scale + 1)).astype(np.intp)
    for name in ("block", "kernel"):
        genes = coding.genes(name)
        genomes[:, genes] = rng.integers(0, coding.sizes[genes], (count, len(genes)))
    depths = coding.genes("depth")
    even = (rng.random((count, 1)) * scale * coding.sizes[depths]).astype(np.intp)
    return np.where(np.isin(np.arange(genomes.shape[1]), depths) & (rng.random((count, 1)) < 0.5), _spread(even, genomes, depths), genomes)


def _spread(even: Genomes, genomes: Genomes, depths: list[int]) -> Genomes:
    filled = genomes.copy()
    filled[:, depths] = even
    return filled


def mutated(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return `genomes` with some genes stepped, a few of them with a stage's depth changed against its width."""
    count, genes = genomes.shape
    chosen = rng.random((count, genes)) < rng.choice([1.5 / genes, 3 / genes, 6 / genes], (count, 1))
    sigma = np.maximum(1.0, coding.sizes * rng.choice(STEPS, (count, 1)))
    step = np.rint(rng.normal(0.0, 1.0, (count, genes)) * sigma).astype(np.intp)
    return genomes + chosen * step


def traded(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return `genomes` with the depths of one to three stages changed and those stages' widths against them."""
    genomes = np.clip(genomes, 0, coding.sizes - 1)
    rows = np.arange(len(genomes))
    stages = len(coding.space.stages)
    for _ in range(rng.integers(1, 4)):
        stage = rng.integers(0, stages, len(genomes))
        base = 1 + 5 * stage
        depth = genomes[rows, base + 4]
        jump = rng.integers(0, coding.sizes[base + 4])
        near = depth + rng.integers(-4, 5, len(genomes))
        kind = rng.random(len(genomes))
        new = np.where(kind < 0.2, 0, np.where(kind < 0.4, jump, near)).clip(0, coding.sizes[base + 4] - 1)
        factor = ((depth + 1) / (new + 1)) ** rng.choice([0.0, 0.25, 0.5, 1.0], len(genomes))
        genomes[rows, base + 4] = new
        for gene in (1, 2):
            power = factor ** rng.choice([0.0, 1.0], len(genomes))
            scaled = np.rint((genomes[rows, base + gene] + 1) * power - 1).astype(np.intp)
            genomes[rows, base + gene] = scaled
    return genomes


def children(coding: Coding, rng: np.random.Generator, elite: Genomes, count: int) -> Genomes:
    """Return `count` genomes crossed from `elite` (best first) and mutated."""
    one = elite[(len(elite) * rng.random(count) ** 2).astype(np.intp)]
    other = elite[rng.integers(0, len(elite), count)]
    crossed = rng.random(one.shape) < rng.choice([0.0, 0.0, 0.2, 0.5], (count, 1))
    born = mutated(coding, rng, np.where(crossed, other, one))
    few = count // 5
    born[:few] = traded(coding, rng, born[:few])
    return born


def generations(trials: Trials, rng: np.random.Generator, start: Genomes, count: int, size: int = SIZE) -> Trial:
    """Return the elite after `count` generations from `start`, best first; earlier where the time is up."""
    elite = trials(start).best(ELITE)
    for _ in range(count):
        if trials.over:
            break
        born = trials(children(trials.coding, rng, elite.genomes, size))
        both = Trial(np.concatenate([elite.genomes, born.genomes]), np.concatenate([elite.scores, born.scores]))
        elite = both.best(ELITE)
    return elite
