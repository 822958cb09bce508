"""Relaxed networks: what the best widths are worth for given depths, kernels and blocks, for many such frames at once.

A frame is a genome of which only depths, kernels and blocks matter; widths and expansions are chosen from a grid.
With the frame fixed the entropy so far is a sum over stages; its product with ln(r^2 c) is replaced by its tangent,
and the limits that add up over layers and the effectiveness get multipliers. What is left is a chain, whose best
network dynamic programming finds exactly, and the multipliers move until the limits are just met (Lagrangian
relaxation). The values are estimates, not bounds: good enough to tell which frames deserve a closer look.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepmad.engine.objectives import entropy_factor, objective_value
from deepmad.engine.population.evaluation import Evaluator, gathered
from deepmad.engine.population.genomes import Genomes
from deepmad.engine.population.tables import Floats

WIDTHS, INNERS = 12, 10
"""Choices of an output width and of an inner width in a grid over the whole space."""
OFFSETS = np.array([-9, -6, -4, -2, -1, 0, 1, 2, 4, 6, 9])
"""Choices of a width in a grid around a network, as steps from where it stands."""
INNER_OFFSETS = np.arange(-4, 5)
ROUNDS, SETTLED = 10, 3
"""Rounds of pricing, and after how many of them the tangents are close enough for a value to count."""
FORBIDDEN = -1e18
FIRST_PRICE, ROOM, STEP = 0.07, 0.02, 1.5
"""Multipliers of the limits, in units of the entropy's part of the objective: at first, what is added before one is
scaled so that it can leave 0, and how fast it follows a relative excess."""
FIRST_RHO_PRICE, RHO_ROOM, RHO_STEP = 0.01, 0.002, 40.0
"""The same for the effectiveness, where a small lack of entropy means much."""
HIGHEST, HIGHEST_RHO = 1.0, 0.3
LACK, EXCESS = 5.0, 0.5
"""What a relative lack of entropy costs, in units of the value."""


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
    """What came of frames: estimated `values` (frames,) and the networks met, `tries` (rounds, frames, genes)."""

    values: Floats
    lacks: Floats
    tries: Genomes
    prices: Prices

    def middle(self, row: int) -> Genomes:
        """Return the mean of the networks that the pricing swung between: nearly optimal, and nearly feasible."""
        return np.asarray(np.rint(self.tries[SETTLED:, row].mean(0)), dtype=np.intp)


@dataclass(frozen=True)
class _Stage:
    """A stage with one kernel and block: `base` + depth * `slope`, each (costs and convolutions, cells).

    `genes` (2, cells) are the choices of out and inner; the cells have the shape (ins, outs, inners).
    """

    base: Floats
    slope: Floats
    barred: Floats
    genes: Genomes
    shape: tuple[int, int, int]


@dataclass
class _State:
    """Where the pricing of a batch stands: where the tangents touch, entropy needed, multipliers."""

    entropies: Floats
    areas: Floats
    needed: Floats
    prices: Floats
    rho_prices: Floats


class Relaxation:
    """Estimates what frames are worth in one problem, on a grid over the whole space or around a network."""

    def __init__(self, evaluator: Evaluator, center: Genomes | None = None) -> None:
        self.evaluator, self.coding, self.center = evaluator, evaluator.coding, center
        problem, space = evaluator.problem, evaluator.problem.space
        self.grids = [self._grid(gene, WIDTHS) for gene in (0, *self.coding.genes("out"))]
        self.inners = [self._grid(gene, INNERS) for gene in self.coding.genes("inner")]
        self.depths = [np.array(stage.depth, dtype=float) for stage in space.stages]
        self.stages: dict[tuple[int, int, int], _Stage] = {}
        self.limits = evaluator.additive_limits
        first, last = self.grids[0], self.grids[-1]
        self.opening = gathered(evaluator.opening, [first, np.zeros_like(first)]) + np.zeros(len(first))
        self.closing = gathered(evaluator.closing, [np.zeros_like(last), last]) + np.zeros_like(self.opening[:, :1])
        self.closing = self.closing + np.zeros(len(last))
        self.ends = [index for index, stage in enumerate(space.stages) if stage.stride == 2] + [len(space.stages)]
        self.weights = entropy_factor(problem.objective) * np.array(space.weights)
        self.areas = [
            np.log(side**2 * self.coding.out_values[end][self.grids[end]])
            for side, end in zip(evaluator.sides, self.ends, strict=True)
        ]
        if space.tail is not None:
            self.areas[-1] = np.full(len(last), np.log(evaluator.sides[-1] ** 2 * space.tail.out))

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
        return _Stage(costs[0] - slope * least, slope, barred, mesh[1:], tuple(map(len, axes)))

    def __call__(self, frames: Genomes, prices: Prices | None = None) -> Relaxed:
        """Return what `frames`, shape (frames, genes), are worth; `prices` are the multipliers to begin with."""
        state = self._start(frames, prices)
        tries = np.repeat(frames[None], ROUNDS, axis=0)
        worths, lacks = np.empty((2, ROUNDS, len(frames)))
        over = np.zeros((len(frames), len(self.limits)))
        for turn in range(ROUNDS):
            costs, ends = self._best(frames, state, tries[turn])
            worths[turn], lacks[turn] = self._follow(state, costs, ends, turn)
            if turn >= SETTLED:
                over += (costs[-1, 1:].T / self.limits - 1) / (ROUNDS - SETTLED)
        values = worths[SETTLED:].min(0)
        lack = lacks[SETTLED:].mean(0) if self.center is None else lacks[SETTLED:].min(0)
        values = values - np.abs(values) * (LACK * np.maximum(0, lack) + EXCESS * np.maximum(0, over).sum(1)) + self._penalties(frames)
        return Relaxed(values, lack, tries, Prices(state.prices, state.rho_prices))

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
        limit = self.evaluator.limits.get("rho")
        needed = np.maximum(1.0, convolutions * np.log(convolutions / (limit or 0.3)))
        areas = np.repeat([[rows.mean() for rows in self.areas]], count, axis=0)
        if prices is None:
            first = np.where(np.isfinite(self.limits), FIRST_PRICE, 0.0)
            rho = np.zeros((1, scales))
            rho[:, -1] = FIRST_RHO_PRICE if limit else 0.0
            prices = Prices(first[None], rho).of(0, count)
        return _State(needed.copy(), areas, needed, prices.limits, prices.rho)

    def _variants(self, frames: Genomes, index: int):
        """Yield, for every kernel and block of a stage, which frames have it, its costs, and their depths."""
        coding = self.coding
        kernels, blocks = (frames[:, coding.gene(index, name)] for name in ("kernel", "block"))
        depths = self.depths[index][frames[:, coding.gene(index, "depth")]]
        for kernel, block in sorted({*zip(kernels.tolist(), blocks.tolist(), strict=True)}):
            rows = np.flatnonzero((kernels == kernel) & (blocks == block))
            yield rows, self._stage(index, kernel, block), depths[rows]

    def _best(self, frames: Genomes, state: _State, genomes: Genomes) -> tuple[Floats, list[Floats]]:
        """Write the best networks at the state's prices to `genomes`; return costs by stage end, and areas."""
        count, rows, stages = len(frames), np.arange(len(frames)), len(self.depths)
        scale = (self.weights * state.entropies * state.areas).sum(1, keepdims=True)
        paid = np.where(np.isfinite(self.limits), state.prices * scale / self.limits, 0.0)
        slopes = self.weights * state.areas + state.rho_prices * scale / state.needed
        earned = [np.zeros((count, len(grid))) for grid in self.grids]
        for at, end in enumerate(self.ends):
            earned[end] += (self.weights[at] * state.entropies[:, at, None]) * self.areas[at]
        earned[0] -= paid @ self.opening[1:]
        earned[-1] -= paid @ self.closing[1:]
        ahead, back = earned[0], []
        for index in range(stages):
            slope = sum(slopes[:, at] for at, end in enumerate(self.ends) if end > index)
            weights = np.column_stack([slope, -paid, np.zeros(count)])
            shape = (len(self.grids[index]), len(self.grids[index + 1]))
            cells, best = np.empty((count, *shape), dtype=np.intp), np.empty((count, *shape))
            for some, stage, depths in self._variants(frames, index):
                deep = weights[some] * depths[:, None]
                scores = (weights[some] @ stage.base + deep @ stage.slope + stage.barred).reshape(-1, *stage.shape)
                chosen = self._inners(frames[some], index, scores)
                cells[some], best[some] = chosen, np.take_along_axis(scores, chosen[..., None], 3)[..., 0]
            best += ahead[:, :, None]
            before = best.argmax(1)
            ahead = np.take_along_axis(best, before[:, None], 1)[:, 0] + earned[index + 1]
            back.append((cells, before))
        place = ahead.argmax(1)
        spent = [self.closing[:, place]]
        places = [place]
        for index in range(stages - 1, -1, -1):
            cells, before = back[index]
            start = before[rows, place]
            inner = cells[rows, start, place]
            costs = np.empty((len(self.opening), count))
            for some, stage, depths in self._variants(frames, index):
                cell = np.ravel_multi_index((start[some], place[some], inner[some]), stage.shape)
                for name, row in zip(("out", "inner"), stage.genes, strict=True):
                    genomes[some, self.coding.gene(index, name)] = row[cell]
                costs[:, some] = stage.base[:-1, cell] + depths * stage.slope[:-1, cell]
            spent.append(costs)
            place = start
            places.append(place)
        genomes[:, 0] = self.grids[0][place]
        spent.append(self.opening[:, place])
        totals = np.cumsum(spent[::-1], axis=0)  # after the opening, every stage, the closing
        reached = np.stack([totals[end if end < stages else end + 1] for end in self.ends])
        areas = [row[places[stages - end]] for row, end in zip(self.areas, self.ends, strict=True)]
        return reached, areas

    def _inners(self, frames: Genomes, index: int, scores: Floats) -> Genomes:
        """Return the choice of inner width in every cell: the frame's own where it is a free one, else the best."""
        if self.center is None or self.evaluator.problem.space.stages[index].width is None:
            return scores.argmax(3)
        grid, wanted = self.inners[index], frames[:, self.coding.gene(index, "inner")]
        place = np.minimum(np.searchsorted(grid, wanted), len(grid) - 1)
        return np.broadcast_to(place[:, None, None], scores.shape[:3])

    def _follow(self, state: _State, reached: Floats, areas: Sequence[Floats], turn: int) -> tuple[Floats, Floats]:
        """Move tangents and multipliers to what the best networks are; return what these were worth."""
        entropies, area = reached[:, 0].T, np.stack(areas, axis=1)
        scale = (self.weights * state.entropies * state.areas).sum(1)
        excess = np.where(np.isfinite(self.limits), reached[-1, 1:].T / self.limits - 1, 0.0)
        paid = (state.prices * excess).sum(1)
        lack = 1 - entropies / state.needed
        worth = (self.weights * entropies * area).sum(1) - scale * (paid + (state.rho_prices * lack).sum(1))
        ease = 1 / (1 + turn / 5)
        short = np.zeros_like(worth)
        if "rho" in self.evaluator.limits:
            earned = (state.prices * np.log1p(excess)).sum(1) / (1 + state.rho_prices.sum(1))
            short = (lack + earned[:, None]).max(1)
            state.rho_prices = _moved(state.rho_prices, RHO_ROOM, RHO_STEP * ease * lack, HIGHEST_RHO)
        state.prices = _moved(state.prices, ROOM, STEP * ease * excess, HIGHEST)
        share = 0.5 if turn else 1.0
        state.entropies = (1 - share) * state.entropies + share * entropies
        state.areas = (1 - share) * state.areas + share * area
        return worth, short

    def _penalties(self, frames: Genomes) -> Floats:
        problem = self.evaluator.problem
        values = [depths[frames[:, gene]] for depths, gene in zip(self.depths, self.coding.genes("depth"), strict=True)]
        kind = problem.space.stages[0].block[0]
        return objective_value(problem.objective, np.zeros(len(frames)), values, kind, problem.space.beta)


def _moved(prices: Floats, room: float, step: Floats, highest: float) -> Floats:
    """Return multipliers scaled up where a limit is overrun, down where there is slack."""
    return np.clip((prices + room) * np.exp(np.clip(step, -1, 1)) - room, 0.0, highest)


def _spread(size: int, count: int) -> Genomes:
    """Return up to `count` of `size` choices, the first and the last among them, denser where they are small."""
    if size <= count:
        return np.arange(size)
    return np.unique(np.rint(np.geomspace(1, size, count)).astype(np.intp)) - 1
