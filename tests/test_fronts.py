"""Fronts: non-dominated sorting against DEAP's, and NSGA-II against the fronts of small spaces; the command line."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from deap import base
from deap.tools import emo

from deepmad.cli.app import run
from deepmad.cli.fronts import _tell
from deepmad.cli.schema import schema_of
from deepmad.engine.answers.progress import Progress
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.nondominated import crowding, fronts, hypervolume
from deepmad.engine.solvers.evolution.solving import evolve
from deepmad.engine.solvers.fronts.curves import lowest
from deepmad.engine.solvers.fronts.finding import COSTS, FrontInterrupted, pareto_front
from deepmad.engine.solvers.fronts.front import Front
from deepmad.engine.solvers.fronts.pictures import BOUNDS, NETWORKS
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import load_space, parse_space
from tests.brute_force import Counted, count
from tests.catalogue import EXAMPLES, StairTable, small_space

SMALL = str(EXAMPLES / "small.yaml")
QUICK = Evolution(generations=60, population=100, workers=1)


class Fitness(base.Fitness):  # type: ignore[misc]
    """DEAP's fitness of a high objective and a low cost."""

    weights = (1.0, -1.0)


class Individual:
    """What DEAP sorts: anything with a fitness."""

    def __init__(self, row: int, value: float, used: float) -> None:
        self.row, self.fitness = row, Fitness((value, used))


@pytest.mark.parametrize("seed", range(4))
def test_fronts_and_crowding_are_those_of_deap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, used = rng.random(120), rng.permutation(120) / (1 + seed)
    if seed % 2:
        values = values + 0.02 * used  # a long first front
    individuals = [Individual(*each) for each in zip(range(120), values.tolist(), used.tolist(), strict=True)]
    theirs = emo.sortNondominated(individuals, 120)
    ours = list(fronts(values, used))
    assert [sorted(front.tolist()) for front in ours] == [sorted(one.row for one in front) for front in theirs]
    for front, same in zip(ours, theirs, strict=True):
        emo.assignCrowdingDist(same)
        distances = {one.row: 2 * one.fitness.crowding_dist for one in same}  # theirs are means over the objectives
        assert crowding(values[front], used[front]) == pytest.approx([distances[row] for row in front.tolist()])


def test_of_equal_networks_each_stands_in_a_front_of_its_own() -> None:
    values, used = np.array([1.0, 2.0, 1.0, 2.0]), np.array([5.0, 5.0, 4.0, 5.0])
    assert [front.tolist() for front in fronts(values, used)] == [[2, 1], [3], [0]]


def test_the_hypervolume_is_the_area_of_the_stairs() -> None:
    values, used = np.array([3.0, 1.0, 2.0, 0.5]), np.array([4.0, 1.0, 2.0, 9.0])
    assert hypervolume(values, used, (0.0, 5.0)) == 1 * 1 + 2 * 2 + 3 * 1
    assert hypervolume(values, used, (2.5, 4.5)) == 0.5 * 0.5
    assert hypervolume(values, used, (3.0, 9.0)) == 0


def problem_of(**limits: float | None) -> Problem:
    space = small_space()
    space = replace(space, stem=replace(space.stem, out=(16,)))
    return Problem(space, replace(Budget.of(space), **limits), StairTable())


@pytest.fixture(scope="module")
def counted() -> Counted:
    """Every network of the space."""
    return count(problem_of())


@pytest.mark.parametrize("against", COSTS)
def test_a_front_comes_near_the_one_of_all_networks(against: str, counted: Counted) -> None:
    problem = problem_of(latency=0.0006)
    front = pareto_front(problem, against, QUICK, bounds=3)
    feasible = counted.feasible(problem)
    values, used = counted.objectives["paper"][feasible], counted.used[against][feasible].astype(float)
    first = next(fronts(values, used))
    best = dict(zip(used[first].tolist(), values[first].tolist(), strict=True))
    objectives = [point.objective for point in front.points]
    assert objectives == sorted(set(objectives))
    assert [point.used for point in front.points] == sorted({point.used for point in front.points})
    bounds = [point.bound for point in front.points if point.bound is not None]
    assert len(bounds) == len(front.points)
    assert bounds == sorted(bounds)
    assert (values <= lowest(front.bounds, used) + 1e-9 * np.abs(values)).all()
    assert front.gap is not None
    for point in front.points:
        assert point.bound is not None
        assert point.objective <= point.bound
        assert problem.broken(point.architecture) == []
        assert point.objective == problem.value(point.architecture)
        highest = max(value for cost, value in best.items() if cost <= point.used)
        assert point.objective <= highest + 1e-9 * abs(highest)
    reference = (float(values[first].min()) - 1.0, 1.01 * float(used[first].max()))
    assert front.hypervolume(reference) >= 0.99 * hypervolume(values, used, reference)


def test_a_front_does_not_depend_on_workers_and_goes_on(tmp_path: Path) -> None:
    settings = Evolution(generations=20, population=40, seed=2)
    one = pareto_front(problem_of(), "macs", replace(settings, workers=1), bounds=2)
    two = pareto_front(problem_of(), "macs", replace(settings, workers=2), bounds=2)
    half = replace(settings, generations=10, workers=1, checkpoint=tmp_path / "front.json")
    pareto_front(problem_of(), "macs", half, bounds=0)
    resumed = pareto_front(problem_of(), "macs", replace(half, generations=20), bounds=2)
    assert one.points == two.points == resumed.points
    assert one.bounds == two.bounds == resumed.bounds
    with pytest.raises(InputError, match=r"another against \('macs', now params\)"):
        pareto_front(problem_of(), "params", half)


def test_a_front_of_limits_that_cannot_be_met_is_empty() -> None:
    front = pareto_front(problem_of(macs=1000.0), "params", replace(QUICK, generations=5))
    assert front.points == ()
    assert front.bounds == ()
    assert front.gap is None
    assert front.hypervolume((0.0, 1e9)) == 0


def test_an_interrupt_brings_the_front_so_far() -> None:
    def stop(progress: Progress) -> None:
        if progress.best is not None:
            raise KeyboardInterrupt

    with pytest.raises(FrontInterrupted) as caught:
        pareto_front(problem_of(), "macs", QUICK, report=stop)
    assert caught.value.front.points


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_while_bounds_are_proven_keeps_those_so_far(workers: int) -> None:
    told: list[str] = []

    def stop(progress: Progress) -> None:
        told.append(progress.doing)
        if sum(doing.startswith("bounding") for doing in told) == 1:
            raise KeyboardInterrupt

    settings = Evolution(time_limit=600, population=100, workers=workers)
    with pytest.raises(FrontInterrupted) as caught:
        pareto_front(problem_of(), "macs", replace(settings, generations=20), bounds=2, report=stop)
    front = caught.value.front
    assert front.points
    assert front.bounds
    assert all(point.bound is not None and point.bound >= point.objective for point in front.points)


def test_a_front_of_a_large_space_ends_in_time_with_the_bounds_proven_by_then() -> None:
    """Its networks and bounds agree, whatever the time sufficed for; without bounds there are networks alone."""
    space = load_space("mbv2")
    problem, settings = Problem(space, Budget.of(space)), Evolution(time_limit=6, workers=1, population=100)
    front = pareto_front(problem, "macs", settings, bounds=3)
    assert front.points
    assert front.seconds >= 6  # what the sweep leaves of the time is used too
    for point in front.points:
        assert point.bound is None or point.bound >= point.objective
    assert front.solver == settings.info
    assert pareto_front(problem, "macs", replace(settings, time_limit=2), bounds=0).bounds == ()


def test_an_interrupt_before_any_network_brings_an_empty_front() -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(FrontInterrupted) as caught:
        pareto_front(problem_of(), "macs", QUICK, report=stop)
    assert caught.value.front.points == ()


ONE = """
format: deepmad/space@1
name: one
resolution: 32
stem: {out: 8}
stages: [{block: basic, stride: 2, out: 16, width: 16, kernel: 3, depth: 2}]
"""


def test_a_space_of_one_network_has_a_front_of_one() -> None:
    problem = Problem(parse_space(ONE, "one"), Budget(), StairTable())
    settings = replace(QUICK, generations=20)
    network = evolve(problem, settings).architecture
    assert network is not None
    front = pareto_front(problem, "latency_seconds", settings)
    (point,) = front.points
    assert point.bound == pytest.approx(point.objective, rel=1e-6)
    assert front.gap is None
    assert point.architecture.stages == network.stages


def test_misuse_is_told() -> None:
    with pytest.raises(InputError, match="against: 'joules' is unknown; choose from macs, params"):
        pareto_front(problem_of(), "joules", QUICK)
    with pytest.raises(InputError, match=r"bounds: 1\.5 is no whole number; 20 are usual"):
        pareto_front(problem_of(), "macs", QUICK, bounds=1.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs a latency table"):
        pareto_front(replace(problem_of(), table=None), "latency_seconds", QUICK)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


EVOLVING = ["--generations", "20", "--population", "60", "--workers", "1"]


def test_the_command_writes_a_front_and_its_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "front.csv"
    assert run(["design", SMALL, "--front", "macs", "--bounds", "3", "-o", str(path), "--json", *EVOLVING]) == 0
    told = capsys.readouterr()
    document: dict[str, Any] = json.loads(told.out)
    assert f"area between networks and bounds: {document['gap']:.2%}" in told.err
    assert 2 <= len(document["bounds"]) <= 4
    assert document["bounds"][-1]["limit"] == 20e6
    rows = rows_of(path)
    assert len(rows) == len(document["points"]) > 3
    for row, point in zip(rows, document["points"], strict=True):
        assert float(row["objective"]) == point["objective"]
        assert float(row["bound"]) == point["bound"] >= point["objective"]
        assert float(row["macs"]) == point["used"]
        assert Architecture.from_dict(json.loads(row["architecture"])) == Architecture.from_dict(point["architecture"])
    picture = (tmp_path / "front.svg").read_text(encoding="utf-8")
    assert picture.startswith("<?xml")
    assert NETWORKS in picture
    assert BOUNDS in picture
    assert run(["design", SMALL, "--front", "memory", "--bounds", "0", *EVOLVING, "-o", str(path)]) == 0
    told = capsys.readouterr()
    assert "memory_bytes" in told.out
    assert "area" not in told.err
    assert {row["bound"] for row in rows_of(path)} == {""}
    assert BOUNDS not in (tmp_path / "front.svg").read_text(encoding="utf-8")


def test_a_front_whose_file_cannot_be_written_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    front = pareto_front(problem_of(), "macs", replace(QUICK, generations=10), bounds=0)
    assert front.points
    for as_json, expected in (
        (True, json.dumps(front.to_dict(), indent=1)),
        (False, f"{front.points[0].objective:,.1f}"),
    ):
        with pytest.raises(InputError, match="cannot write there"):
            _tell(front, tmp_path / "file" / "front.csv", as_json)
        assert expected in capsys.readouterr().out


def test_the_command_designs_by_evolution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = ["--checkpoint", str(tmp_path / "state.json"), "--islands", "1"]
    assert run(["design", SMALL, "--solver", "evolution", "--json", *EVOLVING, *checkpoint]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    jsonschema.validate(document, schema_of("solution"))
    assert document["status"] == "feasible"
    assert document["solver"]["name"] == "evolution"
    assert "no bound" in told.err
    assert (tmp_path / "state.json").exists()
    assert run(["design", SMALL, "--solver", "evolution", "--macs", "1000", *EVOLVING]) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--generations", "5"], "--generations: it needs --solver evolution"),
        (["--solver", "cpsat", "--islands", "2"], "--islands: it needs --solver evolution"),
        (["--solver", "cpsat", "--front", "macs"], "--front: it needs --solver evolution"),
        (["--bounds", "3"], "--bounds: it is for --front"),
        (["--front", "macs", "--bounds", "-1"], "--bounds"),
        (["--front", "macs", "--top", "2"], "--front: it gives many networks"),
        (
            ["--front", "macs", "-o", "front.json"],
            "which is no .json file; name it front.csv",
        ),
        (["--solver", "evolution", "--explain"], "need a bound"),
        (["--solver", "evolution", "--deterministic-limit", "1"], "--deterministic-limit"),
        (["--solver", "evolution", "--measure", "--checkpoint", "x.json"], "--checkpoint"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", SMALL, *options]) == 2
    assert words in capsys.readouterr().err


def test_an_empty_front_can_be_told(tmp_path: Path) -> None:
    settings = replace(QUICK, generations=1)
    front = Front("macs", (), settings.info, 1.0)
    front.to_csv(tmp_path / "empty.csv")
    assert rows_of(tmp_path / "empty.csv") == []
    assert front.to_dict()["points"] == []
