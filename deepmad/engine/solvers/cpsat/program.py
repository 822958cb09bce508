"""The design problem as an integer program for CP-SAT: data, variables, constraints, objective.

Widths, depths, kernels, expansions and block kinds are decided together. All amounts are whole numbers: MACs,
parameters, elements and nanoseconds are exact; logarithms and the objective are rounded once, always in the
direction that overstates the objective and loosens the limit on rho. So a bound on the program is a bound on
the problem, no feasible network is cut off, and every network found is checked exactly outside. Tables of limited
costs that are too large for the solver are replaced by smaller ones that lie below them (above, where the limit is one
from below), with the same consequence.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd

import numpy as np
from ortools.sat.python import cp_model

from deepmad.engine.costs.additive import additive_costs
from deepmad.engine.costs.records import end_grids
from deepmad.engine.program.objectives import entropy_factor
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.cpsat.digits import Expression, at_most
from deepmad.engine.solvers.cpsat.expressions import Axis, Builder, Rounding
from deepmad.engine.solvers.cpsat.penalty import LARGEST_PENALTY, depth_penalty_total
from deepmad.engine.solvers.cpsat.scales import ScaleTotals, scale_totals
from deepmad.engine.solvers.cpsat.stages import (
    StageVariables,
    Total,
    add_memory_limit,
    add_rules,
    end_total,
    keep_alive_within,
    stage_terms,
    stage_total,
    stage_variables,
)
from deepmad.engine.solvers.cpsat.terms import (
    LOG_UNIT,
    Array,
    in_units,
    summed,
)
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.layers import Body, total

_OBJECTIVE_BITS = 29
"""Bits of the largest objective in the program's units."""
_FACTOR_BITS, _SUM_BITS = 26, 58
"""Bits of either side of a product, and at most of a sum of them: beyond 2^59, CP-SAT 9.15 was seen to return wrong
answers."""


@dataclass(frozen=True)
class Program:
    """The integer program of a problem, and how its variables read as a network.

    `objective` is in whole units of 1 / `unit`, `most` an upper bound on it in real units, and `rounding` the
    most by which it overstates a network's objective.
    """

    problem: Problem
    builder: Builder
    stem: Axis
    stages: list[StageVariables]
    totals: Mapping[str, Expression]
    objective: Expression | None = None
    unit: float = 1.0
    most: float = math.inf
    rounding: float = 0.0

    @property
    def decisions(self) -> list[Expression]:
        """The variables that together determine the network; the rest follow from them."""
        found = [self.stem.index]
        for stage in self.stages:
            found += [stage.choice.index, *(axis.index for axis in stage.axes[1:]), stage.depths.index]
        return found

    def assignment(self, network: Architecture) -> list[int]:
        """Return the values of `decisions` that stand for a member of the space."""
        found = [self.problem.space.stem.out.index(network.stem.out)]
        for stage, chosen in zip(self.stages, network.stages, strict=True):
            option = next(
                place
                for place, variant in enumerate(stage.variants)
                if (variant.kind, variant.kernel) == (chosen.block, chosen.kernel)
                and chosen.width in _inner_widths(stage, place, chosen.out)
            )
            found += [option, stage.space.out.index(chosen.out)]
            found += [stage.space.width.index(chosen.width)] if stage.space.width else []
            found += [stage.space.depth.index(chosen.depth)]
        return found

    def network(self, values: Sequence[int]) -> Architecture:
        """Return the network that values of `decisions` stand for."""
        space, taken = self.problem.space, iter(values)
        stem = Stem(space.stem.out[next(taken)], space.stem.kernel, space.stem.stride)
        stages = []
        for stage in self.stages:
            place, out = next(taken), stage.space.out[next(taken)]
            width = stage.space.width[next(taken)] if stage.space.width else _inner_widths(stage, place, out)[0]
            depth, variant = stage.space.depth[next(taken)], stage.variants[place]
            stages.append(Stage(variant.kind, out, width, variant.kernel, depth, stage.space.stride))
        return Architecture(space.resolution, stem, tuple(stages), space.tail, space.classes, space.in_channels)

    def lets_pass(self, broken: Sequence[str]) -> bool:
        """Whether the program may hold a solution that breaks the limits of these sentences."""
        loose = ("rho", *(name.partition("@")[0] for name in self.builder.rounded))
        return all(sentence.split()[0] in loose for sentence in broken)

    def check(self, network: Architecture, counted: Mapping[str, int]) -> None:
        """Assert that the program's totals for `network` are exactly those of its layer records.

        A total with a table too large for the solver may be less, or more where its limit is one from below.
        """
        parts = network.parts()
        for cost in additive_costs(self.problem):
            if cost.name not in counted:
                continue
            ours, exact = counted[cost.name], cost.constant + total(parts, cost.of_layer)
            rounded = cost.name in self.builder.rounded and cost.sign * ours <= cost.sign * exact
            assert ours == exact or rounded, (
                f"{cost.name}: the program counts {ours}, the layer records {exact}, for {network}"
            )


def _inner_widths(stage: StageVariables, place: int, out: int) -> tuple[int, ...]:
    """Return the inner widths that a variant of a stage allows beside `out`."""
    expansion = stage.variants[place].expansion
    return stage.space.widths(out) if expansion is None else replace(stage.space, expansion=(expansion,)).widths(out)


class OutOfTimeError(Exception):
    """The program of a large space was not built in time."""


@dataclass(frozen=True)
class _Clock:
    """Until when a program may be built, in seconds of `time.perf_counter`; None is no end."""

    ends: float | None

    def ask(self) -> None:
        """Raise `OutOfTimeError` where it is over."""
        if self.ends is not None and time.perf_counter() > self.ends:
            raise OutOfTimeError


def build_program(problem: Problem, *, objective: bool = True, ends: float | None = None) -> Program:
    """Return the integer program of `problem`; without `objective` only what the limits need.

    Raises `InputError` for a block kind whose layers depend on more than two widths at once, and `OutOfTimeError` where
    it is not built by `ends`, in seconds of `time.perf_counter`.
    """
    space, builder, clock = problem.space, Builder(), _Clock(ends)
    # Variables: the stem's width, then for every stage its variant, widths and depth.
    stem = builder.axis(space.stem.out, "stem.out")
    stages: list[StageVariables] = []
    for index in range(len(space.stages)):
        clock.ask()
        stages.append(stage_variables(builder, space, index, stages[-1].out if stages else stem))
    # Rules: widths do not shrink along the network, nor grow too fast; inner widths keep their ratio.
    for variables in stages:
        add_rules(builder, variables, space.rules)
    # Limits: most are on sums over the stages; memory holds layer by layer.
    outside = end_grids(space)
    totals = _add_limits(problem, builder, stem, stages, outside, clock)
    if (elements := problem.limit_elements) is not None:
        for variables in stages:
            clock.ask()
            add_memory_limit(builder, variables, elements.__floordiv__)
        for body in outside:
            keep_alive_within(builder, [stem, stages[-1].out], body, elements.__floordiv__, [])
    program = Program(problem, builder, stem, stages, totals)
    if problem.budget.rho is None and not objective:
        return program
    # Entropy so far and convolutions so far, at every scale; rho ties the two together.
    clock.ask()
    found = scale_totals(builder, space, stem, stages)
    if problem.budget.rho is not None:
        for scale in found:
            _add_effectiveness(builder, scale, problem.budget.rho)
    return _with_objective(program, found) if objective else program


def _add_limits(
    problem: Problem, builder: Builder, stem: Axis, stages: list[StageVariables], ends: Sequence[Body], clock: _Clock
) -> dict[str, Expression]:
    """Add the limits on costs that add up; return the totals by name."""
    totals: dict[str, Expression] = {}
    for cost in additive_costs(problem):
        if cost.limit is None:
            continue
        read = partial(summed, cost=cost.of_layer)
        outside = [read(body) for body in ends]
        inside = []
        for stage in stages:
            clock.ask()
            inside.append(stage_terms(stage, read))
        # In the largest unit that all numbers are multiples of, most totals are small.
        arrays = [array for terms in outside for array in terms.values()] + [
            a for terms in inside for a in terms.arrays
        ]
        unit = max(1, gcd(*(int(np.gcd.reduce(array, axis=None)) for array in arrays)))
        most = (math.floor(cost.sign * cost.limit.value) - cost.sign * cost.constant) // unit
        rounding: Rounding = "down" if cost.sign > 0 else "up"
        highest = most if cost.sign > 0 else None
        amount = Total(0, 0, 0)
        for terms in outside:
            amount += end_total(builder, stem, stages[-1].out, in_units(terms, unit), cost.name)
        for stage, costs in zip(stages, inside, strict=True):
            clock.ask()
            amount += stage_total(builder, stage, costs.in_units(unit), cost.name, rounding, highest)
        at_most(builder.model, cost.sign * amount.expression, most, cost.name)
        totals[cost.name] = unit * amount.expression + cost.constant
    return totals


def _add_effectiveness(builder: Builder, scale: ScaleTotals, limit: float) -> None:
    """Keep rho_i = n / exp(E / n) within the limit: E >= n (ln n - ln limit), E being rounded up already."""
    counts = np.arange(scale.depth.low, scale.depth.high + 1)
    needed = np.floor(LOG_UNIT * counts * (np.log(counts) - math.log(limit)) - 1).astype(np.int64)
    if len(counts) == 1:
        least: Expression = int(needed[0])
    else:
        least = builder.element(scale.depth.expression - int(counts[0]), needed, "needed entropy")
    at_most(builder.model, least - scale.log_widths.expression, 0, "effectiveness")


def _with_objective(program: Program, found: list[ScaleTotals]) -> Program:
    """Return the program with its objective: weighted entropies of the scales less the depth penalty."""
    problem, builder = program.problem, program.builder
    weights = [weight * entropy_factor(problem.objective) for weight in problem.space.weights]
    factors = [weight * scale.factors for weight, scale in zip(weights, found, strict=True)]
    highs = [
        float(factor.max()) * scale.log_widths.high / LOG_UNIT for factor, scale in zip(factors, found, strict=True)
    ]
    largest = max(sum(highs), 1e-6)
    unit = 2.0 ** (_OBJECTIVE_BITS - math.ceil(math.log2(largest)))
    entropies = [
        _weighted_entropy(builder, scale, factor, unit)
        for scale, factor in zip(found, factors, strict=True)
        if factor.max() > 0
    ]
    penalty = depth_penalty_total(problem, builder, program.stages, unit, LARGEST_PENALTY * largest)
    total = sum(entropy.expression for entropy in entropies) - penalty.expression
    builder.model.maximize(total)
    most = (sum(entropy.high for entropy in entropies) - penalty.low) / unit
    # Rounding, relative to the largest entropy: three units for each logarithm, which is at least that of
    # fan-in 2; one for either side of each product; and whole units of the objective.
    relative = 5 / LOG_UNIT + 2 / 2**_FACTOR_BITS + 2 / 2 ** min(map(_slope_bits, factors))
    rounding = relative * largest + 10 / unit
    return replace(program, objective=total, unit=unit, most=most, rounding=rounding)


def _slope_bits(factors: Array) -> int:
    """Return the bits of the factors of a product, of which the chosen one counts."""
    return min(_FACTOR_BITS, _SUM_BITS - _FACTOR_BITS - len(factors).bit_length())


def _weighted_entropy(builder: Builder, scale: ScaleTotals, factors: Array, unit: float) -> Total:
    """Return factor * E of a scale in whole units of 1 / `unit`, rounded up; the factor hangs on the channels.

    Once the channels are fixed the product is linear: E is one of several copies, zero but for that of the channels,
    in a row without literals, whose numbers are large.
    """
    model, logs = builder.model, scale.log_widths
    shift = max(0, logs.high.bit_length() - _FACTOR_BITS)
    least, most = logs.low >> shift, (logs.high >> shift) + (shift > 0)
    coarse: Expression = logs.expression
    if shift and most - least > 2:
        coarse = builder.variable(least, most, "coarse entropy")
        model.add_linear_constraint(coarse * 2**shift - logs.expression, 0, 2**shift - 1)
    elif shift:
        coarse = most
    scaling = 2.0 ** (_slope_bits(factors) - math.ceil(math.log2(factors.max())))
    slopes = [math.ceil(factor * scaling * (1 + 1e-15)) for factor in factors.tolist()]
    divisor = round(scaling * LOG_UNIT / 2**shift / unit)
    low, high = (-(-slope * end // divisor) for slope, end in ((min(slopes), least), (max(slopes), most)))
    if high - low <= 2:
        return Total(high, high, high)
    axes = [scale.channels] if isinstance(scale.channels, Axis) else []
    if isinstance(coarse, int):
        values = np.array([-(-slope * coarse // divisor) for slope in slopes])
        return Total(builder.lookup(axes, values, "weighted entropy"), low, high)
    copies = [coarse]
    if len(slopes) > 1:
        copies = [_copy(model, coarse, most, literal) for axis in axes for literal in builder.indicators(axis)]
        model.add(sum(copies) == coarse)
    product = builder.variable(low, high, "weighted entropy")
    total = sum(slope * copy for slope, copy in zip(slopes, copies, strict=True))
    model.add_linear_constraint(divisor * product - total, 0, divisor - 1)
    return Total(product, low, high)


def _copy(model: cp_model.CpModel, expression: Expression, most: int, literal: Expression) -> Expression:
    """Return what an expression of at most `most` is where the literal holds, else zero."""
    copy = model.new_int_var(0, most, "copy")
    model.add(copy == expression).only_enforce_if(literal)
    model.add(copy == 0).only_enforce_if(~literal)
    return copy
