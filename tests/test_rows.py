"""Rows of block kinds and strides: as data, and decided between as exactly as by brute force."""

import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import comb
from pathlib import Path
from random import Random

import jsonschema
import numpy as np
import pytest
import yaml

from deepmad.cli.app import run
from deepmad.cli.schema import schema_of
from deepmad.engine.answers.progress import Interrupted, Progress, Race
from deepmad.engine.answers.solutions import Solution, Status
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.alternatives import with_alternatives
from deepmad.engine.solvers.nearest import nearest
from deepmad.engine.solvers.population.genomes import Coding
from deepmad.engine.solvers.rows import loop
from deepmad.engine.solvers.rows.exploring import Exploration, explore
from deepmad.engine.solvers.rows.families import Families, Family
from deepmad.engine.solvers.rows.pieces import Effort, Piece, Settled, settle
from deepmad.engine.solvers.settings import CpSat, Evolution, Rows
from deepmad.profilers.building.probes import random_network
from deepmad.search_spaces.architectures import Architecture, Stride
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.rows import Layouts, Row, restricted, row_count, row_of, rows, with_strides
from deepmad.search_spaces.spaces import Space, load_space, parse_space
from tests.agreement import AGREES, BOUND_ERROR
from tests.brute_force import Counted, count, members
from tests.catalogue import EXAMPLES, ROOT, small_space
from tests.random_problems import _budget, _table, random_space

STRIDES = EXAMPLES / "strides.yaml"
TEXT = STRIDES.read_text(encoding="utf-8")
FIXED = CpSat(gap=0.0, workers=1, deterministic_limit=1000.0)
LARGEST, MOST_ROWS = 20_000, 32
SEEDS = range(10)

TINY = """
format: deepmad/space@1
name: tiny
resolution: 16
stem: {out: 8, stride: 2}
stages:
  - {block: [basic, mbconv], stride: [1, 2], out: [8, 16], expansion: [1, 2], kernel: 3, depth: [1, 2]}
  - {block: [bottleneck, mbconv_se], stride: [1, 2], out: [16, 32], expansion: [0.5, 2], kernel: [3, 5], depth: [1, 2]}
classes: 10
"""


def tiny(macs: float | None = None) -> Problem:
    return Problem(parse_space(TINY, "tiny"), Budget(macs=macs))


# ------------------------------------------------------------------------------------------------ spaces and rows


def test_a_stride_is_fixed_or_a_choice() -> None:
    space = parse_space(TEXT.replace("stride: [1, 2], out: [16", "stride: 2, out: [16"), "mine")
    assert [stage.strides for stage in space.stages] == [(2,), (1, 2), (1, 2)]
    assert space.stages[0].stride == 2
    assert not space.strides_fixed
    assert space.alpha is None
    with pytest.raises(InputError, match=r"\[1, 2\] is a choice"):
        _ = space.stages[1].stride
    with pytest.raises(InputError, match=r"\[1, 2\] is a choice"):
        _ = space.weights


@pytest.mark.parametrize("path", [STRIDES, EXAMPLES / "mixed.yaml", ROOT / "deepmad/search_spaces/presets/mbv2.yaml"])
def test_space_files_fit_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema_of("space"))


@pytest.mark.parametrize("stride", ["3", "[1, 3]", "[]", "two", "null"])
def test_other_strides_are_refused(stride: str) -> None:
    text = TEXT.replace("stride: [1, 2]", f"stride: {stride}", 1)
    with pytest.raises(InputError, match=r"stages\[0\]"):
        parse_space(text, "mine")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema_of("space"))


def test_alpha_says_which_numbers_of_scales_there_are() -> None:
    assert load_space(STRIDES).scale_counts == (1, 2, 3, 4)
    three = parse_space(TEXT + "alpha: [1, 1, 8]\n", "mine")
    assert {1 + row.strides.count(2) for row in rows(three)} == {3}
    with pytest.raises(InputError, match="5 weights, but the strides and the resolution allow 1, 2, 3, 4 scales"):
        parse_space(TEXT + "alpha: [1, 1, 1, 1, 8]\n", "mine")


def test_strides_that_the_resolution_cannot_halve_make_no_row() -> None:
    space = parse_space(TEXT.replace("resolution: 32", "resolution: 12"), "mine")
    assert max(row.strides.count(2) for row in rows(space)) == 1
    with pytest.raises(InputError, match="nearest sizes that work: 4 or 8"):
        parse_space(TEXT.replace("resolution: 32", "resolution: 6").replace("[1, 2], out: [16", "2, out: [16"), "mine")


def test_every_row_comes_once() -> None:
    space = load_space(STRIDES)
    kinds = list(itertools.product(("bottleneck", "mbconv"), repeat=3))
    strides: list[tuple[Stride, ...]] = list(itertools.product((1, 2), repeat=3))
    expected = {Row(blocks, layout) for blocks in kinds for layout in strides}
    found = list(rows(space))
    assert len(found) == row_count(space) == len(expected) == 64
    assert set(found) == expected
    assert str(found[0]) == "bottleneck/1 bottleneck/1 bottleneck/1"


def test_a_row_restricts_a_space_to_its_networks() -> None:
    space = parse_space(TINY, "tiny")
    every = [network for row in rows(space) for network in members(restricted(space, row))]
    assert all(not space.violations(network) for network in every)
    for row in rows(space):
        part = restricted(space, row)
        assert part.alpha == (*(1.0,) * row.strides.count(2), 8.0)
        assert {network for network in every if not part.violations(network)} == {
            network for network in every if row_of(network) == row
        }
    with pytest.raises(InputError, match=r"stages\[1\].block: basic is not offered; choose from bottleneck"):
        restricted(space, Row(("basic", "basic"), (1, 2)))
    with pytest.raises(InputError, match=r"stages\[0\].stride: 2 is not offered"):
        with_strides(with_strides(space, (1, 2)), (2, 2))


def test_a_network_of_other_strides_is_no_member() -> None:
    space = parse_space(TINY.replace("classes: 10", "alpha: [1, 8]"), "tiny")
    other = members(with_strides(parse_space(TINY, "tiny"), (2, 2)))[0]
    assert any("3 scales" in sentence for sentence in space.violations(replace(other, classes=1000)))


def test_the_value_of_a_network_goes_by_its_own_strides() -> None:
    problem = tiny()
    for row in rows(problem.space):
        part = Problem(restricted(problem.space, row), problem.budget)
        for network in members(part.space)[:3]:
            assert problem.value(network) == part.value(network)


# ------------------------------------------------------------------------------------------------ against brute force


@dataclass(frozen=True)
class Case:
    """A problem whose strides are a choice, and the networks of each of its rows, counted."""

    problem: Problem
    counted: dict[Row, Counted]

    def optimum(self, row: Row) -> float | None:
        return self.counted[row].best(self.problem)

    @property
    def best(self) -> float | None:
        found = [self.optimum(row) for row in self.counted]
        return max((value for value in found if value is not None), default=None)


def every_row(problem: Problem) -> Iterator[tuple[Row, Problem]]:
    """Yield every row with the problem inside it, by the rules of a space file and nothing of the package's."""
    space = problem.space
    for strides in itertools.product(*(stage.strides for stage in space.stages)):
        halvings = strides.count(2)
        fits = space.resolution % (space.stem.stride * 2**halvings) == 0
        if not fits or (space.alpha is not None and len(space.alpha) != halvings + 1):
            continue
        for blocks in itertools.product(*(dict.fromkeys(stage.block) for stage in space.stages)):
            chosen = zip(space.stages, blocks, strides, strict=True)
            stages = tuple(replace(stage, block=(block,), strides=(stride,)) for stage, block, stride in chosen)
            yield Row(blocks, strides), replace(problem, space=replace(space, stages=stages))


def opened(random: Random, space: Space) -> Space:
    """Return the space with strides that are a choice in some stages; alpha is given or left to the scales."""
    stages = tuple(replace(stage, strides=(1, 2)) if random.random() < 0.7 else stage for stage in space.stages)
    return replace(space, stages=stages, alpha=random.choice((None, space.alpha)))


@cache
def random_case(seed: int) -> Case:
    """Return a random problem with strides to choose and at least one feasible network."""
    random = Random(seed)
    while True:
        space = opened(random, random_space(random))
        if space.strides_fixed or not 2 <= row_count(space) <= MOST_ROWS or space.size() > LARGEST:
            continue
        free = Problem(space, Budget(), [_table(random, 1)], random.choice(("paper", "reference")))
        counted = {row: count(part) for row, part in every_row(free)}
        together = _joined(list(counted.values()))
        if not len(together):
            continue
        case = Case(replace(free, budget=_budget(random, free, together)), counted)
        if case.best is not None:
            return case


def _joined(parts: list[Counted]) -> Counted:
    """Return the networks of several rows as one."""
    used = {name: np.concatenate([part.used[name] for part in parts]) for name in parts[0].used}
    names = parts[0].objectives
    objectives = {name: np.concatenate([part.objectives[name] for part in parts]) for name in names}
    return Counted(used, objectives, np.concatenate([part.stages for part in parts]))


def assert_right(case: Case, solution: Solution) -> None:
    """Compare a solution with brute force: the whole, and every row that it tells of."""
    best = case.best
    assert best is not None
    room = AGREES * abs(best)
    assert solution.status is Status.OPTIMAL
    assert solution.architecture is not None
    assert not case.problem.broken(solution.architecture)
    assert solution.objective == pytest.approx(best, rel=AGREES)
    assert solution.bound is not None
    assert best - BOUND_ERROR * abs(best) <= solution.bound <= best + room
    assert solution.rows is not None
    for record in solution.rows:
        optimum = case.optimum(Row(record.blocks, record.strides))
        if record.objective is not None:
            assert optimum is not None
            assert record.objective <= optimum + AGREES * abs(optimum)
        if record.bound is not None and optimum is not None:
            assert record.bound >= optimum - BOUND_ERROR * abs(optimum)
        if record.dropped and optimum is not None:
            assert optimum <= best + room
    assert sum(not record.dropped for record in solution.rows) == 1
    counts = solution.row_counts
    assert counts is not None
    assert (counts.total, counts.open, counts.not_looked_at) == (len(case.counted), 0, 0)
    assert counts.dropped == counts.total - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_row_is_that_of_brute_force(seed: int) -> None:
    case = random_case(seed)
    assert set(case.counted) == set(rows(case.problem.space))
    assert_right(case, design(case.problem, FIXED))


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_it_is_so_too_where_families_are_split_and_rows_solved_one_by_one(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FAMILY_WORK", "ROW_WORK"):  # one step of the bound, which closes nothing
        monkeypatch.setattr(loop, name, 0.1)
    monkeypatch.setattr(loop, "GENERATIONS", 0)
    case = random_case(seed)
    assert_right(case, design(case.problem, FIXED))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_bound_of_a_family_is_below_its_optimum(seed: int) -> None:
    case, random = random_case(seed), Random(seed)
    best = case.best
    assert best is not None
    for whole in Families(case.problem):
        for family in (whole, random.choice(whole.parts())):
            found = [case.optimum(row) for row in case.counted if family.holds(row)]
            optimum = max((value for value in found if value is not None), default=None)
            floor = random.choice((None, best, best - 0.3 * abs(best)))
            effort = Effort(None, random.choice((0.2, 1.0, 5.0)), random.random() < 0.3)
            settled = settle(Piece(family.part_of(case.problem), (), floor, 0.0, seed, effort))
            if optimum is None:
                assert settled.network is None
                continue
            bound = settled.bound if floor is None else max(settled.bound, floor)
            assert bound >= optimum - BOUND_ERROR * abs(optimum)


def test_random_cases_are_of_every_kind() -> None:
    cases = [random_case(seed) for seed in SEEDS]
    assert {len(case.problem.space.stages) for case in cases} == {2, 3}
    assert any(case.problem.space.alpha is None for case in cases)
    assert any(case.problem.space.alpha is not None for case in cases)
    assert sum(len({row.strides for row in case.counted}) > 1 for case in cases) >= 4
    assert sum(len({row.blocks for row in case.counted}) > 1 for case in cases) >= 5
    assert {name for case in cases for name in case.problem.limits()} >= {"macs", "params", "rho"}


def test_families_hold_every_row_once_however_they_are_split() -> None:
    problem = Problem(load_space(STRIDES), Budget())
    found = list(Families(problem))
    while any(family.row is None for family in found):
        assert sum(family.count for family in found) == 64
        found = [part for family in found for part in (family.parts() if family.row is None else [family])]
    assert {family.row for family in found} == set(rows(problem.space))
    kinds = (("mbconv",), ("basic", "mbconv"))
    assert Family((1, 2), kinds).parts() == [Family((1, 2), (("mbconv",), (kind,))) for kind in kinds[1]]


def long_space(stages: int) -> Space:
    """Return a space of many stages whose strides are all a choice."""
    one = "  - {block: [basic, mbconv], stride: [1, 2], out: [16, 32], expansion: 1, kernel: 3, depth: [1, 2]}\n"
    start = "format: deepmad/space@1\nname: long\nresolution: 224\nstem: {out: 8, stride: 2}\nstages:\n"
    return parse_space(start + stages * one + "rules: {non_decreasing: false}\n", "long")


def test_layouts_are_worked_out_where_they_are_asked_for() -> None:
    for resolution, weights in ((32, None), (12, None), (32, (1.0, 1.0, 8.0))):
        space = replace(load_space(STRIDES), resolution=resolution, alpha=weights)
        expected = [
            strides
            for strides in itertools.product(*(stage.strides for stage in space.stages))
            if 1 + strides.count(2) in space.scale_counts
        ]
        found = Layouts(space)
        assert list(found) == expected
        assert found.count == len(expected)
        assert [found.place(layout) for layout in found] == list(range(found.count))
    many = Layouts(long_space(100))
    assert many.count == sum(comb(100, halvings) for halvings in range(5))
    assert many[many.count - 1] == (2, 2, 2, 2, *(1,) * 96)
    assert many.place(many[many.count // 3]) == many.count // 3
    with pytest.raises(IndexError):
        _ = many[many.count]


def test_families_are_drawn_once_and_spread_evenly() -> None:
    found = Families(Problem(long_space(100), Budget()))
    chosen = found.spread(10)
    places = [found.layouts.place(layout) for layout in chosen]
    assert len(places) == 10
    assert np.diff(sorted(places)).min() == np.diff(sorted(places)).max()
    assert abs(places[1] - places[0]) > found.layouts.count / 3  # the first two are far apart already
    first = found.layouts[0]
    assert found.draw(first) == Family(first, found.kinds)
    assert found.draw(first) is None
    assert next(found).strides == found.layouts[1]
    assert found.left == found.layouts.count - 2
    assert sorted(Families(Problem(long_space(6), Budget())).spread(1000)) == list(Layouts(long_space(6)))


def test_of_many_layouts_those_are_drawn_that_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is the number of pieces of work: each takes a second."""
    drawn: list[Family] = []
    part_of = Family.part_of

    def counted(family: Family, problem: Problem) -> Problem:
        drawn.append(family)
        return part_of(family, problem)

    def explored(wish: Exploration) -> list[Architecture]:
        coding = Coding(wish.problem.space)
        return [coding.architecture(np.zeros_like(coding.sizes))]

    def settled(_: Piece) -> Settled:
        return Settled(None, math.inf)

    monkeypatch.setattr(Family, "part_of", counted)
    monkeypatch.setattr(loop, "explore", explored)
    monkeypatch.setattr(loop, "settle", settled)
    monkeypatch.setattr(Race, "seconds", property(lambda _: float(len(drawn))))
    space = long_space(30)
    found = design(Problem(space, Budget()), Rows(workers=1, time_limit=10.0))
    assert len(drawn) == 10
    assert found.architecture is not None
    assert found.bound is None  # nothing is proven of the layouts that were not drawn
    assert found.row_counts is not None
    assert found.row_counts.total == row_count(space) == 2**30 * sum(comb(30, halvings) for halvings in range(5))
    assert found.row_counts.not_looked_at > 0.99 * found.row_counts.total


# ------------------------------------------------------------------------------------------------ the solver


def strides_problem() -> Problem:
    space = load_space(STRIDES)
    return Problem(space, Budget.of(space))


@cache
def solved() -> Solution:
    return design(strides_problem(), FIXED)


def test_the_same_answer_comes_twice() -> None:
    def timeless(solution: Solution) -> Solution:
        assert solution.rows is not None
        return replace(solution, seconds=0.0, rows=tuple(replace(record, seconds=0.0) for record in solution.rows))

    assert timeless(design(strides_problem(), FIXED)) == timeless(solved())


def test_two_processes_find_the_same_optimum() -> None:
    found = design(strides_problem(), Rows(time_limit=240.0, gap=0.0, workers=2))
    assert found.status is Status.OPTIMAL
    assert found.objective == pytest.approx(solved().objective, rel=AGREES)
    assert found.solver.name == "rows"
    assert found.solver.workers == 2


def test_kinds_alone_are_decided_on_too() -> None:
    problem = Problem(small_space(), Budget.of(small_space()))
    whole = design(problem, FIXED)
    by_rows = design(problem, Rows(gap=0.0, workers=1, deterministic_limit=1000.0))
    assert by_rows.objective == pytest.approx(whole.objective, rel=AGREES)
    assert by_rows.row_counts is not None
    assert by_rows.row_counts.total == 2
    assert whole.rows is None


def test_the_evolution_tells_the_best_network_of_many_rows() -> None:
    space = with_strides(load_space(STRIDES), (1, 2, 2))
    problem = Problem(space, Budget.of(space))
    found = explore(Exploration(problem, 3, None, 10))
    values = [problem.value(network) for network in found]
    assert len({row_of(network) for network in found}) == len(found) == 8
    assert values == sorted(values, reverse=True)
    assert not any(problem.broken(network) for network in found)
    assert explore(Exploration(problem, 3, None, 10)) == found
    again = explore(Exploration(problem, 4, None, 0, (found[0],)))
    assert problem.value(again[0]) >= values[0]


def test_an_evolution_may_explore_the_layouts() -> None:
    found = design(strides_problem(), Evolution(generations=5, islands=1, workers=1))
    assert found.architecture is not None
    assert found.rows is not None
    assert {record.found_by for record in found.rows} >= {"evolution"}
    assert len({record.strides for record in found.rows}) == 8
    kept = Evolution(generations=5, checkpoint=Path("rows.json"))
    with pytest.raises(InputError, match="checkpoint"):
        design(strides_problem(), kept)
    with pytest.raises(InputError, match="checkpoint"):
        Rows(evolution=kept)


def test_an_evolution_explores_in_generations_where_work_is_limited(tmp_path: Path) -> None:
    space, path = with_strides(load_space(STRIDES), (1, 2, 2)), tmp_path / "run.json"
    evolution = Evolution(population=60, islands=1, checkpoint=path)
    (network,) = explore(Exploration(Problem(space, Budget.of(space)), 3, None, 10, (), evolution))
    assert not space.violations(network)
    assert json.loads(path.read_text(encoding="utf-8"))["islands"][0]["generation"] == 10


def test_an_exploration_ends_when_all_does_however_late_it_began() -> None:
    space = load_space(EXAMPLES / "mixed.yaml")
    wish = Exploration(Problem(space, Budget.of(space)), 0, 1e9, 10)
    for evolution in (None, Evolution(population=60, islands=1)):
        late, soon = time.monotonic() - 1.0, time.monotonic() + 0.5
        assert explore(replace(wish, evolution=evolution, ends=late)) == []
        for network in explore(replace(wish, evolution=evolution, ends=soon)):
            assert not space.violations(network)


def test_where_the_time_is_short_the_open_rows_are_counted() -> None:
    space = load_space(EXAMPLES / "mixed.yaml")
    found = design(Problem(space, Budget.of(space)), Rows(workers=1, gap=0.0, deterministic_limit=0.2))
    assert found.status is Status.FEASIBLE
    counts = found.row_counts
    assert counts is not None
    assert found.rows is not None
    assert counts.total == 1024
    assert counts.dropped + counts.open + counts.not_looked_at == 1023
    assert counts.not_looked_at > 0
    assert len(found.rows) > 10
    assert f"{counts.not_looked_at} were not looked at" in found.message


def test_limits_that_no_row_meets_are_named_with_the_nearest_that_one_does() -> None:
    problem = tiny(macs=1000.0)
    least = min(float(count(part).used["macs"].min()) for _, part in every_row(problem))
    found = design(problem, CpSat(workers=1, time_limit=20.0))
    assert found.status is Status.INFEASIBLE
    assert found.clash == ("macs",)
    assert found.nearest == {"macs": least}
    assert found.row_counts is not None
    assert found.row_counts.dropped == found.row_counts.total == 16
    near = nearest(tiny(macs=least), "params", seconds=5.0, workers=1, seed=0)
    assert near is not None
    assert Problem(problem.space, Budget(macs=least)).usages(near.network)["macs"].used == least


def test_an_interrupt_keeps_the_best_so_far() -> None:
    def report(progress: Progress) -> None:
        if progress.best is not None:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        design(strides_problem(), FIXED, report=report)
    assert caught.value.solution.architecture is not None
    assert caught.value.solution.rows


def test_a_start_is_never_made_worse() -> None:
    start = solved().architecture
    assert start is not None
    found = design(strides_problem(), Rows(workers=1, deterministic_limit=0.1), starts=[start])
    assert found.objective == solved().objective
    assert found.rows is not None
    assert found.rows[0].found_by == "start"


def test_alternatives_have_the_strides_of_the_best() -> None:
    found = with_alternatives(strides_problem(), solved(), 3, CpSat(gap=0.5, workers=1), seconds=10.0)
    assert found.architecture is not None
    assert found.alternatives
    strides = row_of(found.architecture).strides
    assert {row_of(other.architecture).strides for other in found.alternatives} == {strides}


def test_probes_are_of_every_layout() -> None:
    space, rng = load_space(STRIDES), np.random.default_rng(0)
    found = [random_network(space, rng) for _ in range(40)]
    assert not any(space.violations(network) for network in found)
    assert len({row_of(network).strides for network in found}) >= 5


def test_the_solution_file_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "solution.json"
    solved().save(path)
    assert Solution.load(path) == solved()
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema_of("solution"))


def test_the_command_line_shows_the_best_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", str(STRIDES), "--deterministic-limit", "1000", "--workers", "1", "--gap", "0"]) == 0
    printed = capsys.readouterr().out
    best = solved().architecture
    assert best is not None
    line = next(line for line in printed.splitlines() if line.startswith(str(row_of(best))))
    assert f"{solved().objective:,.1f}" in line
    assert "of 64 rows 63 were dropped by their bounds" in printed.replace("\n", " ")
