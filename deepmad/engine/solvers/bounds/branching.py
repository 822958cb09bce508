"""Branching: where to split a box, and the networks that a box or its master's solution stands for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deepmad.engine.costs.tables import LOG_WIDTHS
from deepmad.engine.solvers.bounds.columns import CONVS, DEPTH, Columns
from deepmad.engine.solvers.bounds.master import Master
from deepmad.engine.solvers.bounds.nodes import Node
from deepmad.engine.solvers.bounds.pricing import Box, Interval
from deepmad.engine.solvers.bounds.relaxation import (
    chord_of_squares,
    log_area_range,
    penalised_span,
    spread_cuts,
    within,
)
from deepmad.engine.solvers.bounds.tables import Array, Ints, SpaceTables
from deepmad.search_spaces.architectures import Architecture, Stage, Stem

Dimension = Literal["channels", "depths", "widths", "options", "totals"]

_SPREAD_SHARE = 0.1
"""What a mixture of channels or widths is thought to gain, in units of the spread of its entropy."""
_OPTION_SHARE = 0.08
"""The same of a mixture of options."""


@dataclass(frozen=True)
class Split:
    """A place to split a box, and the error that doing so may mend, as the `score`.

    The interval's low part ends at index `end`; a stage's options split into option `end` and the others.
    """

    score: float
    dimension: Dimension
    index: int
    end: int


def children(space: SpaceTables, node: Node) -> list[Node]:
    """Return the nodes of the boxes that a node is split into."""
    return [
        Node(within(node.relaxation, space, box), node.bound, node.prices, columns=node.columns) for box in node.parts
    ]


def split(space: SpaceTables, node: Node) -> tuple[Box, ...]:
    """Return the boxes to split a node into, by its last master; none for a single network."""
    splits = [*(_by_master(space, node, node.master) if node.master else ()), *_by_size(node.box)]
    if not splits:
        return ()
    place = max(splits, key=lambda found: found.score)
    return _options_split(node.box, place) if place.dimension == "options" else _halves(node.box, place)


def _options_split(box: Box, place: Split) -> tuple[Box, Box]:
    chosen = box.options[place.index]

    def part(options: tuple[int, ...]) -> Box:
        return replace(box, options=(*box.options[: place.index], options, *box.options[place.index + 1 :]))

    return part((place.end,)), part(tuple(option for option in chosen if option != place.end))


def _halves(box: Box, place: Split) -> tuple[Box, Box]:
    intervals: tuple[Interval, ...] = getattr(box, place.dimension)
    low, high = intervals[place.index]
    end = min(max(place.end, low), high - 1)

    def part(interval: Interval) -> Box:
        row = (*intervals[: place.index], interval, *intervals[place.index + 1 :])
        match place.dimension:
            case "channels":
                return replace(box, channels=row)
            case "depths":
                return replace(box, depths=row)
            case "totals":
                return replace(box, totals=row)
            case _:
                return replace(box, widths=row)

    return part((low, end)), part((end + 1, high))


def _by_size(box: Box) -> Iterator[Split]:
    """Yield the middle of every interval that can still be split, and first options, as a last resort."""
    dimensions: tuple[Dimension, ...] = ("depths", "channels", "widths")
    for rank, dimension in enumerate(dimensions):
        for index, (low, high) in enumerate(getattr(box, dimension)):
            if low < high:
                yield Split(-1.0 - rank, dimension, index, (low + high) // 2)
    for index, options in enumerate(box.options):
        if len(options) > 1:
            yield Split(-9.0, "options", index, options[0])


def _by_master(space: SpaceTables, node: Node, master: Master) -> Iterator[Split]:
    """Yield splits scored by how much of the objective rests on the error that they mend."""
    box, columns, shares = node.box, master.columns, master.weights
    slopes = np.zeros(space.stages)
    for scale, info in enumerate(space.scales):
        area = float(info.log_area[0]) if info.fixed else float(columns.read(info.stages, info.log_area) @ shares)
        slopes[: info.stages] += info.weight * area
        error = info.weight * (master.products[scale] - area * master.entropies[scale])
        if not info.fixed:
            low, high = box.channels[info.stages]
            if low < high:
                middle = (area + sum(log_area_range(space, box, scale)) / 2) / 2
                end = int(np.searchsorted(info.log_area, middle)) - 1
                yield Split(float(error), "channels", info.stages, end)
    for stage in range(space.stages):
        mask = columns.stage == stage
        part = Columns(columns.fields[mask], columns.numbers[mask])
        if box.depths[stage][0] < box.depths[stage][1]:
            yield _depth_split(space, stage, part, shares[mask], float(slopes[stage]))
        if len(box.options[stage]) > 1:
            yield _option_split(stage, part, shares[mask], float(slopes[stage]), box.options[stage])
        worth = slopes[stage] * shares[mask] * part.numbers[:, CONVS]
        if box.channels[stage + 1][0] < box.channels[stage + 1][1]:
            yield _spread_split("channels", stage + 1, np.log(space.channels[stage + 1]), part.fields[:, 4], worth)
        if box.widths[stage][0] < box.widths[stage][1]:
            yield _spread_split("widths", stage, np.log(_width_values(space, stage)), part.fields[:, 5], worth)
    for scale, info in enumerate(space.scales):
        if box.totals[scale][0] < box.totals[scale][1]:
            blocks = float(master.depths[: info.stages].sum())
            worth = float(slopes[: info.stages].mean() * master.entropies[scale] / blocks)
            yield Split(worth * abs(blocks - round(blocks)), "totals", scale, math.floor(blocks))
    yield from _spread_splits(space, node, master)


def _spread_splits(space: SpaceTables, node: Node, master: Master) -> Iterator[Split]:
    """Yield the split of the penalised blocks, scored by what the chord of their square leaves out of the penalty."""
    span = penalised_span(space, node.relaxation.first_block)
    (start, end), (low, high) = space.spans[span], node.box.totals[span]
    cuts = spread_cuts(space, node.relaxation.first_block)
    if not cuts or low == high:
        return
    mask = master.columns.stage >= start
    depths, shares = master.columns.numbers[mask, DEPTH], master.weights[mask]
    squares, blocks, stages = float(shares @ depths**2), float(shares @ depths), end - start
    rise, constant = chord_of_squares(space, node.relaxation)
    bounded = max(0.0, squares / stages - rise * blocks - constant)
    variance = max(bounded, squares / stages - (blocks / stages) ** 2)

    def penalty(value: float) -> float:
        return max(cut.constant + cut.slope * value for cut in cuts)

    yield Split(min(penalty(variance) - penalty(bounded), 2 * abs(node.bound)), "totals", span, math.floor(blocks))


def _depth_split(space: SpaceTables, stage: int, columns: Columns, shares: Array, slope: float) -> Split:
    """Split depths at their mean, scored by the entropy of the part of a block that no network can have.

    Mixing deep and narrow with shallow and wide earns what no single depth does: the covariance adds to the score.
    """
    depths = columns.numbers[:, DEPTH]
    mean = float(shares @ depths)
    per_block = columns.numbers[:, LOG_WIDTHS] / depths
    score = slope * abs(float(shares @ ((depths - mean) * (per_block - shares @ per_block))))
    score += slope * float(shares @ per_block) * abs(mean - round(mean))
    spread = math.sqrt(max(0.0, float(shares @ (depths - mean) ** 2)))
    end = int(np.searchsorted(space.depths[stage], mean, "right")) - 1
    return Split(score + 1e-6 * spread, "depths", stage, end)


def _spread_split(dimension: Dimension, index: int, logs: Array, said: Ints, worth: Array) -> Split:
    """Split channels or widths at their mean, scored by what their spread makes of their stage's entropy.

    `logs` are those of the choices, `said` the indices that the stage's columns take, `worth` what a unit of a
    choice's logarithm earns there.
    """
    if not worth.any():
        return Split(0.0, dimension, index, 0)
    mean = float(worth @ logs[said]) / float(worth.sum())
    spread = float(worth @ np.abs(logs[said] - mean))
    return Split(_SPREAD_SHARE * spread, dimension, index, int(np.searchsorted(logs, mean, "right")) - 1)


def _option_split(stage: int, columns: Columns, shares: Array, slope: float, offered: tuple[int, ...]) -> Split:
    """Split off the option with the largest share, scored by the spread of the entropy a block between options."""
    options, depths = columns.fields[:, 1], columns.numbers[:, DEPTH]
    totals = np.bincount(options, weights=shares, minlength=max(offered) + 1)
    sums = np.bincount(options, weights=shares * columns.numbers[:, LOG_WIDTHS] / depths, minlength=len(totals))
    spread = float(np.abs(sums - totals * sums.sum()).sum() * (shares @ depths))
    # the box may have lost options since the master was solved
    return Split(_OPTION_SHARE * slope * spread, "options", stage, max(offered, key=lambda option: totals[option]))


def network(space: SpaceTables, box: Box) -> Architecture | None:
    """Return the network at the low end of a box; None where the space's rules refuse it."""
    options = [options[0] for options in box.options]
    channels = [float(space.channels[index][low]) for index, (low, _) in enumerate(box.channels)]
    depths = [float(space.depths[index][low]) for index, (low, _) in enumerate(box.depths)]
    widths = [_width_values(space, stage)[low] for stage, (low, _) in enumerate(box.widths)]
    return _member(space, options, channels, depths, widths)


def _width_values(space: SpaceTables, stage: int) -> tuple[int, ...]:
    return space.tables[stage].widths or (1,)


def rounded(space: SpaceTables, master: Master) -> Architecture | None:
    """Return the member of the space nearest to a master's solution; None where rounding meets a dead end."""
    columns, shares = master.columns, master.weights
    options, depths, widths = [], [], []
    channels = [math.exp(columns.read(index, np.log(values)) @ shares) for index, values in enumerate(space.channels)]
    for stage in range(space.stages):
        mask = columns.stage == stage
        weights, fields = shares[mask], columns.fields[mask]
        totals = np.bincount(fields[:, 1], weights=weights)
        options.append(int(totals.argmax()))
        depths.append(float(weights @ columns.numbers[mask, DEPTH]))
        logs = np.log(np.array(_width_values(space, stage)))
        widths.append(math.exp(weights @ logs[fields[:, 5]]))
    return _member(space, options, channels, depths, widths)


def _member(
    space: SpaceTables, options: list[int], channels: Sequence[float], depths: Sequence[float], widths: Sequence[float]
) -> Architecture | None:
    """Return the network whose numbers are nearest to those given, stage after stage within the rules."""
    position = _nearest(space.channels[0], channels[0], None)
    stem_out, stages = int(space.channels[0][position]), []
    for stage, choice in enumerate(space.problem.space.stages):
        allowed = space.allowed[stage][position]
        tables, outs = space.tables[stage], space.channels[stage + 1]
        option = tables.options[options[stage]]
        allowed = allowed & tables.offered.any(0)
        if not allowed.any():
            return None
        position = _nearest(outs, channels[stage + 1], allowed)
        out = int(outs[position])
        if tables.widths is None:
            width = choice.expanded(option.expansion or 1.0, out)
        else:
            values = np.array(tables.widths)
            width = int(values[_nearest(values, widths[stage], tables.offered[:, position])])
        depth = int(space.depths[stage][_nearest(space.depths[stage], depths[stage], None)])
        stages.append(Stage(option.kind, out, width, option.kernel, depth, choice.stride))
    whole = space.problem.space
    stem = Stem(stem_out, whole.stem.kernel, whole.stem.stride)
    return Architecture(whole.resolution, stem, tuple(stages), whole.tail, whole.classes, whole.in_channels)


def _nearest(values: np.ndarray, wanted: float, allowed: np.ndarray | None) -> int:
    distance = np.abs(np.asarray(values, dtype=float) - wanted)
    if allowed is not None:
        distance = np.where(allowed, distance, np.inf)
    return int(distance.argmin())
