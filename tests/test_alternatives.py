"""Alternatives: the greedy best ones on small spaces, different and near the best on large ones, and FILE#3."""

import itertools
import json
import math
import time
from dataclasses import astuple
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from deepmad.cli.schema import schema_of
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.alternatives import (
    Apart,
    _Archive,
    _chosen,
    _Effort,
    _searched,
    different,
    with_alternatives,
)
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.coarsening import coarsened
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import load_space, parse_space
from tests.catalogue import EXAMPLES, StairTable

EXACT = CpSat(workers=1, time_limit=60.0, gap=0.08)
TEXT = """
format: deepmad/space@1
name: three
resolution: 32
stem: {out: 16, kernel: 3, stride: 2}
stages:
  - {block: bottleneck, stride: 2, out: [16, 24], width: [8, 16], kernel: [3, 5], depth: [1, 2]}
  - {block: [basic, mbconv_se], stride: 1, out: [24, 40], width: [16, 24], kernel: 3, depth: [1, 2]}
  - {block: mbconv, stride: 2, out: [40, 64], expansion: [3, 3.05], kernel: [3, 5], depth: [2, 3]}
classes: 10
"""


def three(gap_budget: float = 3e6) -> Problem:
    return Problem(parse_space(TEXT, "three"), Budget(macs=gap_budget), StairTable())


@cache
def feasible() -> list[tuple[float, Architecture]]:
    """Return every feasible network of the space with its objective, best first, by plain enumeration."""
    problem = three()
    space, rows = problem.space, []
    for stage in space.stages:
        choices = itertools.product(stage.block, stage.out, stage.kernel, stage.depth)
        rows.append([
            Stage(block, out, width, kernel, depth, stage.stride)
            for block, out, kernel, depth in choices
            for width in stage.widths(out)
        ])  # fmt: skip
    networks = (Architecture(32, Stem(16), stages, None, 10) for stages in itertools.product(*rows))
    kept = [(problem.value(network), network) for network in networks if not problem.broken(network)]
    return sorted(kept, key=lambda pair: pair[0], reverse=True)


def all_networks(solution: Solution) -> list[Architecture]:
    assert solution.architecture is not None
    return [solution.architecture, *(other.architecture for other in solution.alternatives or ())]


def test_small_spaces_give_the_best_next_one_each_time() -> None:
    problem = three()
    solution = with_alternatives(problem, design(problem, EXACT), 6, EXACT, seconds=120)
    greedy: list[tuple[float, Architecture]] = []
    for value, network in feasible():
        if all(different(network, other) for _, other in greedy) and value >= 0.92 * feasible()[0][0]:
            greedy.append((value, network))
    assert len(greedy) >= 6
    found = [problem.value(network) for network in all_networks(solution)]
    assert found == pytest.approx([value for value, _ in greedy[:6]], rel=1e-6)
    for one, other in itertools.combinations(all_networks(solution), 2):
        assert different(one, other)


def test_where_there_are_no_more_it_is_said() -> None:
    problem, narrow = three(), CpSat(workers=1, time_limit=60.0, gap=1e-4)
    solution = with_alternatives(problem, design(problem, narrow), 4, narrow, seconds=60)
    assert solution.alternatives == ()
    assert "1 of 4 networks" in solution.message
    assert "there are no more" in solution.message


def test_large_spaces_give_different_networks_within_the_gap() -> None:
    space = coarsened(load_space("r18"), 32)
    problem = Problem(space, Budget.of(space))
    settings = CpSat(workers=1, deterministic_limit=0.1, gap=0.05)
    solution = with_alternatives(problem, design(problem, settings), 4, settings, seconds=4)
    networks = all_networks(solution)
    assert len(networks) == 4
    values = [problem.value(network) for network in networks]
    assert values == sorted(values, reverse=True)
    assert values[-1] >= 0.95 * values[0]
    for one, other in itertools.combinations(networks, 2):
        assert different(one, other)
    assert all(problem.broken(network) == [] for network in networks)


def test_the_file_keeps_them_and_each_has_its_number(tmp_path: Path) -> None:
    problem = three()
    solution = with_alternatives(problem, design(problem, EXACT), 3, EXACT, seconds=60)
    path = tmp_path / "solution.json"
    solution.save(path)
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema_of("solution"))
    assert Solution.load(path) == solution
    networks = all_networks(solution)
    for rank, network in enumerate(networks, start=1):
        assert Architecture.load(f"{path}#{rank}") == network
        ranked = Solution.load(f"{path}#{rank}")
        assert ranked.architecture == network
        assert ranked.objective == pytest.approx(problem.value(network), rel=1e-12)
    for rank in (0, 4):
        for load in (Architecture.load, Solution.load):
            with pytest.raises(InputError, match=f"there is no #{rank}; the file holds 3 networks"):
                load(f"{path}#{rank}")
    with pytest.raises(InputError, match="the file holds one network"):
        Architecture.load(f"{EXAMPLES / 'deepmad-r50.json'}#2")
    marked = tmp_path / "net#3"  # a file may be called so
    marked.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert Architecture.load(marked) == networks[0]


def test_a_search_adds_to_the_networks_that_are_proven() -> None:
    problem = three()
    best = feasible()[0][1]
    second = next(network for _, network in feasible() if different(network, best))
    found = _searched(problem, [best, second], 5, EXACT, _Effort.of(EXACT, 2.0))
    assert found[0] == second
    for one, other in itertools.combinations([best, *found], 2):
        assert different(one, other)
    assert all(problem.value(network) >= 0.92 * feasible()[0][0] for network in found[1:])
    assert 1 < len(found) <= 4


def test_looking_up_what_is_left_tells_the_same_as_comparing_each_with_each() -> None:
    every = [network for _, network in feasible()]
    drawn = np.random.default_rng(0).integers(0, len(every), (20, 40))
    for row in drawn:
        apart, chosen = Apart(), list[Architecture]()
        for network in (every[place] for place in row):
            assert apart.differs(network) == all(different(network, other) for other in chosen)
            if apart.differs(network):
                chosen.append(network)
                apart.add(network)
        assert 1 < len(chosen) < len(row)


def test_new_depths_kernels_and_blocks_come_first() -> None:
    def form(network: Architecture) -> list[tuple[str, int, int]]:
        return [(stage.block, stage.kernel, stage.depth) for stage in network.stages]

    problem, best = three(), feasible()[0][1]
    evaluator = Evaluator(problem)
    archive, sizes = _Archive(evaluator, 0.5 * feasible()[0][0]), evaluator.coding.sizes
    archive.evaluate(np.random.default_rng(0).integers(0, sizes, (5000, len(sizes))))
    found, ranked = list(archive.new_forms_first([best])), list(archive.best_first())
    count = len({str(form(network)) for network in found} - {str(form(best))})
    assert 1 < count < len(found) - 1
    assert len({str(form(network)) for network in (best, *found[:count])}) == count + 1
    assert len(found) == len(ranked)
    assert all(network in ranked for network in found)
    for part in (found[:count], found[count:], ranked):
        values = [problem.value(network) for network in part]
        assert values == pytest.approx(sorted(values, reverse=True), rel=1e-12)


def test_no_network_is_compared_with_each_of_those_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counted(stage: Stage, other: object) -> bool:
        compared.append(1)
        return astuple(stage) == astuple(other)  # type: ignore[call-overload, no-any-return]

    every = [network for _, network in feasible()]
    problem = three()
    monkeypatch.setattr(Stage, "__eq__", counted)
    _chosen(problem, every[:1], every[1:], 10_000, _Effort.of(EXACT, math.inf))
    assert len(compared) < 40 * len(every)


def test_the_clock_is_asked_while_networks_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    every, ticks = [network for _, network in feasible()], itertools.count()
    problem = three()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
    assert len(_chosen(problem, every[:1], every[1:], 10_000, _Effort(6.0, None))) <= 6


def test_the_same_work_gives_the_same_networks_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    space = coarsened(load_space("r18"), 32)
    problem = Problem(space, Budget.of(space))
    settings = CpSat(workers=1, deterministic_limit=0.1, gap=0.05)
    solution = design(problem, settings)
    found = with_alternatives(problem, solution, 4, settings, seconds=1e-9)
    assert found.alternatives
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: 1e3 * next(ticks))
    again = with_alternatives(problem, solution, 4, settings, seconds=1e9)
    assert again.alternatives == found.alternatives
    assert again.seconds > solution.seconds


def test_small_spaces_take_the_same_networks_under_a_limit_on_work() -> None:
    problem, settings = three(), CpSat(workers=1, deterministic_limit=2.0, gap=0.08)
    solution = design(problem, settings)
    found = [with_alternatives(problem, solution, 4, settings, seconds=seconds) for seconds in (1e-9, 1e9)]
    assert found[0].alternatives == found[1].alternatives
    assert len(found[0].alternatives or ()) == 3
