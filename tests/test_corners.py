"""Corners: which of them a network sits in, that files keep them, and what leaving them costs, against brute force."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from deepmad.cli.app import run
from deepmad.cli.schema import schema_of
from deepmad.engine.answers.corners import Corner, Leaving, corners, steps
from deepmad.engine.answers.progress import Interrupted, Progress
from deepmad.engine.answers.solutions import Solution, SolverInfo, found
from deepmad.engine.design import design
from deepmad.engine.explanation import explain
from deepmad.engine.program.budgets import Budget, Usage
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.choices import WidthRatio
from deepmad.search_spaces.spaces import Space, parse_space
from tests.brute_force import Array, Counted, count

TEXT = """
format: deepmad/space@1
name: corners
resolution: 32
stem: {out: [8, 16], kernel: 3, stride: 2}
stages:
  - {block: bottleneck, stride: 2, out: [16, 24, 40], width: [8, 12, 16, 24], kernel: [3, 5], depth: {min: 1, max: 3}}
  - {block: basic, stride: 1, out: [24, 40, 64, 80], width: [16, 20, 24, 40], kernel: [3, 5], depth: {min: 1, max: 4}}
  - {block: mbconv, stride: 1, out: [64, 96], expansion: [1, 3], kernel: [3, 5], depth: {min: 1, max: 4}}
classes: 10
rules: {non_decreasing: true, growth: 4, width_ratio: {min: 0.4, max: 1}}
"""
PATIENCE_SECONDS = 1000.0
"""For proofs that take a second, on a machine that is busy too."""
EXACT = CpSat(workers=1, time_limit=PATIENCE_SECONDS, gap=0.0)
BUDGET = Budget(macs=6e6, rho=0.2)


@cache
def space() -> Space:
    return parse_space(TEXT, "corners")


@cache
def counted() -> Counted:
    return count(Problem(space(), Budget()))


@cache
def explained() -> Solution:
    """Return the optimum under a budget that leads into all kinds of corners, with what leaving them costs."""
    problem = Problem(space(), BUDGET)
    return explain(problem, design(problem, EXACT), EXACT, seconds=PATIENCE_SECONDS)


def network(*stages: tuple[int, int, int, int], stem: int = 8) -> Architecture:
    """Return a network of the space from out, width, kernel and depth of every stage."""
    rows = zip(stages, space().stages, strict=True)
    built = tuple(Stage(choice.block[0], *numbers, choice.stride) for numbers, choice in rows)
    return Architecture(32, Stem(stem), built, None, 10)


INSIDE = network((24, 16, 3, 2), (40, 24, 3, 2), (64, 192, 3, 2))
"""No stage of it is at an end of anything but the expansion."""


def told(which: Space, member: Architecture, **usages: Usage) -> dict[str, Corner]:
    """Return the corners of a network by their kinds, which come once each."""
    found_there = corners(which, member, usages, "paper")
    kinds: dict[str, Corner] = {corner.kind: corner for corner in found_there}
    assert len(kinds) == len(found_there)
    return kinds


def changed(which: Space, index: int, **values: Any) -> Space:
    """Return a space that offers other values in one stage."""
    stages = list(which.stages)
    stages[index] = replace(stages[index], **values)
    return replace(which, stages=tuple(stages))


def with_stage(member: Architecture, index: int, **values: Any) -> Architecture:
    """Return a network with other values in one stage."""
    stages = list(member.stages)
    stages[index] = replace(stages[index], **values)
    return replace(member, stages=tuple(stages))


def test_a_network_inside_has_no_corner() -> None:
    three = changed(space(), 2, expansion=(1.0, 3.0, 4.0))
    assert not three.violations(INSIDE)
    assert told(three, INSIDE) == {}


def test_kernels_at_their_largest() -> None:
    one = told(space(), with_stage(INSIDE, 1, kernel=5))["kernel"]
    assert (one.stages, one.values) == ((1,), (5,))
    assert one.words == "kernel at its largest in stage 2: 5"
    wide = changed(space(), 0, kernel=(3, 7))
    member = with_stage(with_stage(with_stage(INSIDE, 0, kernel=7), 1, kernel=5), 2, kernel=5)
    assert told(wide, member)["kernel"].words == "kernel at its largest in every stage: 7 5 5"
    fixed = changed(wide, 1, kernel=(5,))
    assert told(fixed, member)["kernel"].words == "kernel at its largest in stages 1 and 3: 7 5"


def test_expansions_at_both_ends() -> None:
    three = changed(space(), 2, expansion=(1.0, 3.0, 4.0))
    least, largest = (told(three, with_stage(INSIDE, 2, width=width))["expansion"] for width in (64, 256))
    assert (least.stages, least.values, least.words) == ((2,), (1.0,), "expansion at its least in stage 3: 1")
    assert (largest.values, largest.words) == ((4.0,), "expansion at its largest in stage 3: 4")
    alike = changed(space(), 2, expansion=(1.0, 1.01, 3.0))  # both give width 64
    assert "expansion" not in told(alike, with_stage(INSIDE, 2, width=64))


def test_ratios_at_their_least() -> None:
    """0.4 allows no width below 16 with out 40 and none below 12 with out 24."""
    member = with_stage(with_stage(INSIDE, 0, width=12), 1, width=16)
    corner = told(space(), member)["width ratio"]
    assert (corner.stages, corner.values) == ((0, 1), (0.5, 0.4))
    assert corner.words == "width / out at its least in stages 1 and 2: 0.5 0.4"
    (step,) = steps(space(), member, corner)
    assert step.inside == "width / out at least 0.5"  # 20 / 40 comes next in the second stage, 16 / 24 in the first
    assert step.space.violations(member) == ["stages[1].width 16 is outside 0.49999999999999994 to 1.0 times out 40"]
    assert [stage.width for stage in step.start.stages] == [12, 20, 192]
    assert not step.space.violations(step.start)
    narrow = replace(space(), rules=replace(space().rules, width_ratio=WidthRatio(0.4, 0.45)))
    assert "width ratio" not in told(narrow, member), "no other widths may stand with these outs"


def test_depths_at_their_least() -> None:
    member = with_stage(with_stage(INSIDE, 0, depth=1), 2, depth=1)
    corner = told(space(), member)["depth"]
    assert (corner.stages, corner.words) == ((0, 2), "depth at its least in stages 1 and 3: 1 1")
    first, _ = steps(space(), member, corner)
    assert (first.stage, first.inside) == (0, "depth at least 2")
    assert first.space.stages[0].depth == (2, 3)
    assert first.space.stages[1:] == space().stages[1:]
    assert first.start == with_stage(member, 0, depth=2)


def test_rho_at_its_limit() -> None:
    three = changed(space(), 2, expansion=(1.0, 3.0, 4.0))
    corner = told(three, INSIDE, rho=Usage(0.3, 0.299))["rho"]
    assert (corner.values, corner.words) == ((0.299,), "rho at its limit: 0.299 of 0.3 (99.7%)")
    assert list(steps(three, INSIDE, corner)) == []
    assert told(three, INSIDE, rho=Usage(0.3, 0.29)) == {}


def test_depths_whose_variance_is_dear() -> None:
    """Depths 1 2 4 have variance 14/9: 10 exp(14/9) is 47.4, and 10 exp(2/9) no more than 12.5."""
    uneven = with_stage(with_stage(INSIDE, 0, depth=1), 2, depth=4)
    corner = told(space(), uneven)["depth variance"]
    assert corner.values == pytest.approx((14 / 9,))
    assert corner.words == (
        "depths of variance 1.556: 1 2 4; the paper's penalty takes 47.38 off the objective (beta 10)"
    )
    assert "depth variance" not in told(space(), with_stage(INSIDE, 2, depth=3))
    assert "depth variance" not in told(replace(space(), beta=4.0), uneven)
    (reference,) = (one for one in corners(space(), uneven, {}, "reference") if one.kind == "depth variance")
    assert "would take 47.38 off" in reference.words


def inside(step: Leaving, stages: Array) -> Array:
    """Return which networks are on the inner side of a step, from its sentence; `stages` is that of `Counted`."""
    what, number = step.inside.rsplit(" ", 1)
    kind, side = what.split(" at ")
    sign = 1 if side == "least" else -1
    if kind == "width / out":
        return np.asarray((stages[:, :2, 2] >= float(number) * stages[:, :2, 1]).all(axis=1))
    assert step.stage is not None
    rows = stages[:, step.stage]
    columns = {"kernel": rows[:, 3], "depth": rows[:, 4], "expansion": rows[:, 2] / rows[:, 1]}
    return np.asarray(sign * columns[kind] >= sign * float(number))


def test_the_costs_of_leaving_are_brute_forces() -> None:
    solution = explained()
    assert solution.objective is not None
    assert solution.gap == 0
    problem = Problem(space(), BUDGET)
    told_costs = [one for corner in solution.corners or () for one in corner.leaving or ()]
    assert [(one.stage, one.inside) for one in told_costs] == [
        (0, "kernel at most 3"),
        (2, "kernel at most 3"),
        (None, "width / out at least 0.6"),
        (2, "expansion at least 3"),
        (2, "depth at least 2"),
    ]
    values = np.where(counted().feasible(problem), counted().objectives["paper"], -np.inf)
    for one in told_costs:
        best = float(values[inside(one, counted().stages)].max())
        low, high = one.cost
        assert low is not None
        assert high is not None
        assert high == pytest.approx(solution.objective - best, rel=1e-6, abs=1e-6 * best)
        assert high - 1e-5 * best <= low <= high
        assert best < solution.objective  # else the network was not in that corner for its objective's sake
        assert not one.impossible


def test_a_corner_that_cannot_be_left() -> None:
    """The network of fewest MACs alone keeps this limit: every step needs more of them, or another stage's."""
    problem = Problem(space(), Budget(macs=float(counted().used["macs"].min())))
    solution = explain(problem, design(problem, EXACT), EXACT, seconds=PATIENCE_SECONDS)
    leavings = [one for corner in solution.corners or () for one in corner.leaving or ()]
    feasible = counted().feasible(problem)
    assert leavings
    assert any(one.impossible for one in leavings)
    for one in leavings:
        assert one.impossible == (not feasible[inside(one, counted().stages)].any())
        if one.impossible:
            assert (one.objective, one.bound, one.cost) == (None, None, (None, None))


def test_too_little_work_leaves_an_interval() -> None:
    problem, solution = Problem(space(), BUDGET), explained()
    few = tuple(corner for corner in solution.corners or () if corner.kind in ("width ratio", "depth"))
    little = explain(problem, replace(solution, corners=few), CpSat(workers=1, deterministic_limit=0.01), seconds=1.0)
    values = np.where(counted().feasible(problem), counted().objectives["paper"], -np.inf)
    assert solution.objective is not None
    leavings = [one for corner in little.corners or () for one in corner.leaving or ()]
    assert len(leavings) == 2
    for one in leavings:
        cost = solution.objective - float(values[inside(one, counted().stages)].max())
        low, high = one.cost
        assert low is not None  # the bound of the whole space holds inside too
        assert low <= cost + 1e-6 * solution.objective
        assert high is None or cost <= high + 1e-6 * solution.objective


def test_an_interrupt_keeps_the_corners_and_what_is_known_of_them() -> None:
    problem, known = Problem(space(), BUDGET), explained()
    unasked = tuple(replace(corner, leaving=None) for corner in known.corners or ())
    solution = replace(known, explanation=None, corners=unasked)

    def stop_at_the_second_corner(progress: Progress) -> None:
        if progress.doing.startswith("stage 3: kernel at most 3"):
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        explain(problem, solution, EXACT, seconds=PATIENCE_SECONDS, report=stop_at_the_second_corner)
    left = caught.value.solution
    assert set(left.explanation or ()) == {"macs", "rho"}
    kernel, *others = left.corners or ()
    assert [one.stage for one in kernel.leaving or ()] == [0]
    assert [one.leaving for one in others] == [None] * len(others)


@pytest.mark.parametrize("change", [lambda solution: solution, lambda solution: replace(solution, corners=None)])
def test_files_keep_them(change: Callable[[Solution], Solution], tmp_path: Path) -> None:
    path, solution = tmp_path / "solution.json", change(explained())
    solution.save(path)
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema_of("solution"))
    assert Solution.load(path) == solution


def test_show_tells_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "solution.json"
    explained().save(path)
    assert run(["show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for corner in explained().corners or ():
        assert f"corner of the space: {corner.words}" in lines
    assert any(line.startswith("what leaving a corner costs") for line in lines)
    assert any(line.startswith("stage 1: kernel at most 3") for line in lines)
    assert run(["show", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["solution"]
    assert figures["corners"] == json.loads(path.read_text(encoding="utf-8"))["corners"]


def test_a_solution_tells_its_corners_unasked() -> None:
    problem = Problem(space(), Budget(macs=20e6))
    solution = found(problem, INSIDE, 1e5, gap=0.01, solver=SolverInfo("cpsat", "9", 0, 1), seconds=1.0)
    assert [corner.kind for corner in solution.corners or ()] == ["expansion"]
    assert solution.counted_again().corners is None
