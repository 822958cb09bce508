"""The convex pieces of a box's relaxation: bounds on the entropy so far, and cuts on products, rho and penalty."""

import math
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.program.objectives import REFERENCE_BETA, depth_penalty, penalised_stages
from deepmad.engine.solvers.bounds.pricing import Box, Interval
from deepmad.engine.solvers.bounds.tables import Array, SpaceTables

_ROOM = 1e-9
"""Relative room given to the effectiveness limit, so that rounding never cuts off a network that keeps it."""
_STEEPEST = 6.0
"""Exponent of the penalty up to which its tangents are taken; steeper ones would spoil the linear program."""
_VARIANCES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0)
"""Where the tangents to exp(variance) are taken,"""
_DEVIATIONS = (1.6, 1.75, 2.0, 2.25, 2.55, 2.85, 3.2, 3.6, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0)
"""and those to exp(deviation) as a function of the variance. That is convex only from 1 on; its tangents from a
deviation of 1.594 on lie below it down to a variance of 0 too."""


@dataclass(frozen=True)
class Cut:
    """A tangent to the depth penalty: penalty >= constant + slopes . depths (one slope a stage)."""

    slopes: Array
    constant: float


@dataclass(frozen=True)
class SpreadCut:
    """A lower bound on the depth penalty by the variance of the penalised depths: constant + slope * variance."""

    slope: float
    constant: float


@dataclass(frozen=True)
class Relaxation:
    """What is known in a box beside the box itself.

    For scale i, the entropy so far lies in [low[i][c], high[i][c]] in every network worth finding whose channels
    there have index c; `kinks[i]` are the values a at which the product is cut, Y * E <= a * E + envelope(a, Y);
    `chords[i]` the depths n at which n * ln(n / rho0) is bounded from below by its chord from n to n + 1.
    """

    box: Box
    first_block: str
    low: tuple[Array, ...]
    high: tuple[Array, ...]
    kinks: tuple[tuple[float, ...], ...]
    chords: tuple[tuple[int, ...], ...]
    penalties: tuple[Cut, ...]


def envelope(space: SpaceTables, relaxation: Relaxation, scale: int, kink: float) -> Array:
    """Return, for every channel count, the largest (Y - kink) * E over the range of E there, Y = ln(side^2 c)."""
    rise = space.scales[scale].log_area - kink
    return np.maximum(rise * relaxation.low[scale], rise * relaxation.high[scale])


def log_area_range(space: SpaceTables, box: Box, scale: int) -> tuple[float, float]:
    """Return the least and the largest ln(side^2 c) of a scale in a box."""
    row = space.scales[scale]
    if row.fixed:
        return float(row.log_area[0]), float(row.log_area[0])
    low, high = box.channels[row.stages]
    return float(row.log_area[low]), float(row.log_area[high])


def chords(space: SpaceTables, depths: tuple[int, ...]) -> tuple[Array, Array]:
    """Return slopes and constants of the chords of n * ln(n / rho0), which E_i must reach, from each depth to the next.

    Without a limit on rho there is none.
    """
    limit = space.problem.budget.rho
    if limit is None:
        return np.zeros(0), np.zeros(0)
    convs, log_limit = np.array(depths, dtype=float), math.log(limit * (1 + _ROOM))
    here, there = (n * (np.log(n) - log_limit) for n in (convs, convs + 1))
    return there - here, here - (there - here) * convs


def penalty_cut(space: SpaceTables, first_block: str, depths: Array) -> Cut:
    """Return the tangent to the depth penalty at `depths` (any real numbers, one a stage)."""
    problem, slopes = space.problem, np.zeros(space.stages)
    counted = penalised_stages(problem.objective, first_block, space.stages)
    point = depths[counted]
    steepest = _STEEPEST if problem.objective == "paper" else _STEEPEST**2  # of the variance
    if len(point) > 1 and point.var() > steepest:
        point = point.mean() + (point - point.mean()) * np.sqrt(steepest / point.var())
    flat = len(point) < 2 or bool(point.var() <= 1e-12)
    if flat:  # no spread counts here, not even that of rounding: the constant must hold where the depths agree
        point = np.zeros(len(point))
    value = float(depth_penalty(problem.objective, list(point), problem.space.beta))
    if not flat:
        # d exp(Var) = exp(Var) dVar and d exp(std) = exp(std) dVar / (2 std), with dVar = 2 (L - mean) / stages
        scale = 2.0 if problem.objective == "paper" else 1.0 / point.std()
        slopes[counted] = value * scale * (point - point.mean()) / len(point)
        value -= float(slopes[counted] @ point)
    return Cut(slopes, value)


def penalised_span(space: SpaceTables, first_block: str) -> int:
    """Return the index among the space's spans of the stages whose depths the penalty looks at."""
    stages = penalised_stages(space.problem.objective, first_block, space.stages)
    return space.spans.index((stages.start, space.stages), len(space.scales) - 1)


def spread_cuts(space: SpaceTables, first_block: str) -> tuple[SpreadCut, ...]:
    """Return lower bounds on the depth penalty by the variance; none where no two stages are penalised."""
    problem = space.problem
    start, end = space.spans[penalised_span(space, first_block)]
    if end - start < 2:
        return ()
    if problem.objective == "reference":
        found = [SpreadCut(0.0, REFERENCE_BETA)]
        for deviation in _DEVIATIONS:
            value = REFERENCE_BETA * float(np.exp(deviation))
            found.append(SpreadCut(value / (2 * deviation), value * (1 - deviation / 2)))
        return tuple(found)
    values = [(variance, problem.space.beta * float(np.exp(variance))) for variance in _VARIANCES]
    return tuple(SpreadCut(value, value * (1 - variance)) for variance, value in values)


def chord_of_squares(space: SpaceTables, relaxation: Relaxation) -> tuple[float, float]:
    """Return (slope, constant) with variance >= mean of squared depths - slope * blocks - constant in the box.

    The variance of n depths of T blocks is mean(d^2) - (T / n)^2, and T^2 <= (low + high) T - low high.
    """
    span = penalised_span(space, relaxation.first_block)
    (start, end), (low, high) = space.spans[span], relaxation.box.totals[span]
    stages = end - start
    return (low + high) / stages**2, -low * high / stages**2


def penalty_at(space: SpaceTables, first_block: str, depths: Array) -> float:
    """Return the depth penalty at `depths`."""
    counted = penalised_stages(space.problem.objective, first_block, space.stages)
    return float(depth_penalty(space.problem.objective, list(depths[counted]), space.problem.space.beta))


def within(relaxation: Relaxation, space: SpaceTables, box: Box) -> Relaxation:
    """Return the relaxation of a box inside the relaxation's own, with the kinks that still lie in it."""
    box, kinks = tied(space, box), []
    for scale, found in enumerate(relaxation.kinks):
        low, high = log_area_range(space, box, scale)
        inside = tuple(kink for kink in found if low < kink < high)
        kinks.append(tuple(dict.fromkeys((low, *inside, high))))
    return replace(relaxation, box=box, kinks=tuple(kinks))


def tied(space: SpaceTables, box: Box) -> Box:
    """Return the box with depths and totals of blocks narrowed to what each leaves of the other.

    An interval that would come out empty is left as it is: the master sees that nothing keeps it.
    """
    depths, totals = list(box.depths), list(box.totals)
    for span, (start, end) in enumerate(space.spans):
        least = {stage: int(space.depths[stage][depths[stage][0]]) for stage in range(start, end)}
        most = {stage: int(space.depths[stage][depths[stage][1]]) for stage in range(start, end)}
        fewest, greatest = sum(least.values()), sum(most.values())
        totals[span] = low, high = _met(totals[span], (fewest, greatest))
        for stage in range(start, end):
            choices = space.depths[stage]
            first = int(np.searchsorted(choices, low - (greatest - most[stage])))
            last = int(np.searchsorted(choices, high - (fewest - least[stage]), "right")) - 1
            depths[stage] = _met(depths[stage], (first, last))
    return replace(box, depths=tuple(depths), totals=tuple(totals))


def _met(at: Interval, other: Interval) -> Interval:
    """Return what two intervals share; the first one where they share nothing."""
    low, high = max(at[0], other[0]), min(at[1], other[1])
    return (low, high) if low <= high else at


def full_box(space: SpaceTables, kinds: tuple[str, ...]) -> Box:
    """Return the box of the whole space, the first stage's block among `kinds`."""

    def whole(size: int) -> Interval:
        return 0, size - 1

    chosen = [tuple(range(len(tables.options))) for tables in space.tables]
    chosen[0] = tuple(index for index in chosen[0] if space.tables[0].options[index].kind in kinds)
    box = Box(
        tuple(whole(len(values)) for values in space.channels),
        tuple(whole(len(values)) for values in space.depths),
        tuple(whole(len(tables.offered)) for tables in space.tables),
        tuple(chosen),
        tuple((0, sum(int(values[-1]) for values in space.depths[start:end])) for start, end in space.spans),
    )
    return tied(space, box)
