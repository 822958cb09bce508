"""Several latency tables in one problem: a limit on latency holds on every device."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.latency import LatencyModel
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import tighten
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.errors import InputError
from tests.brute_force import count
from tests.catalogue import StairTable, small_space

# One device is slow in every layer, the other where channels are few more than a whole group.
SLOW_LAYERS = StairTable(layer_nanoseconds=4_000, group=8)
WIDE_GROUPS = StairTable(layer_nanoseconds=500, group=32, precision="fp16")
LIMITS = Budget(macs=1e7, latency=150e-6)


def problem(*tables: LatencyModel) -> Problem:
    return Problem(small_space(), LIMITS, table=tables)


def test_the_optimum_keeps_the_limit_on_every_device_and_costs_objective() -> None:
    both = problem(SLOW_LAYERS, WIDE_GROUPS)
    solution = design(both, CpSat(workers=1, deterministic_limit=20.0, gap=0.0))
    network = solution.architecture
    assert network is not None
    for table in both.tables:
        assert problem(table).broken(network) == []
    optimum = count(both).best(both)
    assert optimum is not None
    assert solution.objective == pytest.approx(optimum, rel=1e-9)
    assert solution.bound == pytest.approx(optimum, rel=1e-6)
    for table in both.tables:  # neither limit alone gives the same: both bind
        alone = problem(table)
        best = count(alone).best(alone)
        assert best is not None
        assert best > optimum * 1.001


def test_the_bound_counts_every_device() -> None:
    both = problem(SLOW_LAYERS, WIDE_GROUPS)
    optimum = count(both).best(both)
    assert optimum is not None
    bounds = [step.bound for step in itertools.islice(tighten(both, lambda: optimum), 400)]
    assert min(bounds) >= optimum * (1 - 1e-9)
    assert bounds[-1] == pytest.approx(optimum, rel=1e-3)


def test_the_usage_is_that_of_the_slowest_device() -> None:
    both = problem(SLOW_LAYERS, WIDE_GROUPS)
    evaluator = Evaluator(both)
    sizes = evaluator.coding.sizes
    genomes = np.random.default_rng(0).integers(sizes, size=(50, len(sizes)))
    used = evaluator.evaluate(genomes).used["latency_seconds"]
    slowest = set()
    for genome, seconds in zip(genomes, used, strict=True):
        network = evaluator.coding.architecture(genome)
        each = [problem(table).predicted_seconds(network) for table in both.tables]
        slowest.add(each.index(max(each)))
        assert seconds == max(each) == both.predicted_seconds(network)
        assert both.usages(network)["latency_seconds"].used == max(each)
    assert slowest == {0, 1}


def test_a_memory_limit_counts_the_widest_precision() -> None:
    assert problem(WIDE_GROUPS).precision == "fp16"
    assert problem(WIDE_GROUPS, SLOW_LAYERS).precision == "fp32"


def test_tables_of_different_batches_are_refused() -> None:
    with pytest.raises(InputError, match="batches 1 and 8 differ"):
        problem(SLOW_LAYERS, replace(WIDE_GROUPS, batch=8))
