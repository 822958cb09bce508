"""Evaluation of a population: objective, what every limit uses, broken rules; thousands of networks at once."""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.additive import NUMBERS, additive_costs, layer_shape
from deepmad.engine.costs.records import Grid, end_bodies, scale_ends, sides, stage_bodies, whole_grid
from deepmad.engine.costs.tables import Floats, summed
from deepmad.engine.program.entropy import Scale, entropy, rho
from deepmad.engine.program.measures import BYTES_PER_ELEMENT
from deepmad.engine.program.objectives import objective_value
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.genomes import Coding, Genomes, StageColumns
from deepmad.engine.solvers.population.tables import MOST_CELLS, Table, tables
from deepmad.search_spaces.layers import Body, Count, Layer, Part, peak_activation_elements

CHUNK = 4096
"""Networks evaluated at once: the arrays of a chunk stay in the processor's caches."""

MOST_REMEMBERED = 1 << 17
"""Numbers of a layer's costs that are remembered while tables are made: a megabyte."""


@dataclass(frozen=True)
class Evaluation:
    """What a population of networks is worth.

    `values` (networks,) are objectives; `used` holds, under the keys and in the units of `Problem.usages`,
    what each network uses of every limit; `excess` (networks,) is the sum over the limits of what each is overrun by,
    as a share of it.
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
    """Evaluates genomes of one problem; the tables made from its layer records are kept between calls.

    No table is begun after `end` (`time.monotonic` seconds; None is no end): what has none is read from the records at
    every call.
    """

    def __init__(self, problem: Problem, end: float | None = None) -> None:
        self.problem, self._end = problem, end
        self.coding = Coding(problem.space)
        self.costs = additive_costs(problem)
        self.count = 1 + len(self.costs)
        self.rows = {cost.name: row for row, cost in enumerate(self.costs, start=1)}
        space = problem.space
        self._tables: dict[Hashable, tuple[Table, ...] | None] = {}
        self._cells = 0
        self._priced = tuple(replace(cost, of_layer=Remembered(cost.of_layer)) for cost in self.costs)
        self._kinds = [
            [self._stage_kind(index, kind) for kind in stage.block] for index, stage in enumerate(space.stages)
        ]
        self._priced = self.costs  # what is remembered of them has done its work
        stem, last = self.coding.out_values[0][:, None], self.coding.out_values[-1]
        opening, closing = end_bodies(space, stem, last)
        shape = (len(stem), len(last))
        self.opening = _require(tables([opening], self.costs, shape))
        self.closing = _require(tables(closing, self.costs, shape))
        self.closing_convolutions = sum(len(body.main) for body in closing)
        self.ends = scale_ends(space)
        self.limits = problem.limits()

    def _stage_kind(self, index: int, kind: str) -> _StageKind:
        """Tabulate a stage over its grid (c_in, out, inner, kernel)."""
        space, ins, outs = self.problem.space, *self.coding.out_values[index : index + 2]
        stage, (side, after) = space.stages[index], sides(space)[index : index + 2]
        shape = (len(ins), len(outs), self.coding.width_values[index].shape[1], len(stage.kernel))
        small = max(shape[0] * max(shape[1], shape[2]), shape[1] * shape[2]) * shape[3] <= MOST_CELLS
        small &= self._end is None or time.monotonic() < self._end
        probe = Grid(kind, *(np.array([8]),) * 3, np.array([1]))
        first, later = stage_bodies(space, index, whole_grid(space, index, kind) if small else probe)
        choices = (kind, stage.out, stage.width, stage.expansion, stage.multiple, stage.kernel)
        return _StageKind(
            kind,
            self._tabulated((*choices, side, stage.stride, ins.tobytes()), first, shape) if small else None,
            self._tabulated((*choices, after), later, shape) if small else None,
            len(first.main),
            len(later.main),
        )

    def _tabulated(self, choices: Hashable, body: Body, shape: tuple[int, ...]) -> tuple[Table, ...] | None:
        """Return the tables of a body, which stages share where it is the same `choices` that it is made over."""
        if choices not in self._tables:
            self._tables[choices] = tables([body], self._priced, shape)
        return self._tables[choices]

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
        total, found = self.sums(columns, stages)
        used = dict(self._used(columns, stages, total, found))
        excess = np.zeros(len(genomes))
        for name, limit in self.limits.items():
            excess += np.maximum(limit.overrun(used[name]), 0)
        return Evaluation(self._values(columns, stages, found), used, excess)

    def sums(self, columns: Genomes, stages: Sequence[StageColumns]) -> tuple[Floats, list[Scale]]:
        """Return the costs of the whole networks, shape (costs, networks), and their scales."""
        ends = [columns[0], columns[self.coding.gene(len(stages) - 1, "out")]]
        total = gathered(self.opening, ends, self.count) + np.zeros((1, columns.shape[1]))
        depth: Any = 1
        found: list[Scale] = []
        for index, stage in enumerate(stages):
            if self.ends[len(found)].stages == index:
                found.append(Scale(depth, total[0].copy(), stage.c_in, self.ends[len(found)].side))
            costs, convolutions = self.stage_costs(columns, index, stage)
            total += costs
            depth = depth + convolutions
        total += gathered(self.closing, ends, self.count)
        channels = stages[-1].out if self.ends[-1].channels is None else self.ends[-1].channels
        found.append(Scale(depth + self.closing_convolutions, total[0], channels, self.ends[-1].side))
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
            bodies = stage_bodies(self.problem.space, index, stage.grid(kind.kind))
            first, later = (summed(body, self.costs, (len(repeats),)) for body in bodies)
        later = later * repeats
        later += first
        return later, kind.first_convolutions + kind.later_convolutions * repeats

    def _used(
        self, columns: Genomes, stages: Sequence[StageColumns], total: Floats, found: Sequence[Scale]
    ) -> Iterator[tuple[str, Floats]]:
        for name in self.limits:
            if name in self.rows:
                yield name, total[self.rows[name]]
            elif name == "rho":
                yield name, rho(found)
            elif name == "latency_seconds":
                devices = [total[self.rows[cost.name]] + cost.constant for cost in self.costs if cost.of_device]
                yield name, np.maximum.reduce(devices) / 1e9
            else:
                yield name, self._peak_bytes(columns, stages)

    def _peak_bytes(self, columns: Genomes, stages: Sequence[StageColumns]) -> Floats:
        """Return the peak of the activations' bytes for one batch, shape (networks,)."""
        space = self.problem.space
        opening, closing = end_bodies(space, self.coding.out_values[0][columns[0]], stages[-1].out)
        peak: Any = peak_activation_elements([Part("end", body) for body in (opening, *closing)])
        peak = np.broadcast_to(peak, columns.shape[1]).copy()
        for index, stage in enumerate(stages):
            chosen = columns[self.coding.gene(index, "block")]
            for position, kind in enumerate(space.stages[index].block):
                rows = np.flatnonzero(chosen == position)
                some = _rows(stage, rows)
                first, later = stage_bodies(space, index, some.grid(kind))
                parts = (Part("first", first), Part("later", later, some.depth - 1))
                peak[rows] = np.maximum(peak[rows], peak_activation_elements(parts))
        bytes_an_element = self.problem.batch * BYTES_PER_ELEMENT[self.problem.precision]
        return np.asarray(peak * bytes_an_element, dtype=float)

    def _values(self, columns: Genomes, stages: Sequence[StageColumns], found: Sequence[Scale]) -> Floats:
        space, objective = self.problem.space, self.problem.objective
        total, depths = entropy(found, space.weights), [stage.depth for stage in stages]
        kinds = space.stages[0].block
        values = [objective_value(objective, total, depths, kind, space.beta) for kind in kinds]
        return np.choose(columns[self.coding.gene(0, "block")], values) if len(kinds) > 1 else np.asarray(values[0])


class Remembered:
    """A cost of layers that is asked for once for layers that are alike: stages and kinds of blocks share many.

    Of layers with more than `MOST_REMEMBERED` numbers nothing is remembered.
    """

    def __init__(self, cost: Callable[[Layer], Count]) -> None:
        self._cost = cost
        self._known: dict[Hashable, Count] = {}

    def __call__(self, layer: Layer) -> Count:
        """Return the cost of a layer."""
        if math.prod(layer_shape(layer)) > MOST_REMEMBERED:
            return self._cost(layer)
        key = tuple(_hashable(getattr(layer, one.name), array=one.name in NUMBERS) for one in fields(layer))
        if key not in self._known:
            self._known[key] = self._cost(layer)
        return self._known[key]


def _hashable(value: Any, *, array: bool) -> Hashable:
    """Return what tells a field of a layer's record from others."""
    found: Hashable = (np.shape(value), np.asarray(value).tobytes()) if array else value
    return found


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
