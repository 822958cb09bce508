"""The formulations that the benchmark compares with state the same problem as brute force counts."""

import pytest

from benchmarks.formulations.natural import FIELDS, natural_program
from benchmarks.formulations.product_model import solve_product_model
from benchmarks.formulations.traces import Trace
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.spaces import parse_space
from tests.brute_force import count

SPACE = """
format: deepmad/space@1
name: residual
resolution: 32
stem: {out: {min: 8, max: 24}, kernel: 3, stride: 2}
stages:
  - {block: basic, stride: 1, out: {min: 16, max: 24}, width: 16, kernel: 3, depth: 1}
  - {block: bottleneck, stride: 2, out: {min: 24, max: 32}, width: [16, 24], kernel: 3, depth: {min: 1, max: 2}}
  - {block: bottleneck, stride: 2, out: {min: 32, max: 40}, width: [16, 24], kernel: [3, 5], depth: {min: 1, max: 3}}
  - {block: basic, stride: 1, out: {min: 40, max: 56}, width: {min: 24, max: 32}, kernel: 5, depth: {min: 1, max: 4}}
rules: {non_decreasing: true, growth: 4, width_ratio: {min: 0.3, max: 1}}
alpha: [1, 1, 8]
limits: {rho: 0.15, macs: 5M, params: 200k}
"""


@pytest.fixture(params=["paper", "reference"])
def problem(request: pytest.FixtureRequest) -> Problem:
    objective: ObjectiveName = request.param
    space = parse_space(SPACE, "residual")
    return Problem(space, Budget.of(space), objective=objective, classes=0)


def test_product_model(problem: Problem) -> None:
    trace = Trace(problem)
    solve_product_model(natural_program(problem), trace, seconds=240, workers=1, seed=0)
    optimum = count(problem).best(problem)
    assert optimum is not None
    assert trace.best == pytest.approx(optimum, rel=1e-9)
    assert trace.bound is not None
    assert optimum <= trace.bound <= optimum * (1 + 1e-3)  # its logarithms are rounded up


def test_minlp(problem: Problem) -> None:
    pytest.importorskip("pyscipopt")
    from benchmarks.formulations.minlp import MinlpModel

    program = natural_program(problem)
    network = design(problem, CpSat(workers=1, deterministic_limit=20.0, gap=0.0)).architecture
    assert network is not None
    built = MinlpModel(program)
    chosen = {"stem": network.stem.out}
    for place, stage in enumerate(network.stages):
        chosen |= {f"{name}{place}": getattr(stage, name) for name in FIELDS}
    for name, (variable, low, step) in built.steps.items():
        built.model.fixVar(variable, (chosen[name] - low) // step)
    built.model.hideOutput()
    built.model.optimize()
    assert built.model.getStatus() == "optimal"
    assert built.model.getObjVal() == pytest.approx(count(problem).best(problem), rel=1e-6)
