"""Evolutions and rows on a Ray of several machines: the answers of one process, whatever is killed on the way."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from benchmarks.killed_evolutions import Evolving, course, evolved, killed
from benchmarks.ray_cluster import ray_cluster
from benchmarks.zoo_content import content, timeless
from deepmad.cli.app import run
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.solving import evolve
from deepmad.engine.solvers.fronts.finding import pareto_front
from deepmad.engine.solvers.rows import loop
from deepmad.engine.solvers.settings import Evolution, Rows
from deepmad.search_spaces.spaces import load_space
from deepmad.tasks import Outcome, Tasks, open_tasks
from deepmad.zoo.making import make_zoo
from tests.catalogue import EXAMPLES, ROOT, StairTable, small_space
from tests.zoo_parts import spec_of, written

T = TypeVar("T")
R = TypeVar("R")
SMALL = str(EXAMPLES / "small.yaml")
PATIENCE_SECONDS = 300.0
LONGEST_SECONDS = 0.3
"""Most seconds from an epoch or a kill to the next kill."""
FOUR_ISLANDS = Evolution(generations=40, population=60, islands=4, migration_every=5, seed=4, workers=1)


def stairs() -> Problem:
    """Return the small problem under a latency limit, which travels to the workers with its table."""
    space = small_space()
    return Problem(space, replace(Budget.of(space), latency=0.0006), StairTable())


def test_islands_and_calls_of_functions_share_the_cores_of_a_ray(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Ray of the command's own, which has no core to spare for workers that only wait."""
    pytest.importorskip("ray", exc_type=ImportError)
    options = ["--solver", "evolution", "--generations", "10", "--population", "40", "--json"]
    command = ["design", SMALL, "--limit", "tests.functions:width_in_all<=300", *options]
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    on_ray = [sys.executable, "-m", "deepmad", *command, "--on", "ray", "--workers", "1"]
    done = subprocess.run(on_ray, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert run([*command, "--workers", "1"]) == 0
    here, there = json.loads(capsys.readouterr().out), json.loads(done.stdout)
    assert there["architecture"] == here["architecture"]
    assert there["black_boxes"]["tests.functions:width_in_all"]["calls"] >= 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Let this program, and those that it starts, find a Ray of two machines with two cores each."""
    pytest.importorskip("ray", exc_type=ImportError)
    with pytest.MonkeyPatch.context() as patch, ray_cluster(2, 2) as cluster:
        patch.chdir(ROOT)  # from where workers import what the tests send
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Solution, dict[str, Any]]:
    """Return what four islands come to in this process, with their checkpoint."""
    path = tmp_path_factory.mktemp("alone") / "run.json"
    return evolve(stairs(), replace(FOUR_ISLANDS, checkpoint=path)), course(path)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_an_evolution_on_ray_is_the_one_of_this_process(
    workers: int, alone: tuple[Solution, dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "ray.json"
    found = evolve(stairs(), replace(FOUR_ISLANDS, on="ray", workers=workers, checkpoint=path))
    assert found.architecture is not None
    assert (found.architecture, course(path)) == (alone[0].architecture, alone[1])


@pytest.mark.usefixtures("cluster")
def test_a_front_on_ray_is_the_one_of_this_process() -> None:
    here, there = (
        pareto_front(stairs(), "latency_seconds", replace(FOUR_ISLANDS, on=on, workers=workers), bounds=2).points
        for on, workers in (("local", 1), ("ray", 4))
    )
    assert len(here) > 3
    assert here == there


Ends = Callable[[Evolving], tuple[Any, dict[str, Any]]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    """Return what gives the end of an evolution in this process, with its checkpoint; each evolves once."""

    @cache
    def end(evolving: Evolving) -> tuple[Any, dict[str, Any]]:
        path = tmp_path_factory.mktemp("undisturbed") / "run.json"
        return json.loads(json.dumps(evolved(evolving, path))), course(path)

    return end


@pytest.mark.parametrize("towards", ["screened", "front"])
@pytest.mark.parametrize("on", ["local", "ray"])
def test_an_evolution_ends_as_if_neither_a_worker_nor_the_program_had_been_killed(
    on: str, towards: str, undisturbed: Ends, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if on == "ray":
        request.getfixturevalue("cluster")
    evolving, path = Evolving(SMALL, towards, generations=200, population=60, on=on), tmp_path / "killed.json"
    kills, result = killed(evolving, path, ["worker", "program"], LONGEST_SECONDS, np.random.default_rng(0))
    assert [kill["killed"] for kill in kills] == ["worker", "program"]
    expected, expected_course = undisturbed(replace(evolving, on="local", workers=1))
    assert expected
    assert result == expected
    assert course(path) == expected_course


def by_rows(on: str = "local") -> Solution:
    """Return what two workers come to in a fixed amount of work, without the seconds that they took."""
    space = load_space(EXAMPLES / "strides.yaml")
    settings = Rows(gap=0.0, workers=2, deterministic_limit=30.0, on=on)
    found = design(Problem(space, Budget.of(space)), settings)
    assert found.rows
    return replace(found, seconds=0.0, rows=tuple(replace(record, seconds=0.0) for record in found.rows))


class Reversed:
    """Two workers of which the slower one always has the first item: outcomes come last first."""

    workers = 2

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks

    def run(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, Outcome[R]]]:
        """Yield all outcomes, those of the last items first."""
        return reversed(list(self.tasks.run(function, items)))

    def run_in_order(self, function: Callable[[T], R], items: Sequence[T]) -> list[Outcome[R]]:
        """Return all outcomes in the order of the items."""
        return self.tasks.run_in_order(function, items)

    def __enter__(self) -> "Reversed":
        return self

    def __exit__(self, *_: object) -> None:
        self.tasks.close()


@pytest.mark.usefixtures("cluster")
def test_rows_in_a_fixed_amount_of_work_are_the_same_wherever_two_workers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as Ray does in its workers: sums by several threads differ in their last digits
    here = by_rows()
    assert by_rows("ray") == here
    monkeypatch.setattr(loop, "open_tasks", lambda *_: Reversed(open_tasks(workers=2)))
    assert by_rows() == here


@pytest.mark.usefixtures("cluster", "solves_here")
def test_a_zoo_designed_on_ray_is_the_same(small_tables: Path, tmp_path: Path) -> None:
    spec = written(tmp_path, spec_of(small_tables, targets={"relative": [1.5]}))
    here, there = (make_zoo(spec, tmp_path / on, on=on) for on in ("local", "ray"))
    assert timeless(there) == timeless(here)
    assert content(tmp_path / "ray") == content(tmp_path / "local")
