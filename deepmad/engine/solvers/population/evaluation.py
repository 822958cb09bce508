"""Evaluation of a population: objective, what every limit uses, broken rules; thousands of networks at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.engine.program.budgets import BYTES_PER_ELEMENT
from deepmad.engine.program.entropy import Scale, entropy, rho, scales
from deepmad.engine.program.objectives import objective_value
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.genomes import Coding, Genomes, StageColumns
from deepmad.engine.solvers.population.tables import COSTS, MOST_CELLS, Floats, Table, body_costs, tables
from deepmad.search_spaces.architectures import Stage, Stem, network_parts
from deepmad.search_spaces.layers import Part, peak_activation_elements
from deepmad.search_spaces.spaces import Space

CHUNK = 4096
"""Networks evaluated at once: the arrays of a chunk stay in the processor's caches."""


@dataclass(frozen=True)
class Evaluation:
    """What a population of networks is worth.

    `values` (networks,) are objectives; `used` holds, under the keys and in the units of `Problem.usages`,
    what each network uses of every limit; `excess` (networks,) is the sum over the limits of
    max(0, used / limit - 1).
    """

    values: Floats
    used: dict[str, Floats]
    excess: Floats


@dataclass(frozen=True)
class _StageKind:
    """A stage with one of its kinds of block: costs of its first block and of each later one."""

    kind: str
    first: tuple[Table, ...] | None
    later: tuple[Table, ...] | None
    first_convolutions: int
    later_convolutions: int


class Evaluator:
    """Evaluates genomes of one problem; the tables made from its layer records are kept between calls."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.coding = Coding(problem.space)
        self.count = len(COSTS) + len(problem.tables)
        self._kinds = [
            [self._stage_kind(index, kind) for kind in stage.block] for index, stage in enumerate(problem.space.stages)
        ]
        space = problem.space
        stem, last = self.coding.out_values[0][:, None], self.coding.out_values[-1]
        parts = [part for part in _parts(space, {0: stem, len(space.stages): last}) if part.stage is None]
        shape = (len(stem), len(last))
        self.opening = _require(tables([parts[0].body], problem.tables, shape))
        self.closing = _require(tables([part.body for part in parts[1:]], problem.tables, shape))
        self.closing_convolutions = sum(len(part.body.main) for part in parts[1:])
        self.sides = [scale.side for scale in scales(_parts(space, {}))]
        limit = problem.budget
        latency = limit.latency_seconds(problem.batch)
        limits = {"macs": limit.macs, "params": limit.params, "rho": limit.rho, "latency_seconds": latency}
        limits["memory_bytes"] = limit.memory
        self.limits = {name: value for name, value in limits.items() if value is not None}

    @property
    def additive_limits(self) -> Floats:
        """The limits on the costs after the log-widths, shape (costs - 1,); infinite where there is none."""
        problem = self.problem
        nanoseconds = problem.limit_nanoseconds
        latencies = [
            None if nanoseconds is None else nanoseconds - table.overhead_nanoseconds for table in problem.tables
        ]
        found = [problem.budget.macs, problem.budget.params, *latencies]
        return np.array([np.inf if limit is None else float(limit) for limit in found])

    def _stage_kind(self, index: int, kind: str) -> _StageKind:
        """Tabulate a stage over its grid (c_in, out, inner, kernel)."""
        coding, choice, latencies = self.coding, self.problem.space.stages[index], self.problem.tables
        c_in, out, widths = coding.out_values[index], coding.out_values[index + 1], coding.width_values[index]
        shape = (len(c_in), len(out), widths.shape[1], len(choice.kernel))
        grid = StageColumns(
            c_in=c_in[:, None, None, None],
            out=out[:, None, None],
            width=widths[:, :, None],
            kernel=np.array(choice.kernel),
            depth=np.array(2),
        )
        small = max(shape[0] * max(shape[1], shape[2]), shape[1] * shape[2]) * shape[3] <= MOST_CELLS
        probe = StageColumns(*(np.array([8]),) * 3, np.array([1]), np.array([2]))
        first, later = _stage_parts(self.problem.space, index, kind, grid if small else probe)
        return _StageKind(
            kind,
            tables([first.body], latencies, shape) if small else None,
            tables([later.body], latencies, shape) if small else None,
            len(first.body.main),
            len(later.body.main),
        )

    def evaluate(self, genomes: Genomes) -> Evaluation:
        """Return what the networks of `genomes`, shape (networks, genes), are worth; rules are not looked at."""
        pieces = [self._chunk(genomes[start : start + CHUNK]) for start in range(0, len(genomes), CHUNK)]
        if len(pieces) == 1:
            return pieces[0]
        if not pieces:
            return Evaluation(np.empty(0), {name: np.empty(0) for name in self.limits}, np.empty(0))
        return Evaluation(
            np.concatenate([piece.values for piece in pieces]),
            {name: np.concatenate([piece.used[name] for piece in pieces]) for name in self.limits},
            np.concatenate([piece.excess for piece in pieces]),
        )

    def _chunk(self, genomes: Genomes) -> Evaluation:
        columns = np.ascontiguousarray(genomes.T)
        stages = [self.coding.columns(columns, index) for index in range(len(self._kinds))]
        total, found = self.costs(columns, stages)
        used = dict(self._used(columns, stages, total, found))
        excess = np.zeros(len(genomes))
        for name, limit in self.limits.items():
            excess += np.maximum(used[name] / limit - 1, 0)
        return Evaluation(self._values(columns, stages, found), used, excess)

    def costs(self, columns: Genomes, stages: Sequence[StageColumns]) -> tuple[Floats, list[Scale]]:
        """Return the costs of the whole networks, shape (costs, networks), and their scales."""
        ends = [columns[0], columns[self.coding.gene(len(stages) - 1, "out")]]
        total = gathered(self.opening, ends, self.count) + np.zeros((1, columns.shape[1]))
        depth: Any = 1
        found: list[Scale] = []
        for index, stage in enumerate(stages):
            if self.problem.space.stages[index].stride == 2:
                found.append(Scale(depth, total[0].copy(), stage.c_in, self.sides[len(found)]))
            costs, convolutions = self.stage_costs(columns, index, stage)
            total += costs
            depth = depth + convolutions
        total += gathered(self.closing, ends, self.count)
        tail = self.problem.space.tail
        channels = stages[-1].out if tail is None else tail.out
        found.append(Scale(depth + self.closing_convolutions, total[0], channels, self.sides[-1]))
        return total, found

    def stage_costs(self, columns: Genomes, index: int, stage: StageColumns) -> tuple[Floats, Any]:
        """Return a stage's costs (costs, networks) and its main-path convolutions (networks,)."""
        genes = [columns[self.coding.c_in_gene(index)]]
        genes += [columns[self.coding.gene(index, name)] for name in ("out", "inner", "kernel")]
        kinds = self._kinds[index]
        if len(kinds) == 1:
            return self._kind_costs(index, kinds[0], genes, stage)
        chosen = columns[self.coding.gene(index, "block")]
        costs = np.empty((self.count, len(chosen)))
        convolutions = np.empty(len(chosen))
        for position, kind in enumerate(kinds):
            rows = np.flatnonzero(chosen == position)
            if len(rows):
                found = self._kind_costs(index, kind, [gene[rows] for gene in genes], _rows(stage, rows))
                costs[:, rows], convolutions[rows] = found
        return costs, convolutions

    def _kind_costs(
        self, index: int, kind: _StageKind, genes: Sequence[Genomes], stage: StageColumns
    ) -> tuple[Floats, Any]:
        repeats = stage.depth - 1
        if kind.first is not None and kind.later is not None:
            first, later = gathered(kind.first, genes, self.count), gathered(kind.later, genes, self.count)
        else:
            parts = _stage_parts(self.problem.space, index, kind.kind, stage)
            first, later = (body_costs(part.body, self.problem.tables, len(repeats)) for part in parts)
        later = later * repeats
        later += first
        return later, kind.first_convolutions + kind.later_convolutions * repeats

    def _used(
        self, columns: Genomes, stages: Sequence[StageColumns], total: Floats, found: Sequence[Scale]
    ) -> Iterator[tuple[str, Floats]]:
        if "macs" in self.limits:
            yield "macs", total[1]
        if "params" in self.limits:
            yield "params", total[2]
        if "rho" in self.limits:
            yield "rho", rho(found)
        if "latency_seconds" in self.limits:
            devices = zip(total[len(COSTS) :], self.problem.tables, strict=True)
            nanoseconds = [layers + table.overhead_nanoseconds for layers, table in devices]
            yield "latency_seconds", np.maximum.reduce(nanoseconds) / 1e9
        if "memory_bytes" in self.limits:
            yield "memory_bytes", self._peak_bytes(columns, stages)

    def _peak_bytes(self, columns: Genomes, stages: Sequence[StageColumns]) -> Floats:
        """Return the peak of the activations' bytes for one batch, shape (networks,)."""
        space = self.problem.space
        ends = _parts(space, {0: self.coding.out_values[0][columns[0]], len(stages): stages[-1].out})
        peak: Any = peak_activation_elements(tuple(part for part in ends if part.stage is None))
        peak = np.broadcast_to(peak, columns.shape[1]).copy()
        for index, stage in enumerate(stages):
            chosen = columns[self.coding.gene(index, "block")]
            for position, kind in enumerate(space.stages[index].block):
                rows = np.flatnonzero(chosen == position)
                parts = _stage_parts(space, index, kind, _rows(stage, rows))
                peak[rows] = np.maximum(peak[rows], peak_activation_elements(parts))
        bytes_an_element = self.problem.batch * BYTES_PER_ELEMENT[self.problem.precision]
        return np.asarray(peak * bytes_an_element, dtype=float)

    def _values(self, columns: Genomes, stages: Sequence[StageColumns], found: Sequence[Scale]) -> Floats:
        space, objective = self.problem.space, self.problem.objective
        total, depths = entropy(found, space.weights), [stage.depth for stage in stages]
        kinds = space.stages[0].block
        values = [objective_value(objective, total, depths, kind, space.beta) for kind in kinds]
        return np.choose(columns[self.coding.gene(0, "block")], values) if len(kinds) > 1 else np.asarray(values[0])


def gathered(found: Sequence[Table], indices: Sequence[npt.NDArray[np.intp]], count: int) -> Any:
    """Return the sum of the `count` costs that the tables hold at `indices`, (costs, networks) or (costs, 1), or 0."""
    if not found:
        return 0.0
    rows = found[0].gather(indices)
    for table in found[1:]:
        rows = rows + table.gather(indices)
    return np.ascontiguousarray(rows.T)[:count]


def _require(found: tuple[Table, ...] | None) -> tuple[Table, ...]:
    assert found is not None, "the widths of the stem and of the last stage are never too many to tabulate"
    return found


def _rows(stage: StageColumns, rows: npt.NDArray[np.intp]) -> StageColumns:
    """Return the stage's values in some of the networks."""
    return StageColumns(*(getattr(stage, field.name)[rows] for field in fields(stage)))


def _parts(space: Space, outs: dict[int, Any], changed: dict[int, Stage] | None = None) -> tuple[Part, ...]:
    """Return a network's parts with the widths `outs` (0 is the stem's, i + 1 that of stage i).

    What is not given stands at a placeholder.
    """
    stages = [Stage(stage.block[0], outs.get(i + 1, 8), 8, 1, 1, stage.stride) for i, stage in enumerate(space.stages)]
    for index, stage in (changed or {}).items():
        stages[index] = stage
    stem = Stem(outs.get(0, 8), space.stem.kernel, space.stem.stride)
    return network_parts(space.in_channels, space.resolution, stem, stages, space.tail, space.classes)


def _stage_parts(space: Space, index: int, kind: str, values: StageColumns) -> tuple[Part, ...]:
    """Return the parts of one stage, its first block and the later ones, as they stand in the network."""
    stage = Stage(kind, values.out, values.width, values.kernel, values.depth, space.stages[index].stride)
    parts = _parts(space, {index: values.c_in}, {index: stage})
    return tuple(part for part in parts if part.stage == index)
