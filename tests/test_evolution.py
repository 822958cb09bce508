"""The evolutionary solver: optima of small problems, the same answer twice, kills, closer looks, and errors."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from deepmad.engine.answers.progress import Interrupted, Progress
from deepmad.engine.answers.solutions import Solution, Status
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.islands import Machine
from deepmad.engine.solvers.evolution.judging import Judged, Verdicts
from deepmad.engine.solvers.evolution.solving import evolve
from deepmad.engine.solvers.search.variation import random_genomes
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.seals import read_sealed, write_sealed
from deepmad.search_spaces.spaces import load_space
from tests.brute_force import count
from tests.catalogue import StairTable, small_space
from tests.random_problems import random_case

TINY = Evolution(generations=60, population=100, workers=1)
CASES, MISSED = 16, 2
"""Random problems, and in how many of them the optimum may be missed."""


def small(**limits: float | None) -> Problem:
    space = small_space()
    return Problem(space, replace(Budget.of(space), **limits), StairTable())


def preset(name: str) -> Problem:
    space = load_space(name)
    return Problem(space, Budget.of(space), objective="reference", classes=0)


def assert_sound(problem: Problem, solution: Solution) -> None:
    """Check that a solution claims what it holds, and no more than an evolution can."""
    assert solution.status in (Status.FEASIBLE, Status.UNKNOWN)
    assert solution.bound is None
    assert solution.gap is None
    assert solution.solver.name == "evolution"
    if solution.status is Status.UNKNOWN:
        assert solution.architecture is None
        return
    assert solution.architecture is not None
    assert problem.broken(solution.architecture) == []
    assert solution.objective == problem.value(solution.architecture)


def test_random_problems_are_mostly_solved_and_never_beaten() -> None:
    random, missed = Random(5), 0
    for _ in range(CASES):
        case = random_case(random)
        solution = design(case.problem, TINY)
        assert_sound(case.problem, solution)
        if case.optimum is None:
            assert solution.status is Status.UNKNOWN
        elif solution.objective is None:
            missed += 1
        else:
            room = 1e-9 * abs(case.optimum)
            assert solution.objective <= case.optimum + room
            missed += solution.objective < case.optimum - room
    assert missed <= MISSED


def test_a_preset_gets_a_good_network() -> None:
    problem = preset("r18")
    solution = evolve(problem, Evolution(generations=50, islands=1))
    assert_sound(problem, solution)
    assert solution.objective is not None
    assert solution.objective > 35_500  # the optimum has 36,555.57


def test_it_starts_from_networks_given() -> None:
    problem = preset("r34")
    first = evolve(problem, Evolution(generations=30, islands=1, seed=3))
    again = evolve(problem, Evolution(generations=1, population=8), starts=[first.architecture or pytest.fail("none")])
    assert first.objective is not None
    assert again.objective is not None
    assert again.objective >= first.objective


def test_limits_or_rules_that_cannot_be_met_are_not_known_to_be() -> None:
    solution = evolve(Problem(load_space("r50"), Budget(macs=1e6)), TINY)
    assert solution.status is Status.UNKNOWN
    assert "60 generations" in solution.message
    assert solution.limits["macs"].used is None
    space = load_space("r18")
    stages = (replace(space.stages[0], out=(512,)), *space.stages[1:])
    solution = evolve(Problem(replace(space, stages=stages), Budget()), TINY)
    assert solution.status is Status.UNKNOWN
    assert "rules" in solution.message


def test_an_interrupt_brings_the_best_so_far() -> None:
    def stop(progress: Progress) -> None:
        if progress.best is not None:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        design(small(), TINY, report=stop)
    assert_sound(small(), caught.value.solution)
    assert caught.value.solution.status is Status.FEASIBLE


def course(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds but for the seconds, and the digest of all."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del document["seconds"], document["digest"]
    return document


def test_workers_do_not_change_the_answer(tmp_path: Path) -> None:
    paths = [tmp_path / f"{workers}.json" for workers in (1, 2)]
    settings = Evolution(generations=25, population=60, islands=3, seed=4)
    found = [
        evolve(preset("r18"), replace(settings, workers=workers, checkpoint=path))
        for workers, path in zip((1, 2), paths, strict=True)
    ]
    assert found[0].architecture == found[1].architecture
    assert course(paths[0]) == course(paths[1])


def test_the_seed_and_the_islands_change_the_course(tmp_path: Path) -> None:
    base = Evolution(generations=10, population=60, workers=1)
    populations = []
    for number, settings in enumerate((base, replace(base, seed=1), replace(base, islands=1))):
        path = tmp_path / f"{number}.json"
        evolve(preset("r18"), replace(settings, checkpoint=path))
        populations.append([island["population"] for island in course(path)["islands"]])
    assert populations[0] != populations[1]
    assert populations[0][0] != populations[0][1]
    assert populations[2] == populations[0][:1]  # the first epoch ends before anything migrates


ENDLESS = """
import sys
from pathlib import Path
from deepmad.engine.solvers.evolution.solving import evolve
from tests.test_evolution import KILLED, small
from dataclasses import replace
evolve(small(), replace(KILLED, generations=10**9, checkpoint=Path(sys.argv[1])))
"""
KILLED = Evolution(generations=1, population=40, islands=2, migration_every=2, seed=9, workers=1)


@pytest.mark.parametrize("epochs", [1, 30])
def test_a_killed_run_goes_on_to_the_same_end(epochs: int, tmp_path: Path) -> None:
    path = tmp_path / "killed.json"
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], cwd=Path(__file__).parents[1]) as running:
        while running.poll() is None and not (path.exists() and len(course(path)["log"]) >= 2 * epochs):
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    done = course(path)["islands"][0]["generation"]
    settings = replace(KILLED, generations=done + 20)
    resumed = evolve(small(), replace(settings, checkpoint=path))
    unbroken = evolve(small(), replace(settings, checkpoint=tmp_path / "unbroken.json"))
    assert resumed.architecture == unbroken.architecture
    assert resumed.objective == unbroken.objective
    assert course(path) == course(tmp_path / "unbroken.json")


def test_seconds_used_before_a_kill_count(tmp_path: Path) -> None:
    path = tmp_path / "late.json"
    first = evolve(small(), replace(TINY, checkpoint=path))
    document = read_sealed(path, "delete it")
    write_sealed(path, document | {"seconds": 1e6})
    again = evolve(small(), Evolution(time_limit=1e5, population=100, workers=1, checkpoint=path))
    assert again.architecture == first.architecture
    assert again.seconds >= 1e6
    assert json.loads(path.read_text(encoding="utf-8"))["log"] == document["log"]


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    settings = Evolution(generations=2, population=20, workers=1, checkpoint=path)
    problem = small(latency=0.001)
    evolve(problem, settings)
    with pytest.raises(InputError, match=r"another seed \(0, now 1\)"):
        evolve(problem, replace(settings, seed=1))
    with pytest.raises(InputError, match=r"another population \(20, now 21\)"):
        evolve(problem, replace(settings, population=21))
    looser = replace(problem, budget=replace(problem.budget, latency=0.002))
    for other in (looser, replace(problem, objective="reference"), replace(problem, table=StairTable(group=8))):
        with pytest.raises(InputError, match="another problem"):
            evolve(other, settings)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["identity"]["version"] = "0.0.1"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match=r"another version \('0\.0\.1'"):
        evolve(problem, settings)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    settings = Evolution(generations=2, population=20, workers=1, checkpoint=path)
    evolve(small(), settings)
    text = path.read_text(encoding="utf-8")
    whole = json.loads(text)
    values: list[Any] = [None, True, "text", -1, 0.5, [], {}, [None]]
    for key in whole:
        others = [{name: value for name, value in whole.items() if name != key}]
        others += [whole | {key: value} for value in values]
        for document in others:
            path.write_text(json.dumps(document), encoding="utf-8")
            with pytest.raises(InputError, match=f"{path}: (damaged|format is|a checkpoint of another)"):
                evolve(small(), settings)
    island = whole["islands"][0]
    far = [[10**6] * len(island["population"][0])]
    changes: list[dict[str, Any]] = [{"generation": 10**9}, {"generator": {}}, {"population": far}]
    for change in changes:
        path.write_text(json.dumps(whole | {"islands": [island | change, *whole["islands"][1:]]}), encoding="utf-8")
        with pytest.raises(InputError, match=r"damaged: .*; delete it to begin anew"):
            evolve(small(), settings)
    for cut in ("", "{", text[: len(text) // 2], "[" * 100_000):
        path.write_text(cut, encoding="utf-8")
        with pytest.raises(InputError, match=r"not JSON|deep"):
            evolve(small(), settings)


class Screening:
    """A closer look that some networks do not pass, and that fails for the first of them."""

    def __init__(self, refused: Sequence[Architecture]) -> None:
        self.refused, self.asked = list(refused), list[Architecture]()

    def __call__(self, networks: Sequence[Architecture]) -> list[float]:
        assert 0 < len(networks) <= 4
        assert not set(networks) & set(self.asked)
        self.asked += networks
        return [self.excess(network) for network in networks]

    def excess(self, network: Architecture) -> float:
        if network not in self.refused:
            return 0.0
        return math.inf if network == self.refused[0] else 0.25


def test_a_network_counts_once_it_has_passed_the_closer_look(tmp_path: Path) -> None:
    space = small_space()
    problem = replace(small(), space=replace(space, stem=replace(space.stem, out=(16,))))
    counted = count(problem)
    values = np.sort(counted.objectives["paper"][counted.feasible(problem)])[::-1]
    refused: list[Architecture] = []
    for place in range(3):
        screening = Screening(refused)
        settings = replace(TINY, checkpoint=tmp_path / f"{place}.json")
        solution = evolve(problem, settings, screen=screening)
        assert solution.objective == pytest.approx(values[place], rel=1e-9)
        assert solution.architecture is not None
        assert set(refused) <= set(screening.asked)
        refused.append(replace(solution.architecture, name=""))
    again = Screening(refused[:2])
    assert evolve(problem, replace(settings, generations=100), screen=again).objective == solution.objective
    assert not set(again.asked) & set(screening.asked)


def test_nothing_that_fails_the_closer_look_is_delivered() -> None:
    def refuse(networks: Sequence[Architecture]) -> list[float]:
        return [math.inf for _ in networks]

    assert evolve(small(), replace(TINY, generations=20), screen=refuse).status is Status.UNKNOWN


def test_the_order_follows_debs_rules() -> None:
    rng = np.random.default_rng(0)
    judged = Judged(
        np.arange(60)[:, None], rng.normal(size=60), np.where(rng.random(60) < 0.5, 0, rng.random(60)), np.zeros(60)
    )
    for better, worse in zip(judged.order[:-1], judged.order[1:], strict=True):
        if judged.excess[better] == 0 == judged.excess[worse]:
            assert judged.values[better] >= judged.values[worse]
        else:
            assert judged.excess[better] <= judged.excess[worse]
            assert judged.feasible[better] or not judged.feasible[worse]


def test_a_judge_agrees_with_the_recount_and_heeds_verdicts() -> None:
    problem = small(latency=0.0003, memory=60e3)
    machine = Machine(problem, 0)
    coding = machine.coding
    judged = machine.judge(Verdicts.none(len(coding.sizes)), None).judged(
        random_genomes(coding, np.random.default_rng(1), 200)
    )
    assert 0 < judged.feasible.sum() < 200
    for row in range(len(judged)):
        network = coding.architecture(judged.genomes[row])
        assert judged.values[row] == pytest.approx(problem.value(network), rel=1e-12)
        assert judged.feasible[row] == (problem.broken(network) == [])
    row = int(np.flatnonzero(judged.feasible)[0])
    verdicts = Verdicts.none(len(coding.sizes)).with_one(judged.genomes[row], 0.5)
    again = machine.judge(verdicts, None).judged(judged.genomes)
    same = (judged.genomes == judged.genomes[row]).all(axis=1)
    assert (again.excess == judged.excess + 0.5 * same).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"time_limit": 0.0}, "time_limit: 0.0"),
        ({"time_limit": None}, "generations"),
        ({"generations": 0}, "generations: 0 is out of range"),
        ({"population": 7}, "population: 7 is out of range"),
        ({"islands": 0}, "islands: 0 is out of range"),
        ({"migration_every": 0}, "migration_every: 0 is out of range"),
        ({"workers": 0}, "workers: 0 is out of range"),
        ({"seed": -1}, "seed: -1 is out of range"),
        ({"on": "moon"}, "on: 'moon' is no place to run; choose local, ray"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Evolution(**{**asdict(Evolution()), **settings})


def test_starts_of_another_space_are_told() -> None:
    with pytest.raises(InputError, match="give as many"):
        evolve(preset("r18"), TINY, starts=[evolve(small(), TINY).architecture or pytest.fail("none")])
