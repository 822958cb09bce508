"""Coarser channels: the space shrinks to multiples, and designs keep to them."""

from dataclasses import replace

import pytest

from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.coarsening import coarsened
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import Space, load_space, presets
from tests.catalogue import small_space


def with_outs(space: Space, index: int, outs: tuple[int, ...]) -> Space:
    """Return the space with other output widths of one stage."""
    stages = list(space.stages)
    stages[index] = replace(stages[index], out=outs)
    return replace(space, stages=tuple(stages))


@pytest.mark.parametrize("multiple", [16, 32, 64])
@pytest.mark.parametrize("name", presets())
def test_presets_shrink_to_multiples(name: str, multiple: int) -> None:
    space = load_space(name)
    coarse = coarsened(space, multiple)
    assert 0 < coarse.size() < space.size()
    for stage in coarse.stages:
        inner = {width for out in stage.out for width in stage.widths(out)}
        assert all(width % multiple == 0 for width in inner | set(stage.out))
    assert set(coarse.stem.out) <= set(space.stem.out)
    assert (coarse.tail, coarse.rules, coarse.limits) == (space.tail, space.rules, space.limits)


def test_multiples_of_8_are_what_presets_have() -> None:
    assert coarsened(load_space("r50"), 8) == load_space("r50")


def test_a_narrow_stem_keeps_multiples_of_its_largest_width() -> None:
    assert coarsened(load_space("r50"), 64).stem.out == (32,)
    assert coarsened(load_space("r50"), 16).stem.out == (16, 32)


@pytest.mark.parametrize("name", ["r18", "mbv2", "small"])
def test_every_width_of_a_design_is_a_multiple(name: str) -> None:
    space = small_space() if name == "small" else load_space(name)
    problem = Problem(coarsened(space, 32), Budget.of(space))
    network = design(problem, CpSat(workers=1, deterministic_limit=0.2)).architecture
    assert network is not None
    assert problem.space.violations(network) == []
    widths = [network.stem.out, *(stage.out for stage in network.stages), *(stage.width for stage in network.stages)]
    assert all(width % 32 == 0 for width in widths)
    narrower = replace(network, stages=(*network.stages[:-1], replace(network.stages[-1], width=40)))
    assert any("width 40" in sentence for sentence in problem.space.violations(narrower))


def test_what_holds_no_multiple_is_named_with_what_works() -> None:
    with pytest.raises(InputError, match=r"stages\[0\]\.width holds no multiple of 48.*largest that works is 32"):
        coarsened(small_space(), 48)
    lists = with_outs(small_space(), 1, (40, 56))
    with pytest.raises(InputError, match=r"stages\[1\]\.out holds no multiple of 16; the largest that works is 8"):
        coarsened(lists, 16)
    odd = with_outs(small_space(), 1, (41, 57))
    with pytest.raises(InputError, match="none works"):
        coarsened(odd, 16)


@pytest.mark.parametrize("multiple", [0, -8, 4, 12, 100])
def test_only_multiples_of_8_are_taken(multiple: int) -> None:
    with pytest.raises(InputError, match=f"{multiple} is no positive multiple of 8"):
        coarsened(small_space(), multiple)


def test_fixed_widths_stay() -> None:
    fixed = with_outs(small_space(), 1, (40,))
    assert coarsened(fixed, 16).stages[1].out == (40,)
