"""Recounts: networks counted together get the very figures that each has alone, in calls that do not grow with them."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.engine.program.problems import Problem
from deepmad.engine.program.recounts import Recount, recounted
from deepmad.engine.solvers.fronts.finding import pareto_front
from deepmad.engine.solvers.population.genomes import Coding
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import Count, Layer
from deepmad.search_spaces.spaces import Space, load_space, parse_space, presets
from tests.catalogue import EXAMPLES, StairTable, one_block

FIVE_KINDS = """
format: deepmad/space@1
name: five kinds
resolution: 32
stem: {out: {min: 8, max: 32}}
stages:
  - {block: [mbconv, bottleneck], stride: 2,
     out: [16, 24, 40], width: {min: 8, max: 48}, kernel: [3, 5], depth: [1, 2, 5]}
  - {block: [mbconv, mbconv_se, basic], stride: 1, out: [16, 24, 40],
     expansion: [0.3, 3, 6], kernel: [3, 5], depth: {min: 1, max: 4}}
tail: {out: 64, kernel: 3}
classes: 10
"""


@dataclass(frozen=True)
class NotingTable(StairTable):
    """A table that notes every layer, or array of layers, that it is asked for."""

    asked: list[Layer] = field(default_factory=list, compare=False)

    def nanoseconds(self, layer: Layer) -> Count:
        """Return what stairs tell, of a layer noted."""
        self.asked.append(layer)
        return super().nanoseconds(layer)


def limited(space: Space, objective: ObjectiveName = "paper", *tables: StairTable) -> Problem:
    """Return a problem with every limit there is, each broken by some networks."""
    budget = Budget(macs=10e6, params=1e6, rho=0.4, latency=0.0005, memory=400e3)
    return Problem(space, budget, tables or (StairTable(batch=4, precision="fp16"),), objective)


def networks_of(space: Space, count: int) -> list[Architecture]:
    """Return random networks of a space, some of which break its rules."""
    coding = Coding(space)
    return coding.architectures(np.random.default_rng(3).integers(0, coding.sizes, (count, len(coding.sizes))))


def alone(problem: Problem, network: Architecture) -> Recount:
    return Recount(problem.value(network), problem.usages(network), problem.broken(network))


def assert_as_alone(problem: Problem, networks: list[Architecture]) -> None:
    """Check every figure to the last digit, and that whole numbers are whole: both are written into files."""
    assert list(map(repr, recounted(problem, networks))) == [repr(alone(problem, network)) for network in networks]


@pytest.mark.parametrize("objective", ["paper", "reference"])
@pytest.mark.parametrize("name", [*presets(), "five kinds"])
def test_networks_together_count_as_each_alone(name: str, objective: ObjectiveName) -> None:
    space = parse_space(FIVE_KINDS, name) if name == "five kinds" else load_space(name)
    assert_as_alone(limited(space, objective), networks_of(space, 60))


def test_the_slowest_of_several_devices_counts() -> None:
    space = parse_space(FIVE_KINDS, "five kinds")
    problem = limited(space, "paper", StairTable(), StairTable(group=8, layer_nanoseconds=9_000))
    assert_as_alone(problem, networks_of(space, 60))


def test_networks_of_other_spaces_are_counted_in_their_order() -> None:
    space = load_space(EXAMPLES / "small.yaml")
    here = networks_of(space, 6)
    first, second = here[0].stages
    strided = replace(here[0], stages=(replace(first, stride=1), replace(second, stride=2)))
    others = [one_block("mbconv"), one_block("basic"), replace(here[0], resolution=64), replace(here[0], classes=0)]
    others += [replace(here[0], stem=replace(here[0].stem, kernel=5)), replace(here[0], in_channels=1)]
    problem = limited(space)
    assert_as_alone(problem, [here[0], strided, here[1], *others, *here[2:]])
    assert recounted(problem, []) == []


def test_a_table_is_asked_as_often_for_many_networks_as_for_one() -> None:
    table = NotingTable()
    space = load_space("r18")
    problem, networks = limited(space, "paper", table), networks_of(space, 500)
    calls = []
    for count in (1, 500):
        table.asked.clear()
        recounted(problem, networks[:count])
        calls.append(len(table.asked))
    assert calls[0] == calls[1] > 0


def test_the_networks_of_a_front_are_counted_at_once(tmp_path: Path) -> None:
    """An evolution that goes on from its end does nothing but tell its front, so what it asks for is the recount."""
    space = load_space(EXAMPLES / "small.yaml")
    sizes, calls = [], []
    for population in (8, 200):
        table = NotingTable()
        problem = Problem(space, Budget.of(space), table)
        path = tmp_path / f"{population}.json"
        solver = Evolution(generations=10, population=population, workers=1, checkpoint=path)
        front = pareto_front(problem, "latency_seconds", solver, bounds=0)
        table.asked.clear()
        assert pareto_front(problem, "latency_seconds", solver, bounds=0).points == front.points
        sizes.append(len(front.points))
        calls.append(len(table.asked))
    assert sizes[1] > sizes[0] + 30
    assert calls[1] < calls[0] + 30  # of another block kind or two, not of every network
