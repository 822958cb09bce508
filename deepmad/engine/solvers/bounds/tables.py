"""Stage tables: what every choice of a stage costs, as slices that branch and price adds up."""

import math
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from deepmad.engine.costs.additive import Additive, additive_costs
from deepmad.engine.costs.records import (
    Option,
    channels,
    end_bodies,
    option_grid,
    options,
    scale_ends,
    sides,
    stage_bodies,
)
from deepmad.engine.costs.tables import LOG_WIDTHS, aligned, layer_costs, summed
from deepmad.engine.program.objectives import RESIDUAL_BLOCKS, entropy_factor, penalised_stages
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds.products import Costs, of_tables
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import Body, total
from deepmad.search_spaces.spaces import Space

Array: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]


class OutOfTimeError(Exception):
    """The time is over in the middle of a piece of work; what was proven before holds."""


@dataclass(frozen=True)
class StageTables:
    """What a stage costs under each of its options: rows of log-widths, then of every additive cost.

    The opening block costs pair[c_in, out] + into[width, c_in] + out_of[width, out], or, where c_in = out,
    same[width, out] instead; every block after it costs later[width, out]. `widths` are the inner widths where they are
    a choice of their own; None where they follow from `out`: then there is one. `offered` (widths, out) says which
    widths the rules allow. `convs` (options, 2) are the main-path convolutions of the opening block and of a later one.
    """

    options: tuple[Option, ...]
    convs: Ints
    widths: tuple[int, ...] | None
    pair: Costs
    into: Costs
    out_of: Costs
    same: Costs
    later: Costs
    offered: Bools


@dataclass(frozen=True)
class ScaleRow:
    """One scale: weight * ln(side^2 c) * E, after the first `stages` stages; E starts at `entropy`, n at `convs`.

    `log_area` is ln(side^2 c) for every channel count there; one number where a tail fixes the channels.
    """

    stages: int
    weight: float
    log_area: Array
    entropy: float
    convs: int
    fixed: bool


@dataclass(frozen=True)
class SpaceTables:
    """Everything that the bound needs to know of a problem, as arrays.

    `channels[s]` are the choices before stage s (the last: after the last stage), `limits` what the budget leaves to
    every additive cost (inf: it has no limit), `signs` 1 for a limit from above and -1 for one from below, `allowed[s]`
    which (c_in, out) the rules admit, `charges` what a unit of every additive cost takes from the objective (of a
    front). Widths may stand for groups of them (`grouped`). Pricing raises `OutOfTimeError` when the clock
    (`time.monotonic`) is past `end`. `frames` keeps what it works out once for a stage of a box.
    """

    problem: Problem
    channels: tuple[Ints, ...]
    depths: tuple[Ints, ...]
    tables: tuple[StageTables, ...]
    allowed: tuple[Bools, ...]
    scales: tuple[ScaleRow, ...]
    limits: Array
    signs: Ints
    charges: Array
    grouped: bool = False
    end: float = math.inf
    frames: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.depths)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First and last (excluded) stages of the spans whose numbers of blocks a box bounds.

        One for each scale, the stages before it; the last of them is the whole network. Then, where the depth penalty
        leaves out stages, those that it looks at.
        """
        starts = {
            penalised_stages(self.problem.objective, kind, self.stages).start
            for kind in self.problem.space.stages[0].block
        }
        return (*((0, row.stages) for row in self.scales), *((start, self.stages) for start in sorted(starts - {0})))


def read_tables(problem: Problem, end: float = math.inf) -> SpaceTables:
    """Return the tables of a problem. Raises `OutOfTimeError` where they are not read by `end`, by the clock."""
    space, costs = problem.space, additive_costs(problem)
    choices = channels(space)
    stem, closing = end_bodies(space, choices[0], choices[-1])
    opened = summed(stem, costs, (len(choices[0]),))
    opened[LOG_WIDTHS] = 0.0  # a scale starts with it
    closed = sum((summed(body, costs, (len(choices[-1]),)) for body in closing), np.zeros((1 + len(costs), 1)))
    found = list(_all_stage_tables(space, costs, end))
    found[0] = _with_ends(found[0], choices[:2], opened, None)
    found[-1] = _with_ends(found[-1], choices[-2:], None, np.broadcast_to(closed, (len(closed), len(choices[-1]))))
    return SpaceTables(
        problem,
        choices,
        tuple(np.array(stage.depth) for stage in space.stages),
        tuple(found),
        tuple(_allowed(space, ins, outs) for ins, outs in pairwise(choices)),
        tuple(_scale_rows(problem, choices, stem, closing)),
        rooms(costs),
        np.array([cost.sign for cost in costs]),
        np.zeros(len(costs)),
        end=end,
    )


def rooms(costs: Sequence[Additive]) -> Array:
    """Return what the budget leaves to every additive cost; inf where there is no limit."""
    # what is left of a limit is a divisor in the linear program; one nanosecond is as hopeless as none
    return np.array([max(1, cost.room) if cost.of_device else cost.room for cost in costs])


def charged(space: SpaceTables, network: Architecture) -> float:
    """Return what the costs of a network take from its objective."""
    if not space.charges.any():
        return 0.0
    parts = network.parts()
    costs = zip(space.charges, additive_costs(space.problem), strict=True)
    return float(sum(charge * total(parts, cost.of_layer) for charge, cost in costs if charge))


def _allowed(space: Space, ins: Ints, outs: Ints) -> Bools:
    c_in, out = ins[:, None], outs[None, :]
    rules = space.rules
    allowed = np.ones((len(ins), len(outs)), dtype=bool)
    if rules.non_decreasing:
        allowed &= out >= c_in
    if rules.growth is not None:
        allowed &= out <= rules.growth * c_in
    return allowed


def _scale_rows(problem: Problem, choices: Sequence[Ints], stem: Body, closing: Sequence[Body]) -> Iterator[ScaleRow]:
    start = float(sum(np.log(layer.fan_in) for layer in stem.main))
    for end, alpha in zip(scale_ends(problem.space), problem.space.weights, strict=True):
        weight, convs, counts = entropy_factor(problem.objective) * alpha, len(stem.main), choices[end.stages]
        fixed = end.channels is not None
        if fixed:
            convs, counts = convs + sum(len(body.main) for body in closing), np.array([end.channels])
        yield ScaleRow(end.stages, weight, np.log(end.side**2 * counts), start, convs, fixed)


def _all_stage_tables(space: Space, costs: Sequence[Additive], end: float) -> Iterator[StageTables]:
    """Yield the tables of every stage; stages of the same choices at the same side share theirs."""
    known: dict[Hashable, StageTables] = {}
    side = sides(space)
    for index, stage in enumerate(space.stages):
        ins, outs = channels(space)[index : index + 2]
        key = (side[index], tuple(ins), tuple(outs), stage.stride, options(stage), stage.width, stage.multiple)
        if key not in known:
            known[key] = _stage_tables(space, index, costs, end)
        yield known[key]


def _stage_tables(space: Space, index: int, costs: Sequence[Additive], end: float) -> StageTables:
    """Return the tables of a stage, read from its layer records over all its widths."""
    ins, outs = channels(space)[index : index + 2]
    chosen, values, ratio = options(space.stages[index]), space.stages[index].width, space.rules.width_ratio
    inner, tables = len(values or (0,)), []
    convs = []
    for option in chosen:
        if time.monotonic() > end:
            raise OutOfTimeError
        first, after = stage_bodies(space, index, option_grid(space, index, option))
        convs.append((len(first.main), len(after.main)))
        repeated = summed(after, costs, (1, len(outs), inner, 1))[:, 0, :, :, 0].swapaxes(1, 2)
        tables.append((*_by_widths(first, costs, ins, outs, inner), repeated))
    offered = np.ones((inner, len(outs)), dtype=bool)
    if values is not None:
        widths = np.array(values)[:, None]
        offered = (ratio.min * outs <= widths) & (widths <= ratio.max * outs)
    pair, into, out_of, same, later = (of_tables(found) for found in zip(*tables, strict=True))
    return StageTables(chosen, np.array(convs), values, pair, into, out_of, same, later, offered)


def _with_ends(tables: StageTables, around: Sequence[Ints], opened: Array | None, closed: Array | None) -> StageTables:
    """Return a stage's tables with what its channels cost before it, (quantities, c_in), and after it."""
    ins, outs = around
    at = np.zeros((len(tables.same.sums), len(outs)))
    left, right = np.nonzero(ins[:, None] == outs)
    if opened is not None:
        at[:, right] = opened[:, left]
    elif closed is not None:
        at = closed
    return replace(tables, pair=tables.pair.plus(opened, closed), same=tables.same.plus(None, at))


def _by_widths(
    body: Body, costs: Sequence[Additive], ins: Ints, outs: Ints, widths: int
) -> tuple[Array, Array, Array, Array]:
    """Return an opening block's costs by what they depend on: (c_in, out), (width, c_in) and (width, out).

    The last array is the whole block where c_in = out, over (width, out): only there it may have a shortcut. The
    others hold where c_in differs from out.
    """
    rows = 1 + len(costs)
    pairs, into = np.zeros((rows, len(ins), len(outs))), np.zeros((rows, widths, len(ins)))
    out_of, same = np.zeros((rows, widths, len(outs))), np.zeros((rows, widths, len(outs)))
    left, right = np.nonzero(ins[:, None] == outs)
    alike = np.zeros((rows, len(left), widths))
    for layer in layer_costs(body, costs):
        cost = aligned(layer.stacked(), 4)[..., 0]
        has_in, has_out, has_width = (size > 1 for size in cost.shape[1:])
        alike += cost[:, left if has_in else 0 * left, right if has_out else 0 * right]
        if np.ndim(layer.runs):  # a shortcut, there only where c_in = out
            continue
        assert not (has_width and has_in and has_out), "a layer depends on two of c_in, width and out at most"
        if not has_width:
            pairs += cost[..., 0]
        elif has_in:
            into += cost[:, :, 0].swapaxes(1, 2)
        else:
            out_of += cost[:, 0].swapaxes(1, 2)
    same[:, :, right] = alike.swapaxes(1, 2)
    return pairs, into, out_of, same


def families(problem: Problem) -> list[tuple[str, ...]]:
    """Return the first stage's block kinds in groups under which the objective is one formula."""
    kinds = tuple(dict.fromkeys(problem.space.stages[0].block))
    if problem.objective == "paper":
        return [kinds]
    groups = [tuple(kind for kind in kinds if (kind in RESIDUAL_BLOCKS) == residual) for residual in (True, False)]
    return [group for group in groups if group]
