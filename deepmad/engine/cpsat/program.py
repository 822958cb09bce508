"""The design problem as an integer program for CP-SAT: data, variables, constraints, objective.

Widths, depths, kernels, expansions and block kinds are decided together. All amounts are whole numbers: MACs,
parameters, elements and nanoseconds are exact; logarithms and the objective are rounded once, always in the
direction that overstates the objective and loosens the limit on rho. So a bound on the program is a bound on
the problem, no feasible network is cut off, and every network found is checked exactly outside.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.cpsat.expressions import Axis, Builder, Expression
from deepmad.engine.cpsat.stages import (
    ReadTerms,
    StageVariables,
    Total,
    add_memory_limit,
    add_rules,
    keep_alive_within,
    stage_total,
    stage_variables,
)
from deepmad.engine.cpsat.terms import LOG_UNIT, Terms, ends, flat, maximum, minimum, scaled_logs, summed
from deepmad.engine.entropy import Scale
from deepmad.engine.latency import latency_nanoseconds
from deepmad.engine.objectives import depth_penalty, entropy_factor, penalised_stages
from deepmad.engine.problems import Problem
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.layers import Body, Part, total_macs, total_params

OBJECTIVE_UNIT = 2**20
"""One unit of the objective in the program."""
_LARGEST_PENALTY = 2.0**32
_LARGEST_SPREAD = 2**20
_PRODUCT_BITS = 59


@dataclass(frozen=True)
class Program:
    """The integer program of a problem, and how its variables read as a network."""

    problem: Problem
    builder: Builder
    stem: Axis
    stages: list[StageVariables]
    totals: Mapping[str, Expression]
    objective: Expression | None
    most: float
    rounding: float

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

    def network(self, value: Callable[[Expression], int]) -> Architecture:
        """Return the network that the variables' values stand for."""
        space = self.problem.space
        stages = []
        for stage in self.stages:
            place, out = value(stage.choice.index), value(stage.out.value)
            variant = stage.variants[place]
            width = value(stage.width.value) if stage.width else _inner_widths(stage, place, out)[0]
            depth = stage.space.depth[value(stage.depths.index)]
            stages.append(Stage(variant.kind, out, width, variant.kernel, depth, stage.space.stride))
        stem = Stem(value(self.stem.value), space.stem.kernel, space.stem.stride)
        return Architecture(space.resolution, stem, tuple(stages), space.tail, space.classes, space.in_channels)

    def check(self, network: Architecture, value: Callable[[Expression], int]) -> None:
        """Assert that the program counts `network` exactly as its layer records do."""
        parts = network.parts()
        counts: dict[str, Callable[[], int]] = {
            "macs": lambda: total_macs(parts),
            "params": lambda: total_params(parts),
            "latency_seconds": lambda: latency_nanoseconds(parts, self.problem.table) if self.problem.table else 0,
        }
        for name, total in self.totals.items():
            ours, exact = value(total), int(counts[name]())
            assert ours == exact, f"{name}: the program counts {ours}, the layer records {exact}, for {network}"


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
            add_memory_limit(builder, variables, elements)
        for part in (part for part in parts if part.body.main):
            keep_alive_within(builder, [stem, c_in], part.body, elements, [])
    program = Program(problem, builder, stem, stages, totals, None, math.inf, 0.0)
    if problem.budget.rho is None and not objective:
        return program
    # Entropy so far and convolutions so far, at every scale; rho ties the two together.
    found = _scales(builder, stem, stages, parts)
    if problem.budget.rho is not None:
        for scale in found:
            _add_effectiveness(builder, scale, problem.budget.rho)
    return _with_objective(program, found) if objective else program


def _add_limits(
    problem: Problem, builder: Builder, stem: Axis, stages: list[StageVariables], parts: tuple[Part, ...]
) -> dict[str, Expression]:
    """Add the limits on MACs, parameters and latency; return the totals by the names of `usages`."""
    budget, table = problem.budget, problem.table
    limits: dict[str, tuple[float | None, int, ReadTerms]] = {
        "macs": (budget.macs, 0, lambda body: summed(body, lambda layer: layer.macs)),
        "params": (budget.params, 0, lambda body: summed(body, lambda layer: layer.params)),
    }
    if table is not None:
        nanoseconds = flat(table.nanoseconds)
        limits["latency_seconds"] = (
            problem.limit_nanoseconds,
            table.overhead_nanoseconds,
            lambda body: summed(body, nanoseconds),
        )
    totals: dict[str, Expression] = {}
    for name, (limit, constant, read) in limits.items():
        if limit is None:
            continue
        total = Total(constant, constant, constant)
        for part in parts:
            total += _end_total(builder, stem, stages[-1].out, read(part.body), name)
        for stage in stages:
            total += stage_total(builder, stage, read, name, math.floor(limit))
        builder.model.add(total.expression <= math.floor(limit))
        totals[name] = total.expression
    return totals


def _end_total(builder: Builder, stem: Axis, out: Axis, terms: Terms, name: str) -> Total:
    """Return a cost of a part outside the stages."""
    axes = [stem, out]
    values = (builder.lookup([axes[axis] for axis in over], array, f"ends.{name}") for over, array in terms.items())
    return Total(sum(values), minimum(terms), maximum(terms))


@dataclass(frozen=True)
class _ScaleTotals:
    """One scale in the program: main-path convolutions so far, their log-widths, and the channels there."""

    depth: Total
    log_widths: Total
    channels: Axis | int
    side: int


def _convolutions(body: Body) -> Terms:
    return {(): np.int64(len(body.main))}  # type: ignore[dict-item]


def _log_widths(body: Body) -> Terms:
    return scaled_logs(summed(Body(body.main), lambda layer: np.log(layer.fan_in)))


def _scales(
    builder: Builder, stem: Axis, stages: list[StageVariables], parts: tuple[Part, ...]
) -> list[_ScaleTotals]:
    """Return the scales, first to last, summed as `deepmad.engine.entropy.scales` sums them."""
    last = stages[-1].out
    depth, logs = Total(0, 0, 0), Total(0, 0, 0)
    for part in (part for part in parts if part.name == "stem"):
        depth += _end_total(builder, stem, last, _convolutions(part.body), "depth")
        logs += _end_total(builder, stem, last, _log_widths(part.body), "entropy")
    found = []
    for stage in stages:
        if stage.space.stride == 2:
            found.append(_ScaleTotals(depth, logs, stage.c_in, stage.side))
        depth += stage_total(builder, stage, _convolutions, "convolutions", None)
        logs += stage_total(builder, stage, _log_widths, "entropy", None)
    channels: Axis | int = last
    side = stages[-1].side // stages[-1].space.stride
    for part in (part for part in parts if part.name == "tail"):
        depth += _end_total(builder, stem, last, _convolutions(part.body), "depth")
        logs += _end_total(builder, stem, last, _log_widths(part.body), "entropy")
        channels, side = int(part.body.main[-1].outputs.item()), part.body.main[-1].out_side
    return [_held(builder, scale) for scale in (*found, _ScaleTotals(depth, logs, channels, side))]


def _held(builder: Builder, scale: _ScaleTotals) -> _ScaleTotals:
    """Return the scale with its sums held by variables of their own."""

    def held(total: Total, name: str) -> Total:
        if total.low == total.high:
            return Total(total.low, total.low, total.high)
        variable = builder.variable(total.low, total.high, name)
        builder.model.add(variable == total.expression)
        return Total(variable, total.low, total.high)

    return replace(scale, depth=held(scale.depth, "convolutions"), log_widths=held(scale.log_widths, "entropy"))


def _add_effectiveness(builder: Builder, scale: _ScaleTotals, limit: float) -> None:
    """Keep rho_i = n / exp(E / n) within the limit: E >= n (ln n - ln limit), E being rounded up already."""
    counts = np.arange(scale.depth.low, scale.depth.high + 1)
    needed = np.floor(LOG_UNIT * counts * (np.log(counts) - math.log(limit)) - 1).astype(np.int64)
    if len(counts) == 1:
        least: Expression = int(needed[0])
    else:
        least = builder.element(scale.depth.expression - int(counts[0]), needed, "needed entropy")
    builder.model.add(scale.log_widths.expression >= least)


def _with_objective(program: Program, found: list[_ScaleTotals]) -> Program:
    """Return the program with its objective: weighted entropies of the scales less the depth penalty."""
    problem, builder = program.problem, program.builder
    total: Expression = 0
    most = rounding = 0.0
    for weight, scale in zip(problem.space.weights, found, strict=True):
        weight *= entropy_factor(problem.objective)
        if weight > 0:
            entropy, error = _weighted_entropy(builder, scale, weight)
            total, most, rounding = total + entropy.expression, most + entropy.high, rounding + error
    penalty = _penalty(problem, builder, program.stages)
    total, most = total - penalty.expression, most - penalty.low
    builder.model.maximize(total)
    return replace(program, objective=total, most=most / OBJECTIVE_UNIT, rounding=rounding + 4 / OBJECTIVE_UNIT)


def _weighted_entropy(builder: Builder, scale: _ScaleTotals, weight: float) -> tuple[Total, float]:
    """Return weight * ln(r^2 c) * E of a scale, rounded up, and its largest rounding error.

    Once the channels are fixed the product is linear: one enforced constraint for each of their values.
    """
    values = scale.channels.values if isinstance(scale.channels, Axis) else np.array([scale.channels])
    factors = weight * np.asarray(Scale(1, 1.0, values, scale.side).entropy)
    logs = scale.log_widths
    room = _PRODUCT_BITS - math.log2(max(logs.high, 1)) - math.log2(max(factors.max(), 1.0))
    unit = 2 ** max(0, min(30, math.floor(room)))
    slopes = [math.ceil(factor * unit * (1 + 1e-15)) for factor in factors]
    divisor = unit * LOG_UNIT // OBJECTIVE_UNIT
    high = -(-max(slopes) * logs.high // divisor)
    product = builder.variable(0, high, "weighted entropy")
    if isinstance(product, int):
        return Total(0, 0, 0), 0.0
    literals = builder.indicators(scale.channels) if isinstance(scale.channels, Axis) else [None]
    for slope, literal in zip(slopes, literals, strict=True):
        constraint = builder.model.add(divisor * product <= slope * logs.expression + divisor - 1)
        if literal is not None:
            constraint.only_enforce_if(literal)
    error = factors.max() * 3 * (scale.depth.high + 1) / LOG_UNIT + 2 * logs.high / LOG_UNIT / unit
    return Total(product, 0, high), float(error)


def _penalty(problem: Problem, builder: Builder, stages: list[StageVariables]) -> Total:
    """Return the depth penalty, rounded down; which stages it looks at may hang on the first one's block kind."""
    cases: dict[tuple[int, int], list[Expression]] = {}
    for variant, literal in zip(stages[0].variants, stages[0].choice.literals, strict=True):
        part = penalised_stages(problem.objective, variant.kind, len(stages))
        cases.setdefault((part.start, part.stop), []).append(literal)
    options = {bounds: _spread_penalty(problem, builder, stages[slice(*bounds)]) for bounds in cases}
    if len(options) == 1:
        return next(iter(options.values()))
    low, high = min(option.low for option in options.values()), max(option.high for option in options.values())
    chosen = builder.variable(low, high, "penalty")
    for bounds, option in options.items():
        for literal in cases[bounds]:
            builder.model.add(chosen == option.expression).only_enforce_if(literal)
    return Total(chosen, low, high)


def _spread_penalty(problem: Problem, builder: Builder, stages: list[StageVariables]) -> Total:
    """Return the penalty on the spread of these stages' depths: a table over V = m^2 Var(L), a whole number.

    A penalty above `_LARGEST_PENALTY` is held there, which overstates the objective: still a valid bound.
    """
    count, depths = len(stages), [stage.space.depth for stage in stages]
    span = max(map(max, depths)) - min(map(min, depths)) if count > 1 else 0
    widest = (count * span) ** 2 // 4  # no variance is above span^2 / 4
    spreads = np.arange(min(widest, _LARGEST_SPREAD) + 1)
    # Two depths 2 sqrt(Var) apart have that variance, so the one formula for the penalty fills the table too.
    pair = [np.zeros(len(spreads)), 2 * np.sqrt(spreads) / max(count, 1)]
    penalties = np.asarray(depth_penalty(problem.objective, pair, problem.space.beta))
    kept = int(np.searchsorted(penalties, _LARGEST_PENALTY)) + 1
    table = np.floor(np.minimum(penalties[:kept], _LARGEST_PENALTY) * OBJECTIVE_UNIT * (1 - 1e-12)).astype(np.int64)
    if table[0] == table[-1]:
        return Total(int(table[0]), int(table[0]), int(table[0]))
    spread = builder.variable(0, widest, "spread of depths")
    builder.model.add(spread == count * _sum_of_squares(stages) - _squared_sum(builder, stages))
    if len(table) <= widest:
        held = builder.variable(0, len(table) - 1, "spread held")
        builder.model.add_min_equality(held, [spread, len(table) - 1])
        spread = held
    return Total(builder.element(spread, table, "penalty"), int(table[0]), int(table[-1]))


def _sum_of_squares(stages: list[StageVariables]) -> Expression:
    """Return the sum of the squared depths."""
    return sum(
        depth**2 * literal
        for stage in stages
        for depth, literal in zip(stage.space.depth, stage.depths.literals, strict=True)
    )


def _squared_sum(builder: Builder, stages: list[StageVariables]) -> Expression:
    """Return the square of the summed depths."""
    low, high = (sum(end(stage.space.depth) for stage in stages) for end in (min, max))
    total = builder.variable(low, high, "sum of depths")
    builder.model.add(total == sum(stage.depth for stage in stages))
    return builder.element(total - low, np.arange(low, high + 1) ** 2, "square of the sum of depths")
