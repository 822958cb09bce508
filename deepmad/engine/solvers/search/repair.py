"""Repair: the nearest genome that keeps a space's rules, for whole populations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.engine.solvers.population.genomes import Coding, Genomes

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Widths:
    """What the rules leave of one convolution's output widths.

    `allowed` are the indices of the widths from which the rest of the network can be built. `position`
    (choices,) is where a choice stands among them. `lowest` and `highest` (choices before,) bound the
    position after each choice of the convolution before it.
    """

    allowed: Indices
    position: Indices
    lowest: Indices
    highest: Indices


class Repair:
    """Moves genomes to ones that keep the rules of their space: first widths along the network, then inner ones."""

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._inner = [self._inner_bounds(stage) for stage in range(len(coding.space.stages))]
        self._widths: list[_Widths] = []
        allowed = [np.arange(len(values), dtype=np.intp) for values in coding.out_values]
        for stage in reversed(range(len(coding.space.stages))):
            lowest, highest = self._inner[stage]
            keeps = lowest <= highest
            allowed[stage + 1] = allowed[stage + 1][keeps[allowed[stage + 1]] if len(keeps) > 1 else slice(None)]
            first, last = self._bounds(stage, allowed[stage + 1])
            allowed[stage] = np.flatnonzero(first <= last)
            position = np.searchsorted(allowed[stage + 1], np.arange(len(coding.out_values[stage + 1])))
            self._widths.insert(0, _Widths(allowed[stage + 1], position, first, last))
        self._stem = allowed[0]

    @property
    def possible(self) -> bool:
        """Whether the space holds any network that keeps its rules."""
        return len(self._stem) > 0

    def __call__(self, genomes: Genomes) -> Genomes:
        """Return genomes, shape (networks, genes), that keep the space's choices and rules; needs `possible`."""
        columns = np.ascontiguousarray(genomes.T)
        columns = np.minimum(np.maximum(columns, 0), (self._coding.sizes - 1)[:, None])
        where = np.searchsorted(self._stem, columns[0])
        columns[0] = self._stem[np.minimum(where, len(self._stem) - 1)]
        for stage, widths in enumerate(self._widths):
            before, gene = columns[self._coding.c_in_gene(stage)], self._coding.gene(stage, "out")
            where = np.maximum(widths.position[columns[gene]], widths.lowest[before])
            columns[gene] = widths.allowed[np.minimum(where, widths.highest[before])]
            lowest, highest = self._inner[stage]
            if len(lowest) > 1:
                inner, out = self._coding.gene(stage, "inner"), columns[gene]
                columns[inner] = np.minimum(np.maximum(columns[inner], lowest[out]), highest[out])
        return columns.T

    def _bounds(self, stage: int, allowed: Indices) -> tuple[Indices, Indices]:
        """Return the first and the last position in `allowed` after each choice of what enters the stage."""
        rules, c_in = self._coding.space.rules, self._coding.out_values[stage]
        values = self._coding.out_values[stage + 1][allowed]
        first, last = np.zeros(len(c_in), dtype=np.intp), np.full(len(c_in), len(values) - 1, dtype=np.intp)
        if rules.non_decreasing:
            first = np.searchsorted(values, c_in, side="left")
        if rules.growth is not None:
            last = np.searchsorted(values, rules.growth * c_in, side="right") - 1
        return first, last

    def _inner_bounds(self, stage: int) -> tuple[Indices, Indices]:
        """Return the first and the last inner choice with each output width; of length 1 where any goes."""
        choice, ratio = self._coding.space.stages[stage], self._coding.space.rules.width_ratio
        widths = self._coding.width_values[stage]
        if choice.width is None:
            return np.zeros(1, dtype=np.intp), np.full(1, widths.shape[1] - 1, dtype=np.intp)
        out: Any = self._coding.out_values[stage + 1]
        first = np.searchsorted(widths[0], ratio.min * out, side="left")
        return first, np.searchsorted(widths[0], ratio.max * out, side="right") - 1
