"""The bounds of fronts against brute force: at no cost is a network above them; and how they are drawn."""

import itertools
import math
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
    while case.optimum is None or len(case.counted) > 20_000:
        case = random_case(random)
    return case


@pytest.mark.parametrize("seed", range(100, 116))
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
    piece = Piece(str(seed), problem, against, limit, charge, -math.inf, 0.0, first, (), seed, None, 10)
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


@pytest.mark.parametrize("seed", range(16))
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
