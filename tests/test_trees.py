"""The tree of the bound in pieces: work that other processes do, time that is over, groups of widths, products."""

import itertools
import math
import pickle
import time

import numpy as np
import pytest

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import Tree, grouping
from deepmad.engine.solvers.bounds.grouping import tables_of
from deepmad.engine.solvers.bounds.products import of_tables
from deepmad.engine.solvers.bounds.tables import OutOfTimeError
from deepmad.engine.solvers.search.scouting import MOST_SCOUTED, scout
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space
from tests.catalogue import ROOT
from tests.test_bounds import random_problem


def feasible(problem: Problem, found: list[Architecture]) -> float:
    """Return the optimum by brute force."""
    return max((problem.value(network) for network in found if not problem.broken(network)), default=-math.inf)


@pytest.mark.parametrize("seed", range(12))
def test_a_tree_that_others_work_on_keeps_its_bound_and_closes(seed: int) -> None:
    problem, found = random_problem(np.random.default_rng(seed))
    optimum = feasible(problem, found)
    tree, helper = Tree(problem, lambda: None), Tree(problem, lambda: None)
    told: list[Architecture | None] = []
    for count, step in enumerate(tree.steps()):
        told.append(step.proposal)
        assert max(step.bound, optimum if optimum == -math.inf else step.bound) >= optimum - 1e-9 * abs(optimum)
        share = tree.share() if count % 3 == 0 else None
        if share is None:
            continue
        assert max(node.bound for node in share.nodes) <= tree.step().bound
        if count % 2:  # its process was lost
            tree.take_back(share, None)
        else:
            outcome = helper.work_on(pickle.loads(pickle.dumps(share)), lambda: True)
            assert outcome.evaluated or not outcome.nodes
            for network in outcome.proposals:
                assert not problem.space.violations(network)
            told += [outcome.met, *outcome.proposals]
            tree.take_back(share, pickle.loads(pickle.dumps(outcome)))
    assert step.done
    assert step.infeasible == (optimum == -math.inf)
    if not step.infeasible:
        assert step.bound == pytest.approx(optimum, rel=1e-6)
        assert feasible(problem, [network for network in told if network]) == pytest.approx(optimum, rel=1e-6)


def test_a_share_that_is_out_counts_as_open() -> None:
    tree = Tree(Problem(load_space("r18"), Budget.of(load_space("r18"))), lambda: None)
    steps = tree.steps()
    share = next(share for share in (tree.share() for _ in steps) if share is not None)
    before = max(node.bound for node in share.nodes)
    for step in itertools.islice(steps, 20):
        assert step.bound >= before
        assert not step.done
    tree.take_back(share, None)
    assert not tree.shared


def test_out_of_time_nothing_is_claimed_that_was_not_proven() -> None:
    problem = Problem(load_space("r18"), Budget.of(load_space("r18")))
    *_, last = Tree(problem, lambda: None, time.monotonic() - 1).steps()
    assert (last.bound, last.done, last.infeasible) == (math.inf, False, False)
    assert [one for one in scout(problem, lambda: None, time.monotonic() - 1) if one] == []
    with pytest.raises(OutOfTimeError):  # its tables are not read to their end either
        tables_of(problem, time.monotonic() - 1)


def test_out_of_time_in_the_middle_the_bound_told_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(Problem(load_space("r18"), Budget.of(load_space("r18"))), lambda: None, math.inf)
    steps = tree.steps()
    told = next(step for step in steps if math.isfinite(step.bound))
    monkeypatch.setattr(time, "monotonic", lambda: math.inf)
    object.__setattr__(tree.space, "end", 0.0)
    *_, last = steps
    assert (last.bound, last.done, last.infeasible) == (told.bound, False, False)


@pytest.mark.parametrize("seed", range(16))
def test_no_network_exceeds_the_bound_over_groups_of_widths(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, found = random_problem(np.random.default_rng(seed))
    monkeypatch.setattr(grouping, "_MOST_CELLS", 1)
    monkeypatch.setattr(grouping, "_GROUPED_CELLS", 12)
    assert tables_of(problem).grouped
    optimum = feasible(problem, found)
    for incumbent in (None, None if optimum == -math.inf else optimum - 0.1 * abs(optimum)):
        for step in itertools.islice(Tree(problem, lambda: incumbent).steps(), 60):  # noqa: B023
            assert max(step.bound, -math.inf if incumbent is None else incumbent) >= optimum - 1e-9 * abs(optimum)
            assert not step.infeasible or optimum == -math.inf


def test_costs_are_products_where_they_can_be_and_whole_elsewhere() -> None:
    random = np.random.default_rng(0)
    rows, columns = np.arange(1.0, 8), np.arange(1.0, 6)
    plain = [
        np.stack([np.outer(rows, columns) * k + rows[:, None], np.full((7, 5), 3.0 * k), random.random((7, 5))])
        for k in (9, 25)
    ]
    costs = of_tables([*plain, np.zeros((3, 7, 5))])
    assert costs.kept.tolist() == [2]
    weights = np.array([0.5, -2.0, 3.0])
    for keys in ((0, 1, 2), (1,), (2, 0)):
        priced = costs.priced(weights, keys, slice(1, 6), slice(0, 4))
        wanted = [np.tensordot(weights, [*plain, np.zeros((3, 7, 5))][key], 1)[1:6, :4] for key in keys]
        assert priced == pytest.approx(np.array(wanted))
    assert costs.of(1, 3, 2) == pytest.approx(plain[1][:, 3, 2])
    assert costs.of(1, slice(2, 5), 2) == pytest.approx(plain[1][:, 2:5, 2])
    more = costs.plus(np.arange(21.0).reshape(3, 7), None)
    assert more.of(0, 3, 2) == pytest.approx(plain[0][:, 3, 2] + np.arange(21.0).reshape(3, 7)[:, 3])


@pytest.mark.parametrize("name", ["r18", "mbv2"])
def test_scouted_networks_are_members_of_the_space_and_of_different_frames(name: str) -> None:
    space = load_space(name)
    found = [network for network in scout(Problem(space, Budget.of(space)), lambda: None) if network is not None]
    assert 1 <= len(found) <= MOST_SCOUTED
    frames = {tuple((stage.block, stage.kernel, stage.depth) for stage in network.stages) for network in found}
    assert len(frames) == len(found)
    assert not any(space.violations(network) for network in found)


@pytest.mark.parametrize(("name", "optimum"), [("kinds", 170431.50480), ("mobile", 33353.58)])
def test_the_optimum_is_met_from_just_below_it(name: str, optimum: float) -> None:
    """As small spaces cannot show: no box that holds it is lost on the way, however wide the space."""
    space = load_space(str(ROOT / f"benchmarks/spaces/{name}.yaml"))
    problem = Problem(space, Budget.of(space), objective="paper")
    best = [optimum * (1 - 1e-5)]
    for step in Tree(problem, lambda: max(best)).steps():
        assert step.bound >= optimum * (1 - 1e-6)
        if step.proposal is not None and not problem.broken(step.proposal):
            best.append(problem.value(step.proposal))
    assert step.done
    assert max(best) == pytest.approx(optimum, rel=1e-6)
