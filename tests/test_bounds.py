"""The bound against brute force: on small spaces of every kind no network may ever exceed it."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.latency import latency_nanoseconds
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import BoundStep, search, tighten, widths
from deepmad.engine.solvers.bounds.coarse import coarse
from deepmad.engine.solvers.bounds.columns import Pool
from deepmad.engine.solvers.bounds.master import solve_master
from deepmad.engine.solvers.bounds.maxplus import max_plus
from deepmad.engine.solvers.bounds.nodes import Effort, Node, evaluate
from deepmad.engine.solvers.bounds.pricing import Choice, Prices, best_path, choice_costs, no_prices, price
from deepmad.engine.solvers.bounds.products import of_tables
from deepmad.engine.solvers.bounds.relaxation import (
    chord_of_squares,
    full_box,
    penalty_at,
    penalty_cut,
    spread_cuts,
    tied,
    within,
)
from deepmad.engine.solvers.bounds.tables import SpaceTables, families, read_tables
from deepmad.engine.solvers.bounds.widths import best_depth
from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
from deepmad.search_spaces.choices import Rules, StageSpace, StemSpace, WidthRatio, expanded
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.search_spaces.spaces import Space, load_space
from tests.brute_force import members
from tests.catalogue import StairTable, small_space


def random_space(random: np.random.Generator) -> Space:
    """Return a space of two or three stages, small enough to enumerate."""
    kinds = ("bottleneck", "basic", "mbconv", "mbconv_se")
    count = int(random.integers(2, 4))

    def some(values: list[int], most: int) -> tuple[int, ...]:
        size = int(random.integers(1, most + 1))
        return tuple(int(value) for value in random.choice(values, size, replace=False))

    stages = []
    for _ in range(count):
        free = random.random() < 0.5
        stages.append(
            StageSpace(
                tuple(str(kind) for kind in random.choice(kinds, int(random.integers(1, 3)), replace=False)),
                (2 if random.random() < 0.6 else 1,),
                some([8, 16, 24, 40], 3 if count == 2 else 2),
                some([3, 5], 2 if count == 2 else 1),
                some([1, 2, 4, 7], 3 if count == 2 else 2),
                some([8, 12, 24, 40], 2) if free else None,
                None if free else tuple(float(value) for value in some([1, 3, 6], 2 if count == 2 else 1)),
            )
        )
    rules = Rules(bool(random.random() < 0.5), 3 if random.random() < 0.5 else None, WidthRatio(0.2, 2.0))
    tail = Tail(64) if random.random() < 0.5 else None
    classes = int(random.choice([0, 10]))
    return Space("small", 32, StemSpace(some([8, 16, 24], 2)), tuple(stages), 3, tail, classes, rules)


def random_problem(random: np.random.Generator) -> tuple[Problem, list[Architecture]]:
    """Return a random problem whose limits pass through the middle of its space, and the space's members."""
    while not 1 <= len(found := members(space := random_space(random))) <= 2000:
        pass
    scales = 1 + sum(stage.stride == 2 for stage in space.stages)
    alpha = tuple(float(value) for value in random.choice([0, 0.5, 1, 8], scales))
    space = replace(space, alpha=alpha if any(alpha) else (*alpha[1:], 1.0), beta=float(random.choice([0, 1, 10])))
    table = StairTable()
    middle = found[int(random.integers(len(found)))].parts()
    limits = {
        "macs": float(total_macs(middle)),
        "params": float(total_params(middle)),
        "latency": int(latency_nanoseconds(middle, table)) / 1e9,
        "rho": float(random.choice([0.3, 0.6, 1.5])),
    }
    kept = {name: value for name, value in limits.items() if random.random() < 0.5}
    objective: ObjectiveName = "paper" if random.random() < 0.5 else "reference"
    return Problem(space, Budget(**kept), table if "latency" in kept else None, objective), found


def score(space: SpaceTables, prices: Prices, network: Architecture) -> float:
    """Score a network under multipliers, from its layer records alone."""
    problem, parts = space.problem, network.parts()
    last = len(network.stages) - 1
    total = prices.constant
    for part in parts:
        stage = part.stage if part.stage is not None else last
        once = replace(part, repeats=1)
        nanoseconds = [sum(table.nanoseconds(layer) for layer in part.body.layers) for table in problem.tables]
        total += part.repeats * float(prices.costs @ [total_macs([once]), total_params([once]), *nanoseconds])
        if part.name == "stem":
            continue
        total += part.repeats * prices.entropy[stage] * sum(math.log(layer.fan_in) for layer in part.body.main)
        if part.stage is not None:
            total += part.repeats * prices.convs[stage] * len(part.body.main)
    total += sum(float(prices.depths[index]) * stage.depth for index, stage in enumerate(network.stages))
    total += sum(float(prices.squares[index]) * stage.depth**2 for index, stage in enumerate(network.stages))
    for index, out in enumerate([network.stem.out, *(stage.out for stage in network.stages)]):
        total += float(prices.channels[index][list(space.channels[index]).index(out)])
    return total


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("many", [0, widths.MANY_CELLS])
def test_pricing_finds_the_best_network_through_every_choice(
    seed: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widths, "MANY_CELLS", many)
    random = np.random.default_rng(seed)
    problem, found = random_problem(random)
    space = read_tables(problem)
    kinds = tuple(kind for kind in problem.space.stages[0].block)
    box = full_box(space, kinds)
    prices = Prices(
        random.normal(size=space.stages),
        -random.random(len(space.limits)) * [1e-7, 1e-5, 1e-6][: len(space.limits)],
        random.normal(size=space.stages),
        random.normal(size=space.stages),
        random.normal(size=space.stages),
        tuple(random.normal(size=len(values)) * 5 for values in space.channels),
        float(random.normal()),
    )
    scored = [(score(space, prices, network), network) for network in found]
    chain = price(space, box, prices)
    assert chain.value == pytest.approx(max(value for value, _ in scored))
    for index, choices in enumerate(space.channels):
        outs = [
            (value, [network.stem.out, *(stage.out for stage in network.stages)][index]) for value, network in scored
        ]
        best = [max((value for value, out in outs if out == choice), default=-math.inf) for choice in choices]
        assert chain.through_channels(index) == pytest.approx(np.array(best))
    for stage, choice in enumerate(problem.space.stages):
        rows = [(value, network.stages[stage]) for value, network in scored]
        for option, through in zip(chain.scores[stage].keys, chain.through_options(stage), strict=True):
            chosen = space.tables[stage].options[option]
            same = [row for row in rows if (row[1].block, row[1].kernel) == (chosen.kind, chosen.kernel)]
            if chosen.expansion is not None:
                same = [row for row in same if row[1].width == expanded(chosen.expansion, row[1].out)]
            assert through == pytest.approx(max((value for value, _ in same), default=-math.inf))
        by_depth, by_width = chain.through_parts(stage, math.inf)
        for depth, through in zip(choice.depth, by_depth, strict=True):
            assert through == pytest.approx(max((v for v, row in rows if row.depth == depth), default=-math.inf))
        for width, through in zip(choice.width or (), by_width, strict=bool(choice.width)):
            assert through == pytest.approx(max((v for v, row in rows if row.width == width), default=-math.inf))


def check(problem: Problem, incumbent: float | None, optimum: float, steps: int) -> BoundStep:
    """Run some steps and hold every one of them against the optimum; return the last."""
    last, before = BoundStep(math.inf, None, False), math.inf
    for last in itertools.islice(tighten(problem, lambda: incumbent), steps):
        valid = last.bound if incumbent is None else max(last.bound, incumbent)
        assert valid >= optimum - 1e-9 * abs(optimum)
        assert last.bound <= before
        before = last.bound
        if last.proposal is not None:
            assert not problem.space.violations(last.proposal)
            if not problem.broken(last.proposal):
                value = problem.value(last.proposal)
                assert valid >= value - 1e-9 * abs(value)
    return last


@pytest.mark.parametrize("seed", [*range(16), 70])
def test_no_network_of_a_small_space_exceeds_the_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:  # as in large spaces
        monkeypatch.setattr(widths, "MANY_CELLS", 0)
    problem, found = random_problem(np.random.default_rng(seed))
    values = [problem.value(network) for network in found if not problem.broken(network)]
    optimum = max(values, default=-math.inf)
    if not values:
        assert check(problem, None, optimum, 200).infeasible
        return
    for incumbent in (None, optimum - 0.2 * abs(optimum), optimum):
        last = check(problem, incumbent, optimum, 80)
        assert not last.infeasible
        if last.done:
            assert last.bound == pytest.approx(optimum, rel=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_the_prices_of_the_limits_alone_refuse_no_feasible_network(seed: int) -> None:
    problem, found = random_problem(np.random.default_rng(seed))
    problem = replace(problem, budget=replace(problem.budget, rho=problem.budget.rho or 0.6))
    space = read_tables(problem)
    first = search._root(space, families(problem)[0])
    totals = tuple((low, (low + high) // 2) for low, high in first.box.totals)
    node = Node(within(first.relaxation, space, replace(first.box, totals=totals)), math.inf)
    pool = Pool(space)
    for _ in evaluate(space, node, pool, lambda: -math.inf, Effort(8, 0)):
        pass
    inside = [
        network
        for network in found
        if not problem.broken(network)
        and network.stages[0].block in families(problem)[0]
        and all(
            low <= sum(stage.depth for stage in network.stages[start:end]) <= high
            for (start, end), (low, high) in zip(space.spans, totals, strict=True)
        )
    ]
    if node.bound == -math.inf:
        assert not inside
        return
    master = solve_master(space, node.relaxation, pool, limits_only=True)
    assert master is not None
    assert all(score(space, master.prices, network) >= -1e-9 for network in inside)
    assert node.bound >= max((problem.value(network) for network in inside), default=-math.inf)


def test_depths_and_totals_of_blocks_narrow_each_other() -> None:
    space = read_tables(Problem(load_space("29m-224"), Budget()))
    box = full_box(space, ("mbconv_se",))
    assert box.totals == ((1, 24), (2, 48), (3, 72), (4, 96), (5, 120))
    narrow = tied(space, replace(box, totals=(*box.totals[:2], (70, 72), (4, 96), (5, 74))))
    assert narrow.depths == ((21, 23), (21, 23), (21, 23), (0, 6), (0, 6))  # indices: depth less 1
    assert narrow.totals == ((1, 24), (2, 48), (70, 72), (67, 96), (68, 74))
    empty = replace(box, totals=(*box.totals[:4], (200, 300)))
    assert tied(space, empty) == empty


@pytest.mark.parametrize("objective", ["paper", "reference"])
def test_no_cut_of_the_penalty_exceeds_it(objective: ObjectiveName) -> None:
    random = np.random.default_rng(0)
    space = read_tables(Problem(load_space("29m-224"), Budget(), objective=objective))
    rows = random.integers(1, 25, (60, space.stages)).astype(float)
    rows[:20] = 3 + rows[:20] / 24
    centre = rows[:20].mean(1, keepdims=True)
    rows[20:40] = centre + 0.99 * (rows[:20] - centre)  # so near that a slope a little off shows
    with np.errstate(over="ignore"):
        values = np.array([penalty_at(space, "mbconv_se", row) for row in rows])
    even = np.full(rows.shape[1], 4.0)
    hardly = even + 1e-6 * np.eye(len(even))[0]  # as a linear program may say it: no spread worth its penalty
    rows, values = np.vstack([rows, even]), np.append(values, penalty_at(space, "mbconv_se", even))
    for at in [*rows[:30], even, hardly]:
        cut = penalty_cut(space, "mbconv_se", at)
        assert (cut.constant + rows @ cut.slopes <= values * (1 + 1e-9)).all()
        if values[0] and at.var() < 6:
            assert cut.constant + cut.slopes @ at == pytest.approx(penalty_at(space, "mbconv_se", at))


def test_a_pool_hands_out_the_columns_used_last() -> None:
    space = read_tables(Problem(load_space("29m-224"), Budget()))
    box, pool = full_box(space, ("mbconv_se",)), Pool(space)
    columns = [(0, Choice(0, depth, 0, out, 0)) for depth in range(4) for out in range(100)]
    assert pool.add(columns) == len(columns)
    first = pool.inside(box)
    assert 0 < len(first.stage) < len(columns)
    pool.mark(np.zeros(len(first.stage)))
    assert pool.add(columns[-10:]) == 10  # known, but not among those handed out
    again = pool.inside(box)
    assert {(choice.depth, choice.out) for _, choice in columns[-10:]} <= set(
        map(tuple, again.fields[:, [2, 4]].tolist())
    )
    assert pool.add(columns[-10:]) == 0


def preset_network(name: str, numbers: list[int]) -> Architecture:
    """Return the network of a preset: stem, then out, width, kernel and depth of every stage."""
    space = load_space(name)
    rows = zip(space.stages, zip(*[iter(numbers[1:])] * 4, strict=True), strict=True)
    stages = tuple(
        Stage(choice.block[0], out, width, kernel, depth, choice.stride) for choice, (out, width, kernel, depth) in rows
    )
    classes = 0 if name.startswith("r") else space.classes
    return Architecture(space.resolution, Stem(numbers[0]), stages, space.tail, classes)


MBV2_STAGES = [
    (16, 48, 5, 1),
    (32, 96, 5, 1),
    (56, 168, 5, 1),
    (112, 336, 5, 3),
    (136, 408, 5, 3),
    (200, 600, 5, 2),
    (208, 624, 5, 3),
]
KNOWN = {
    "r18": [32, 112, 24, 5, 1, 168, 40, 5, 1, 656, 72, 5, 15, 720, 72, 5, 15, 880, 88, 5, 10],
    "29m-224": [40, 40, 240, 5, 1, 80, 480, 5, 5, 144, 864, 5, 6, 232, 1392, 5, 6, 256, 1536, 5, 6],
    "mbv2": [16, *itertools.chain.from_iterable(MBV2_STAGES)],
}


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_no_known_network_of_a_preset_exceeds_the_bound(name: str, limited: bool) -> None:
    network, space, table = preset_network(name, KNOWN[name]), load_space(name), StairTable()
    budget = Budget.of(space)
    if limited:
        budget = replace(budget, latency=int(latency_nanoseconds(network.parts(), table)) / 1e9)
    objective: ObjectiveName = "reference" if name == "r18" else "paper"
    problem = Problem(space, budget, table if limited else None, objective, classes=network.classes)
    assert not problem.broken(network)
    value = problem.value(network)
    last = check(problem, 0.95 * value, value, 120)
    assert last.bound < 1.15 * value


def test_a_better_incumbent_later_ends_the_search() -> None:
    problem, found = random_problem(np.random.default_rng(0))
    optimum = max(problem.value(network) for network in found if not problem.broken(network))
    asked = itertools.count()
    steps = list(itertools.islice(tighten(problem, lambda: optimum if next(asked) > 20 else None), 2000))
    assert steps[-1].done
    assert steps[-1].bound == pytest.approx(optimum, rel=1e-6)


def test_the_same_steps_come_twice() -> None:
    problem, _ = random_problem(np.random.default_rng(0))
    first, second = (list(itertools.islice(tighten(problem, lambda: None), 40)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("left", [-1, 0, 1])
def test_a_latency_that_the_overhead_takes_up_is_proven_infeasible(left: int) -> None:
    table = StairTable()
    limit = Budget(latency=(table.overhead_nanoseconds + left) / 1e9)
    *_, last = itertools.islice(tighten(Problem(small_space(), limit, table=table), lambda: None), 50)
    assert last.infeasible


@pytest.mark.parametrize("objective", ["paper", "reference"])
def test_no_bound_by_the_variance_exceeds_the_penalty(objective: ObjectiveName) -> None:
    """Neither for small variances, where the exponential of the deviation is concave, nor in a box of any totals."""
    random = np.random.default_rng(1)
    space = read_tables(Problem(load_space("29m-224"), Budget(), objective=objective))
    cuts = spread_cuts(space, "mbconv_se")
    low = random.integers(1, 10, (40, space.stages))
    rows = np.vstack([low + random.integers(0, high, low.shape) for high in (2, 3, 4, 8)])
    first = search._root(space, families(space.problem)[0])
    for row in rows:
        total = int(row.sum())
        totals = (*first.box.totals[:-1], (total - int(random.integers(0, 5)), total + int(random.integers(0, 5))))
        relaxation = replace(first.relaxation, box=replace(first.box, totals=totals))
        rise, constant = chord_of_squares(space, relaxation)
        variance = float((row**2).mean() - rise * total - constant)
        assert variance <= row.var() + 1e-9
        with np.errstate(over="ignore"):
            exact = penalty_at(space, "mbconv_se", row.astype(float))
        for value in (variance, float(row.var())):
            assert max(cut.constant + cut.slope * value for cut in cuts) <= exact * (1 + 1e-9)


def test_the_best_depth_is_that_of_plain_enumeration() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        repeats = np.sort(random.choice(40, int(random.integers(1, 12)), replace=False)).astype(float)
        earned, later = random.normal(size=len(repeats)) * 20, random.normal(size=(7, 9)) * 3
        plain = (repeats[:, None, None] * later + earned[:, None, None]).max(0)
        assert best_depth(later, repeats, earned) == pytest.approx(plain)


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_the_maxima_gives_what_looking_at_all_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, inner, columns = (int(size) for size in random.integers(1, 150, 3))
    left = random.normal() * np.outer(
        np.sort(random.random(rows)), np.sort(random.random(inner))[:: random.choice([1, -1])]
    )
    left += random.normal(size=(rows, 1)) + random.normal(size=inner)
    right = np.where(random.random((inner, columns)) < 0.3, -np.inf, random.normal(size=(inner, columns)))
    right[:, random.random(columns) < 0.2] = -np.inf
    assert np.array_equal(max_plus(left, right), (left[:, :, None] + right).max(1))


@pytest.mark.parametrize("limits", [{"macs": 2e9, "params": 1e7}, {"latency": 1e-3}])
@pytest.mark.parametrize("name", ["r18", "r50"])
def test_a_large_stage_is_priced_the_same_by_either_way(
    name: str, limits: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    space_of, table = load_space(name), StairTable() if "latency" in limits else None
    space = read_tables(Problem(space_of, Budget(**limits), table, objective="reference"))
    random, box = np.random.default_rng(0), full_box(space, tuple(space_of.stages[0].block))
    outs = [np.where(random.random(len(values)) < 0.1, -np.inf, 0.0) for values in space.channels]
    prices = replace(
        no_prices(space),
        entropy=np.linspace(5.0, 20.0, space.stages),
        costs=np.where(np.isfinite(space.limits), -100.0 / space.limits, 0.0),
        channels=tuple(outs),
    )
    found = []
    for many in (0, 10**12):
        monkeypatch.setattr(widths, "MANY_CELLS", many)
        chain = price(space, box, prices)
        parts = [chain.through_parts(stage, math.inf) for stage in range(space.stages)]
        found.append([*(scores.tables for scores in chain.scores), *itertools.chain(*parts)])
    for fast, plain in zip(*found, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-12)


def test_the_order_is_relied_on_where_the_costs_have_it() -> None:
    random, rising = np.random.default_rng(0), np.arange(1.0, 7.0)
    plain, bent = np.outer(rising, rising), np.outer(rising, rising * [1, 1, 5, 1, 1, 1])
    whole = random.random((6, 6))
    costs = of_tables([np.array([plain, bent, whole]), np.array([2 * plain, plain, whole])])
    assert list(costs.kept) == [2]
    assert costs.one_way(np.array([-1.0, 0.0, 0.0]), [0, 1])
    assert costs.one_way(np.array([1.0, -1.0, 0.0]), [0]) is False, "bent: the maximum may move back"
    assert costs.one_way(np.array([-1.0, -1.0, 0.0]), [1])
    assert costs.one_way(np.array([1.0, -1.0, 0.0]), [1]) is False, "one falls, one rises"
    assert costs.one_way(np.array([-1.0, 0.0, -1e-9]), [1]) is False, "nothing is known of costs kept whole"


def test_no_column_of_a_round_is_lost() -> None:
    """A master has room for one column of every option of every stage, however many there are, and for old ones."""
    stage = StageSpace(("mbconv", "mbconv_se"), (1,), tuple(range(16, 161, 8)), (3, 5, 7), (1, 2, 3), None, (2, 4, 6))
    space = read_tables(Problem(Space("wide", 32, StemSpace((16,)), (stage,) * 9), Budget()))
    box, pool = full_box(space, ("mbconv", "mbconv_se")), Pool(space)
    known = [(0, Choice(0, depth, 0, out, 0)) for depth in range(3) for out in range(19)]
    pool.add(known)
    pool.mark(np.ones(len(pool.inside(box).stage)))
    news = [(at, Choice(index, 1, 0, 1, 0)) for at in range(9) for index in range(len(space.tables[at].options))]
    assert len(news) == 162
    pool.add(news)
    handed = {(int(row[0]), int(row[1])) for row in pool.inside(box).fields if row[2] == 1 and row[4] == 1}
    assert handed >= {(at, choice.option) for at, choice in news}


def test_a_coarse_lattice_prices_as_the_space_does() -> None:
    space = read_tables(Problem(load_space("r18"), Budget()))
    box = full_box(space, ("bottleneck",))
    lattice, random = coarse(space, box), np.random.default_rng(3)
    prices = replace(
        no_prices(space),
        entropy=random.random(space.stages),
        costs=-random.random(len(space.limits)) * 1e-7,
        channels=tuple(random.normal(size=len(values)) for values in space.channels),
    )
    mapped = lattice.prices(prices)
    chain = price(lattice.space, lattice.box, mapped)
    path = [
        lattice.placed(stage, choice)
        for stage, choice in enumerate(best_path(lattice.space, lattice.box, mapped, chain))
    ]
    assert all(before.out == after.c_in for before, after in itertools.pairwise(path))
    weights = [np.concatenate([prices.entropy[stage : stage + 1], prices.costs]) for stage in range(space.stages)]
    earned = sum(float(weights[stage] @ choice_costs(space, stage, choice)) for stage, choice in enumerate(path))
    earned += float(prices.channels[0][path[0].c_in])
    earned += sum(float(prices.channels[stage + 1][choice.out]) for stage, choice in enumerate(path))
    assert chain.value == pytest.approx(earned)
    assert chain.value <= price(space, box, prices).value + 1e-9
