"""Populations agree, number by number, with the same networks counted one by one."""

import time
from dataclasses import replace

import numpy as np
import pytest

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.evaluation import CHUNK, Evaluator
from deepmad.engine.solvers.population.genomes import Coding
from deepmad.search_spaces.layers import Layer
from deepmad.search_spaces.spaces import load_space, parse_space, presets
from tests.catalogue import GOLDEN, StairTable, published
from tests.test_recounts import NotingTable

MIXED = """
format: deepmad/space@1
name: mixed
resolution: 32
stem: {out: {min: 8, max: 32}}
stages:
  - {block: [mbconv, bottleneck], stride: 2,
     out: [16, 24, 40], width: {min: 8, max: 48}, kernel: [3, 5], depth: [1, 2, 5]}
  - {block: [mbconv, mbconv_se, basic], stride: 2, out: {min: 16, max: 96},
     expansion: [0.3, 3, 6], kernel: [3, 5], depth: {min: 1, max: 4}}
  - {block: mbconv_se, stride: 1, out: {min: 32, max: 64, step: 1}, width: 64, kernel: 3, depth: 2}
tail: {out: 64, kernel: 3}
classes: 10
rules: {non_decreasing: true, growth: 2.5, width_ratio: {min: 0.25, max: 1.5}}
limits: {rho: 0.4, macs: 20M, params: 300k}
"""


def space_problem(name: str, objective: ObjectiveName, *, table: bool = True) -> Problem:
    space = parse_space(MIXED, "mixed") if name == "mixed" else load_space(name)
    budget = Budget.of(space)
    if table:
        budget = replace(budget, latency=0.01, memory=1e6)
    return Problem(space, budget, table=StairTable(batch=4, precision="fp16") if table else None, objective=objective)


def assert_agrees(problem: Problem, count: int) -> None:
    evaluator = Evaluator(problem)
    coding = evaluator.coding
    genomes = np.random.default_rng(0).integers(0, coding.sizes, (count, len(coding.sizes)))
    found, rules = evaluator.evaluate(genomes), coding.broken_rules(genomes)
    for row, genome in enumerate(genomes):
        network = coding.architecture(genome)
        assert found.values[row] == pytest.approx(problem.value(network), rel=1e-12)
        usages = problem.usages(network)
        assert found.used.keys() == usages.keys()
        for name, usage in usages.items():
            exact = usage.used if name != "rho" else pytest.approx(usage.used, rel=1e-12)
            assert found.used[name][row] == exact, name
        excess = sum(max(0.0, usage.used / usage.limit - 1) for usage in usages.values())
        assert found.excess[row] == pytest.approx(excess, rel=1e-9, abs=1e-12)
        assert rules[row] == len(problem.space.violations(network))


@pytest.mark.parametrize("objective", ["paper", "reference"])
@pytest.mark.parametrize("name", [*presets(), "mixed"])
def test_a_population_agrees_with_its_networks(name: str, objective: ObjectiveName) -> None:
    assert_agrees(space_problem(name, objective), 100)


def test_it_agrees_without_limits_or_classifier() -> None:
    space = parse_space(MIXED, "mixed")
    assert_agrees(Problem(space, Budget(), classes=0), 50)
    assert_agrees(Problem(replace(space, tail=None), Budget(rho=0.1, macs=1.0), classes=0), 50)


def test_stages_too_large_to_tabulate_are_read_from_their_records() -> None:
    wide = MIXED.replace("{min: 16, max: 96}", "{min: 16, max: 3000, step: 1}").replace(
        "max: 64, step", "max: 4000, step"
    )
    problem = Problem(
        parse_space(wide, "wide"), Budget(macs=1e7, latency=0.01), table=StairTable(batch=4, precision="fp16")
    )
    assert_agrees(problem, 100)


def test_out_of_time_no_table_is_made_and_the_numbers_are_the_same() -> None:
    problem = space_problem("mixed", "paper")
    made, none = Evaluator(problem), Evaluator(problem, time.monotonic() - 1)
    tabulated = [[kind.first is not None for stage in one._kinds for kind in stage] for one in (made, none)]
    assert (all(tabulated[0]), any(tabulated[1])) == (True, False)
    genomes = np.random.default_rng(0).integers(0, made.coding.sizes, (200, len(made.coding.sizes)))
    one, other = made.evaluate(genomes), none.evaluate(genomes)
    assert other.values == pytest.approx(one.values, rel=1e-12)
    assert other.excess == pytest.approx(one.excess, rel=1e-9, abs=1e-12)


def test_chunks_give_what_single_networks_give() -> None:
    evaluator = Evaluator(space_problem("mixed", "paper"))
    sizes = evaluator.coding.sizes
    genomes = np.random.default_rng(1).integers(0, sizes, (CHUNK + 7, len(sizes)))
    whole, last = evaluator.evaluate(genomes), evaluator.evaluate(genomes[-1:])
    assert len(whole.values) == len(genomes)
    assert whole.values[-1] == last.values[0]
    assert whole.excess[-1] == last.excess[0]
    assert len(evaluator.evaluate(genomes[:0]).values) == 0


@pytest.mark.parametrize("name", ["r50", "b0", "mixed"])
def test_a_member_is_its_own_nearest_genome(name: str) -> None:
    coding = Coding(space_problem(name, "paper", table=False).space)
    for genome in np.random.default_rng(2).integers(0, coding.sizes, (50, len(coding.sizes))):
        network = coding.architecture(genome)
        assert coding.architecture(coding.nearest(network)) == network


@pytest.mark.parametrize("name", ["r18", "r50"])
def test_published_structures_score_as_published(name: str) -> None:
    """Every value of theirs is on offer, though some rules of the spaces are broken."""
    network, expected = published(name), GOLDEN[name]["expect"]
    problem = Problem(load_space(name), Budget(macs=1e12, params=1e12), objective="reference")
    evaluator = Evaluator(problem)
    found = evaluator.evaluate(evaluator.coding.nearest(network)[None])
    assert found.values[0] == pytest.approx(expected["objective_reference"], rel=1e-12)
    assert found.used["macs"][0] == expected["macs"]
    assert found.used["params"][0] == expected["params"]


def test_stages_of_the_same_choices_share_tables_and_prices() -> None:
    choices = "out: [16, 24], width: [8, 16], kernel: [3, 5], depth: [1, 2]"
    one = f"  - {{block: [bottleneck, basic, mbconv], stride: 1, {choices}}}\n"

    def asked(stages: int) -> tuple[Evaluator, list[Layer]]:
        start = "format: deepmad/space@1\nname: alike\nresolution: 32\nstem: {out: [16, 24]}\nstages:\n"
        table = NotingTable()
        problem = Problem(parse_space(start + stages * one, "alike"), Budget(latency=1.0), table)
        return Evaluator(problem), table.asked

    (_, few), (evaluator, many) = asked(2), asked(9)
    assert len(few) == len(many)
    kinds = [stage[1] for stage in evaluator._kinds[1:]]
    assert len({id(kind.first) for kind in kinds}) == len({id(kind.later) for kind in kinds}) == 1
    numbers = ("inputs", "outputs", "kernel")
    told = [
        tuple(np.asarray(value).tobytes() if name in numbers else value for name, value in vars(layer).items())
        for layer in many
    ]
    ends = 3  # the stem, the pool and the classifier are not among them
    assert len(told) - len(set(told)) <= ends
