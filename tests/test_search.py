"""The quick search finds the optimum of small spaces, good networks in large ones, and only feasible networks."""

from dataclasses import replace

import numpy as np
import pytest

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search import SMALL_SPACE, search
from deepmad.engine.solvers.search.descent import descend, neighbourhood
from deepmad.engine.solvers.search.frames import neighbours
from deepmad.engine.solvers.search.relaxed import Relaxation
from deepmad.engine.solvers.search.repair import Repair
from deepmad.engine.solvers.search.trials import Best, Trials
from deepmad.engine.solvers.search.variation import random_genomes, varied
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import Space, load_space, parse_space, presets
from tests.brute_force import Counted, count
from tests.catalogue import GOLDEN, StairTable, published, small_space

MEDIUM = """
format: deepmad/space@1
name: medium
resolution: 32
stem: {out: [8, 16, 24]}
stages:
  - {block: bottleneck, stride: 2,
     out: {min: 16, max: 64}, width: {min: 8, max: 32}, kernel: [3, 5], depth: {min: 1, max: 5}}
  - {block: [mbconv, mbconv_se], stride: 1, out: {min: 32, max: 88},
     expansion: [3, 6], kernel: [3, 5], depth: {min: 1, max: 6}}
tail: null
classes: 10
rules: {non_decreasing: true, growth: 4, width_ratio: {min: 0.2, max: 1}}
"""


def medium_space() -> Space:
    return parse_space(MEDIUM, "medium")


def value_of(problem: Problem, network: Architecture | None) -> float | None:
    if network is None:
        return None
    assert problem.broken(network) == []
    return problem.value(network)


@pytest.fixture(scope="module")
def counted() -> Counted:
    """Every network of the medium space, which is too large to be looked through."""
    problem = Problem(medium_space(), Budget(), table=StairTable())
    assert problem.space.size() > SMALL_SPACE
    return count(problem)


BUDGETS = {
    "counts": Budget(macs=20e6, params=300e3, rho=0.3),
    "latency": Budget(latency=0.0007, rho=0.5),
    "memory": Budget(memory=60e3, params=150e3, rho=0.4),
    "all": Budget(macs=15e6, params=200e3, rho=0.3, throughput=1500.0, memory=90e3),
}


@pytest.mark.parametrize("limits", BUDGETS)
def test_it_reaches_the_optimum_of_an_enumerated_space(limits: str, counted: Counted) -> None:
    problem = Problem(medium_space(), BUDGETS[limits], table=StairTable())
    found = value_of(problem, search(problem, seed=0, rounds=1))
    assert found == pytest.approx(counted.best(problem), rel=1e-9)


@pytest.mark.parametrize("limits", BUDGETS)
def test_a_small_space_is_looked_through(limits: str) -> None:
    problem = Problem(small_space(), BUDGETS[limits], table=StairTable(), objective="reference")
    problem = replace(problem, space=replace(problem.space, stem=replace(problem.space.stem, out=(16,))))
    assert problem.space.size() <= SMALL_SPACE
    found = value_of(problem, search(problem, seed=0, rounds=1))
    assert found == pytest.approx(count(problem).best(problem), rel=1e-9)


def test_a_space_of_one_network() -> None:
    text = "{block: basic, stride: 2, out: 16, width: 16, kernel: 3, depth: 2}"
    space = parse_space(
        f"format: deepmad/space@1\nname: one\nresolution: 32\nstem: {{out: 8}}\nstages: [{text}]", "one"
    )
    network = search(Problem(space, Budget()), seed=0, seconds=5)
    assert network is not None
    assert space.violations(network) == []
    assert search(Problem(space, Budget()), seed=0, seconds=1e-9) == network  # however little time there is
    assert search(Problem(space, Budget(macs=1.0)), seed=0, seconds=5) is None


def test_choices_of_one_value_in_a_large_space() -> None:
    space = load_space("r18")
    fixed = [replace(stage, kernel=(3,), depth=(2,)) for stage in space.stages]
    problem = Problem(replace(space, stages=tuple(fixed)), Budget.of(space), objective="reference")
    assert value_of(problem, search(problem, seed=0, seconds=1)) is not None


def test_the_same_rounds_give_the_same_answer() -> None:
    problem = Problem(medium_space(), BUDGETS["counts"], table=StairTable())
    traces: tuple[list[tuple[Architecture, float]], ...] = ([], [])
    for trace in traces:
        search(problem, seed=3, rounds=1, on_better=lambda *better, to=trace: to.append(better))
    assert traces[0] == traces[1]


def test_limits_that_cannot_be_met() -> None:
    assert search(Problem(load_space("r50"), Budget(macs=1e6)), seed=0, seconds=0.5) is None
    assert search(Problem(medium_space(), Budget(rho=1e-4)), seed=0, rounds=1) is None


def test_rules_that_cannot_be_kept() -> None:
    space = load_space("r18")
    stages = (replace(space.stages[0], out=(512,)), *space.stages[1:])
    assert search(Problem(replace(space, stages=stages), Budget()), seed=0, seconds=5) is None


@pytest.mark.parametrize("name", presets())
def test_presets_give_only_feasible_networks_each_better(name: str) -> None:
    problem = Problem(load_space(name), Budget.of(load_space(name)))
    met: list[tuple[Architecture, float]] = []
    network = search(problem, seed=1, seconds=0.5, on_better=lambda *better: met.append(better))
    assert network is not None
    assert network == met[-1][0]
    values = [value for _, value in met]
    assert values == sorted(set(values))
    for better, value in met:
        assert value == pytest.approx(value_of(problem, better), rel=1e-12)


def test_it_beats_the_published_structure() -> None:
    space = load_space("50m")
    problem = Problem(space, Budget.of(space), objective="reference")
    found = value_of(problem, search(problem, seed=0, rounds=1))
    assert found is not None
    assert found > GOLDEN["50m"]["expect"]["objective_reference"]


def test_starts_are_repaired_and_kept() -> None:
    space = load_space("r50")
    problem = Problem(space, Budget.of(space), objective="reference", classes=0)
    first = search(problem, seed=0, seconds=1)
    assert first is not None
    again = value_of(problem, search(problem, seed=1, seconds=1e-9, starts=[published("r50"), first]))
    assert again is not None
    assert again >= problem.value(first)


@pytest.mark.parametrize("factor", [1.1, 3.0])
def test_tighter_latency_gives_feasible_local_optima(factor: float) -> None:
    free = Problem(medium_space(), BUDGETS["counts"], table=StairTable())
    best = search(free, seed=0, rounds=1)
    assert best is not None
    problem = replace(free, budget=replace(free.budget, latency=free.predicted_seconds(best) / factor))
    network = search(problem, seed=0, rounds=1)
    value = value_of(problem, network)
    assert network is not None
    assert value is not None
    assert value <= free.value(best)
    evaluator = Evaluator(problem)
    trials = Trials(problem, evaluator, Repair(evaluator.coding), Best())
    start = trials(evaluator.coding.nearest(network)[None])
    around = neighbourhood(evaluator.coding, np.random.default_rng(9))
    assert descend(trials, around, start, deep=True).score == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", [*presets(), "medium"])
def test_repair_keeps_members_and_mends_the_rest(name: str) -> None:
    coding = Coding(medium_space() if name == "medium" else load_space(name))
    rng, repair = np.random.default_rng(0), Repair(coding)
    mended = repair(varied(coding, rng, random_genomes(coding, rng, 500)))
    assert not coding.broken_rules(mended).any()
    assert (repair(mended) == mended).all()
    assert coding.space.violations(coding.architecture(mended[0])) == []


def test_misuse_is_told() -> None:
    problem = Problem(load_space("r18"), Budget())
    other = search(Problem(small_space(), Budget()), seed=0, seconds=1)
    assert other is not None
    with pytest.raises(InputError, match="neither seconds nor rounds"):
        search(problem, seed=0)
    with pytest.raises(InputError, match="give as many"):
        search(problem, seed=0, rounds=1, starts=[published("50m"), other])


def frame(coding: Coding, depths: list[int]) -> Genomes:
    """Return a frame of these depths with the largest kernels."""
    genome = np.zeros(len(coding.sizes), dtype=np.intp)
    genome[coding.genes("depth")] = np.array(depths) - 1
    genome[coding.genes("kernel")] = coding.sizes[coding.genes("kernel")] - 1
    return genome


FRAMES = [
    ("b0", [1, 1, 1, 1, 1, 5, 6], 10_896.18),
    ("b0", [1, 1, 1, 4, 3, 2, 3], 10_527.91),
    ("29m-224", [1, 1, 6, 10, 8], 20_569.25),
    ("29m-224", [1, 2, 9, 8, 5], 20_442.66),
]
"""Depths, and the objective of the best network known to have them."""


@pytest.mark.parametrize(("name", "depths", "best"), FRAMES)
def test_relaxed_frames_are_worth_what_their_networks_are(name: str, depths: list[int], best: float) -> None:
    space = load_space(name)
    evaluator = Evaluator(Problem(space, Budget.of(space), objective="reference"))
    frames = frame(evaluator.coding, depths)[None]
    coarse = Relaxation(evaluator)(frames)
    assert coarse.values[0] == pytest.approx(best, rel=0.02)
    fine = Relaxation(evaluator, coarse.middle(0))(frames, coarse.prices)
    assert fine.values[0] == pytest.approx(best, rel=0.002)


def test_relaxed_networks_keep_their_frames() -> None:
    coding = Coding(medium_space())
    evaluator = Evaluator(Problem(medium_space(), BUDGETS["all"], table=StairTable()))
    genome = Repair(coding)(random_genomes(coding, np.random.default_rng(0), 50))[7]
    kept = [gene for name in ("depth", "kernel", "block") for gene in coding.genes(name)]
    frames = neighbours(coding, genome)
    assert len(np.unique(frames, axis=0)) == len(frames)
    for pinned in (False, True):
        found = Relaxation(evaluator, genome, pinned=pinned)(frames)
        assert np.isfinite(found.values).all()
        for tries in found.tries:
            assert (tries[:, kept] == frames[:, kept]).all()
            assert ((tries >= 0) & (tries < coding.sizes)).all()
            assert not coding.broken_rules(tries).any()
