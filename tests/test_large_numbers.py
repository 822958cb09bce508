"""Proofs where counts are far above 2^31: what rows of the integer program may hold, and what comes out of them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ortools.sat.python import cp_model

from deepmad.engine.answers.solutions import DIFFERENT_STAGES
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.alternatives import with_alternatives
from deepmad.engine.solvers.cpsat import least_use, solve
from deepmad.engine.solvers.cpsat.digits import SAFE, at_most, require_safe_rows, selected, split
from deepmad.engine.solvers.cpsat.program import build_program
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.spaces import Space, load_space, parse_space, presets
from tests.brute_force import Counted, count, count_one
from tests.catalogue import StairTable

TEXT = """
format: deepmad/space@1
name: big
resolution: 224
stem: {out: [32, 64], kernel: 3, stride: 2}
stages:
  - {block: [basic, bottleneck, mbconv], stride: 1, out: [64, 256], expansion: [1, 3], kernel: 3, depth: [1, 2]}
  - {block: [basic, bottleneck, mbconv], stride: 2, out: [128, 512], expansion: [1, 3], kernel: 3, depth: [1, 2]}
classes: 10
rules: {non_decreasing: true}
alpha: [1, 8]
beta: 10
"""
SLOW = StairTable(macs_per_nanosecond=1, layer_nanoseconds=2_000)
"""A device on which a batch of these networks takes seconds to minutes."""


def big(side: int = 224) -> Space:
    return replace(parse_space(TEXT, "big"), resolution=side)


@cache
def counted(side: int) -> Counted:
    return count(Problem(big(side), Budget(), SLOW))


@pytest.mark.parametrize("side", [160, 224, 1_024, 2_048])
@pytest.mark.parametrize("limit", [None, "macs", "params", "rho", "latency_seconds", "memory_bytes"])
def test_the_optimum_is_brute_forces(side: int, limit: str | None) -> None:
    fields = {"latency_seconds": "latency", "memory_bytes": "memory"}
    found = counted(side)
    budget = Budget()
    if limit is not None:
        budget = Budget(**{fields.get(limit, limit): float(np.quantile(found.used[limit], 0.3)) * (1 + 1e-12)})
    problem = Problem(big(side), budget, SLOW)
    result, best = solve(problem, seconds=240.0, workers=1, seed=0), found.best(problem)
    assert len(found) == 864
    assert best is not None
    assert result.status == "optimal"
    assert result.network is not None
    assert result.bound is not None
    assert problem.value(result.network) == pytest.approx(best, rel=1e-6)
    assert best <= result.bound <= best * (1 + 1e-6)


def test_the_next_best_networks_are_brute_forces() -> None:
    problem, settings = Problem(big(), Budget(macs=12e9)), CpSat(workers=1, gap=0.3)
    solution = with_alternatives(problem, design(problem, settings), 4, settings, seconds=240.0)
    assert solution.objective == pytest.approx(7844.56541376986, rel=1e-9)
    values = [other.objective for other in solution.alternatives or ()]
    assert values == pytest.approx([7644.022457561377, 7031.825334743397, 6988.780967377743], rel=1e-9)
    found = counted(224)
    near = found.feasible(problem) & (found.objectives["paper"] >= 0.7 * 7844.56541376986)
    assert solution.architecture is not None
    different = found.different(count_one(problem, solution.architecture), DIFFERENT_STAGES)
    assert (near & different).sum() == 87


@pytest.mark.parametrize("name", ["macs", "params", "latency_seconds", "memory_bytes"])
def test_the_least_use_is_brute_forces(name: str) -> None:
    fields = {"latency_seconds": "latency", "memory_bytes": "memory"}
    loose = 1e6 if name == "latency_seconds" else 1e15
    problem = Problem(big(1_024), Budget(**{fields.get(name, name): loose}), [SLOW, StairTable(macs_per_nanosecond=2)])
    least = least_use(problem, name, hint=None, seconds=240.0, workers=1, seed=0)
    assert least.proven
    assert least.network is not None
    assert problem.usages(least.network)[name].used == pytest.approx(counted(1_024).used[name].min(), rel=1e-12)


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("side", [1, 4])
def test_all_rows_of_the_presets_are_safe(name: str, side: int) -> None:
    space = load_space(name)
    budget = replace(Budget.of(space), latency=100.0, memory=1e12)
    problem = Problem(replace(space, resolution=side * space.resolution), budget, StairTable(macs_per_nanosecond=1))
    model = build_program(problem).builder.model
    require_safe_rows(model)
    assert model.validate() == ""


@pytest.mark.parametrize("planted", ["coefficient", "constant", "values", "inequality", "none"])
def test_a_row_that_is_not_safe_is_refused(planted: str) -> None:
    program = build_program(Problem(big(), Budget(macs=12e9)))
    model, literal, other = program.builder.model, program.stages[0].choice.literals[0], program.stages[0].agrees
    number = model.new_int_var(0, SAFE, "number")
    model.add(number >= SAFE // 2).only_enforce_if(literal)
    model.add(2**40 * other + number == 2**40)  # no literal, and both of its bounds bind
    if planted == "none":
        require_safe_rows(model)
        return
    if planted == "coefficient":
        model.add(2**31 * other + number <= 5).only_enforce_if(literal)
    elif planted == "constant":
        model.add(number >= 2**31).only_enforce_if(~literal)
    elif planted == "values":
        model.add(2 * number - other >= 7).only_enforce_if(literal)
    else:
        model.add(2**31 * other + number <= 2**31)
    with pytest.raises(AssertionError, match="holds numbers above 1073741824"):
        require_safe_rows(model)


def solved(model: cp_model.CpModel, **wish: cp_model.LinearExpr) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    for sense, expression in wish.items():
        getattr(model, sense)(expression)
    assert solver.solve(model) == cp_model.OPTIMAL
    require_safe_rows(model)
    return solver


def test_looking_for_unsafe_rows_changes_no_program() -> None:
    """OR-Tools 9.15 empties a row of another kind whose linear part is read."""
    model = build_program(Problem(big(), Budget(macs=1.2e10, rho=0.3, memory=1e8))).builder.model
    before = str(model.proto)
    require_safe_rows(model)
    assert str(model.proto) == before


def test_the_way_that_is_chosen_counts() -> None:
    model = cp_model.CpModel()
    ways = [model.new_bool_var(f"way {number}") for number in (1, 2, 3)]
    model.add_exactly_one(ways)
    doubled = model.new_bool_var("doubled")
    cases = [(way, number * 10**10 * doubled + number) for number, way in enumerate(ways, start=1)]
    cost = selected(model, cases, 1, 3 * 10**10 + 3, "cost")
    solver = solved(model, maximize=sum(number * way for number, way in enumerate(ways, start=1)) + doubled)
    assert solver.objective_value == 4
    assert solver.value(cost) == 3 * 10**10 + 3


@pytest.mark.parametrize("limit", [-(2**45) - 1, -1, 0, 12_345, 2**31, 2**40 - 1, 2**40, 2**60])
def test_a_limit_on_a_large_number_is_exact(limit: int) -> None:
    model = cp_model.CpModel()
    number = model.new_int_var(-(2**45) - 1, 2**50, "number")
    at_most(model, number, limit, "limit")
    assert solved(model, maximize=number).value(number) == min(limit, 2**50)


@pytest.mark.parametrize("number", [-(2**40) - 3, -1, 0, 2**29, 2**40 + 5])
def test_digits_add_up(number: int) -> None:
    digits = split(cp_model.CpModel(), number, -(2**41), 2**41, "number")
    assert len(digits) == 2
    assert sum(digit.weight * digit.value for digit in digits) == number
    assert all(digit.low <= digit.value <= digit.high for digit in digits)
