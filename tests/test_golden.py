"""The published structures give the published figures, in the records, in PyTorch and on the command line."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from deepmad.engine.answers.summaries import summary
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.torch_builder import build
from tests.catalogue import BLOCK_STAGES, GOLDEN, mixed, one_block, published

NAMES = tuple(GOLDEN)


@pytest.mark.parametrize("name", NAMES)
def test_figures_equal_the_golden_ones(name: str) -> None:
    figures, expected = summary(published(name)), GOLDEN[name]["expect"]
    for key in ("macs", "params", "backbone_macs", "backbone_params"):
        assert figures[key] == expected[key]
    for key in ("entropy", "rho", "depth_variance", "objective_reference"):
        assert math.isclose(figures[key], expected[key], rel_tol=1e-9)
    assert figures["scale_entropies"] == pytest.approx(expected["scale_entropies"], rel=1e-9)


@pytest.mark.parametrize("classes", [0, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_built_modules_have_exactly_the_golden_costs(name: str, classes: int) -> None:
    network, expected = published(name), GOLDEN[name]["expect"]
    network = network if classes else network.backbone()
    prefix = "" if classes else "backbone_"
    assert torch_costs(network) == (expected[f"{prefix}macs"], expected[f"{prefix}params"])


@pytest.mark.parametrize("network", [*map(one_block, BLOCK_STAGES), mixed()], ids=lambda network: network.name)
def test_every_block_kind_costs_in_pytorch_what_its_records_say(network: Architecture) -> None:
    figures = summary(network)
    assert torch_costs(network) == (figures["macs"], figures["params"])


def torch_costs(network: Architecture) -> tuple[int, int]:
    """Return multiply-accumulates and parameters by PyTorch's own counters; the meta device only counts."""
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module = build(network).eval()
        module(torch.zeros(1, 3, network.resolution, network.resolution))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2, sum(parameter.numel() for parameter in module.parameters())
