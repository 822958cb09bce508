"""Relaxed networks: what the best widths are worth for given depths, kernels and blocks, for many such frames at once.

A frame is a genome of which only depths, kernels, blocks and, where they are pinned, free inner widths matter; the
other widths are chosen from a grid. With the frame fixed the entropy so far is a sum over stages; its product with
ln(r^2 c) is replaced by its tangent, and the limits that add up over layers and the effectiveness get multipliers.
What is left is a chain, whose best network dynamic programming finds exactly, and the multipliers move until the
limits are just met (Lagrangian relaxation). The values are estimates, not bounds: good enough to tell which frames
deserve a closer look.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepmad.engine.costs.tables import Floats
from deepmad.engine.program.objectives import entropy_factor, objective_value
from deepmad.engine.solvers.population.evaluation import Evaluator, gathered
from deepmad.engine.solvers.population.genomes import Genomes

WIDTHS, INNERS = 12, 10
"""Choices of an output width and of an inner width in a grid over the whole space."""
OFFSETS, INNER_OFFSETS = np.array([-9, -6, -4, -2, -1, 0, 1, 2, 4, 6, 9]), np.arange(-4, 5)
"""Choices of both in a grid around a network, as steps from its own width."""
ROUNDS, SETTLED = 10, 3
"""Rounds of pricing, and after how many of them the tangents are close enough for a value to count."""
FORBIDDEN = -1e18
FIRST_PRICE, ROOM, STEP, HIGHEST = 0.07, 0.02, 1.5, 1.0
"""Multipliers of the limits, in units of the entropy's part of the objective: the first value; what is added before a
multiplier is scaled, so that it can leave 0; how fast it follows a relative excess; the highest value."""
FIRST_RHO_PRICE, RHO_ROOM, RHO_STEP, HIGHEST_RHO = 0.01, 0.002, 40.0, 0.3
"""The same for the effectiveness, where a small lack of entropy means much."""
LACK, EXCESS = 5.0, 0.5
"""What remains of a lack of entropy, and of an excess over a limit, costs so much in units of the value."""
SWING = 0.03
"""Mean logarithm of what is used over a limit that is still no excess that stays."""
MOST_ROOM = -1 + 1e-9
"""Least relative excess that has a logarithm; a limit from below may be kept by more."""


@dataclass(frozen=True)
class Prices:
    """Multipliers of the limits, (frames, limits), and of the effectiveness, (frames, scales)."""

    limits: Floats
    rho: Floats

    def of(self, row: int, count: int) -> "Prices":
        """Return one frame's multipliers for `count` frames."""
        return Prices(*(np.repeat(found[row : row + 1], count, axis=0) for found in (self.limits, self.rho)))


@dataclass(frozen=True)
class Relaxed:
    """What came of frames: estimated `values` (frames,), and the networks met, `tries` (rounds, frames, genes)."""

    values: Floats
    tries: Genomes
    prices: Prices

    def starts(self, row: int) -> Genomes:
        """Return the networks to begin a closer look at a frame from, its middle last."""
        return np.concatenate([self.tries[:, row], self.middle(row)[None]])

    def middle(self, row: int) -> Genomes:
        """Return the mean of the networks that the pricing swung between: nearly optimal, and nearly feasible."""
        return np.asarray(np.rint(self.tries[SETTLED:, row].mean(0)), dtype=np.intp)


@dataclass(frozen=True)
class _Stage:
    """A stage with one kernel and block: its costs are `base` + depth * `slope`, each (costs and convolutions, cells).

    `genes` (2, cells) are the choices of out and inner; the cells have the shape (ins, outs, inners).
    """

    base: Floats
    slope: Floats
    barred: Floats
    genes: Genomes
    shape: tuple[int, int, int]


@dataclass
class _State:
    """Where the pricing of frames stands: where the tangents touch, the entropy needed, multipliers."""

    entropies: Floats
    areas: Floats
    needed: Floats
    prices: Floats
    rho_prices: Floats


@dataclass(frozen=True)
class _Path:
    """The best networks: the place of the last width (frames,), and how each cell of a stage is reached best.

    `inners` and `before`, one a stage: the inner choice (frames, ins, outs), the place before (frames, outs).
    """

    place: Genomes
    inners: list[Genomes]
    before: list[Genomes]


@dataclass(frozen=True)
class _Met:
    """What the best networks use: `entropies` and `areas` (frames, scales), `costs` (frames, limits)."""

    entropies: Floats
    areas: Floats
    costs: Floats


class Relaxation:
    """Estimates what frames are worth in one problem, on a grid over the whole space or around a network.

    `pinned` says that inner widths that are a choice of their own belong to the frame.
    """

    def __init__(self, evaluator: Evaluator, center: Genomes | None = None, *, pinned: bool = False) -> None:
        self.evaluator, self.coding, self.center, self.pinned = evaluator, evaluator.coding, center, pinned
        problem, space = evaluator.problem, evaluator.problem.space
        self.grids = [self._grid(gene, WIDTHS) for gene in (0, *self.coding.genes("out"))]
        self.inners = [self._grid(gene, INNERS) for gene in self.coding.genes("inner")]
        self.depths = [np.array(stage.depth, dtype=float) for stage in space.stages]
        self.stages: dict[tuple[int, int, int], _Stage] = {}
        self.limits = np.array([cost.room for cost in evaluator.costs])
        self.signs, self.rho = np.array([cost.sign for cost in evaluator.costs]), problem.budget.rho
        first, last = self.grids[0], self.grids[-1]
        rows = (1 + len(self.limits), 1)
        opening = gathered(evaluator.opening, [first, np.zeros_like(first)], evaluator.count)
        closing = gathered(evaluator.closing, [np.zeros_like(last), last], evaluator.count)
        self.opening, self.closing = opening + np.zeros(rows), closing + np.zeros((rows[0], len(last)))
        self.ends = [end.stages for end in evaluator.ends]
        self.weights = entropy_factor(problem.objective) * np.array(space.weights)
        self.areas = [
            np.log(end.side**2 * self.coding.out_values[end.stages][self.grids[end.stages]])
            if end.channels is None
            else np.full(len(last), np.log(end.side**2 * end.channels))
            for end in evaluator.ends
        ]

    def _grid(self, gene: int, count: int) -> Genomes:
        size = int(self.coding.sizes[gene])
        if self.center is None:
            return _spread(size, count)
        offsets = INNER_OFFSETS if gene in self.coding.genes("inner") else OFFSETS
        return np.unique(np.clip(self.center[gene] + offsets, 0, size - 1))

    def _stage(self, index: int, kernel: int, block: int) -> _Stage:
        """Return a stage's costs, read from the evaluator once."""
        key = (index, kernel, block)
        if key not in self.stages:
            self.stages[key] = self._read(index, kernel, block)
        return self.stages[key]

    def _read(self, index: int, kernel: int, block: int) -> _Stage:
        coding = self.coding
        axes = [self.grids[index], self.grids[index + 1], self.inners[index]]
        mesh = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
        columns = np.zeros((len(coding.sizes), mesh.shape[1]), dtype=np.intp)
        columns[[coding.c_in_gene(index), coding.gene(index, "out"), coding.gene(index, "inner")]] = mesh
        columns[coding.gene(index, "kernel")], columns[coding.gene(index, "block")] = kernel, block
        costs = []
        for at in (0, len(self.depths[index]) - 1):  # costs are linear in the depth
            columns[coding.gene(index, "depth")] = at
            values = coding.columns(columns, index)
            found, convolutions = self.evaluator.stage_costs(columns, index, values)
            costs.append(np.vstack([found, np.broadcast_to(convolutions, mesh.shape[1])]))
        least, most = self.depths[index][[0, -1]]
        slope = (costs[1] - costs[0]) / max(1.0, most - least)
        barred = np.where(coding.broken_by(index, values), FORBIDDEN, 0.0)
        return _Stage(costs[0] - slope * least, slope, barred, mesh[1:], (len(axes[0]), len(axes[1]), len(axes[2])))

    def __call__(self, frames: Genomes, prices: Prices | None = None) -> Relaxed:
        """Return what `frames`, shape (frames, genes), are worth; `prices` are the multipliers to begin with."""
        state = self._start(frames, prices)
        tries = np.repeat(frames[None], ROUNDS, axis=0)
        worths, lacks = np.empty((2, ROUNDS, len(frames)))
        excess = np.empty((ROUNDS, len(frames), len(self.limits)))
        for turn in range(ROUNDS):
            met = self._trace(frames, self._best(frames, state), tries[turn])
            excess[turn] = np.where(np.isfinite(self.limits), self.signs * (met.costs / self.limits - 1), 0.0)
            worths[turn], lacks[turn] = self._follow(state, met, excess[turn], turn)
        values, lack = worths[SETTLED:].min(0), lacks[SETTLED:]
        lack = lack.mean(0) if self.center is None else lack.min(0)  # a coarse grid makes single rounds swing
        stays = np.maximum(0, _logarithms(excess[SETTLED:]).mean(0) - SWING).sum(1)
        short = LACK * np.maximum(0, lack) + EXCESS * stays
        values = values - short * np.abs(values) + self._penalties(frames)
        return Relaxed(values, tries, Prices(state.prices, state.rho_prices))

    def _start(self, frames: Genomes, prices: Prices | None) -> _State:
        count, scales = len(frames), len(self.ends)
        convolutions = np.ones((count, scales))
        for index in range(len(self.depths)):
            for rows, stage, depths in self._variants(frames, index):
                found = stage.base[-1, 0] + depths * stage.slope[-1, 0]
                for at, end in enumerate(self.ends):
                    if end > index:
                        convolutions[rows, at] += found
        convolutions[:, -1] += self.evaluator.closing_convolutions
        needed = np.maximum(1.0, convolutions * np.log(convolutions / (self.rho or 1.0)))
        areas = np.repeat([[rows.mean() for rows in self.areas]], count, axis=0)
        if prices is None:
            limits = np.where(np.isfinite(self.limits), FIRST_PRICE, 0.0)
            rho = np.zeros(scales)
            rho[-1] = FIRST_RHO_PRICE if self.rho else 0.0
            prices = Prices(limits[None], rho[None]).of(0, count)
        return _State(needed.copy(), areas, needed, prices.limits, prices.rho)

    def _variants(self, frames: Genomes, index: int) -> Iterator[tuple[Genomes, _Stage, Floats]]:
        """Yield, for every kernel and block of a stage, which frames have it, its costs, and their depths."""
        coding = self.coding
        kernels, blocks = (frames[:, coding.gene(index, name)] for name in ("kernel", "block"))
        depths = self.depths[index][frames[:, coding.gene(index, "depth")]]
        for kernel, block in sorted({*zip(kernels.tolist(), blocks.tolist(), strict=True)}):
            rows = np.flatnonzero((kernels == kernel) & (blocks == block))
            yield rows, self._stage(index, kernel, block), depths[rows]

    def _best(self, frames: Genomes, state: _State) -> _Path:
        """Return the best networks at the state's prices, by dynamic programming along the stages."""
        count = len(frames)
        scale = (self.weights * state.entropies * state.areas).sum(1, keepdims=True)
        paid = np.where(np.isfinite(self.limits), self.signs * (state.prices * scale / self.limits), 0.0)
        slopes = self.weights * state.areas + state.rho_prices * scale / state.needed
        earned = [np.zeros((count, len(grid))) for grid in self.grids]
        for at, end in enumerate(self.ends):
            earned[end] += (self.weights[at] * state.entropies[:, at, None]) * self.areas[at]
        earned[0] -= paid @ self.opening[1:]
        earned[-1] -= paid @ self.closing[1:]
        ahead, path = earned[0], _Path(np.empty(0, dtype=np.intp), [], [])
        for index in range(len(self.depths)):
            slope = slopes[:, [end > index for end in self.ends]].sum(1)
            weights = np.column_stack([slope, -paid, np.zeros(count)])
            best, inners = self._cells(frames, index, weights)
            best += ahead[:, :, None]
            before = best.argmax(1)
            ahead = np.take_along_axis(best, before[:, None], 1)[:, 0] + earned[index + 1]
            path.inners.append(inners)
            path.before.append(before)
        return _Path(ahead.argmax(1), path.inners, path.before)

    def _cells(self, frames: Genomes, index: int, weights: Floats) -> tuple[Floats, Genomes]:
        """Return a stage's score over its two widths, (frames, ins, outs), and the inner choice that goes with it.

        The inner choice is the frame's own where it is a pinned width, else the best.
        """
        shape = (len(frames), len(self.grids[index]), len(self.grids[index + 1]))
        best, inners = np.empty(shape), np.empty(shape, dtype=np.intp)
        for rows, stage, depths in self._variants(frames, index):
            deep = weights[rows] * depths[:, None]
            scores = (weights[rows] @ stage.base + deep @ stage.slope + stage.barred).reshape(-1, *stage.shape)
            if not self.pinned or self.evaluator.problem.space.stages[index].width is None:
                inners[rows] = scores.argmax(3)
            else:
                place = np.searchsorted(self.inners[index], frames[rows, self.coding.gene(index, "inner")])
                inners[rows] = np.minimum(place, stage.shape[2] - 1)[:, None, None]
            best[rows] = np.take_along_axis(scores, inners[rows][..., None], 3)[..., 0]
        return best, inners

    def _trace(self, frames: Genomes, path: _Path, genomes: Genomes) -> _Met:
        """Write the networks of a path to `genomes`; return what they use."""
        rows, stages, place = np.arange(len(frames)), len(self.depths), path.place
        spent, places = [self.closing[:, place]], [place]
        for index in range(stages - 1, -1, -1):
            start = path.before[index][rows, place]
            inner = path.inners[index][rows, start, place]
            costs = np.empty((len(self.opening), len(frames)))
            for some, stage, depths in self._variants(frames, index):
                cell = np.ravel_multi_index((start[some], place[some], inner[some]), stage.shape)
                for name, row in zip(("out", "inner"), stage.genes, strict=True):
                    genomes[some, self.coding.gene(index, name)] = row[cell]
                costs[:, some] = stage.base[:-1, cell] + depths * stage.slope[:-1, cell]
            spent.append(costs)
            places.append(start)
            place = start
        genomes[:, 0] = self.grids[0][place]
        spent.append(self.opening[:, place])
        totals = np.cumsum(spent[::-1], axis=0)  # after the opening, every stage, the closing
        entropies = np.stack([totals[end if end < stages else end + 1, 0] for end in self.ends], axis=1)
        areas = [row[places[stages - end]] for row, end in zip(self.areas, self.ends, strict=True)]
        return _Met(entropies, np.stack(areas, axis=1), totals[-1, 1:].T)

    def _follow(self, state: _State, met: _Met, excess: Floats, turn: int) -> tuple[Floats, Floats]:
        """Move tangents and multipliers to the best networks; return what these were worth, and their lack of entropy.

        The lack is relative, once an excess is given back or slack is used up at the multipliers.
        """
        scale = (self.weights * state.entropies * state.areas).sum(1)
        lack = 1 - met.entropies / state.needed
        worth = (self.weights * met.entropies * met.areas).sum(1)
        worth -= scale * ((state.prices * excess).sum(1) + (state.rho_prices * lack).sum(1))
        ease, short = 1 / (1 + turn / 5), np.zeros_like(worth)
        if self.rho:
            # the entropy grows with the logarithm of what is used; on a coarse grid, whose rounds swing widely,
            # the excess itself keeps the mean from flattering frames that are too deep
            used = excess if self.center is None else _logarithms(excess)
            earned = (state.prices * used).sum(1) / (1 + state.rho_prices.sum(1))
            short = (lack + earned[:, None]).max(1)
            state.rho_prices = _moved(state.rho_prices, RHO_ROOM, RHO_STEP * ease * lack, HIGHEST_RHO)
        state.prices = _moved(state.prices, ROOM, STEP * ease * excess, HIGHEST)
        share = 0.5 if turn else 1.0
        state.entropies = (1 - share) * state.entropies + share * met.entropies
        state.areas = (1 - share) * state.areas + share * met.areas
        return worth, short

    def _penalties(self, frames: Genomes) -> Floats:
        problem = self.evaluator.problem
        values = [depths[frames[:, gene]] for depths, gene in zip(self.depths, self.coding.genes("depth"), strict=True)]
        kind = problem.space.stages[0].block[0]
        found: Floats = objective_value(problem.objective, np.zeros(len(frames)), values, kind, problem.space.beta)
        return found


def _logarithms(excess: Floats) -> Floats:
    """Return ln(1 + excess); of a limit from below, which may be kept many times over, no more than so much room."""
    logarithms: Floats = np.log1p(np.maximum(excess, MOST_ROOM))
    return logarithms


def _moved(prices: Floats, room: float, step: Floats, highest: float) -> Floats:
    """Return multipliers scaled up where a limit is overrun, down where there is slack."""
    return np.clip((prices + room) * np.exp(np.clip(step, -1, 1)) - room, 0.0, highest)


def _spread(size: int, count: int) -> Genomes:
    """Return up to `count` of `size` choices, the first and the last among them, denser where they are small."""
    if size <= count:
        return np.arange(size, dtype=np.intp)
    return np.unique(np.rint(np.geomspace(1, size, count)).astype(np.intp)) - 1
