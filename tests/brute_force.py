"""Brute force over small spaces: every network counted from its layer records, the best feasible one kept.

It shares the layer records with the engine and nothing else: rules, entropy, effectiveness, latency, memory and
both objectives are written here once more, straight from their definitions, over whole populations at once.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture, Stage, Stem, network_parts
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.layers import Part
from deepmad.search_spaces.spaces import Space

Array = np.ndarray[Any, Any]
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True)
class Counted:
    """Networks of a space: how much each uses, by the names of `usages`, the two objectives, and the stages.

    `stages` (networks, stages, 5) holds block kind, out, width, kernel and depth.
    """

    used: dict[str, Array]
    objectives: dict[str, Array]
    stages: Array

    def __len__(self) -> int:
        return len(self.used["macs"])

    def feasible(self, problem: Problem) -> Array:
        """Return which networks keep the problem's limits."""
        kept = np.ones(len(self), dtype=bool)
        for name, limit in problem.limits().items():
            kept &= self.keeps(name, limit.value, limit.sense)
        return kept

    def keeps(self, name: str, limit: float, sense: str) -> Array:
        """Return which networks keep one limit, from above or from below, inclusive."""
        kept: Array = self.used[name] <= limit if sense == "at most" else self.used[name] >= limit
        return kept

    def best(self, problem: Problem) -> float | None:
        """Return the largest objective among the feasible networks, None where there is none."""
        values = self.objectives[problem.objective][self.feasible(problem)]
        return float(values.max()) if len(values) else None

    def different(self, other: "Counted", stages: int) -> Array:
        """Return which networks differ in so many stages at least from the one network of `other`."""
        differing: Array = (self.stages != other.stages).any(axis=2).sum(axis=1) >= stages
        return differing


def count(problem: Problem) -> Counted:
    """Count every network of the problem's space; its limits and objective do not matter."""
    found = [_counted(problem, stem, stages) for stem, stages in _populations(problem.space)]
    used = {name: np.concatenate([some.used[name] for some in found]) for name in found[0].used}
    objectives = {name: np.concatenate([some.objectives[name] for some in found]) for name in found[0].objectives}
    return Counted(used, objectives, np.concatenate([some.stages for some in found]))


def count_one(problem: Problem, network: Architecture) -> Counted:
    """Count one network, as a population of one."""

    def column(value: int) -> Any:
        return np.array([value])

    stem = Stem(column(network.stem.out), network.stem.kernel, network.stem.stride)
    stages = [
        Stage(row.block, column(row.out), column(row.width), column(row.kernel), column(row.depth), row.stride)
        for row in network.stages
    ]
    return _counted(problem, stem, stages)


def members(space: Space) -> list[Architecture]:
    """Return every network of a space; where two expansions round to one width it comes twice."""
    found = []
    for stem, stages in _populations(space):
        columns: list[Any] = [stem.out]
        for stage in stages:
            columns += [stage.out, stage.width, stage.kernel, stage.depth]
        for start, *numbers in np.stack(columns, axis=1).tolist():
            fours = zip(*[iter(numbers)] * 4, strict=True)
            rows = tuple(
                Stage(stage.block, out, width, kernel, depth, stage.stride)
                for stage, (out, width, kernel, depth) in zip(stages, fours, strict=True)
            )
            first = Stem(start, stem.kernel, stem.stride)
            found.append(Architecture(space.resolution, first, rows, space.tail, space.classes, space.in_channels))
    return found


def _populations(space: Space) -> Iterator[tuple[Stem, list[Stage]]]:
    """Yield the members of a space in populations that share block kinds and where c_in equals out.

    A space without a member is one empty population.
    """
    axes: list[Any] = [space.stem.out]
    for stage in space.stages:
        axes += [stage.out, stage.width or stage.expansion, stage.kernel, stage.depth]
    columns = [column.ravel() for column in np.meshgrid(*map(np.asarray, axes), indexing="ij")]
    kept, agree = np.ones(len(columns[0]), dtype=bool), np.zeros(len(columns[0]), dtype=np.int64)
    c_in, rules = columns[0], space.rules
    for index, stage in enumerate(space.stages):
        out, inner = columns[4 * index + 1 : 4 * index + 3]
        if stage.expansion:
            columns[4 * index + 2] = np.maximum(8, np.floor(inner * out / 8 + 0.5).astype(np.int64) * 8)
        else:
            kept &= (inner >= rules.width_ratio.min * out) & (inner <= rules.width_ratio.max * out)
        kept &= (out >= c_in) | (not rules.non_decreasing)
        kept &= out <= (rules.growth or np.inf) * c_in
        agree, c_in = 2 * agree + (out == c_in), out
    patterns = np.unique(agree[kept]) if kept.any() else [0]
    for pattern, kinds in itertools.product(patterns, itertools.product(*[s.block for s in space.stages])):
        stem, *rest = [column[kept & (agree == pattern)] for column in columns]
        stages = []
        for index, (kind, stage) in enumerate(zip(kinds, space.stages, strict=True)):
            out, width, kernel, depth = rest[4 * index : 4 * index + 4]
            stages.append(Stage(kind, out, width, kernel, depth, stage.stride))
        yield Stem(stem, space.stem.kernel, space.stem.stride), stages


def _counted(problem: Problem, stem: Stem, stages: list[Stage]) -> Counted:
    """Count one population, which shares its block kinds and where a shortcut is the identity."""
    space = problem.space
    parts = network_parts(space.in_channels, space.resolution, stem, stages, space.tail, space.classes)
    nothing: Array = np.zeros(np.shape(stem.out), dtype=np.int64)
    used: dict[str, Array] = {"macs": nothing, "params": nothing, "activations": nothing}
    devices = [nothing + table.overhead_nanoseconds for table in problem.tables]
    for part in parts:
        for layer in part.body.layers:
            runs = part.repeats * (part.body.residual if layer.role == "shortcut" else 1)
            used["macs"] = used["macs"] + runs * layer.macs
            used["params"] = used["params"] + runs * layer.params
            if layer.role == "main":
                written = layer.outputs * (layer.side // layer.stride) ** 2
                used["activations"] = used["activations"] + part.repeats * written
            devices = [
                total + runs * table.nanoseconds(layer) for total, table in zip(devices, problem.tables, strict=True)
            ]
    used["latency_seconds"] = np.max([nothing, *devices], axis=0) / 1e9
    used["memory_bytes"] = _peak_elements(parts, nothing) * problem.batch * BYTES[problem.precision]
    entropy, used["rho"] = _entropy_and_rho(parts, space.weights, nothing.astype(float))
    rows = [[list(BLOCKS).index(row.block), row.out, row.width, row.kernel, row.depth] for row in stages]
    return Counted(used, _objectives(entropy, stages, space.beta), _table(rows, nothing))


def _table(rows: list[list[Any]], nothing: Array) -> Array:
    """Return numbers, or arrays of as many as there are networks, as an array (networks, stages, numbers)."""
    return np.stack([np.stack([nothing + number for number in row], axis=1) for row in rows], axis=1)


def _peak_elements(parts: tuple[Part, ...], nothing: Array) -> Array:
    """Return the most elements alive at once: a main-path layer's input and output, and the shortcut held."""
    peak = nothing
    for part in parts:
        main = [layer for layer in part.body.layers if layer.role == "main"]
        for place, layer in enumerate(main):
            held = part.body.residual * main[0].inputs * main[0].side ** 2 if place else 0
            alive = layer.inputs * layer.side**2 + layer.outputs * layer.out_side**2 + held
            peak = np.maximum(peak, np.where(np.asarray(part.repeats) > 0, alive, 0))
    return peak


def _entropy_and_rho(parts: tuple[Part, ...], alpha: tuple[float, ...], nothing: Array) -> tuple[Array, Array]:
    """Return sum alpha_i ln(r_i^2 c_i) sum ln w_l and max n_i / exp(mean ln w_l), over the scales i."""
    total, largest, scale = nothing, nothing, 0
    convolutions, logs, factor = nothing, nothing, nothing
    for part in (*parts, None):
        if part is None or part.ends_scale:
            total = total + alpha[scale] * factor * logs
            largest = np.maximum(largest, convolutions / np.exp(logs / convolutions))
            scale += 1
        for layer in part.body.layers if part else ():
            if part and layer.role == "main":
                convolutions = convolutions + part.repeats
                logs = logs + part.repeats * np.log(layer.fan_in)
                factor = nothing + np.log(layer.out_side**2 * layer.outputs)
    return total, largest


def _objectives(entropy: Array, stages: list[Stage], beta: float) -> dict[str, Array]:
    """Return the paper's objective and that of its published code, whose penalty may skip the first two stages."""
    depths = np.stack([np.broadcast_to(stage.depth, entropy.shape).astype(float) for stage in stages])
    late = depths[2:] if stages[0].block in ("bottleneck", "basic") else depths

    def variance(some: Array) -> Array:
        return np.square(some - some.mean(axis=0)).mean(axis=0) if len(some) else np.zeros(entropy.shape)

    with np.errstate(over="ignore"):  # a variance above 709 is a penalty nobody can pay
        return {
            "paper": entropy - beta * np.exp(variance(depths)),
            "reference": entropy / 2 - 10 * np.exp(np.sqrt(variance(late))),
        }
