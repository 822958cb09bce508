"""The best network that differs from those chosen before, by the exact program with a cut for each of them."""

import math
from collections.abc import Iterator, Sequence

from ortools.sat.python import cp_model

from deepmad.engine.answers.solutions import DIFFERENT_STAGES
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.cpsat.digits import Expression, at_most
from deepmad.engine.solvers.cpsat.expressions import Axis, Builder
from deepmad.engine.solvers.cpsat.program import OutOfTimeError, Program, build_program
from deepmad.engine.solvers.cpsat.solving import Effort, ExactResult, best_search, searched
from deepmad.engine.solvers.cpsat.stages import StageVariables
from deepmad.search_spaces.architectures import Architecture, Stage


def next_best(
    problem: Problem,
    chosen: Sequence[Architecture],
    *,
    floor: float,
    hint: Architecture | None = None,
    seconds: float | None,
    deterministic_limit: float | None = None,
    workers: int,
    seed: int,
) -> ExactResult:
    """Return the best network that differs from each of `chosen` in two stages and whose objective reaches `floor`.

    `hint` is such a network. The search ends after `seconds`, or after `deterministic_limit` of the solver's units of
    work. The status is `optimal` where the one returned is proven to be the best, `infeasible`
    where there is proven to be none. Raises `ContradictionError` where the hint refutes that.
    """
    search = best_search(problem)
    try:
        program = build_program(problem, ends=search.ends(seconds))
    except OutOfTimeError:
        return ExactResult("unknown", None, None)
    for network in chosen:
        _add_difference(program, network)
    if program.objective is not None:
        at_most(program.builder.model, -program.objective, -math.floor(floor * program.unit), "floor")
    search.bound = program.most
    if hint is not None:
        search.take(hint)
    status = searched(program, search, Effort(seconds, deterministic_limit, workers, seed, 0.0))
    if search.network is None or search.value < floor:
        none = status == cp_model.INFEASIBLE or (status == cp_model.OPTIMAL and search.network is not None)
        return ExactResult("infeasible" if none else "unknown", None, None)
    return ExactResult("optimal" if status == cp_model.OPTIMAL else "feasible", search.network, search.bound)


def _add_difference(program: Program, network: Architecture) -> None:
    """Keep every solution different from `network` in enough stages."""
    model = program.builder.model
    different = []
    for variables, stage in zip(program.stages, network.stages, strict=True):
        literal = model.new_bool_var(f"{variables.name} differs")
        model.add_bool_or(list(_differences(program.builder, variables, stage))).only_enforce_if(literal)
        different.append(literal)
    model.add(sum(different) >= DIFFERENT_STAGES)


def _differences(builder: Builder, variables: StageVariables, stage: Stage) -> Iterator[Expression]:
    """Yield literals of which one at least has to hold for the stage to differ from `stage`."""
    yield from _elsewhere(builder, variables.out, stage.out)
    if variables.width is not None:
        yield from _elsewhere(builder, variables.width, stage.width)
    yield ~variables.depths.literals[variables.space.depth.index(stage.depth)]
    for variant, literal in zip(variables.variants, variables.choice.literals, strict=True):
        # Two expansions may round to one width: they make the same stage.
        same_width = variant.expansion is None or variables.space.expanded(variant.expansion, stage.out) == stage.width
        if not ((variant.kind, variant.kernel) == (stage.block, stage.kernel) and same_width):
            yield literal


def _elsewhere(builder: Builder, axis: Axis, value: int) -> Iterator[Expression]:
    """Yield a literal that lets the axis not take `value`, none where it can take no other."""
    if len(axis.values) > 1:
        literal = builder.model.new_bool_var("elsewhere")
        builder.model.add(axis.value != value).only_enforce_if(literal)
        yield literal
