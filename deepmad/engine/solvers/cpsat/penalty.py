"""The depth penalty in the integer program: a table over the spread of the depths."""

import numpy as np

from deepmad.engine.program.objectives import depth_penalty, penalised_stages
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.cpsat.digits import Expression, selected
from deepmad.engine.solvers.cpsat.expressions import Builder
from deepmad.engine.solvers.cpsat.stages import StageVariables, Total

LARGEST_PENALTY = 2.0**10
"""Penalties above so many times the largest entropy are held there."""
_LARGEST_SPREAD = 2**20


def depth_penalty_total(
    problem: Problem, builder: Builder, stages: list[StageVariables], unit: float, largest: float
) -> Total:
    """Return the depth penalty in whole units of 1 / `unit`, rounded down, and held at `largest` (in real units).

    Holding it overstates the objective: still a valid bound. Which stages it looks at may hang on the first one's
    block kind.
    """
    cases: dict[tuple[int, int], list[Expression]] = {}
    for variant, literal in zip(stages[0].variants, stages[0].choice.literals, strict=True):
        part = penalised_stages(problem.objective, variant.kind, len(stages))
        cases.setdefault((part.start, part.stop), []).append(literal)
    options = {part: _spread_penalty(problem, builder, stages[slice(*part)], unit, largest) for part in cases}
    if len(options) == 1:
        return next(iter(options.values()))
    low, high = min(option.low for option in options.values()), max(option.high for option in options.values())
    chosen = [(literal, option.expression) for part, option in options.items() for literal in cases[part]]
    return Total(selected(builder.model, chosen, low, high, "penalty"), low, high)


def _spread_penalty(
    problem: Problem, builder: Builder, stages: list[StageVariables], unit: float, largest: float
) -> Total:
    """Return the penalty on the spread of these stages' depths: a table over V = m^2 Var(L), a whole number."""
    count, depths = len(stages), [stage.space.depth for stage in stages]
    span = max(map(max, depths)) - min(map(min, depths)) if count > 1 else 0
    widest = (count * span) ** 2 // 4  # no variance is above span^2 / 4
    spreads = np.arange(min(widest, _LARGEST_SPREAD) + 1)
    # Two depths 2 sqrt(Var) apart have that variance, so the one formula for the penalty fills the table too.
    pair = [np.zeros(len(spreads)), 2 * np.sqrt(spreads) / max(count, 1)]
    penalties = np.asarray(depth_penalty(problem.objective, pair, problem.space.beta))
    kept = int(np.searchsorted(penalties, largest)) + 1
    table = np.floor(np.minimum(penalties[:kept], largest) * unit * (1 - 1e-12)).astype(np.int64)
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
