"""Genomes: a network of a space as a row of indices into the space's choices."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.records import Grid, Numbers, channels, inner_widths
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Count
from deepmad.search_spaces.spaces import Space

Genomes = npt.NDArray[np.intp]
"""Integer matrix (networks, genes) of indices into the space's choices, or one row of it."""

GENES = ("block", "out", "inner", "kernel", "depth")
"""A stage's genes in order; `inner` is its choice of width, or of expansion where the stage has that."""


@dataclass(frozen=True)
class StageColumns:
    """One stage's values in every network of a population, each an array (networks,) of integers."""

    c_in: Count
    out: Count
    width: Count
    kernel: Count
    depth: Count

    def grid(self, kind: str) -> Grid:
        """Return the grid of these networks, one axis for them all, as far as its blocks are of one kind."""
        return Grid(kind, self.c_in, self.out, self.width, self.kernel)


@dataclass(frozen=True)
class Coding:
    """How the networks of `space` are written as genomes: the stem's width, then `GENES` of every stage."""

    space: Space

    @cached_property
    def sizes(self) -> Genomes:
        """The number of choices of every gene, shape (genes,)."""
        counts = [len(self.space.stem.out)]
        for stage in self.space.stages:
            inner = stage.width or stage.expansion or ()
            counts += [len(choice) for choice in (stage.block, stage.out, inner, stage.kernel, stage.depth)]
        return np.array(counts, dtype=np.intp)

    def gene(self, stage: int, name: str) -> int:
        """Return the column of a stage's gene."""
        return 1 + stage * len(GENES) + GENES.index(name)

    def genes(self, name: str) -> list[int]:
        """Return the columns of the gene of that name, one a stage."""
        return [self.gene(stage, name) for stage in range(len(self.space.stages))]

    def c_in_gene(self, stage: int) -> int:
        """Return the column of the gene that sets what enters a stage: the out before it, or the stem's."""
        return self.gene(stage - 1, "out") if stage else 0

    @cached_property
    def out_values(self) -> tuple[Numbers, ...]:
        """The output widths on offer: the stem's, then every stage's."""
        return channels(self.space)

    @cached_property
    def width_values(self) -> tuple[Numbers, ...]:
        """The inner widths on offer, an array (out choices or 1, inner choices) a stage."""
        return tuple(inner_widths(stage) for stage in self.space.stages)

    def columns(self, columns: Genomes, stage: int) -> StageColumns:
        """Return what a stage is in every network; `columns` are genomes transposed, (genes, networks)."""
        choice = self.space.stages[stage]
        genes = {name: columns[self.gene(stage, name)] for name in GENES}
        widths = self.width_values[stage]
        row = genes["out"] if len(widths) > 1 else 0
        return StageColumns(
            c_in=self.out_values[stage][columns[self.c_in_gene(stage)]],
            out=self.out_values[stage + 1][genes["out"]],
            width=widths[row, genes["inner"]],
            kernel=np.array(choice.kernel)[genes["kernel"]],
            depth=np.array(choice.depth)[genes["depth"]],
        )

    def architecture(self, genome: Genomes) -> Architecture:
        """Return the network of one genome, shape (genes,)."""
        return self.architectures(genome[None])[0]

    def architectures(self, genomes: Genomes) -> list[Architecture]:
        """Return the networks of genomes, shape (networks, genes)."""
        space, columns = self.space, np.ascontiguousarray(genomes.T)
        stems = [Stem(space.stem.out[gene], space.stem.kernel, space.stem.stride) for gene in columns[0].tolist()]
        stages = [self._stages(columns, index) for index in range(len(space.stages))]
        return [
            Architecture(space.resolution, stem, tuple(each), space.tail, space.classes, space.in_channels)
            for stem, *each in zip(stems, *stages, strict=True)
        ]

    def _stages(self, columns: Genomes, index: int) -> list[Stage]:
        """Return stage `index` of every network; `columns` are genomes transposed, (genes, networks)."""
        choice, values = self.space.stages[index], self.columns(columns, index)
        kinds = [choice.block[gene] for gene in columns[self.gene(index, "block")].tolist()]
        numbers = [getattr(values, name).tolist() for name in ("out", "width", "kernel", "depth")]
        return [
            Stage(kind, out, width, kernel, depth, choice.stride)
            for kind, out, width, kernel, depth in zip(kinds, *numbers, strict=True)
        ]

    def nearest(self, network: Architecture) -> Genomes:
        """Return the genome, shape (genes,), that takes for each value of `network` the nearest choice.

        The rules of the space may still be broken. Raises `InputError` for another number of stages.
        """
        if len(network.stages) != len(self.space.stages):
            raise InputError(
                f"starts: one has {len(network.stages)} stages, the space has {len(self.space.stages)}; give as many"
            )
        return np.array(list(self._nearest(network)), dtype=np.intp)

    def _nearest(self, network: Architecture) -> Iterator[int]:
        yield _closest(self.out_values[0], network.stem.out)
        for index, (stage, choice) in enumerate(zip(network.stages, self.space.stages, strict=True)):
            out = _closest(self.out_values[index + 1], stage.out)
            widths = self.width_values[index]
            yield choice.block.index(stage.block) if stage.block in choice.block else 0
            yield out
            yield _closest(widths[out if len(widths) > 1 else 0], stage.width)
            yield _closest(np.array(choice.kernel), stage.kernel)
            yield _closest(np.array(choice.depth), stage.depth)

    def broken_rules(self, genomes: Genomes) -> npt.NDArray[np.intp]:
        """Return how many of the space's rules each network breaks, shape (networks,)."""
        columns = np.ascontiguousarray(genomes.T)
        broken = [self.broken_by(index, self.columns(columns, index)) for index in range(len(self.space.stages))]
        return np.asarray(np.sum(broken, axis=0), dtype=np.intp)

    def broken_by(self, index: int, stage: StageColumns) -> npt.NDArray[np.intp]:
        """Return how many of the space's rules a stage with these values breaks, shape (networks,)."""
        rules = self.space.rules
        count = np.zeros(len(stage.out), dtype=np.intp)
        if rules.non_decreasing:
            count += stage.out < stage.c_in
        if rules.growth is not None:
            count += stage.out > rules.growth * stage.c_in
        if self.space.stages[index].width is not None:
            ratio = rules.width_ratio
            count += (stage.width < ratio.min * stage.out) | (stage.width > ratio.max * stage.out)
        return count


def _closest(values: Numbers, wanted: int) -> int:
    return int(np.abs(values - wanted).argmin())
