"""Branching: where to split a box, and the networks that a box or its master's solution stands for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deepmad.engine.bounds.master import Master
from deepmad.engine.bounds.nodes import Node
from deepmad.engine.bounds.pricing import Box, Interval
from deepmad.engine.bounds.relaxation import log_area_range, within
from deepmad.engine.bounds.tables import ENTROPY, SpaceTables
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.spaces import expanded

Dimension = Literal["channels", "depths", "widths"]


@dataclass(frozen=True)
class Split:
    """A place to split a box: the interval's low part ends at index `end`. `score` is the error it may mend."""

    score: float
    dimension: Dimension
    index: int
    end: int


def children(space: SpaceTables, node: Node) -> list[Node]:
    """Return the nodes of the boxes that a node is split into."""
    return [Node(within(node.relaxation, space, box), node.bound, node.prices) for box in node.parts]


def split(space: SpaceTables, node: Node) -> tuple[Box, ...]:
    """Return the boxes to split a node into, by its last master; none for a single network."""
    box = node.box
    splits = list(_by_master(space, node, node.master) if node.master else ())
    splits += list(_by_size(box))
    if splits:
        return _halves(box, max(splits, key=lambda found: found.score))
    for stage, options in enumerate(box.options):
        if len(options) > 1:
            rows = [(*box.options[:stage], (option,), *box.options[stage + 1 :]) for option in options]
            return tuple(replace(box, options=row) for row in rows)
    return ()


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
            case "widths":
                return replace(box, widths=row)

    return part((low, end)), part((end + 1, high))


def _by_size(box: Box) -> Iterator[Split]:
    """Yield the middle of every interval that can still be split, as a last resort."""
    dimensions: tuple[Dimension, ...] = ("depths", "channels", "widths")
    for rank, dimension in enumerate(dimensions):
        for index, (low, high) in enumerate(getattr(box, dimension)):
            if low < high:
                yield Split(-1.0 - rank, dimension, index, (low + high) // 2)


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
    for stage, (low, high) in enumerate(box.depths):
        mask = columns.stage == stage
        weights, depths = shares[mask], columns.numbers[mask, 5]
        mean = float(weights @ depths)
        if low < high:
            per_block = columns.numbers[mask, ENTROPY] / depths
            score = slopes[stage] * abs(float(weights @ ((depths - mean) * (per_block - weights @ per_block))))
            spread = math.sqrt(max(0.0, float(weights @ (depths - mean) ** 2)))
            yield Split(
                score + 1e-6 * spread, "depths", stage, int(np.searchsorted(space.depths[stage], mean, "right")) - 1
            )


def network(space: SpaceTables, box: Box) -> Architecture | None:
    """Return the network at the low end of a box; None where the space's rules refuse it."""
    options = [options[0] for options in box.options]
    channels = [float(space.channels[index][low]) for index, (low, _) in enumerate(box.channels)]
    depths = [float(space.depths[index][low]) for index, (low, _) in enumerate(box.depths)]
    widths = [_width_values(space, stage)[low] for stage, (low, _) in enumerate(box.widths)]
    return _member(space, options, channels, depths, widths)


def _width_values(space: SpaceTables, stage: int) -> tuple[int, ...]:
    tables = space.options[stage][0].widths
    return tables.values if tables else (1,)


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
        depths.append(float(weights @ columns.numbers[mask, 5]))
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
        option, outs = space.options[stage][options[stage]], space.channels[stage + 1]
        if option.widths is not None:
            allowed = allowed & option.widths.offered.any(0)
        if not allowed.any():
            return None
        position = _nearest(outs, channels[stage + 1], allowed)
        out = int(outs[position])
        if option.widths is None:
            width = expanded(option.expansion or 1.0, out)
        else:
            values = np.array(option.widths.values)
            width = int(values[_nearest(values, widths[stage], option.widths.offered[:, position])])
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
