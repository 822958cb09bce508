"""Probes are members of their space, spread over its sizes, and the same for the same seed."""

import numpy as np
import pytest

from deepmad.profilers.building.probes import draw_probes, random_network, short_kinds, short_network
from deepmad.profilers.prediction.features import Basis, terms
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.search_spaces.spaces import load_space, parse_space, presets

TWO_KINDS = """
format: deepmad/space@1
name: two
resolution: 32
stem: {out: [16], kernel: 3, stride: 2}
stages:
  - {block: [bottleneck, basic], stride: 2, out: {min: 16, max: 64}, width: [8, 16, 32], kernel: [3, 5], depth: [1, 4]}
  - {block: [mbconv, mbconv_se], stride: 1, out: {min: 32, max: 96}, expansion: [3, 6], kernel: 3, depth: [1, 2, 3]}
classes: 0
rules: {growth: 4}
"""


@pytest.mark.parametrize("preset", presets())
def test_random_networks_are_members_over_all_sizes(preset: str) -> None:
    space, rng = load_space(preset), np.random.default_rng(0)
    assert space.limits.macs is not None
    assert space.limits.params is not None
    shares = []
    for _ in range(8):
        network = random_network(space, rng)
        assert space.violations(network) == []
        assert total_params(network.parts()) <= space.limits.params
        shares.append(int(total_macs(network.parts())) / space.limits.macs)
    assert max(shares) <= 1.0
    assert max(shares) > 2 * min(shares)


def test_a_space_without_limits_and_with_several_block_kinds() -> None:
    space = parse_space(TWO_KINDS, "two")
    probes = draw_probes(space, 3, 12, 12)
    assert all(space.violations(network) == [] for network in probes.networks)
    kinds = {stage.block for network in probes.networks for stage in network.stages}
    assert kinds == {"bottleneck", "basic", "mbconv", "mbconv_se"}
    assert draw_probes(space, 3, 12, 12) == probes
    assert draw_probes(space, 4, 12, 12) != probes


@pytest.mark.parametrize("preset", ["r18", "mbv2"])
def test_short_networks_are_one_stage_of_every_kind(preset: str) -> None:
    space, rng = load_space(preset), np.random.default_rng(0)
    network = random_network(space, rng)
    for kind in short_kinds(space):
        short, stage = short_network(network, kind, rng), network.stages[kind.stage]
        (only,) = short.stages
        assert only.depth <= 4
        assert (only.out, only.width, only.stride) == (stage.out, stage.width, stage.stride)
        assert (only.block, only.kernel) == (kind.block, kind.kernel)
        assert (short.stem.out == only.out) or not kind.keeps_channels


@pytest.mark.parametrize("preset", ["r18", "mbv2", "29m-224"])
def test_probes_hold_every_kind_of_layer_of_the_space(preset: str) -> None:
    space, rng = load_space(preset), np.random.default_rng(9)
    probes = draw_probes(space, 0, 2, len(short_kinds(space)))
    basis = Basis.of([*probes.networks, *probes.short])

    def kinds(network: Architecture) -> set[str]:
        layers = [layer for part in network.parts() if part.repeats for layer in part.body.layers]
        return {name for layer in layers for name, _ in terms(layer, basis) if name.endswith(".layers")}

    known = set().union(*(kinds(network) for network in (*probes.networks, *probes.short)))
    for _ in range(10):
        assert kinds(random_network(space, rng)) <= known


def test_limits_that_nothing_meets_are_told() -> None:
    with pytest.raises(InputError, match="limits"):
        random_network(parse_space(TWO_KINDS + "limits: {macs: 1, params: 1}\n", "two"), np.random.default_rng(0))
