"""Pricing: the best network of a box under given multipliers, by enumeration of every stage on its lattice.

For fixed multipliers a network's score is a sum over stages: of each stage all depths and inner widths of the box
are looked at. What ties stages together, the channels between them, is resolved exactly by dynamic programming
along the chain.
"""

import time
from dataclasses import dataclass

import numpy as np

from deepmad.engine.solvers.bounds.tables import Array, Bools, Ints, OutOfTimeError, SpaceTables
from deepmad.engine.solvers.bounds.widths import Reach, WidthCells, best_depth, reaches

Interval = tuple[int, int]
"""First and last index, both included."""
_MOST_FRAMES = 2000
"""Frames kept of stages of boxes; each takes about 10 kB."""


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
    """One stage as indices into the space's tables; `width` is 0 where it follows from `out`."""

    option: int
    depth: int
    c_in: int
    out: int
    width: int


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
    tables, keys, weights = space.tables[stage], box.options[stage], option_weights(prices, stage)
    ins, outs, chosen = _slices(box, stage)

    frame = _frame(space, stage, box.channels[stage], box.channels[stage + 1], box.widths[stage])
    pairs = tables.pair.priced(weights, keys, ins, outs)
    pairs[:, *frame.same] = 0.0
    pairs += frame.allowed
    later = tables.later.priced(weights, keys, chosen, outs)
    repeats, earned = _depths(space, stage, box, prices, keys)
    if (tables.convs == tables.convs[0]).all():
        deep = best_depth(later, repeats, earned[0])
    else:
        deep = np.stack([best_depth(rise, repeats, row) for rise, row in zip(later, earned, strict=True)])
    deep += frame.offered
    into, out_of = (
        tables.into.priced(weights, keys, chosen, ins),
        tables.out_of.priced(weights, keys, chosen, outs),
    )
    whole = tables.same.priced(weights, keys, chosen, outs)[..., frame.same[1]]
    one_way = tables.into.one_way(weights, keys)
    cells = WidthCells(into, out_of, whole, deep, frame.same, frame.reach, one_way)
    totals = pairs + cells.best()
    return StageScores(keys, totals, totals.max(0), pairs, cells, later, repeats, earned)


@dataclass(frozen=True)
class _Frame:
    """What of a stage in a box is there whatever the multipliers.

    `allowed` (c_in, out) and `offered` (widths, out) are 0 where the rules admit it and -inf elsewhere, `same` are the
    cells where c_in = out.
    """

    allowed: Array
    offered: Array
    same: tuple[Ints, Ints]
    reach: tuple[Reach, ...]


def _frame(space: SpaceTables, stage: int, ins: Interval, outs: Interval, widths: Interval) -> _Frame:
    key = (stage, ins, outs, widths)
    if (found := space.frames.get(key)) is None:
        if len(space.frames) > _MOST_FRAMES:
            space.frames.clear()
        rows, columns = slice(ins[0], ins[1] + 1), slice(outs[0], outs[1] + 1)
        allowed = space.allowed[stage][rows, columns]
        offered = space.tables[stage].offered[widths[0] : widths[1] + 1, columns]
        alike = space.channels[stage][rows, None] == space.channels[stage + 1][columns]
        at_in, at_out = np.nonzero(alike & (not space.grouped))
        found = space.frames[key] = _Frame(
            _or_never(allowed), _or_never(offered), (at_in, at_out), tuple(reaches(allowed, offered))
        )
    return found


def _or_never(admitted: Bools) -> Array:
    return np.where(admitted, 0.0, -np.inf)


def _slices(box: Box, stage: int) -> tuple[slice, slice, slice]:
    """Return where the c_in, the out and the inner widths of a stage lie."""
    intervals = (box.channels[stage], box.channels[stage + 1], box.widths[stage])
    ins, outs, chosen = (slice(low, high + 1) for low, high in intervals)
    return ins, outs, chosen


def _depths(space: SpaceTables, stage: int, box: Box, prices: Prices, keys: tuple[int, ...]) -> tuple[Array, Array]:
    """Return (depths,) blocks after the first, and (options, depths) what a depth earns beside their costs."""
    low, high = box.depths[stage]
    depths = space.depths[stage][low : high + 1].astype(float)
    convs = space.tables[stage].convs[keys, :]
    earned = prices.convs[stage] * (convs[:, :1] + (depths - 1) * convs[:, 1:])
    return depths - 1, earned + (prices.depths[stage] * depths + prices.squares[stage] * depths**2)


def option_weights(prices: Prices, stage: int) -> Array:
    """Return the multipliers of the rows of a cost table in a stage."""
    return np.concatenate([prices.entropy[stage : stage + 1], prices.costs])


def _opening_costs(space: SpaceTables, stage: int, option: int, cell: Interval, widths: slice | int) -> Array:
    """Return (quantities, widths), or (quantities,) of one inner width: what the opening block costs at (c_in, out)."""
    tables, (c_in, out) = space.tables[stage], cell
    if space.channels[stage][c_in] == space.channels[stage + 1][out] and not space.grouped:
        return tables.same.of(option, widths, out)
    pair = tables.pair.of(option, c_in, out)
    into, out_of = tables.into.of(option, widths, c_in), tables.out_of.of(option, widths, out)
    costs: Array = into + out_of + (pair if into.ndim == 1 else pair[:, None])
    return costs


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

    def through_parts(self, stage: int, least: float) -> tuple[Array, Array]:
        """Return the best score of a network through each depth and through each inner width of a stage.

        Depths between two through which there is more than `least` are not looked at: theirs is infinite.
        """
        scores = self.scores[stage]
        opened = scores.cells.opened(scores.pairs + self.ahead[stage][:, None])
        opened += self.earned[stage + 1] + self.behind[stage + 1] + self.constant
        widths = (opened + scores.cells.deep).max((0, 2))
        opened[np.isneginf(scores.cells.deep)] = -np.inf
        depths = np.full(len(scores.repeats), np.inf)
        for places in (range(len(depths)), range(len(depths) - 1, -1, -1)):
            for place in places:
                if np.isinf(depths[place]):
                    earned = scores.earned[:, place, None, None]
                    depths[place] = (opened + scores.repeats[place] * scores.later + earned).max()
                if depths[place] > least:
                    break
        return depths, widths


def price(space: SpaceTables, box: Box, prices: Prices) -> Chain:
    """Return the best scores over a box. Raises `OutOfTimeError` after the tables' end."""
    scores = []
    for stage in range(space.stages):
        if time.monotonic() > space.end:
            raise OutOfTimeError
        scores.append(stage_scores(space, stage, box, prices))
    return chained(tuple(scores), box, prices)


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
    return choice_in(space, stage, box, prices, scores, table, cell)


def choice_in(
    space: SpaceTables, stage: int, box: Box, prices: Prices, scores: StageScores, table: int, cell: Interval
) -> Choice:
    """Return the choice of a table's option at a cell of the box, at its best depth and inner width."""
    c_in, out = box.channels[stage][0] + cell[0], box.channels[stage + 1][0] + cell[1]
    tables, weights, option = space.tables[stage], option_weights(prices, stage), scores.keys[table]
    (shallowest, _), (narrowest, widest) = box.depths[stage], box.widths[stage]
    chosen = slice(narrowest, widest + 1)
    first = weights @ _opening_costs(space, stage, option, (c_in, out), chosen)
    first[~tables.offered[chosen, out]] = -np.inf
    later = weights @ tables.later.of(option, chosen, out)
    total = first + scores.repeats[:, None] * later + scores.earned[table][:, None]
    depth, width = np.unravel_index(int(total.argmax()), total.shape)
    return Choice(option, shallowest + int(depth), c_in, out, narrowest + int(width))


def choice_costs(space: SpaceTables, stage: int, choice: Choice) -> Array:
    """Return (quantities,) of a stage."""
    later = space.tables[stage].later.of(choice.option, choice.width, choice.out)
    first = _opening_costs(space, stage, choice.option, (choice.c_in, choice.out), choice.width)
    costs: Array = first + (int(space.depths[stage][choice.depth]) - 1) * later
    return costs
