"""The master: a small linear program over stage columns whose duals are the multipliers of the pricing."""

from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.costs.tables import LOG_WIDTHS
from deepmad.engine.solvers.bounds.columns import CONVS, DEPTH, Columns, Pool
from deepmad.engine.solvers.bounds.linear import Optimum, Program, Rows, solve
from deepmad.engine.solvers.bounds.pricing import Prices, no_prices
from deepmad.engine.solvers.bounds.relaxation import (
    Cut,
    Relaxation,
    chord_of_squares,
    chords,
    envelope,
    log_area_range,
    penalised_span,
    spread_cuts,
)
from deepmad.engine.solvers.bounds.tables import Array, SpaceTables

_NO_DUAL = 1e-9
"""Multiplier up to which a row counts as not binding."""
_COSTS = slice(1 + LOG_WIDTHS, CONVS)
"""Columns of `Columns.numbers` that are additive costs."""
_BLOCK_EXCESS = 10.0
"""What a block too many, or too few, weighs against the relative excess over a limit."""


@dataclass(frozen=True)
class Master:
    """A solved master.

    `weights` are the columns' shares; `value` its optimum; `prices` the multipliers for the pricing; `links` and
    `bars` tell a stage's reduced cost: links[s] holds what tying (c_in, out) of stage s to its neighbours earns,
    bars[s] what a column of stage s has to beat. `products` are the values taken by Y_i * E_i, `entropies` those
    of E_i; `penalty` the penalty taken; `excess` how far the limits are overrun (0 where they are kept). `tangents`
    are those to the penalty that have a multiplier.
    """

    columns: Columns
    weights: Array
    value: float
    prices: Prices
    links: tuple[tuple[Array, Array], ...]
    bars: Array
    products: Array
    entropies: Array
    convs: Array
    depths: Array
    penalty: float
    excess: float
    tangents: tuple[Cut, ...]


def solve_master(space: SpaceTables, relaxation: Relaxation, pool: Pool, *, limits_only: bool = False) -> Master | None:
    """Return the solved master over a pool's columns in a box, or None where they do not join into a network.

    With `limits_only` it minimises the largest relative excess over the limits, below 0 where there is room, whatever
    the objective: its prices give every feasible network a score of 0 or more.

    Variables: the columns' shares, one product a scale, the penalty, one excess each for budget and rho rows.
    """
    program = _Program(space, relaxation, pool.inside(relaxation.box), limits_only=limits_only)
    found = solve(program.linear(), pool.basis)
    if found is None:
        return None
    pool.mark(found.x[: program.count])
    pool.basis = found.basis
    return program.read(found)


class _Program:
    """The master's rows, and how to read its solution."""

    def __init__(self, space: SpaceTables, relaxation: Relaxation, columns: Columns, *, limits_only: bool) -> None:
        self.space, self.relaxation, self.columns, self.limits_only = space, relaxation, columns, limits_only
        self.count, self.scale_count = len(columns.stage), len(space.scales)
        self.penalty = self.count + self.scale_count
        self.excess = self.penalty + 1
        self.scale_excess = self.excess + len(space.limits)
        self.size = self.scale_excess + self.scale_count
        self.upper, self.equal = Rows(), Rows()
        self.before = [columns.stage < row.stages for row in space.scales]
        self.limited = [index for index, limit in enumerate(space.limits) if np.isfinite(limit)]
        self.budget_rows = {index: self._budget(index) for index in self.limited}
        self.product_rows = [self._products(scale) for scale in range(self.scale_count)]
        self.chord_rows = [self._chords(scale) for scale in range(self.scale_count)]
        self.total_rows = [self._totals(span) for span in range(len(space.spans))]
        self.penalty_rows = [self._penalty(index) for index in range(len(relaxation.penalties))]
        self.spread_cuts = () if limits_only else spread_cuts(space, relaxation.first_block)
        self.spread_rows = self._spreads()
        for stage in range(space.stages):
            self.equal.add(("stage", stage), self._row(np.where(columns.stage == stage, 1.0, 0.0)), 1.0)
        self.link_values = [self._link(index) for index in range(1, space.stages)]
        self.gain = self._gain()

    def linear(self) -> Program:
        """Return the linear program, its columns named by their fields or, behind those, by their place."""
        least = np.zeros(self.size)
        if self.limits_only:
            least[self.excess] = -np.inf
        names = [*self.columns.names(self.space), *range(self.count - self.size, 0)]
        return Program(names, self.gain, self.upper, self.equal, least)

    def _row(self, shares: Array) -> Array:
        row = np.zeros(self.size)
        row[: self.count] = shares
        return row

    def _budget(self, index: int) -> int:
        sign = float(self.space.signs[index])
        row = self._row(sign * (self.columns.numbers[:, 1 + index] / self.space.limits[index]))
        row[self.excess if self.limits_only else self.excess + index] = -1.0
        return self.upper.add(("budget", index), row, sign)

    def _products(self, scale: int) -> dict[float, int]:
        info, found = self.space.scales[scale], {}
        for kink in self.relaxation.kinks[scale]:
            shares = -kink * np.where(self.before[scale], self.columns.numbers[:, LOG_WIDTHS], 0.0)
            if not info.fixed:
                shares -= self.columns.read(info.stages, envelope(self.space, self.relaxation, scale, kink))
            row = self._row(shares)
            row[self.count + scale] = 1.0
            found[kink] = self.upper.add(("product", scale, kink), row, kink * info.entropy)
        return found

    def _chords(self, scale: int) -> slice:
        info, depths = self.space.scales[scale], self.relaxation.chords[scale]
        slopes, constants = chords(self.space, depths)
        before, rows = self.before[scale], np.zeros((len(depths), self.size))
        rows[:, : self.count] = slopes[:, None] * np.where(before, self.columns.numbers[:, CONVS], 0.0)
        rows[:, : self.count] -= np.where(before, self.columns.numbers[:, LOG_WIDTHS], 0.0)
        if self.limits_only:
            rows[:, self.excess] = -np.maximum(1.0, slopes * depths + constants)
        else:
            rows[:, self.scale_excess + scale] = -1.0
        names = [("chord", scale, convs) for convs in depths]
        return self.upper.extend(names, rows, info.entropy - slopes * info.convs - constants)

    def _totals(self, span: int) -> list[tuple[int, int, int]]:
        """Bound the blocks of a span where the depths alone do not: rows, their signs and right sides."""
        space, box, (start, end) = self.space, self.relaxation.box, self.space.spans[span]
        inside, found = (start <= self.columns.stage) & (self.columns.stage < end), []
        for side, sign in ((1, 1), (0, -1)):
            at = box.totals[span][side]
            if at != sum(int(space.depths[stage][box.depths[stage][side]]) for stage in range(start, end)):
                row = self._row(np.where(inside, sign * self.columns.numbers[:, DEPTH], 0.0))
                row[self.scale_excess + min(span, self.scale_count - 1)] = -1.0
                found.append((self.upper.add(("blocks", span, sign), row, sign * at), sign, at))
        return found

    def _spreads(self) -> list[int]:
        """Hold the penalty above its bounds by the variance of the depths."""
        if not self.spread_cuts:
            return []
        start, end = self.space.spans[penalised_span(self.space, self.relaxation.first_block)]
        rise, constant = chord_of_squares(self.space, self.relaxation)
        depths = np.where(self.columns.stage >= start, self.columns.numbers[:, DEPTH], 0.0)
        variance, found = depths**2 / (end - start) - rise * depths, []
        for cut in self.spread_cuts:
            row = self._row(cut.slope * variance)
            row[self.penalty] = -1.0
            found.append(self.upper.add(("spread", cut.slope), row, cut.slope * constant - cut.constant))
        return found

    def _penalty(self, index: int) -> int:
        cut = self.relaxation.penalties[index]
        row = self._row(cut.slopes[self.columns.stage] * self.columns.numbers[:, DEPTH])
        row[self.penalty] = -1.0
        return self.upper.add(("penalty", cut.constant), row, -cut.constant)

    def _link(self, index: int) -> list[tuple[int, Array]]:
        """Tie the channels before stage `index` as its two neighbours say them: mean and spread of ln c."""
        low, high = self.relaxation.box.channels[index]
        logs = np.log(self.space.channels[index])
        centred = (logs - (logs[low] + logs[high]) / 2) / max(logs[high] - logs[low], 1e-9) * 2
        found = []
        for power, values in enumerate((centred, centred**2) if high > low else ()):
            said = self.columns.read(index, values)
            mask = self.columns.stage == index
            heard = np.where(mask, values[np.where(mask, self.columns.fields[:, 3], 0)], 0.0)
            found.append((self.equal.add(("link", index, power), self._row(said - heard), 0.0), values))
        return found

    def _gain(self) -> Array:
        gain = np.zeros(self.size)
        if self.limits_only:
            gain[self.excess] = -1.0
            gain[self.scale_excess :] = -_BLOCK_EXCESS
            return gain
        weights = np.array([info.weight for info in self.space.scales])
        gain[: self.count] = -(self.columns.numbers[:, _COSTS] @ self.space.charges)
        gain[self.count : self.penalty] = weights
        gain[self.penalty] = -1.0
        largest = sum(
            info.weight * log_area_range(self.space, self.relaxation.box, scale)[1] * self.relaxation.high[scale].max()
            for scale, info in enumerate(self.space.scales)
        )
        gain[self.excess :] = -max(1.0, largest)
        return gain

    def read(self, result: Optimum) -> Master:
        """Return the master as its optimum tells it."""
        duals, equal = result.upper, result.equal
        shares, columns, space = result.x[: self.count], self.columns, self.space
        before = np.array(self.before, dtype=float)
        entropies = np.array([info.entropy for info in space.scales]) + before @ (
            shares * columns.numbers[:, LOG_WIDTHS]
        )
        convs = np.array([info.convs for info in space.scales]) + before @ (shares * columns.numbers[:, CONVS])
        by_stage = [columns.stage == stage for stage in range(space.stages)]
        depths = np.array([shares[mask] @ columns.numbers[mask, DEPTH] for mask in by_stage])
        return Master(
            columns,
            shares,
            result.value,
            self._prices(duals),
            self._links(equal),
            equal[: space.stages],
            result.x[self.count : self.penalty],
            entropies,
            convs,
            depths,
            float(result.x[self.penalty]),
            float(result.x[self.excess :].sum()),
            self._tangents(duals),
        )

    def _tangents(self, duals: Array) -> tuple[Cut, ...]:
        """Return the tangents that have a multiplier; one where none has, since some bound there has to be."""
        found = zip(self.relaxation.penalties, self.penalty_rows, strict=True)
        return tuple(cut for cut, row in found if duals[row] > _NO_DUAL) or self.relaxation.penalties[:1]

    def _links(self, equal: Array) -> tuple[tuple[Array, Array], ...]:
        space = self.space
        ins = [np.zeros(len(values)) for values in space.channels[:-1]]
        outs = [np.zeros(len(values)) for values in space.channels[1:]]
        for index, rows in enumerate(self.link_values, start=1):
            for row, values in rows:
                outs[index - 1] -= equal[row] * values
                ins[index] += equal[row] * values
        return tuple(zip(ins, outs, strict=True))

    def _prices(self, duals: Array) -> Prices:
        """Return the multipliers of the rows, mended so that they bound whatever the solver's rounding."""
        space = self.space
        prices = no_prices(space)
        constant = self._limit_prices(prices, duals)
        if not self.limits_only:
            constant += self._objective_prices(prices, duals)
        return replace(prices, constant=constant)

    def _limit_prices(self, prices: Prices, duals: Array) -> float:
        """Add the multipliers of budgets and effectiveness to `prices`; return their constant."""
        space, constant = self.space, 0.0
        for index, row in self.budget_rows.items():
            sign = float(space.signs[index])
            prices.costs[index] = -sign * duals[row] / space.limits[index]
            constant += sign * float(duals[row])
        for info, rows, depths in zip(space.scales, self.chord_rows, self.relaxation.chords, strict=True):
            slopes, constants = chords(space, depths)
            found = duals[rows]
            prices.entropy[: info.stages] += found.sum()
            prices.convs[: info.stages] -= found @ slopes
            constant += float(found @ (info.entropy - slopes * info.convs - constants))
        for (start, end), totals in zip(space.spans, self.total_rows, strict=True):
            for row, sign, at in totals:
                prices.depths[start:end] -= sign * duals[row]
                constant += float(duals[row]) * sign * at
        return constant

    def _objective_prices(self, prices: Prices, duals: Array) -> float:
        """Add the multipliers of products and penalty to `prices`; return their constant.

        A product is below each of its cuts, so below any mean of them, and so is the penalty above: whatever the
        solver says, the shares of the cuts are made to add up to 1.
        """
        space, relaxation, constant = self.space, self.relaxation, 0.0
        prices.costs[:] -= space.charges
        for scale, (info, rows) in enumerate(zip(space.scales, self.product_rows, strict=True)):
            for share, kink in zip(_shares(duals[list(rows.values())]), rows, strict=True):
                earned = info.weight * share
                prices.entropy[: info.stages] += earned * kink
                constant += earned * kink * info.entropy
                if not info.fixed:
                    prices.channels[info.stages][:] += earned * envelope(space, relaxation, scale, kink)
        shares = _shares(duals[[*self.penalty_rows, *self.spread_rows]])
        tangents, spreads = shares[: len(self.penalty_rows)], shares[len(self.penalty_rows) :]
        for share, cut in zip(tangents, relaxation.penalties, strict=True):
            prices.depths[:] -= share * cut.slopes
            constant -= share * cut.constant
        if self.spread_cuts:
            start, end = space.spans[penalised_span(space, relaxation.first_block)]
            rise, least = chord_of_squares(space, relaxation)
            slope = sum(share * bound.slope for share, bound in zip(spreads, self.spread_cuts, strict=True))
            prices.squares[start:end] -= slope / (end - start)
            prices.depths[start:end] += slope * rise
            constant += slope * least - sum(
                share * bound.constant for share, bound in zip(spreads, self.spread_cuts, strict=True)
            )
        return constant


def _shares(duals: Array) -> list[float]:
    total = float(duals.sum())
    return [float(dual) / total for dual in duals] if total > 0 else [1 / len(duals)] * len(duals)
