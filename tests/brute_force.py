"""Brute force over small spaces: every network counted from its layer records, the best feasible one kept."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepmad.engine.entropy import entropy, rho, scales
from deepmad.engine.latency import latency_nanoseconds
from deepmad.engine.objectives import objective_value
from deepmad.engine.problems import Problem
from deepmad.search_spaces.architectures import Stage, Stem, network_parts
from deepmad.search_spaces.layers import peak_activation_elements, total_macs, total_params
from deepmad.search_spaces.spaces import Space

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Counted:
    """All networks of a space: how much each uses, by the names of `usages`, and the two objectives."""

    used: dict[str, Array]
    objectives: dict[str, Array]

    def __len__(self) -> int:
        return len(self.used["macs"])

    def feasible(self, problem: Problem) -> Array:
        """Return which networks keep the problem's limits."""
        budget = problem.budget
        limits = {
            "macs": budget.macs,
            "params": budget.params,
            "rho": budget.rho,
            "latency_seconds": budget.latency_seconds(problem.batch),
            "memory_bytes": budget.memory,
        }
        kept = np.ones(len(self), dtype=bool)
        for name, limit in limits.items():
            if limit is not None:
                kept &= self.used[name] <= limit
        return kept

    def best(self, problem: Problem) -> float | None:
        """Return the largest objective among the feasible networks, None where there is none."""
        values = self.objectives[problem.objective][self.feasible(problem)]
        return float(values.max()) if len(values) else None


def count(problem: Problem) -> Counted:
    """Count every network of the problem's space; its limits and objective do not matter."""
    found = [_counted(problem, stem, stages) for stem, stages in _populations(problem.space)]
    used = {name: np.concatenate([some.used[name] for some in found]) for name in found[0].used}
    objectives = {name: np.concatenate([some.objectives[name] for some in found]) for name in found[0].objectives}
    return Counted(used, objectives)


def _populations(space: Space) -> Iterator[tuple[Stem, list[Stage]]]:
    """Yield the members of a space in populations that share block kinds and where c_in equals out."""
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
    for pattern, kinds in itertools.product(
        np.unique(agree[kept]), itertools.product(*[s.block for s in space.stages])
    ):
        stem, *rest = [column[kept & (agree == pattern)] for column in columns]
        stages = []
        for index, (kind, stage) in enumerate(zip(kinds, space.stages, strict=True)):
            out, width, kernel, depth = rest[4 * index : 4 * index + 4]
            stages.append(Stage(kind, out, width, kernel, depth, stage.stride))
        yield Stem(stem, space.stem.kernel, space.stem.stride), stages


def _counted(problem: Problem, stem: Stem, stages: list[Stage]) -> Counted:
    """Count one population."""
    space, tables = problem.space, problem.tables
    parts = network_parts(space.in_channels, space.resolution, stem, stages, space.tail, space.classes)
    found, depths = scales(parts), [stage.depth for stage in stages]
    element = problem.batch * {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}[problem.precision]
    used = {
        "macs": total_macs(parts),
        "params": total_params(parts),
        "rho": rho(found),
        "latency_seconds": np.max([latency_nanoseconds(parts, table) for table in tables], axis=0) / 1e9
        if tables
        else np.zeros(np.shape(depths[0])),
        "memory_bytes": peak_activation_elements(parts) * element,
    }
    total = entropy(found, space.weights)
    objectives = {
        name: np.asarray(objective_value(name, total, depths, stages[0].block, space.beta))
        for name in ("paper", "reference")
    }
    return Counted({name: np.asarray(value) for name, value in used.items()}, objectives)
