"""Pricing: the best network of a box under given multipliers, by enumeration of every stage on its lattice.

For fixed multipliers a network's score is a sum over stages: of each stage all depths and inner widths of the box
are looked at. What ties stages together, the channels between them, is resolved exactly by dynamic programming
along the chain.
"""

from dataclasses import dataclass

import numpy as np

from deepmad.engine.solvers.bounds.tables import Array, SpaceTables
from deepmad.engine.solvers.bounds.widths import WidthCells, best_depth, reaches

Interval = tuple[int, int]
"""First and last index, both included."""


@dataclass(frozen=True)
class Box:
    """A part of the space: index intervals of channels, depths and free widths, and each stage's options.

    `totals[i]` bounds the number of blocks of the space's span i; pricing does not know of it, the master does.
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

    `entropy`, `convs`, `depths` and `squares` (of the depths) are per stage; `costs` per unit of every additive cost
    (negative, but for a limit from below); `channels[s]` for every choice of channels before stage s.
    """

    entropy: Array
    costs: Array
    convs: Array
    depths: Array
    squares: Array
    channels: tuple[Array, ...]
    constant: float


def no_prices(space: SpaceTables) -> Prices:
    """Return multipliers that are all 0."""
    channels = tuple(np.zeros(len(values)) for values in space.channels)
    entropy, convs, depths, squares = (np.zeros(space.stages) for _ in range(4))
    return Prices(entropy, np.zeros(len(space.limits)), convs, depths, squares, channels, 0.0)


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
    """Scores of a stage for every (c_in, out) of the box: one table an option, at its best depth and width.

    `keys` are the options, `best` is the maximum of their `tables`. `pairs` (options, c_in, out) and `cells` are what
    the tables are the sum of; `later` (options, widths, out) is what one more block earns, `repeats` and
    `earned` (options, depths) the numbers of blocks after the first and what a depth earns beside them.
    """

    keys: tuple[int, ...]
    tables: Array
    best: Array
    pairs: Array
    cells: WidthCells
    later: Array
    repeats: Array
    earned: Array


def stage_scores(space: SpaceTables, stage: int, box: Box, prices: Prices) -> StageScores:
    """Return the best score over depths and inner widths for every cell of the box (-inf where forbidden)."""
    ins, outs = _slices(box, stage)
    keys, weights = box.options[stage], option_weights(prices, stage)
    allowed = space.allowed[stage][ins, outs]
    pairs = np.stack([np.tensordot(weights, space.options[stage][key].pair[:, ins, outs], 1) for key in keys])
    pairs[:, ~allowed] = -np.inf
    repeats, earned = _depths(space, stage, box, prices, keys)
    cells, later = _width_cells(space, stage, box, prices, (repeats, earned))
    tables = pairs + cells.best()
    return StageScores(keys, tables, tables.max(0), pairs, cells, later, repeats, earned)


def _slices(box: Box, stage: int) -> tuple[slice, slice]:
    (low_in, high_in), (low_out, high_out) = box.channels[stage], box.channels[stage + 1]
    return slice(low_in, high_in + 1), slice(low_out, high_out + 1)


def _depths(space: SpaceTables, stage: int, box: Box, prices: Prices, keys: tuple[int, ...]) -> tuple[Array, Array]:
    """Return (depths,) blocks after the first, and (options, depths) what a depth earns beside their costs."""
    low, high = box.depths[stage]
    depths = np.asarray(space.depths[stage][low : high + 1], dtype=float)
    convs = np.array([space.options[stage][key].convs for key in keys], dtype=float)
    earned = prices.convs[stage] * (convs[:, :1] + (depths - 1) * convs[:, 1:])
    return depths - 1, earned + prices.depths[stage] * depths + prices.squares[stage] * depths**2


def _width_cells(
    space: SpaceTables, stage: int, box: Box, prices: Prices, depths: tuple[Array, Array]
) -> tuple[WidthCells, Array]:
    """Return what widths and depths add, and (options, widths, out) what one more block earns."""
    ins, outs = _slices(box, stage)
    weights, options = option_weights(prices, stage), [space.options[stage][key] for key in box.options[stage]]
    allowed = space.allowed[stage][ins, outs]
    rows, columns = np.nonzero(space.channels[stage][ins, None] == space.channels[stage + 1][outs])
    if options[0].widths is None:
        later = np.stack([weights @ option.later[:, outs] for option in options])[:, None]
        into, out_of = np.zeros((len(options), 1, len(allowed))), np.zeros_like(later)
        whole, offered = out_of[:, :, columns], np.ones(later.shape[1:], dtype=bool)
    else:
        low, high = box.widths[stage]
        chosen = slice(low, high + 1)
        tables = [option.widths for option in options if option.widths is not None]
        into = np.stack([np.tensordot(weights, table.into[:, chosen, ins], 1) for table in tables])
        out_of = np.stack([np.tensordot(weights, table.out_of[:, chosen, outs], 1) for table in tables])
        whole = np.stack([np.tensordot(weights, table.same[:, chosen, outs], 1) for table in tables])[:, :, columns]
        later = np.stack([np.tensordot(weights, table.later[:, chosen, outs], 1) for table in tables])
        offered = tables[0].offered[chosen, outs]
    repeats, earned = depths
    deep = np.stack([best_depth(rise, repeats, row) for rise, row in zip(later, earned, strict=True)])
    deep[:, ~offered] = -np.inf
    return WidthCells(into, out_of, whole, deep, (rows, columns), tuple(reaches(allowed, offered))), later


def option_weights(prices: Prices, stage: int) -> Array:
    """Return the multipliers of the rows of a cost table in a stage."""
    return np.concatenate([prices.entropy[stage : stage + 1], prices.costs])


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

    def through_options(self, stage: int) -> Array:
        """Return the best score of a network through each option of a stage."""
        through: Array = (self.scores[stage].tables + self.around(stage)).max((1, 2))
        return through

    def through_parts(self, stage: int) -> tuple[Array, Array]:
        """Return the best score of a network through each depth and through each inner width of a stage."""
        scores = self.scores[stage]
        opened = scores.cells.opened(scores.pairs + self.ahead[stage][:, None])
        opened += self.earned[stage + 1] + self.behind[stage + 1] + self.constant
        widths = (opened + scores.cells.deep).max((0, 2))
        opened[np.isneginf(scores.cells.deep)] = -np.inf
        depths = [
            (opened + repeats * scores.later + earned[:, None, None]).max()
            for repeats, earned in zip(scores.repeats, scores.earned.T, strict=True)
        ]
        return np.array(depths), widths


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


def choice_in(space: SpaceTables, stage: int, box: Box, prices: Prices, option: int, cell: Interval) -> Choice:
    """Return the choice of a given option at a cell of the box, at its best depth and inner width."""
    c_in, out = box.channels[stage][0] + cell[0], box.channels[stage + 1][0] + cell[1]
    tables, weights = space.options[stage][option], option_weights(prices, stage)
    repeats, earned = _depths(space, stage, box, prices, (option,))
    low, first = box.depths[stage][0], np.zeros(1)
    later = (weights @ tables.later[:, out])[None]
    if tables.widths is not None:
        narrowest, widest = box.widths[stage]
        chosen = slice(narrowest, widest + 1)
        first = weights @ width_costs(space, stage, option, 1, (c_in, out))[:, chosen]
        first[~tables.widths.offered[chosen, out]] = -np.inf
        later = weights @ tables.widths.later[:, chosen, out]
    total = first + repeats[:, None] * later + earned[0][:, None]
    depth, width = np.unravel_index(int(total.argmax()), total.shape)
    return Choice(option, low + int(depth), c_in, out, None if tables.widths is None else narrowest + int(width))


def choice_costs(space: SpaceTables, stage: int, choice: Choice) -> Array:
    """Return (quantities,) of a stage."""
    option = space.options[stage][choice.option]
    depth = int(space.depths[stage][choice.depth])
    costs = option.pair[:, choice.c_in, choice.out] + (depth - 1) * option.later[:, choice.out]
    if choice.width is not None:
        costs = costs + width_costs(space, stage, choice.option, depth, (choice.c_in, choice.out))[:, choice.width]
    return costs
