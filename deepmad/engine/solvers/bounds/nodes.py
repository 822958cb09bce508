"""One node of the search: column generation in a box, and what its multipliers prove about the box."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.solvers.bounds.coarse import MANY_CELLS, cells, coarse
from deepmad.engine.solvers.bounds.columns import Pool
from deepmad.engine.solvers.bounds.master import Master, solve_master
from deepmad.engine.solvers.bounds.pricing import (
    Box,
    Chain,
    Choice,
    Interval,
    Prices,
    best_path,
    chained,
    choice_in,
    no_prices,
    price,
    stage_scores,
)
from deepmad.engine.solvers.bounds.relaxation import Relaxation, log_area_range, penalty_at, penalty_cut, within
from deepmad.engine.solvers.bounds.tables import Array, Ints, SpaceTables

_ROOM = 1e-9
"""Relative room added to every bound for the rounding of sums of a few dozen terms in double precision."""

_COARSE_ROUNDS, _COARSE_STEP, _COARSE_GAP = 60, 12, 2e-4
"""Rounds on a coarse lattice at most, how many are one step of work, and the relative gap at which they end."""

_MOST_ROUNDS_TO_EXCLUDE = 20
"""Rounds of pricing spent on proving that a box holds no network within the limits."""

_FAIR_PART = 0.05
"""Part of the distance to the floor from which on the error of the products is worth a sweep."""

Floor = Callable[[], float]
"""The value that a network must exceed to be worth finding; -inf while none is known."""


@dataclass
class Node:
    """A box under evaluation: its relaxation, its valid bound so far and the multipliers to start from.

    `master` is the last one solved; a node that waits holds the boxes it is to be split into, `parts`, instead, and
    the fields of the `columns` that had a share in it, which its children begin with in whatever process.
    """

    relaxation: Relaxation
    bound: float
    prices: Prices | None = None
    master: Master | None = None
    parts: tuple[Box, ...] = ()
    columns: Ints | None = None

    @property
    def box(self) -> Box:
        """The node's box."""
        return self.relaxation.box

    def close(self) -> None:
        """Let the node wait: of its last master only the columns and the tangents that had a share in it are kept.

        Children solve smaller masters so. The chords of rho stay: without those that are idle here, children of b0
        take twice as many steps.
        """
        if self.master is not None:
            self.relaxation = replace(self.relaxation, penalties=self.master.tangents)
            self.columns = self.master.columns.fields[self.master.weights > 0]
            self.master = None


@dataclass(frozen=True)
class Effort:
    """How much work a node gets: rounds of pricing, and whether the entropy's ranges are narrowed."""

    rounds: int
    sweeps: int


def _room(value: float, prices: Prices) -> float:
    """Return the room for rounding."""
    return _ROOM * (abs(value) + abs(prices.constant))


def padded(value: float, prices: Prices) -> float:
    """Return a bound with room for rounding; -inf where there is no network at all."""
    if value == -math.inf:
        return value
    return value + _room(value, prices)


def evaluate(space: SpaceTables, node: Node, pool: Pool, floor: Floor, effort: Effort) -> Iterator[None]:
    """Lower the node's bound by column generation, shrinking its box on the way; yields after every round.

    Ends early once the bound is at or below the floor.
    """
    if cells(node.box) > MANY_CELLS:
        yield from _start_coarsely(space, node, pool)
    for sweep in range(effort.sweeps + 1):
        before = node.bound
        for _ in range(effort.rounds):
            yield
            if not _round(space, node, pool, floor) or node.bound <= floor():
                break
        if node.bound > floor() and node.master is not None:
            yield from _squeeze(space, node, pool)
        if node.bound <= floor() or sweep == effort.sweeps or node.master is None:
            return
        if sweep and before - node.bound < 1e-4 * abs(node.bound):
            return
        if not _narrowing_pays(space, node, floor()):
            return
        yield from _narrow(space, node, floor())


def _round(space: SpaceTables, node: Node, pool: Pool, floor: Floor) -> bool:
    """Price, shrink the box, add columns and cuts, solve the master; return whether another round may help."""
    prices = node.prices or _first_prices(space, node.relaxation)
    chain = price(space, node.box, prices)
    before = node.bound
    node.bound = min(node.bound, padded(chain.value, prices))
    if node.bound <= floor() or chain.value == -np.inf:
        return False
    columns = _best_columns(space, node.box, node.master, prices, chain)
    shrunk = _shrunk(node.box, chain, prices, floor())
    new = pool.add(columns)
    if shrunk != node.box:
        node.relaxation = within(node.relaxation, space, shrunk)
    cut = _add_cuts(space, node) if node.master else 0
    master = solve_master(space, node.relaxation, pool)
    if master is None:  # the columns of a box that has just shrunk need not join
        node.master = None
        return shrunk != node.box or new > 0
    node.master, node.prices = master, master.prices
    gap = node.bound - master.value
    if gap < -1e-5 * abs(node.bound):  # rows were dropped: this master is weaker than what is proven already
        return True
    stalled = before - node.bound < 2e-5 * abs(node.bound) and gap < 1e-3 * abs(node.bound)
    return (new > 0 or cut > 0 or shrunk is not node.box) and gap > 1e-5 * abs(node.bound) and not (stalled and not cut)


def _first_prices(space: SpaceTables, relaxation: Relaxation) -> Prices:
    """Return multipliers to begin with: each scale's ln(side^2 c) at its largest, every limit ignored."""
    prices, constant = no_prices(space), 0.0
    for scale, info in enumerate(space.scales):
        high = log_area_range(space, relaxation.box, scale)[1]
        prices.entropy[: info.stages] += info.weight * high
        constant += info.weight * high * info.entropy
    return replace(prices, costs=-space.charges, constant=constant)


def _squeeze(space: SpaceTables, node: Node, pool: Pool) -> Iterator[None]:
    """Shrink the node's box to what may keep the limits, whatever its objective; its bound is -inf if nothing does.

    Where the master keeps the limits, one round is worth it once the number of blocks is settled, for the
    effectiveness limit is then one on the entropy alone and often leaves little.
    """
    assert node.master is not None
    low, high = node.box.totals[len(space.scales) - 1]
    least = -_ROOM  # 0 but for rounding: the terms, of order 1, may cancel
    for _ in range(_MOST_ROUNDS_TO_EXCLUDE if node.master.excess > 1e-7 else int(low == high)):
        master = solve_master(space, node.relaxation, pool, limits_only=True)
        if master is None:
            return
        yield
        chain = price(space, node.box, master.prices)
        if padded(chain.value, master.prices) < least:
            node.bound = -math.inf
            return
        new = pool.add(_best_columns(space, node.box, master, master.prices, chain))
        shrunk = _shrunk(node.box, chain, master.prices, least)
        if shrunk is not node.box:
            node.relaxation = within(node.relaxation, space, shrunk)
        elif not new:
            return


def _start_coarsely(space: SpaceTables, node: Node, pool: Pool) -> Iterator[None]:
    """Solve the node's master over columns from a coarse lattice alone: multipliers to begin with, and no bound."""
    lattice = coarse(space, node.box)
    for turn in range(_COARSE_ROUNDS):
        if turn % _COARSE_STEP == 0:
            yield
        prices = node.prices or _first_prices(space, node.relaxation)
        mapped = lattice.prices(prices)
        chain = price(lattice.space, lattice.box, mapped)
        if chain.value == -math.inf:
            return
        master = node.master
        if master is not None:
            links = tuple(
                (into[lattice.channels[stage]], out_of[lattice.channels[stage + 1]])
                for stage, (into, out_of) in enumerate(master.links)
            )
            master = replace(master, links=links)
        found = _best_columns(lattice.space, lattice.box, master, mapped, chain)
        new = pool.add((stage, lattice.placed(stage, choice)) for stage, choice in found)
        cut = _add_cuts(space, node) if node.master else 0
        node.master = solve_master(space, node.relaxation, pool)
        if node.master is None:
            return
        node.prices = node.master.prices
        if not cut and (not new or chain.value - node.master.value < _COARSE_GAP * abs(node.master.value)):
            return


def _best_columns(
    space: SpaceTables, box: Box, master: Master | None, prices: Prices, chain: Chain
) -> list[tuple[int, Choice]]:
    """Return the columns of the best network, and those that would better the master where there is one."""
    columns = list(enumerate(best_path(space, box, prices, chain)))
    if master is not None:
        columns += _stage_columns(space, box, master, prices, chain)
    return columns


def _stage_columns(
    space: SpaceTables, box: Box, master: Master, prices: Prices, chain: Chain
) -> Iterator[tuple[int, Choice]]:
    """Yield the columns that would better the master: the best of every table of every stage."""
    for stage, scores in enumerate(chain.scores):
        into, out_of = master.links[stage]
        into = into + prices.channels[0] if stage == 0 else into
        out_of = out_of + prices.channels[stage + 1]
        (low_in, high_in), (low_out, high_out) = box.channels[stage], box.channels[stage + 1]
        earned = into[low_in : high_in + 1, None] + out_of[low_out : high_out + 1]
        for place, table in enumerate(scores.tables):
            total = table + earned
            cell = np.unravel_index(int(total.argmax()), total.shape)
            if total[cell] > master.bars[stage] + 1e-8 * (1 + abs(master.value)):
                yield stage, choice_in(space, stage, box, prices, scores, place, (int(cell[0]), int(cell[1])))


def _shrunk(box: Box, chain: Chain, prices: Prices, floor: float) -> Box:
    """Return the box without the ends and options through which no network above the floor can pass."""
    # a score is short of the truth by rounding at most; what cannot reach the floor even so is dropped
    least = floor - _room(floor, prices)

    channels = tuple(_reached(chain.through_channels(index), at, least) for index, at in enumerate(box.channels))
    depths, widths, options = [], [], []
    for stage in range(len(box.depths)):
        through = chain.through_options(stage)
        kept = tuple(key for key, value in zip(chain.scores[stage].keys, through, strict=True) if value > least)
        options.append(kept or box.options[stage])
        by_depth, by_width = chain.through_parts(stage, least)
        depths.append(_reached(by_depth, box.depths[stage], least))
        widths.append(_reached(by_width, box.widths[stage], least))
    found = Box(channels, tuple(depths), tuple(widths), tuple(options), box.totals)
    return box if found == box else found


def _add_cuts(space: SpaceTables, node: Node) -> int:
    """Add the cuts that the last master's solution violates; return how many."""
    master, relaxation, added = node.master, node.relaxation, 0
    assert master is not None
    chords, kinks = list(relaxation.chords), list(relaxation.kinks)
    for scale, info in enumerate(space.scales):
        if space.problem.budget.rho is not None and info.stages:
            at = max(1, int(master.convs[scale]))
            if at not in chords[scale]:
                chords[scale], added = (*chords[scale], at), added + 1
        if not info.fixed and info.weight > 0:
            shares = master.columns.read(info.stages, info.log_area) @ master.weights
            low, high = log_area_range(space, node.box, scale)
            near = min(abs(shares - kink) for kink in kinks[scale])
            if low < shares < high and near > 0.04 * (high - low):
                kinks[scale], added = (*kinks[scale], float(shares)), added + 1
    penalties = relaxation.penalties
    if penalty_at(space, relaxation.first_block, master.depths) > master.penalty * 1.01 + 0.05:
        penalties, added = (*penalties, penalty_cut(space, relaxation.first_block, master.depths)), added + 1
    node.relaxation = replace(relaxation, chords=tuple(chords), kinks=tuple(kinks), penalties=penalties)
    return added


def _narrowing_pays(space: SpaceTables, node: Node, floor: float) -> bool:
    """Whether there are widths to narrow, or the relaxed products hold up a fair part of the bound."""
    master = node.master
    if master is None or any(low < high for low, high in node.box.widths):
        return True
    error = 0.0
    for info, product, entropy in zip(space.scales, master.products, master.entropies, strict=True):
        if not info.fixed:
            area = float(master.columns.read(info.stages, info.log_area) @ master.weights)
            error += info.weight * float(product - area * entropy)
    return error > _FAIR_PART * (node.bound - floor)


_REWARDS = (0.1, -0.1, 0.3, -0.3)
"""Further rewards on the entropy, in units of its own multiplier, that its range is narrowed with."""


def _narrow(space: SpaceTables, node: Node, floor: float) -> Iterator[None]:
    """Narrow the entropy's range before every scale for every channel count there.

    With a further reward t on the entropy E before a scale, every network above the floor has
    floor < score <= best - t E with `best` the largest of score + t E, so E < (best - floor) / t; a negative
    reward bounds it from below.
    """
    if node.prices is None or floor == -math.inf:
        return
    prices, box = node.prices, node.box
    chain = price(space, box, prices)
    low, high = [list(rows) for rows in (node.relaxation.low, node.relaxation.high)]
    for reward in _REWARDS:
        yield
        extra = reward * float(prices.entropy.max())
        if extra == 0:
            break
        tilted = replace(prices, entropy=prices.entropy + extra)
        scores = [stage_scores(space, stage, box, tilted) for stage in range(space.stages)]
        for scale, info in enumerate(space.scales):
            if info.stages and not info.fixed and info.weight > 0:
                mixed = chained((*scores[: info.stages], *chain.scores[info.stages :]), box, prices)
                best = mixed.through_channels(info.stages) + extra * info.entropy
                limit = (best + _room(floor, prices) - floor) / extra
                rows = high if extra > 0 else low
                rows[scale] = _met(rows[scale], limit, box.channels[info.stages], upper=extra > 0)
    low = [np.minimum(*pair) for pair in zip(low, high, strict=True)]
    node.relaxation = replace(node.relaxation, low=tuple(low), high=tuple(high))


def _met(known: Array, limit: Array, at: Interval, *, upper: bool) -> Array:
    """Return the tighter of two bounds, `limit` holding for the indices of an interval, where it is finite."""
    row = known.copy()
    part = row[at[0] : at[1] + 1]
    row[at[0] : at[1] + 1] = np.where(np.isfinite(limit), (np.minimum if upper else np.maximum)(part, limit), part)
    return row


def _reached(values: Array, at: Interval, least: float) -> Interval:
    """Return the smallest interval with every value above `least`; the interval itself where there is none."""
    found = np.flatnonzero((values > least) & (values > -np.inf))
    return (at[0] + int(found[0]), at[0] + int(found[-1])) if len(found) else at
