"""Pricing: the best network of a box under given multipliers, by enumeration of every stage on its lattice.

For fixed multipliers a network's score is a sum over stages, and a stage's score is linear in its depth, so
only the ends of the box's depths matter. What ties stages together, the channels between them, is resolved
exactly by dynamic programming along the chain.
"""

from dataclasses import dataclass

import numpy as np

from deepmad.engine.solvers.bounds.tables import Array, SpaceTables
from deepmad.engine.solvers.bounds.widths import WidthCells, reaches

Interval = tuple[int, int]
"""First and last index, both included."""


@dataclass(frozen=True)
class Box:
    """A part of the space: index intervals of channels, depths and free widths, and each stage's options.

    `totals[i]` bounds the number of blocks before scale i; pricing does not know of it, the master does.
    """

    channels: tuple[Interval, ...]
    depths: tuple[Interval, ...]
    widths: tuple[Interval, ...]
    options: tuple[tuple[int, ...], ...]
    totals: tuple[Interval, ...]

    @property
    def single(self) -> bool:
        """Whether the box holds no more than one network."""
        intervals = (*self.channels, *self.depths, *self.widths)
        return all(low == high for low, high in intervals) and all(len(found) == 1 for found in self.options)


@dataclass(frozen=True)
class Prices:
    """Multipliers: what a network earns for each quantity; a network's score is `constant` plus its earnings.

    `entropy`, `convs` and `depths` are per stage; `costs` per unit of every additive cost (negative, but for a limit
    from below); `channels[s]` for every choice of channels before stage s.
    """

    entropy: Array
    costs: Array
    convs: Array
    depths: Array
    channels: tuple[Array, ...]
    constant: float


def no_prices(space: SpaceTables) -> Prices:
    """Return multipliers that are all 0."""
    channels = tuple(np.zeros(len(values)) for values in space.channels)
    per_stage = [np.zeros(space.stages) for _ in range(3)]
    return Prices(per_stage[0], np.zeros(len(space.limits)), per_stage[1], per_stage[2], channels, 0.0)


@dataclass(frozen=True)
class Choice:
    """One stage as indices into the space's tables; `width` is None where it follows from `out`."""

    option: int
    depth: int
    c_in: int
    out: int
    width: int | None


@dataclass(frozen=True)
class StageScores:
    """Scores of a stage for every (c_in, out) of the box: one table an (option, depth end), and their maximum."""

    keys: tuple[tuple[int, int], ...]
    tables: Array
    best: Array


def stage_scores(space: SpaceTables, stage: int, box: Box, prices: Prices) -> StageScores:
    """Return the best score over the inner widths for every cell of the box (-inf where the rules forbid it)."""
    ends = sorted(set(box.depths[stage]))
    keys = tuple((option, end) for option in box.options[stage] for end in ends)
    tables = _without_widths(space, stage, box, prices, keys)
    widths = _width_cells(space, stage, box, prices, keys)
    if widths is not None:
        tables += widths.best()
    return StageScores(keys, tables, tables.max(0))


def _slices(box: Box, stage: int) -> tuple[slice, slice]:
    (low_in, high_in), (low_out, high_out) = box.channels[stage], box.channels[stage + 1]
    return slice(low_in, high_in + 1), slice(low_out, high_out + 1)


def _without_widths(
    space: SpaceTables, stage: int, box: Box, prices: Prices, keys: tuple[tuple[int, int], ...]
) -> Array:
    """Return (keys, c_in, out): the scores over the box's cells, less what depends on a free width."""
    ins, outs = _slices(box, stage)
    weights = option_weights(prices, stage)
    forbidden = ~space.allowed[stage][ins, outs]
    pairs = {index: np.tensordot(weights, space.options[stage][index].pair[:, ins, outs], 1) for index, _ in keys}
    tables = np.empty((len(keys), *forbidden.shape))
    for table, (index, end) in zip(tables, keys, strict=True):
        option, depth = space.options[stage][index], int(space.depths[stage][end])
        convs = option.convs[0] + (depth - 1) * option.convs[1]
        extra = prices.convs[stage] * convs + prices.depths[stage] * depth
        np.add(pairs[index], (depth - 1) * (weights @ option.later[:, outs]) + extra, out=table)
        table[forbidden] = -np.inf
    return tables


def _width_cells(
    space: SpaceTables, stage: int, box: Box, prices: Prices, keys: tuple[tuple[int, int], ...]
) -> WidthCells | None:
    ins, outs = _slices(box, stage)
    low, high = box.widths[stage]
    chosen = slice(low, high + 1)
    rows, columns = np.nonzero(space.channels[stage][ins, None] == space.channels[stage + 1][outs])
    offered = None
    weights, into, out_of, whole = option_weights(prices, stage), [], [], []
    for index, end in keys:
        tables = space.options[stage][index].widths
        if tables is None:
            return None
        later = (int(space.depths[stage][end]) - 1) * np.tensordot(weights, tables.later[:, chosen, outs], 1)
        offered = tables.offered[chosen, outs]
        later[~offered] = -np.inf
        into.append(np.tensordot(weights, tables.into[:, chosen, ins], 1))
        out_of.append(np.tensordot(weights, tables.out_of[:, chosen, outs], 1) + later)
        whole.append(np.tensordot(weights, tables.same[:, chosen, outs][:, :, columns], 1) + later[:, columns])
    assert offered is not None, "a box offers some option in every stage"
    reach = tuple(reaches(space.allowed[stage][ins, outs], offered))
    return WidthCells(np.stack(into), np.stack(out_of), np.stack(whole), (rows, columns), reach)


def through_widths(space: SpaceTables, stage: int, box: Box, prices: Prices, chain: "Chain") -> Array | None:
    """Return the best score of a network through each inner width of a stage; None where widths follow from out."""
    keys = chain.scores[stage].keys
    widths = _width_cells(space, stage, box, prices, keys)
    if widths is None:
        return None
    rest = chain.around(stage)
    return widths.through(_without_widths(space, stage, box, prices, keys) + rest)


def option_weights(prices: Prices, stage: int) -> Array:
    """Return the multipliers of the rows of a cost table in a stage."""
    return np.concatenate([prices.entropy[stage : stage + 1], prices.costs])


def best_width(
    space: SpaceTables, stage: int, box: Box, prices: Prices, key: tuple[int, int], cell: Interval
) -> int | None:
    """Return the index of the best inner width for an (option, depth end) at (c_in, out); None where it follows."""
    tables = space.options[stage][key[0]].widths
    if tables is None:
        return None
    low, high = box.widths[stage]
    depth = int(space.depths[stage][key[1]])
    scores: Array = option_weights(prices, stage) @ width_costs(space, stage, key[0], depth, cell)[:, low : high + 1]
    scores[~tables.offered[low : high + 1, cell[1]]] = -np.inf
    return low + int(scores.argmax())


def width_costs(space: SpaceTables, stage: int, option: int, depth: int, cell: Interval) -> Array:
    """Return (quantities, widths): what the inner width adds to a stage of that depth at (c_in, out)."""
    tables = space.options[stage][option].widths
    assert tables is not None
    c_in, out = cell
    if space.channels[stage][c_in] == space.channels[stage + 1][out]:
        first = tables.same[:, :, out]
    else:
        first = tables.into[:, :, c_in] + tables.out_of[:, :, out]
    return first + (depth - 1) * tables.later[:, :, out]


@dataclass(frozen=True)
class Chain:
    """Dynamic programming along the chain: best scores up to and from every channel count of the box.

    `earned` is what the channel counts themselves earn, part of `ahead` and not of `behind`. `value` is the best
    score of a network of the box, the multipliers' constant included.
    """

    scores: tuple[StageScores, ...]
    earned: tuple[Array, ...]
    ahead: tuple[Array, ...]
    behind: tuple[Array, ...]
    value: float
    constant: float

    def through_channels(self, index: int) -> Array:
        """Return the best score of a network through each channel count before stage `index`."""
        through: Array = self.ahead[index] + self.behind[index] + self.constant
        return through

    def around(self, stage: int) -> Array:
        """Return what the rest of a network earns at best, for every (c_in, out) of a stage."""
        rest: Array = self.ahead[stage][:, None] + (self.earned[stage + 1] + self.behind[stage + 1]) + self.constant
        return rest

    def through_tables(self, stage: int) -> Array:
        """Return the best score of a network through each (option, depth end) of a stage."""
        through: Array = (self.scores[stage].tables + self.around(stage)).max((1, 2))
        return through


def price(space: SpaceTables, box: Box, prices: Prices) -> Chain:
    """Return the best scores over a box."""
    scores = tuple(stage_scores(space, stage, box, prices) for stage in range(space.stages))
    return chained(scores, box, prices)


def chained(scores: tuple[StageScores, ...], box: Box, prices: Prices) -> Chain:
    """Join the stages' scores along the chain."""
    rows = [row[low : high + 1] for row, (low, high) in zip(prices.channels, box.channels, strict=True)]
    ahead = [rows[0]]
    for stage, found in enumerate(scores):
        ahead.append((ahead[-1][:, None] + found.best).max(0) + rows[stage + 1])
    behind = [np.zeros(len(rows[-1]))]
    for stage in range(len(scores) - 1, -1, -1):
        behind.append((scores[stage].best + (behind[-1] + rows[stage + 1])).max(1))
    behind.reverse()
    return Chain(
        scores, tuple(rows), tuple(ahead), tuple(behind), float(ahead[-1].max()) + prices.constant, prices.constant
    )


def best_path(space: SpaceTables, box: Box, prices: Prices, chain: Chain) -> list[Choice]:
    """Return the stages of the network that attains the chain's value."""
    position = int(chain.ahead[-1].argmax())
    path = []
    for stage in range(space.stages - 1, -1, -1):
        before = int((chain.ahead[stage] + chain.scores[stage].best[:, position]).argmax())
        path.append(choice_at(space, stage, box, prices, chain.scores[stage], (before, position)))
        position = before
    return path[::-1]


def choice_at(space: SpaceTables, stage: int, box: Box, prices: Prices, scores: StageScores, cell: Interval) -> Choice:
    """Return the best choice of a stage at a cell of the box."""
    table = int(scores.tables[:, cell[0], cell[1]].argmax())
    return choice_in(space, stage, box, prices, scores.keys[table], cell)


def choice_in(space: SpaceTables, stage: int, box: Box, prices: Prices, key: tuple[int, int], cell: Interval) -> Choice:
    """Return the choice of a given (option, depth end) at a cell of the box, with its best width."""
    c_in, out = box.channels[stage][0] + cell[0], box.channels[stage + 1][0] + cell[1]
    return Choice(key[0], key[1], c_in, out, best_width(space, stage, box, prices, key, (c_in, out)))


def choice_costs(space: SpaceTables, stage: int, choice: Choice) -> Array:
    """Return (quantities,) of a stage."""
    option = space.options[stage][choice.option]
    depth = int(space.depths[stage][choice.depth])
    costs = option.pair[:, choice.c_in, choice.out] + (depth - 1) * option.later[:, choice.out]
    if choice.width is not None:
        costs = costs + width_costs(space, stage, choice.option, depth, (choice.c_in, choice.out))[:, choice.width]
    return costs
