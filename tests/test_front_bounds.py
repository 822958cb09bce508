"""The bounds of fronts against brute force: at no cost is a network above them; and how they are drawn."""

import itertools
import math
import time
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from deepmad.engine.answers.claims import ContradictionError
from deepmad.engine.solvers.bounds import Share
from deepmad.engine.solvers.evolution.running import counted
from deepmad.engine.solvers.fronts.curves import Bound, area, corners, gap, lowest, needed
from deepmad.engine.solvers.fronts.finding import COSTS
from deepmad.engine.solvers.fronts.pictures import bound_line
from deepmad.engine.solvers.fronts.pieces import Piece, chargeable, free, work
from deepmad.engine.solvers.fronts.planning import sections
from deepmad.engine.solvers.fronts.sweep import Known, Sweep
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.blocks import BLOCKS
from tests.random_problems import Case, random_case


def network(case: Case, stem: int, row: int) -> Architecture:
    """Return a network of a case by its row."""
    space = case.problem.space
    kinds = list(BLOCKS)
    stages = tuple(
        Stage(kinds[kind], int(out), int(width), int(kernel), int(depth), choice.stride)
        for (kind, out, width, kernel, depth), choice in zip(case.counted.stages[row], space.stages, strict=True)
    )
    whole = Stem(stem, space.stem.kernel, space.stem.stride)
    return Architecture(space.resolution, whole, stages, space.tail, space.classes, space.in_channels)


def some(case: Case, count: int, seed: int) -> list[Architecture]:
    """Return some feasible networks of a case, whatever the stem."""
    rows = np.flatnonzero(case.counted.feasible(case.problem))
    drawn = np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False)
    found = [network(case, stem, int(row)) for row in drawn for stem in case.problem.space.stem.out]
    return [one for one in found if not case.problem.broken(one)]


def drawn(seed: int) -> Case:
    """Return a random case with a feasible network, not a large one."""
    random = Random(seed)
    case = random_case(random)
    while case.optimum is None or len(case.counted) > 4_000:
        case = random_case(random)
    return case


@pytest.mark.parametrize("seed", range(100, 110))
def test_a_piece_of_work_proves_the_best_objective_less_its_charge(seed: int) -> None:
    case, random = drawn(seed), np.random.default_rng(seed)
    against = COSTS[seed % len(COSTS)]
    problem = counted(case.problem, against)
    feasible = case.counted.feasible(free(problem, against))
    values, used = case.counted.objectives[problem.objective][feasible], case.counted.used[against][feasible]
    limit = float(np.quantile(used, random.random(), method="lower")) if seed % 3 else math.inf
    charge = random.random() * np.ptp(values) / max(np.ptp(used), 1e-12) if chargeable(problem, against) else 0.0
    worth = (values - charge * used)[used <= limit]
    first = Share((), -math.inf, begun=False)
    piece = Piece(str(seed), problem, against, limit, charge, -math.inf, 0.0, first, (), limit, seed, None, 10)
    closed = -math.inf
    for _ in range(60):
        found = work(piece)
        assert found.share is not None
        closed = max(closed, found.closed)
        assert max(closed, found.open) >= worth.max() - 1e-9 * np.abs(values).max()
        piece = replace(piece, share=found.share)
        if not found.share.nodes:
            break
    if against != "latency_seconds" or len(problem.tables) == 1:  # else it charges for one of the devices
        assert max(closed, found.open) == pytest.approx(worth.max(), abs=1e-6 * np.abs(values).max())


@pytest.mark.parametrize("seed", range(10))
def test_no_network_is_above_the_bounds_of_a_front(seed: int) -> None:
    """Whatever the cost, the objective and the other limits, and however bad the networks known at first are."""
    case = drawn(seed)
    against = COSTS[seed % len(COSTS)]
    problem = counted(case.problem, against)
    known = Known(problem, against)
    known.offer(some(case, 20, seed))
    feasible = case.counted.feasible(case.problem)
    values, used = case.counted.objectives[problem.objective][feasible], case.counted.used[against][feasible]
    before = np.full(len(used), math.inf)
    sweep = Sweep(known, 4, 0)
    for _ in range(3):
        sweep.go_by_nodes(None, lambda: None)
        heights = lowest(known.bounds, used.astype(float))
        assert (values <= heights + 1e-9 * np.abs(values)).all()
        assert (heights <= before).all()
        before = heights
    order = np.argsort(used, kind="stable")
    assert (np.diff(heights[order]) >= 0).all()
    assert heights.max() == pytest.approx(values.max(), rel=1e-6)


def test_no_work_is_done_past_the_time_and_what_it_breaks_off_proves_nothing() -> None:
    case = drawn(3)
    known = Known(counted(case.problem, "macs"), "macs")
    known.offer(some(case, 3, 0))
    sweep = Sweep(known, 2, 0)
    sweep.go(None, time.monotonic(), lambda: pytest.fail("it worked"))
    assert known.bounds == []
    first = Share((), -math.inf, begun=False)
    piece = Piece("late", known.problem, "macs", math.inf, 0.0, -math.inf, 0.0, first, (), math.inf, 0, 1.0, None)
    assert work(replace(piece, left=0.0)).share is None


def test_a_network_above_a_bound_is_a_contradiction_whichever_comes_first() -> None:
    case = drawn(3)
    problem = counted(case.problem, "macs")
    networks = some(case, 3, 0)
    false = Bound(math.inf, 0.0, -1e9, 0.0)
    claim = r"branch and price under macs inf claims .* a network of objective .* is known"
    known, other = Known(problem, "macs"), Known(problem, "macs")
    known.offer(networks)
    other.lower(false)
    with pytest.raises(ContradictionError, match=claim):
        known.lower(false)
    with pytest.raises(ContradictionError, match=claim):
        other.offer(networks)


STAIR = np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 30.0])
LINES = [Bound(2.0, 2.0, 22.0, 4.0), Bound(math.inf, 4.0, 33.0, 0.0), Bound(4.0, 4.0, 32.0, 1.0)]


def test_the_area_is_that_between_the_stair_and_the_least_lines() -> None:
    """From 1 to 2 a line from 18 to 22 above 10, from 2 to 4 one from 30 to 32 above 20."""
    found = area(*STAIR, LINES, 1.0, 4.0)
    assert found.between == pytest.approx(20 - 10 + 2 * (31 - 20))
    assert found.under == pytest.approx(20 + 2 * 31)
    assert gap(*STAIR, LINES) == pytest.approx(32 / 82)
    assert gap(*STAIR, LINES[:1]) is None
    assert gap(np.array([1.0]), np.array([10.0]), LINES) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_area_and_the_drawn_line_follow_the_least_bound_everywhere(seed: int) -> None:
    random = np.random.default_rng(seed)
    costs, values = np.sort(random.random((2, 12)), axis=1) * [[10.0], [5.0]]
    numbers = random.random((8, 4)) * [10, 10, 20, 1]
    lines = [Bound(limit, at, height, slope) for limit, at, height, slope in numbers.tolist()]
    lines.append(Bound(math.inf, 0.0, 20.0, 0.1))
    low, high = float(costs[0]), float(costs[-1])
    fine = np.linspace(low, high, 20_001)
    least, below = lowest(lines, fine), values[np.searchsorted(costs, fine, "right") - 1]
    found = area(costs, values, lines, low, high)
    assert found.between == pytest.approx(float(np.mean(least - below)) * (high - low), rel=1e-3)
    assert found.under == pytest.approx(float(np.mean(least)) * (high - low), rel=1e-3)
    assert lowest(needed(lines, low), fine) == pytest.approx(least)
    drawn_costs, heights = bound_line(lines, low, high)
    inside = np.min(np.abs(fine[:, None] - corners(lines, low, high)), axis=1) > 1e-3
    assert np.interp(fine[inside], drawn_costs, heights) == pytest.approx(least[inside])


@pytest.mark.parametrize("count", [1, 3, 5])
def test_sections_end_below_steps_and_their_lines_are_those_of_least_area(count: int) -> None:
    """A front of three steps is followed by three lines; no other ends of sections have lines nearer to it."""
    random = np.random.default_rng(count)
    costs = np.sort(random.random(9)) * 100
    values = np.cumsum([5.0, 0.2, 0.3, 9.0, 0.1, 0.2, 4.0, 0.3, 0.1])
    found = sections(costs, values, count)
    assert [one.low for one in found] == [costs[0], *(np.nextafter(one.limit, np.inf) for one in found[:-1])]
    assert found[-1].limit == costs[-1]

    edges = [(values[b] - values[a]) / (costs[b] - costs[a]) for a, b in itertools.combinations(range(9), 2)]

    def total(starts: list[float]) -> float:
        whole = 0.0
        for low, end in itertools.pairwise([*starts, math.inf]):
            inside, limit = costs < end, min(end, float(costs[-1]))
            middle = (low + limit) / 2
            lines = (values + slope * (middle - costs) for slope in (0.0, *edges))
            whole += min(float(line[inside].max()) for line in lines) * (limit - low)
        return whole

    others = itertools.combinations(costs[1:].tolist(), count - 1)
    least = min(total([float(costs[0]), *starts]) for starts in others)
    assert total([one.low for one in found]) == pytest.approx(least)
    if count == 3:
        assert [one.low for one in found] == [costs[0], costs[3], costs[6]]


def test_a_bound_jumps_behind_its_limit_and_never_falls() -> None:
    costs, heights = bound_line(LINES, 1.0, 4.0)
    assert list(zip(costs, heights, strict=True)) == [(1.0, 18.0), (2.0, 22.0), (2.0, 30.0), (4.0, 32.0)]
    assert math.isnan(bound_line(LINES[:1], 1.0, 4.0)[1][-1])
