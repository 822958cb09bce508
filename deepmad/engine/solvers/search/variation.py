"""Variation: random genomes and random changes to genomes; `Repair` brings what they return back to the rules."""

import numpy as np
import numpy.typing as npt

from deepmad.engine.solvers.population.genomes import Coding, Genomes

LEVELS = (0.08, 0.15, 0.3, 0.6, 1.0)
"""Parts of every gene's choices that random networks draw from, so that some are small and some large."""
STEPS = (0.0, 0.012, 0.035)
"""Deviations of a gene's step, in parts of its number of choices; none is below one choice."""


def random_genomes(coding: Coding, rng: np.random.Generator, count: int) -> Genomes:
    """Return random genomes, shape (count, genes), the smallest network among them; half are evenly deep."""
    level = rng.choice(LEVELS, (count, 1))
    genomes: Genomes = (rng.random((count, len(coding.sizes))) * (coding.sizes * level + 1)).astype(np.intp)
    for genes in (coding.genes("block"), coding.genes("kernel")):
        genomes[:, genes] = rng.integers(0, coding.sizes[genes], (count, len(genes)))
    depths = coding.genes("depth")
    even = (rng.random((count, 1)) * level * coding.sizes[depths]).astype(np.intp)
    genomes[:, depths] = np.where(rng.random((count, 1)) < 0.5, even, genomes[:, depths])
    genomes[0] = 0
    return genomes


def children(coding: Coding, rng: np.random.Generator, elite: Genomes, count: int) -> Genomes:
    """Return `count` genomes crossed from `elite` (best first) and changed."""
    return varied(coding, rng, crossed(rng, *paired(rng, elite, count)))


def paired(rng: np.random.Generator, elite: Genomes, count: int) -> tuple[Genomes, Genomes]:
    """Return `count` pairs drawn from `elite` (best first): of each the first leans to the best, the other is any."""
    one = elite[(len(elite) * rng.random(count) ** 2).astype(np.intp)]
    return one, elite[rng.integers(0, len(elite), count)]


def crossed(rng: np.random.Generator, one: Genomes, other: Genomes) -> Genomes:
    """Return `one` with genes from `other`, none in half of the genomes, a fifth or half in the rest."""
    taken = rng.random(one.shape) < rng.choice([0.0, 0.0, 0.2, 0.5], (len(one), 1))
    return np.where(taken, other, one)


def varied(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return `genomes`, each with one kind of change: steps mostly, else depth for width or whole stages scaled."""
    fifth = len(genomes) // 5
    deeper, scaled = traded(coding, rng, genomes[:fifth]), widened(coding, rng, genomes[fifth : 2 * fifth])
    mixed = np.concatenate([deeper, scaled])
    again = rng.random(len(mixed)) < 0.5
    mixed[again] = stepped(coding, rng, mixed[again])
    return np.concatenate([mixed, stepped(coding, rng, genomes[2 * fifth :])])


def stepped(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return `genomes` with a few genes moved to near choices."""
    count, genes = genomes.shape
    chosen = rng.random((count, genes)) < rng.choice([1.5, 3.0, 6.0], (count, 1)) / genes
    deviation = np.maximum(1.0, coding.sizes * rng.choice(STEPS, (count, 1)))
    step: Genomes = np.rint(rng.normal(0.0, 1.0, (count, genes)) * deviation).astype(np.intp)
    moved: Genomes = genomes + chosen * step
    return moved


def traded(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return `genomes` with one to three stages' depths changed, and the widths of those stages against them.

    A depth goes to its least, to any, or to a near choice. A stage costs about depth * width^2, so its
    widths are multiplied by the depths' ratio to a power between 0 and 1.
    """
    genomes, stages = genomes.copy(), len(coding.space.stages)
    for turn in range(min(3, stages)):
        stage = rng.integers(0, stages, len(genomes))
        power, kind = rng.choice([0.0, 0.25, 0.5, 1.0], len(genomes)), rng.random(len(genomes))
        for index in range(stages):
            rows = np.flatnonzero((stage == index) & (rng.random(len(genomes)) < 1 / (1 + turn)))
            gene = coding.gene(index, "depth")
            depths, last = np.array(coding.space.stages[index].depth), int(coding.sizes[gene]) - 1
            before = np.minimum(np.maximum(genomes[rows, gene], 0), last)
            near = before + rng.integers(-4, 5, len(rows))
            jump = np.where(kind[rows] < 0.4, rng.integers(0, last + 1, len(rows)), near)
            after = np.minimum(np.maximum(np.where(kind[rows] < 0.2, 0, jump), 0), last)
            genomes[rows, gene] = after
            factor = (depths[before] / depths[after]) ** power[rows]
            _scale_stage(coding, index, genomes, rows, factor)
    return genomes


def widened(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return `genomes` with the inner and output widths of one or two stages scaled together.

    Where the rules tie the two widths, neither can go far alone.
    """
    genomes, stages = genomes.copy(), len(coding.space.stages)
    for turn in range(min(2, stages)):
        stage = rng.integers(0, stages, len(genomes))
        for index in range(stages):
            rows = np.flatnonzero((stage == index) & (rng.random(len(genomes)) < 1 / (1 + turn)))
            step = rng.choice([-3, -2, -1, 1, 2, 3], len(rows))
            genomes[rows] = with_width(coding, index, genomes[rows], step)
    return genomes


def with_width(coding: Coding, stage: int, genomes: Genomes, step: npt.NDArray[np.intp]) -> Genomes:
    """Return `genomes` with a stage's inner choice moved by `step`, (networks,), and its output width in proportion.

    Where the inner width follows from the output width, the latter moves alone.
    """
    genomes = np.minimum(np.maximum(genomes, 0), coding.sizes - 1)
    out, inner = coding.gene(stage, "out"), coding.gene(stage, "inner")
    if coding.space.stages[stage].width is None:
        genomes[:, out] += step
        return genomes
    widths = coding.width_values[stage][0]
    moved = np.minimum(np.maximum(genomes[:, inner] + step, 0), len(widths) - 1)
    factor = widths[moved] / widths[genomes[:, inner]]
    genomes[:, inner] = moved
    genomes[:, out] = _scaled(coding.out_values[stage + 1], genomes[:, out], factor)
    return genomes


def _scale_stage(
    coding: Coding, stage: int, genomes: Genomes, rows: npt.NDArray[np.intp], factor: npt.NDArray[np.float64]
) -> None:
    """Multiply, in place, the widths of a stage in some rows by `factor` (rows,)."""
    out, inner = coding.gene(stage, "out"), coding.gene(stage, "inner")
    genomes[rows, out] = _scaled(coding.out_values[stage + 1], genomes[rows, out], factor)
    if coding.space.stages[stage].width is not None:
        genomes[rows, inner] = _scaled(coding.width_values[stage][0], genomes[rows, inner], factor)


def _scaled(values: npt.NDArray[np.intp], indices: Genomes, factor: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the indices of the largest values that are not above `factor` times those at `indices`."""
    wanted = values[np.minimum(np.maximum(indices, 0), len(values) - 1)] * factor
    return np.maximum(np.searchsorted(values, wanted, side="right") - 1, 0)
