"""Stage tables: what every choice of a stage costs, read once from the layer records of a space."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepmad.engine.program.latency import LatencyModel
from deepmad.engine.program.objectives import RESIDUAL_BLOCKS, entropy_factor, penalised_stages
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Stage, Stem, network_parts
from deepmad.search_spaces.layers import Count, Layer, Part
from deepmad.search_spaces.spaces import Space

Array: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]

ENTROPY = 0
"""Row of a cost table that holds the sum of ln w_l over main-path layers. The rows after it are the limited costs:
MACs, parameters, and nanoseconds by every latency table."""


@dataclass(frozen=True)
class WidthTables:
    """Costs that depend on the inner width where that is a choice of its own: (quantities, widths, channels).

    `into` is over c_in, the others over out; `same` is the whole opening block where c_in = out. `offered`
    (widths, out) says which widths the rules allow.
    """

    values: tuple[int, ...]
    into: Array
    out_of: Array
    later: Array
    same: Array
    offered: Bools


@dataclass(frozen=True)
class Option:
    """One way to fill a stage: block kind, kernel and, where widths follow from `out`, the expansion.

    A stage of depth d costs pair[c_in, out] + (d - 1) * later[out], plus what `widths` adds. `convs` are the
    main-path convolutions of the opening block and of a later one.
    """

    kind: str
    kernel: int
    expansion: float | None
    convs: tuple[int, int]
    pair: Array
    later: Array
    widths: WidthTables | None


@dataclass(frozen=True)
class ScaleRow:
    """One scale: weight * ln(side^2 c) * E, after the first `stages` stages; E starts at `entropy`, n at `convs`.

    `log_area` is ln(side^2 c) for every channel count there; one number where a tail fixes the channels.
    """

    stages: int
    weight: float
    log_area: Array
    entropy: float
    convs: int
    fixed: bool


@dataclass(frozen=True)
class SpaceTables:
    """Everything that the bound needs to know of a problem, as arrays.

    `channels[s]` are the choices before stage s (the last: after the last stage), `limits` the budget of the limited
    costs (inf: none), `allowed[s]` which (c_in, out) the rules admit.
    """

    problem: Problem
    channels: tuple[Ints, ...]
    depths: tuple[Ints, ...]
    options: tuple[tuple[Option, ...], ...]
    allowed: tuple[Bools, ...]
    scales: tuple[ScaleRow, ...]
    limits: Array

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.depths)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First and last (excluded) stages of the spans whose numbers of blocks a box bounds.

        One for each scale, the stages before it; the last of them is the whole network. Then, where the depth penalty
        leaves out stages, those that it looks at.
        """
        starts = {
            penalised_stages(self.problem.objective, kind, self.stages).start
            for kind in self.problem.space.stages[0].block
        }
        return (*((0, row.stages) for row in self.scales), *((start, self.stages) for start in sorted(starts - {0})))


def read_tables(problem: Problem) -> SpaceTables:
    """Return the tables of a problem."""
    space = problem.space
    channels = tuple(np.array(values) for values in (space.stem.out, *(stage.out for stage in space.stages)))
    allowed = tuple(_allowed(space, ins, outs) for ins, outs in pairwise(channels))
    ends = _end_costs(problem, channels)
    options = tuple(
        tuple(_options(problem, stage, channels[stage], channels[stage + 1], ends)) for stage in range(len(allowed))
    )
    depths = tuple(np.array(stage.depth) for stage in space.stages)
    return SpaceTables(problem, channels, depths, options, allowed, _scale_rows(problem, channels), _limits(problem))


def _limits(problem: Problem) -> Array:
    nanoseconds = problem.limit_nanoseconds
    counts = [np.inf if limit is None else float(limit) for limit in (problem.budget.macs, problem.budget.params)]
    # what the overhead leaves is a divisor in the linear program; one nanosecond is as hopeless as none
    devices = [
        np.inf if nanoseconds is None else max(1, nanoseconds - table.overhead_nanoseconds) for table in problem.tables
    ]
    return np.array([*counts, *devices])


def _allowed(space: Space, ins: Ints, outs: Ints) -> Bools:
    c_in, out = ins[:, None], outs[None, :]
    rules = space.rules
    allowed = np.ones((len(ins), len(outs)), dtype=bool)
    if rules.non_decreasing:
        allowed &= out >= c_in
    if rules.growth is not None:
        allowed &= out <= rules.growth * c_in
    return allowed


def _parts(space: Space, stages: dict[int, Stage], stem_out: Count = 1) -> tuple[Part, ...]:
    """Return the parts of a network with the given stages; the others are fillers."""
    fillers = [Stage(choice.block[0], 1, 1, 1, 1, choice.stride) for choice in space.stages]
    row = [stages.get(index, filler) for index, filler in enumerate(fillers)]
    stem = Stem(stem_out, space.stem.kernel, space.stem.stride)
    return network_parts(space.in_channels, space.resolution, stem, row, space.tail, space.classes)


def _layer_costs(layer: Layer, latencies: Sequence[LatencyModel]) -> Array:
    """Return (quantities, ...) of one layer; the trailing shape is that of its broadcast records."""
    inputs, outputs = np.broadcast_arrays(layer.inputs, layer.outputs)
    flat = replace(layer, inputs=inputs.ravel(), outputs=outputs.ravel())
    nanoseconds = (np.broadcast_to(table.nanoseconds(flat), inputs.size) for table in latencies)
    entropy = np.log(layer.fan_in) if layer.role == "main" else 0.0
    found = (entropy, layer.macs, layer.params, *(row.reshape(inputs.shape) for row in nanoseconds))
    return np.stack([np.broadcast_to(np.asarray(row, dtype=float), inputs.shape) for row in found])


def _end_costs(problem: Problem, channels: Sequence[Ints]) -> tuple[Array, Array]:
    """Return (quantities, channels) of the stem, and of tail and classifier; the stem's entropy is a scale's start."""
    space = problem.space
    outs: Count = channels[-1]
    last = Stage(space.stages[-1].block[0], outs, 1, 1, 1, space.stages[-1].stride)
    parts = _parts(space, {len(space.stages) - 1: last}, channels[0])
    costs = []
    for found, size in (([parts[0]], len(channels[0])), (parts[1 + 2 * len(space.stages) :], len(channels[-1]))):
        total = np.zeros((1, size))
        for part in found:
            for layer in part.body.layers:
                cost = _layer_costs(layer, problem.tables)
                total = total + cost.reshape(len(cost), -1)
        costs.append(total)
    costs[0][ENTROPY] = 0.0
    return costs[0], costs[1]


def _scale_rows(problem: Problem, channels: Sequence[Ints]) -> tuple[ScaleRow, ...]:
    space = problem.space
    parts = _parts(space, {})
    stem, after = parts[0].body, [layer for part in parts[1 + 2 * len(space.stages) :] for layer in part.body.main]
    start = float(sum(np.log(layer.fan_in) for layer in stem.main))
    ends = [part.stage for part in parts if part.ends_scale and part.stage is not None]
    rows = []
    for stages, alpha in zip([*ends, len(space.stages)], space.weights, strict=True):
        before = stem.main[-1] if stages == 0 else parts[2 * stages - 1].body.main[-1]
        convs, side, counts = len(stem.main), before.out_side, channels[stages]
        fixed = stages == len(space.stages) and bool(after)
        if fixed:
            convs, side, counts = convs + len(after), after[-1].out_side, np.array([after[-1].outputs])
        weight = entropy_factor(problem.objective) * alpha
        rows.append(ScaleRow(stages, weight, np.log(side**2 * counts), start, convs, fixed))
    return tuple(rows)


def _options(problem: Problem, stage: int, ins: Ints, outs: Ints, ends: tuple[Array, Array]) -> Iterator[Option]:
    choice = problem.space.stages[stage]
    for kind in dict.fromkeys(choice.block):
        for kernel in choice.kernel:
            reader = _Reader(problem, stage, kind, kernel, ins, outs)
            for option in (
                [reader.free_widths()] if choice.width else [reader.expansion(x) for x in choice.expansion or ()]
            ):
                if stage == 0:
                    option.pair[...] += ends[0][:, :, None]
                if stage == len(problem.space.stages) - 1:
                    option.pair[...] += ends[1][:, None, :]
                yield option


@dataclass(frozen=True)
class _Reader:
    """Reads the tables of one block kind and kernel in one stage."""

    problem: Problem
    stage: int
    kind: str
    kernel: int
    ins: Ints
    outs: Ints

    @property
    def quantities(self) -> int:
        """Rows of a cost table."""
        return 3 + len(self.problem.tables)

    def parts(self, c_in: Count, out: Count, width: Count) -> tuple[Part, Part]:
        """Return the stage's opening part and its later one; the three counts broadcast."""
        space = self.problem.space
        stages = {self.stage: Stage(self.kind, out, width, self.kernel, 2, space.stages[self.stage].stride)}
        if self.stage:
            before = space.stages[self.stage - 1]
            stages[self.stage - 1] = Stage(before.block[0], c_in, 1, 1, 1, before.stride)
        parts = _parts(space, stages, 1 if self.stage else c_in)
        return parts[1 + 2 * self.stage], parts[2 + 2 * self.stage]

    def layers(self, part: Part) -> list[Array]:
        """Return (quantities, ...) of every layer of a part."""
        return [_layer_costs(layer, self.problem.tables) for layer in part.body.layers]

    def convs(self) -> tuple[int, int]:
        """Return the main-path convolutions of the opening block and of a later one."""
        first, later = self.parts(1, 2, 1)
        return len(first.body.main), len(later.body.main)

    def rectangles(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield index sets of c_in and out that cover every pair but c_in = out, none with c_in = out in it.

        A block may have other layers where c_in = out (an identity shortcut), so those cells are read apart.
        Two different numbers differ in some bit.
        """
        for bit in range(int(max(self.ins.max(), self.outs.max())).bit_length()):
            for flag in (0, 1):
                rows = np.flatnonzero((self.ins >> bit & 1) == flag)
                columns = np.flatnonzero((self.outs >> bit & 1) != flag)
                if len(rows) and len(columns):  # two at least, so that a layer's shape tells what it depends on
                    yield np.resize(rows, max(2, len(rows))), np.resize(columns, max(2, len(columns)))

    def expansion(self, expansion: float) -> Option:
        """Return the option whose widths are expansion * out."""
        choice = self.problem.space.stages[self.stage]
        widths = np.array([choice.expanded(expansion, int(out)) for out in self.outs])
        pair = np.zeros((self.quantities, len(self.ins), len(self.outs)))
        for rows, columns in self.rectangles():
            first, _ = self.parts(self.ins[rows, None], self.outs[None, columns], widths[None, columns])
            pair[:, rows[:, None], columns] = sum(cost.reshape(len(cost), *_two(cost)) for cost in self.layers(first))
        first, later = self.parts(self.outs, self.outs, widths)
        rows, columns = np.nonzero(self.ins[:, None] == self.outs)
        pair[:, rows, columns] = _total(self.layers(first), (len(self.outs),))[:, columns]
        after = _total(self.layers(later), (len(self.outs),))
        return Option(self.kind, self.kernel, expansion, self.convs(), pair, after, None)

    def free_widths(self) -> Option:
        """Return the option whose widths are a choice of their own."""
        values = self.problem.space.stages[self.stage].width or ()
        widths = np.array(values)
        shape = (len(widths), len(self.outs))
        pair = np.zeros((self.quantities, len(self.ins), len(self.outs)))
        into, out_of = np.zeros((self.quantities, len(widths), len(self.ins))), np.zeros((self.quantities, *shape))
        for rows, columns in self.rectangles():
            c_in, out = self.ins[None, rows, None], self.outs[None, None, columns]
            first, _ = self.parts(c_in, out, widths[:, None, None])
            pairs, ins, outs = _grouped(self.layers(first), (len(widths), len(rows), len(columns)))
            pair[:, rows[:, None], columns], into[:, :, rows], out_of[:, :, columns] = pairs, ins, outs
        first, later = self.parts(self.outs[None, :], self.outs[None, :], widths[:, None])
        ratio = self.problem.space.rules.width_ratio
        offered = (ratio.min * self.outs <= widths[:, None]) & (widths[:, None] <= ratio.max * self.outs)
        tables = WidthTables(
            values, into, out_of, _total(self.layers(later), shape), _total(self.layers(first), shape), offered
        )
        return Option(self.kind, self.kernel, None, self.convs(), pair, np.zeros(pair[:, 0].shape), tables)


def _two(cost: Array) -> tuple[int, ...]:
    return (1,) * (3 - cost.ndim) + cost.shape[1:]


def _total(costs: list[Array], shape: tuple[int, ...]) -> Array:
    return sum(costs, np.zeros((1, *shape)))


def _grouped(costs: list[Array], shape: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    """Return layer costs summed by what they depend on: (c_in, out), (width, c_in) and (width, out)."""
    widths, ins, outs = shape
    rows = len(costs[0])
    pairs, into, out_of = (np.zeros((rows, *cells)) for cells in ((ins, outs), (widths, ins), (widths, outs)))
    for cost in costs:
        whole = cost.reshape(rows, *(1,) * (4 - cost.ndim), *cost.shape[1:])
        has_width, has_in, has_out = (size > 1 for size in whole.shape[1:])
        assert not (has_width and has_in and has_out), "a layer depends on two of c_in, width and out at most"
        if not has_width:
            pairs += whole[:, 0]
        elif has_in:
            into += whole[:, :, :, 0]
        else:
            out_of += whole[:, :, 0, :]
    return pairs, into, out_of


def families(problem: Problem) -> list[tuple[str, ...]]:
    """Return the first stage's block kinds in groups under which the objective is one formula."""
    kinds = tuple(dict.fromkeys(problem.space.stages[0].block))
    if problem.objective == "paper":
        return [kinds]
    groups = [tuple(kind for kind in kinds if (kind in RESIDUAL_BLOCKS) == residual) for residual in (True, False)]
    return [group for group in groups if group]
