"""Limits that only a function knows: what they may be, how they are called, and what a design makes of them."""

import json
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from torch import nn

from deepmad.cli.schema import schema_of
from deepmad.engine.answers.limit_uses import LimitUse
from deepmad.engine.answers.progress import Interrupted, Progress
from deepmad.engine.answers.solutions import Solution, Status
from deepmad.engine.design import design
from deepmad.engine.explanation import explain
from deepmad.engine.program.black_boxes import BlackBox
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.latency import latency_nanoseconds
from deepmad.engine.program.limits import without_black_boxes
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.alternatives import with_alternatives
from deepmad.engine.solvers.blackbox.calls import Calls, Screen, text
from deepmad.engine.solvers.blackbox.guide import guess, guided
from deepmad.engine.solvers.settings import Auto, CpSat, Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import total_params
from deepmad.tasks import Tasks, open_tasks
from tests.catalogue import StairTable, mixed, one_block, small_space
from tests.functions import width_in_all

FIXED = Auto(workers=1, deterministic_limit=1.0)
CALL_SECONDS = 120.0
"""Time enough for any call that ends at all."""
LIMIT_SECONDS = 10.0
"""A limit for calls that hang; the others need a fraction of it, the start of their process included."""


def problem_with(
    *extra: BlackBox | Callable[..., object], table: StairTable | None = None, **limits: float | None
) -> Problem:
    """Return the small problem under extra limits."""
    space = small_space()
    return Problem(space, replace(Budget.of(space), extra=extra, **limits), table)


def noted(function: Callable[[Architecture], object], folder: Path) -> Callable[[Architecture], object]:
    """Return a function that leaves a file behind for every call."""

    def noting(network: Architecture) -> object:
        folder.mkdir(exist_ok=True)
        (folder / f"{time.time_ns()}-{os.getpid()}").write_text(json.dumps(network.to_dict()), encoding="utf-8")
        return function(network)

    return noting


def networks_called(folder: Path) -> Counter[str]:
    """Return how often each network was called for."""
    return Counter(path.read_text(encoding="utf-8") for path in folder.iterdir()) if folder.exists() else Counter()


@pytest.fixture(scope="module")
def tasks() -> Iterator[Tasks]:
    """Yield two workers for the tests that call functions without a design."""
    with open_tasks(workers=2) as tasks:
        yield tasks


# What a limit may be


def test_a_limit_tells_its_name_and_what_its_function_takes() -> None:
    def of_module(model: nn.Module) -> float:
        return len(list(model.parameters()))

    def of_text(model: "nn.Module") -> float:
        return of_module(model)

    assert BlackBox(width_in_all, 5.0).name == "width_in_all"
    assert BlackBox(width_in_all, 5.0).takes == "architecture"
    assert BlackBox(of_module, 5.0).takes == "module"
    assert BlackBox(of_text, 5.0).takes == "module"
    assert BlackBox(of_text, 5.0, takes="architecture").takes == "architecture"
    assert BlackBox(lambda network: network.classes, 5.0).takes == "architecture"
    assert BlackBox(max, 5.0).takes == "architecture"  # a function that tells nothing of itself


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"function": 5}, "is no function"),
        ({"limit": math.nan}, "must be a finite number"),
        ({"limit": math.inf}, "must be a finite number"),
        ({"limit": True}, "must be a finite number"),
        ({"seconds": 0.0}, "seconds: 0.0 is out of range"),
        ({"takes": "file"}, "choose from architecture, module"),
        ({"at_once": 0}, "at_once: 0 is out of range"),
    ],
)
def test_what_cannot_be_a_limit_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        BlackBox(**{"function": width_in_all, "limit": 1.0, **options})


def test_names_are_told_apart() -> None:
    with pytest.raises(InputError, match="two limits are called width_in_all"):
        Budget(extra=[width_in_all, BlackBox(width_in_all, 5.0)])
    with pytest.raises(InputError, match="two limits are called macs"):
        Budget(extra=[BlackBox(width_in_all, 5.0, name="macs")])
    with pytest.raises(InputError, match="is no list of limits"):
        Budget(extra=width_in_all)
    assert [box.name for box in Budget(extra=[width_in_all, BlackBox(width_in_all, 5.0, "other")]).black_boxes] == [
        "width_in_all",
        "other",
    ]


@pytest.mark.parametrize(
    ("answer", "number"),
    [(3, 3.0), (-0.5, -0.5), (np.float32(2), 2.0), (np.array([4.0]), 4.0), (True, 0.0), (np.bool_(False), 1.0)],
)
def test_numbers_and_truth_values_are_read(answer: object, number: float) -> None:
    assert BlackBox(width_in_all).number(answer) == number


@pytest.mark.parametrize("answer", ["3", None, 1j, np.array([1.0, 2.0]), math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_a_failure(answer: object) -> None:
    with pytest.raises(ValueError, match="it returned"):
        BlackBox(width_in_all).number(answer)


def test_beside_another_limit_a_truth_value_says_nothing() -> None:
    with pytest.raises(ValueError, match="it returned True; to keep a limit of 5"):
        BlackBox(width_in_all, 5.0).number(True)


def test_the_excess_is_relative() -> None:
    assert BlackBox(width_in_all, 4.0).excess(5.0) == pytest.approx(0.25)
    assert BlackBox(width_in_all, -4.0).excess(-3.0) == pytest.approx(0.25)
    assert BlackBox(width_in_all, 4.0).excess(4.0) == 0
    assert BlackBox(width_in_all, 0.0).excess(1.0) == 1.0


def test_a_network_not_called_for_is_not_feasible() -> None:
    problem, network = problem_with(BlackBox(width_in_all, 1e9)), design(problem_with(), FIXED).architecture
    assert network is not None
    assert problem.broken(network) == ["width_in_all is not known"]
    assert problem.broken(network, {"width_in_all": 1e9}) == []
    assert problem.broken(network, {"width_in_all": 2e9}) == ["width_in_all is 2000000000, above 1000000000"]
    assert without_black_boxes(problem).broken(network) == []


# Calls


def test_whatever_a_call_does_costs_that_network_only(tasks: Tasks) -> None:
    """A crash, an exception, NaN, no number at all, a hang: each is a failure with its reason."""

    def misbehave(network: Architecture) -> object:
        if network.classes == 1:
            raise ValueError("no such kernel\nand more")
        if network.classes == 2:
            return math.nan
        if network.classes == 3:
            return "fast"
        if network.classes == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        if network.classes == 5:
            time.sleep(60)
        return network.classes

    box = BlackBox(misbehave, 100.0, "odd", seconds=LIMIT_SECONDS)
    networks = [replace(one_block("basic"), classes=classes) for classes in (7, 1, 2, 3, 4, 5, 8)]
    calls = Calls([box], tasks)
    outcomes = [found["odd"] for found in calls(networks)]
    values = [getattr(outcome, "value", None) for outcome in outcomes]
    assert values == [7.0, None, None, None, None, None, 8.0]
    reasons = [getattr(outcome, "reason", "") for outcome in outcomes]
    assert reasons[1] == "no such kernel"
    assert reasons[2] == "it returned nan"
    assert reasons[3] == "it returned str, not a number"
    assert "SIGKILL" in reasons[4]
    assert f"longer than {LIMIT_SECONDS:g} s" in reasons[5]
    record = calls.records()["odd"]
    assert (record.calls, record.cached, record.failed) == (7, 0, 5)
    assert record.reasons == tuple(reasons[1:4])
    assert record.seconds >= LIMIT_SECONDS


def test_a_network_is_called_for_once(tasks: Tasks, tmp_path: Path) -> None:
    box = BlackBox(noted(width_in_all, tmp_path / "calls"), 100.0, "width", seconds=CALL_SECONDS, at_once=2)
    networks = [one_block("basic"), mixed(), one_block("basic")]
    calls = Calls([box], tasks)
    first = calls(networks)
    renamed = calls([replace(mixed(), name="another name")])
    assert renamed == [first[1]]
    assert sum(networks_called(tmp_path / "calls").values()) == 2
    record = calls.records()["width"]
    assert (record.calls, record.cached, record.failed) == (2, 1, 0)
    again = Calls([box], tasks, known=calls.known)
    assert again(networks) == first
    assert sum(networks_called(tmp_path / "calls").values()) == 2
    assert again.records()["width"].calls == 0


def test_no_call_is_begun_or_judged_after_the_end(tasks: Tasks) -> None:
    def hang(network: Architecture) -> float:
        time.sleep(60)
        return width_in_all(network)

    late = Calls([BlackBox(hang, 1.0)], tasks, ends=time.monotonic() + 1.0)
    assert late([mixed()]) == [{}]
    assert late.over
    assert late([one_block("basic")]) == [{}]
    assert late.known == {}
    screen = Screen(problem_with(BlackBox(hang, 1.0)), late)
    assert screen([mixed()]) == [math.inf]
    assert screen.best is None


def test_a_function_of_modules_gets_the_network_built(tasks: Tasks) -> None:
    def parameters(model: nn.Module) -> float:
        return sum(parameter.numel() for parameter in model.parameters())

    calls = Calls([BlackBox(parameters, 1e9, seconds=CALL_SECONDS)], tasks)
    (found,) = calls([mixed()])
    assert getattr(found["parameters"], "value", None) == total_params(mixed().parts())


def test_the_text_of_a_network_is_an_architecture_file_s() -> None:
    assert Architecture.from_dict(json.loads(text(mixed()))) == replace(mixed(), name="")


# Guesses


@pytest.mark.parametrize(("table", "limit"), [(None, None), (StairTable(), None), (StairTable(), 0.01)])
def test_a_guess_meets_what_was_called_last(table: StairTable | None, limit: float | None) -> None:
    box = BlackBox(width_in_all, 100.0)
    problem = problem_with(box, table=table, latency=limit)
    networks = [one_block("basic"), mixed(), one_block("mbconv")]
    made = guess(problem, box, [(network, 20.0 + place) for place, network in enumerate(networks)])
    assert made is not None
    relaxed = guided(problem, [made])
    assert relaxed.black_boxes == ()
    assert relaxed.tables == ((made,) if limit is None else (table, made))
    assert relaxed.budget.latency is not None
    seconds, looser = (latency_nanoseconds(networks[-1].parts(), one) / 1e9 for one in (made, made.looser(2.0)))
    assert seconds == pytest.approx(0.22 * relaxed.budget.latency, rel=1e-3)
    assert looser == pytest.approx(seconds / 2, rel=1e-3)
    if limit is not None:
        assert relaxed.budget.latency == limit


def test_nothing_is_guessed_of_what_cannot_add_up() -> None:
    network = mixed()
    assert guess(problem_with(), BlackBox(width_in_all, 0.0), [(network, 1.0)]) is None
    assert guess(problem_with(), BlackBox(width_in_all, 1.0), [(network, -1.0)]) is None
    assert guess(problem_with(), BlackBox(width_in_all, 1.0), []) is None
    assert guided(problem_with(width_in_all), []) == without_black_boxes(problem_with(width_in_all))


# Designs


def test_a_design_keeps_the_limit_of_a_function_and_has_a_bound(tmp_path: Path) -> None:
    free = design(problem_with(), FIXED)
    assert free.architecture is not None
    assert free.objective is not None
    most = 0.5 * width_in_all(free.architecture)
    box = BlackBox(noted(width_in_all, tmp_path / "calls"), most, "width", seconds=CALL_SECONDS)
    lines: list[Progress] = []
    solution = design(problem_with(box), FIXED, report=lines.append)
    assert solution.architecture is not None
    assert solution.solver.name == "evolution"
    assert "since CP-SAT cannot express width" in solution.message
    assert solution.limits["width"] == LimitUse(most, width_in_all(solution.architecture))
    assert width_in_all(solution.architecture) <= most
    assert without_black_boxes(problem_with(box)).broken(solution.architecture) == []
    assert solution.objective is not None
    assert solution.bound is not None
    assert solution.objective < free.objective <= solution.bound * (1 + 1e-9)  # the bound is one without the function
    assert solution.gap is not None
    assert solution.gap > 0
    assert solution.black_boxes is not None
    called = networks_called(tmp_path / "calls")
    assert max(called.values()) == 1
    assert solution.black_boxes["width"].calls == len(called)
    assert solution.black_boxes["width"].failed == 0
    assert any(line.best == solution.objective for line in lines)
    path = tmp_path / "solution.json"
    solution.save(path)
    assert Solution.load(path) == solution
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema_of("solution"))


def test_the_same_answer_comes_twice() -> None:
    box = BlackBox(width_in_all, 300.0, seconds=CALL_SECONDS)
    first, second = (design(problem_with(box), FIXED) for _ in range(2))
    assert first.architecture == second.architecture
    assert first.architecture is not None


def test_cp_sat_s_network_is_optimal_where_it_keeps_the_limit_too() -> None:
    solution = design(problem_with(BlackBox(width_in_all, 1e9, seconds=CALL_SECONDS)), FIXED)
    assert solution.status is Status.OPTIMAL
    assert solution.solver.name == "cpsat"
    assert solution.black_boxes is not None
    assert solution.black_boxes["width_in_all"].calls == 1
    assert "a call shows that it keeps that too" in solution.message


def test_functions_that_fail_for_some_networks_do_not_end_the_design() -> None:
    def moody(network: Architecture) -> object:
        mood = network.stages[-1].out // 8 % 4
        if mood == 0:
            raise RuntimeError("out of luck")
        if mood == 1:
            return math.nan
        if mood == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    free = design(problem_with(), FIXED)
    assert free.architecture is not None
    assert free.architecture.stages[-1].out // 8 % 4 == 0
    solution = design(problem_with(BlackBox(moody, seconds=CALL_SECONDS)), Auto(workers=1, deterministic_limit=5.0))
    assert solution.architecture is not None
    assert solution.architecture.stages[-1].out // 8 % 4 == 3
    assert solution.limits["moody"] == LimitUse(0.0, 0.0)
    assert solution.black_boxes is not None
    assert solution.black_boxes["moody"].failed >= 1
    assert "out of luck" in solution.black_boxes["moody"].reasons


def test_where_no_network_passes_the_solution_says_so() -> None:
    def refuse(network: Architecture) -> bool:
        return not network.stages

    solution = design(problem_with(BlackBox(refuse, seconds=CALL_SECONDS)), FIXED)
    assert solution.status is Status.UNKNOWN
    assert solution.architecture is None
    assert solution.limits["refuse"] == LimitUse(0.0, None)
    assert solution.limits["macs"].used is None
    assert "no network that keeps the limit on refuse was found" in solution.message
    assert solution.bound is not None


def test_what_is_infeasible_without_functions_stays_cp_sat_s(tmp_path: Path) -> None:
    box = BlackBox(noted(width_in_all, tmp_path / "calls"), 1e9, "width")
    solution = design(problem_with(box, macs=1000.0), FIXED)
    assert solution.status is Status.INFEASIBLE
    assert solution.clash == ("macs",)
    assert solution.limits["width"] == LimitUse(1e9, None)
    assert not (tmp_path / "calls").exists()


def test_evolution_alone_takes_functions_too() -> None:
    box = BlackBox(width_in_all, 300.0, seconds=CALL_SECONDS)
    solution = design(problem_with(box), Evolution(generations=20, workers=1))
    assert solution.architecture is not None
    assert solution.bound is None
    used = solution.limits["width_in_all"].used
    assert used is not None
    assert used <= 300.0
    with pytest.raises(InputError, match="checkpoint"):
        design(problem_with(box), Evolution(generations=20, checkpoint=Path("never-written.json")))


def test_an_interrupt_brings_the_best_so_far() -> None:
    def stop_once_there_is_one(progress: Progress) -> None:
        if progress.best is not None:
            raise KeyboardInterrupt

    problem = problem_with(BlackBox(width_in_all, 300.0, seconds=CALL_SECONDS))
    with pytest.raises(Interrupted) as caught:
        design(problem, FIXED, report=stop_once_there_is_one)
    solution = caught.value.solution
    assert solution.architecture is not None
    assert problem.broken(solution.architecture, {"width_in_all": width_in_all(solution.architecture)}) == []


def test_what_cannot_take_a_function_says_so() -> None:
    problem = problem_with(width_in_all)
    with pytest.raises(InputError, match=r"CP-SAT cannot express width_in_all.*choose auto"):
        design(problem, CpSat())
    solution = design(problem_with(), FIXED)
    with pytest.raises(InputError, match="alternatives"):
        with_alternatives(problem, solution, 2, CpSat(), seconds=1.0)
    with pytest.raises(InputError, match="explanation"):
        explain(problem, solution, CpSat(), seconds=1.0)
