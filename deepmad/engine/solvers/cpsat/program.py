"""The design problem as an integer program for CP-SAT: data, variables, constraints, objective.

Widths, depths, kernels, expansions and block kinds are decided together. All amounts are whole numbers: MACs,
parameters, elements and nanoseconds are exact; logarithms and the objective are rounded once, always in the
direction that overstates the objective and loosens the limit on rho. So a bound on the program is a bound on
the problem, no feasible network is cut off, and every network found is checked exactly outside. Latency tables
too large for the solver are replaced by smaller ones that lie below them, with the same consequence.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd

import numpy as np
from ortools.sat.python import cp_model

from deepmad.engine.program.entropy import Scale
from deepmad.engine.program.latency import LatencyModel, latency_nanoseconds
from deepmad.engine.program.objectives import entropy_factor
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.cpsat.digits import Expression, at_most
from deepmad.engine.solvers.cpsat.expressions import Axis, Builder
from deepmad.engine.solvers.cpsat.penalty import LARGEST_PENALTY, depth_penalty_total
from deepmad.engine.solvers.cpsat.stages import (
    ReadTerms,
    StageVariables,
    Total,
    add_memory_limit,
    add_rules,
    keep_alive_within,
    stage_terms,
    stage_total,
    stage_variables,
)
from deepmad.engine.solvers.cpsat.terms import (
    LOG_UNIT,
    Array,
    Terms,
    ends,
    flat,
    in_units,
    maximum,
    minimum,
    scaled_logs,
    summed,
)
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.layers import Body, Part, total_macs, total_params

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
        loose = ("rho", *(name.partition("@")[0] for name in self.builder.understated))
        return all(sentence.split()[0] in loose for sentence in broken)

    def check(self, network: Architecture, counted: Mapping[str, int]) -> None:
        """Assert that the program's totals for `network` are exactly those of its layer records.

        A total with a table too large for the solver may be less.
        """
        parts = network.parts()
        found = {"macs": total_macs(parts), "params": total_params(parts)}
        for place, table in enumerate(self.problem.tables):
            found[_latency_name(place)] = latency_nanoseconds(parts, table)
        for name, ours in counted.items():
            exact = found[name]
            understated = name in self.builder.understated and ours <= exact
            assert ours == exact or understated, (
                f"{name}: the program counts {ours}, the layer records {exact}, for {network}"
            )


def _inner_widths(stage: StageVariables, place: int, out: int) -> tuple[int, ...]:
    """Return the inner widths that a variant of a stage allows beside `out`."""
    expansion = stage.variants[place].expansion
    return stage.space.widths(out) if expansion is None else replace(stage.space, expansion=(expansion,)).widths(out)


def build_program(problem: Problem, *, objective: bool = True) -> Program:
    """Return the integer program of `problem`; without `objective` only what the limits need.

    Raises `InputError` for a block kind whose layers depend on more than two widths at once.
    """
    space, builder = problem.space, Builder()
    parts = ends(space)
    # Variables: the stem's width, then for every stage its variant, widths and depth.
    stem = builder.axis(space.stem.out, "stem.out")
    stages: list[StageVariables] = []
    c_in, side = stem, space.resolution // space.stem.stride
    for place, stage in enumerate(space.stages):
        stages.append(stage_variables(builder, f"stages[{place}]", stage, c_in, side))
        c_in, side = stages[-1].out, side // stage.stride
    # Rules: widths do not shrink along the network, nor grow too fast; inner widths keep their ratio.
    for variables in stages:
        add_rules(builder, variables, space.rules)
    # Limits: MACs, parameters and latency are sums over the stages; memory holds layer by layer.
    totals = _add_limits(problem, builder, stem, stages, parts)
    if (elements := problem.limit_elements) is not None:
        for variables in stages:
            add_memory_limit(builder, variables, elements.__floordiv__)
        for part in parts:
            keep_alive_within(builder, [stem, c_in], part.body, elements.__floordiv__, [])
    program = Program(problem, builder, stem, stages, totals)
    if problem.budget.rho is None and not objective:
        return program
    # Entropy so far and convolutions so far, at every scale; rho ties the two together.
    found = scale_totals(builder, stem, stages, parts)
    if problem.budget.rho is not None:
        for scale in found:
            _add_effectiveness(builder, scale, problem.budget.rho)
    return _with_objective(program, found) if objective else program


def _add_limits(
    problem: Problem, builder: Builder, stem: Axis, stages: list[StageVariables], parts: tuple[Part, ...]
) -> dict[str, Expression]:
    """Add the limits on MACs, parameters and latency; return the totals by name."""
    budget = problem.budget
    limits: dict[str, tuple[float | None, int, ReadTerms]] = {
        "macs": (budget.macs, 0, lambda body: summed(body, lambda layer: layer.macs)),
        "params": (budget.params, 0, lambda body: summed(body, lambda layer: layer.params)),
    }
    for place, table in enumerate(problem.tables):
        predicted = partial(_nanoseconds, table)
        limits[_latency_name(place)] = (problem.limit_nanoseconds, table.overhead_nanoseconds, predicted)
    totals: dict[str, Expression] = {}
    for name, (limit, constant, read) in limits.items():
        if limit is None:
            continue
        outside = [read(part.body) for part in parts]
        inside = [stage_terms(stage, read) for stage in stages]
        # In the largest unit that all numbers are multiples of, most totals are small.
        arrays = [array for terms in outside for array in terms.values()] + [
            a for terms in inside for a in terms.arrays
        ]
        unit = max(1, gcd(*(int(np.gcd.reduce(array, axis=None)) for array in arrays)))
        most = (math.floor(limit) - constant) // unit
        total = Total(0, 0, 0)
        for terms in outside:
            total += _end_total(builder, stem, stages[-1].out, in_units(terms, unit), name)
        for stage, costs in zip(stages, inside, strict=True):
            total += stage_total(builder, stage, costs.in_units(unit), name, most)
        at_most(builder.model, total.expression, most, name)
        totals[name] = unit * total.expression + constant
    return totals


def _latency_name(place: int) -> str:
    """Return the name of the limit on latency on one of the problem's devices."""
    return f"latency_seconds@{place}"


def _nanoseconds(table: LatencyModel, body: Body) -> Terms:
    return summed(body, flat(table.nanoseconds))


def _end_total(builder: Builder, stem: Axis, out: Axis, terms: Terms, name: str) -> Total:
    """Return a cost of a part outside the stages."""
    axes = [stem, out]
    values = (builder.lookup([axes[axis] for axis in over], array, f"ends.{name}") for over, array in terms.items())
    return Total(sum(values), minimum(terms), maximum(terms))


@dataclass(frozen=True)
class ScaleTotals:
    """One scale in the program: main-path convolutions so far, their log-widths, and the channels there."""

    depth: Total
    log_widths: Total
    channels: Axis | int
    side: int

    @property
    def factors(self) -> Array:
        """ln(r^2 c), the entropy of one nat of log-width, for every value of the channels."""
        values = self.channels.values if isinstance(self.channels, Axis) else np.array([self.channels])
        return np.asarray(Scale(1, 1.0, values, self.side).entropy)


def _convolutions(body: Body) -> Terms:
    return {(): np.int64(len(body.main))}  # type: ignore[dict-item]


def _log_widths(body: Body) -> Terms:
    return scaled_logs(summed(Body(body.main), lambda layer: np.log(layer.fan_in)))


def scale_totals(
    builder: Builder, stem: Axis, stages: list[StageVariables], parts: tuple[Part, ...]
) -> list[ScaleTotals]:
    """Return the scales, first to last, summed as `deepmad.engine.program.entropy.scales` sums them."""
    last = stages[-1].out
    depth, logs = Total(0, 0, 0), Total(0, 0, 0)
    for part in (part for part in parts if part.name == "stem"):
        depth += _end_total(builder, stem, last, _convolutions(part.body), "depth")
        logs += _end_total(builder, stem, last, _log_widths(part.body), "entropy")
    found = []
    for stage in stages:
        if stage.space.stride == 2:
            found.append(ScaleTotals(depth, logs, stage.c_in, stage.side))
        depth += stage_total(builder, stage, stage_terms(stage, _convolutions), "convolutions")
        logs += stage_total(builder, stage, stage_terms(stage, _log_widths), "entropy")
    channels: Axis | int = last
    side = stages[-1].side // stages[-1].space.stride
    for part in (part for part in parts if part.name == "tail"):
        depth += _end_total(builder, stem, last, _convolutions(part.body), "depth")
        logs += _end_total(builder, stem, last, _log_widths(part.body), "entropy")
        channels, side = int(part.body.main[-1].outputs.item()), part.body.main[-1].out_side
    return [_held(builder, scale) for scale in (*found, ScaleTotals(depth, logs, channels, side))]


def _held(builder: Builder, scale: ScaleTotals) -> ScaleTotals:
    """Return the scale with its sums held by variables of their own."""

    def held(total: Total, name: str) -> Total:
        if total.low == total.high:
            return Total(total.low, total.low, total.high)
        variable = builder.variable(total.low, total.high, name)
        builder.model.add(variable == total.expression)
        return Total(variable, total.low, total.high)

    return replace(scale, depth=held(scale.depth, "convolutions"), log_widths=held(scale.log_widths, "entropy"))


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
