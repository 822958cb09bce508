"""Tables of a space too wide to be looked at width by width: groups of widths, each as good as any of its members."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deepmad.engine.costs.additive import additive_costs
from deepmad.engine.costs.records import options
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds.products import Costs
from deepmad.engine.solvers.bounds.tables import Bools, Ints, SpaceTables, StageTables, read_tables
from deepmad.search_spaces.spaces import Space

_MOST_CELLS = 105_000_000
"""Cells of (option, c_in, out, width) of a stage up to which every width is looked at,"""
_GROUPED_CELLS = 10_000_000
"""and up to which groups are, where those are too many."""
_STEP = 1.01
"""Ratio of the largest to the least width of a group, at first; it grows by this factor while groups are too many."""


def tables_of(problem: Problem, end: float = math.inf) -> SpaceTables:
    """Return the tables of a problem, of groups of widths where there are very many.

    A group has the entropy of its largest widths, and of its least the costs (of its largest the costs that are limited
    from below): no network of the space is worth more, or costs less, than its groups. Latencies, which need not grow
    with the widths, count as nothing there. Raises `OutOfTimeError` where they are not read by `end`, by the clock.
    """
    if _cells(problem.space) <= _MOST_CELLS:
        return read_tables(problem, end)
    step = _STEP
    while _cells(_ends(problem.space, step, -1)) > _GROUPED_CELLS:
        step *= _STEP
    low, high = (read_tables(replace(problem, space=_ends(problem.space, step, place)), end) for place in (0, -1))
    costs = additive_costs(problem)
    cheap = np.array([False, *(cost.sign > 0 for cost in costs)])
    told = np.array([True, *(not cost.of_device for cost in costs)])
    return replace(
        high,
        grouped=True,
        tables=tuple(
            replace(
                _joined(least, most, told & cheap, told & ~cheap),
                offered=_offered(problem.space, (least.widths, most.widths), low.channels[stage], high.channels[stage]),
            )
            for stage, (least, most) in enumerate(zip(low.tables, high.tables, strict=True), start=1)
        ),
        allowed=tuple(_allowed(problem.space, *around) for around in _pairs(low.channels, high.channels)),
    )


def _cells(space: Space) -> int:
    """Return the most cells that pricing looks at in a stage."""
    ins = [space.stem.out, *(stage.out for stage in space.stages)]
    return max(
        len(before) * len(stage.out) * len(stage.width or (0,)) * len(options(stage))
        for before, stage in zip(ins, space.stages, strict=False)
    )


def _ends(space: Space, step: float, place: int) -> Space:
    """Return the space with the least width (place 0) or the largest one (-1) of every group alone."""

    def ends(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(group[place] for group in _groups(values, step))

    stages = (
        replace(stage, out=ends(stage.out), width=None if stage.width is None else ends(stage.width))
        for stage in space.stages
    )
    return replace(space, stem=replace(space.stem, out=ends(space.stem.out)), stages=tuple(stages))


def _groups(values: tuple[int, ...], step: float) -> list[tuple[int, ...]]:
    """Return ascending values in groups, the largest of each at most `step` times its least."""
    found: list[tuple[int, ...]] = []
    while values:
        count = int(np.searchsorted(values, step * values[0], "right"))
        found.append(values[:count])
        values = values[count:]
    return found


def _pairs(low: Sequence[Ints], high: Sequence[Ints]) -> list[tuple[Ints, Ints, Ints, Ints]]:
    """Return the least and the largest c_in, then the least and the largest out, of every stage's groups."""
    return list(zip(low, high, low[1:], high[1:], strict=False))


def _allowed(space: Space, low_in: Ints, high_in: Ints, low_out: Ints, high_out: Ints) -> Bools:
    """Return which groups (c_in, out) hold a pair that the rules may admit."""
    allowed = np.ones((len(low_in), len(low_out)), dtype=bool)
    if space.rules.non_decreasing:
        allowed &= high_out >= low_in[:, None]
    if space.rules.growth is not None:
        allowed &= low_out <= space.rules.growth * high_in[:, None]
    return allowed


def _offered(
    space: Space, widths: tuple[tuple[int, ...] | None, tuple[int, ...] | None], low_out: Ints, high_out: Ints
) -> Bools:
    """Return which groups (width, out) hold a pair that the rules may admit."""
    least, most = widths
    if least is None or most is None:
        return np.ones((1, len(low_out)), dtype=bool)
    ratio = space.rules.width_ratio
    low_width, high_width = np.array(least)[:, None], np.array(most)[:, None]
    admitted: Bools = (ratio.min * low_out <= high_width) & (low_width <= ratio.max * high_out)
    return admitted


def _joined(low: StageTables, high: StageTables, cheap: Bools, dear: Bools) -> StageTables:
    """Return tables with some quantities of the least widths (`cheap`) and some of the largest (`dear`)."""

    def mixed(name: str) -> Costs:
        return _mixed(getattr(low, name), getattr(high, name), cheap, dear)

    pair, into, out_of, same, later = map(mixed, ("pair", "into", "out_of", "same", "later"))
    return replace(high, pair=pair, into=into, out_of=out_of, same=same, later=later)


def _mixed(low: Costs, high: Costs, cheap: Bools, dear: Bools) -> Costs:
    """Return the costs of `low` in the quantities `cheap`, those of `high` in `dear`, and nothing in others."""
    places = [*low.kept[cheap[low.kept]], *high.kept[dear[high.kept]]]
    return Costs(
        np.hstack([low.sums * cheap[:, None], high.sums * dear[:, None]]),
        np.concatenate([low.left, high.left], axis=1),
        np.concatenate([low.right, high.right], axis=1),
        np.array(places, dtype=np.intp),
        np.concatenate([low.whole[:, cheap[low.kept]], high.whole[:, dear[high.kept]]], axis=1),
    )
