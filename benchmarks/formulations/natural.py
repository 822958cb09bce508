"""The natural program of a residual space: costs, entropies and rules as polynomials in widths, kernels, depths."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.formulations.polynomials import Polynomial
from deepmad.engine.program.entropy import Scale, scales
from deepmad.engine.program.objectives import RESIDUAL_BLOCKS, penalised_stages
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture, Stage, Stem, network_parts
from deepmad.search_spaces.layers import Count, total_macs, total_params
from deepmad.search_spaces.spaces import Space

FIELDS = ("out", "width", "kernel", "depth")
"""The unknowns of a stage."""


@dataclass(frozen=True)
class NaturalProgram:
    """The problem in its natural unknowns.

    `values` are the choices of every unknown; `costs` holds (total, limit) of MACs and parameters; `rules` must
    not be negative; `penalised` are the depths that the penalty looks at.
    """

    problem: Problem
    values: Mapping[str, tuple[int, ...]]
    costs: tuple[tuple[Polynomial, float], ...]
    scales: tuple[Scale, ...]
    rules: tuple[Polynomial, ...]
    penalised: tuple[str, ...]

    def network(self, chosen: Mapping[str, int]) -> Architecture:
        """Return the network of one value for every unknown."""
        space = self.problem.space
        stages = []
        for place, stage in enumerate(space.stages):
            out, width, kernel, depth = (chosen[f"{name}{place}"] for name in FIELDS)
            stages.append(Stage(stage.block[0], out, width, kernel, depth, stage.stride))
        stem = Stem(chosen["stem"], space.stem.kernel, space.stem.stride)
        return Architecture(space.resolution, stem, tuple(stages), space.tail, space.classes, space.in_channels)


def natural_program(problem: Problem) -> NaturalProgram:
    """Return the natural program of a space whose stages each have one residual block kind and free widths."""
    space = problem.space
    values: dict[str, tuple[int, ...]] = {"stem": space.stem.out}
    stages = []
    for place, stage in enumerate(space.stages):
        (kind,) = stage.block
        assert kind in RESIDUAL_BLOCKS, f"{kind}: its shortcut depends on the widths"
        assert stage.width is not None, "widths that follow from out are no unknowns"
        names = [f"{name}{place}" for name in FIELDS]
        values |= zip(names, (stage.out, stage.width, stage.kernel, stage.depth), strict=True)
        out, width, kernel, depth = (_unknown(name) for name in names)
        stages.append(Stage(kind, out, width, kernel, depth, stage.stride))
    parts = network_parts(
        space.in_channels, space.resolution, Stem(_unknown("stem"), space.stem.kernel, space.stem.stride), stages,
        space.tail, space.classes,
    )  # fmt: skip
    totals = {"macs": total_macs(parts), "params": total_params(parts)}
    costs = tuple((totals[name], limit.value) for name, limit in problem.limits().items() if name in totals)
    part = penalised_stages(problem.objective, space.stages[0].block[0], len(stages))
    penalised = tuple(f"depth{place}" for place in range(part.start, part.stop))
    return NaturalProgram(problem, values, costs, scales(parts), tuple(_rules(space)), penalised)


def _unknown(name: str) -> Count:
    return Polynomial.unknown(name)


def _rules(space: Space) -> Iterator[Polynomial]:
    """Yield what must not be negative: widths that do not shrink nor grow too fast, inner widths in their ratio."""
    outs = [Polynomial.unknown(name) for name in ("stem", *(f"out{place}" for place in range(len(space.stages))))]
    for c_in, out in pairwise(outs):
        if space.rules.non_decreasing:
            yield out - c_in
        if space.rules.growth is not None:
            yield c_in * space.rules.growth - out
    for place, out in enumerate(outs[1:]):
        width = Polynomial.unknown(f"width{place}")
        yield width - out * space.rules.width_ratio.min
        yield out * space.rules.width_ratio.max - width
