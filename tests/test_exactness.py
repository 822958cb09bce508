"""Exactness as a property: on random small problems every solver agrees with brute force.

`python -m benchmarks.exactness` runs hundreds more; a failing seed is one with `--seed SEED --problems 1`.
"""

import itertools
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.spaces import Space
from tests.agreement import agreement
from tests.brute_force import members
from tests.random_problems import random_case, random_space


@pytest.fixture(scope="module", autouse=True)
def _brief_search() -> Iterator[None]:
    """Let the quick search for the nearest limits end soon: it uses all of its time, and CP-SAT proves them anyway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepmad.engine.solvers.nearest.SHORTEST_SEARCH", 0.03)
        yield


@settings(max_examples=25, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32 - 1))
def test_solvers_agree_with_brute_force(seed: int) -> None:
    case = random_case(Random(seed))
    assert agreement(case).disagreements == (), case.problem


def test_random_problems_are_of_every_kind() -> None:
    cases = [random_case(Random(seed)) for seed in range(60)]
    stages = [stage for case in cases for stage in case.problem.space.stages]
    assert 3 <= sum(case.optimum is None for case in cases) <= 18
    assert {kind for stage in stages for kind in stage.block} == set(BLOCKS)
    assert {name for case in cases for name in case.problem.limits()} == set(cases[0].counted.used)
    assert {case.problem.objective for case in cases} == {"paper", "reference"}
    assert any(len(stage.block) > 1 for stage in stages)
    assert max(len(case.counted) for case in cases) > 20_000


def product_members(space: Space) -> list[Architecture]:
    """Return every combination of a space's choices that its own check of membership lets pass."""
    rows = [
        [
            Stage(block, out, width, kernel, depth, stage.stride)
            for block, out, kernel, depth in itertools.product(stage.block, stage.out, stage.kernel, stage.depth)
            for width in stage.widths(out)
        ]
        for stage in space.stages
    ]
    found = [
        Architecture(
            space.resolution,
            Stem(out, space.stem.kernel, space.stem.stride),
            stages,
            space.tail,
            space.classes,
            space.in_channels,
        )
        for out in space.stem.out
        for stages in itertools.product(*rows)
    ]
    return [network for network in found if not space.violations(network)]


def test_brute_force_enumerates_the_members_of_a_space() -> None:
    random, looked_at = Random(0), 0
    while looked_at < 5:
        space = random_space(random)
        if space.size() <= 3_000:
            expected = set(product_members(space))
            assert set(members(space)) == expected
            looked_at += bool(expected)
