"""The torch builder: taps at every scale, shapes, gradients."""

from pathlib import Path

import pytest
import torch

from deepmad.engine.program.entropy import scales
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.torch_builder import build
from deepmad.search_spaces.torch_export import export_program
from tests.catalogue import BLOCK_STAGES, mixed, one_block, published


@pytest.mark.parametrize("network", [published("r18"), published("50m"), mixed()], ids=lambda network: network.name)
def test_features_come_from_every_scale(network: Architecture) -> None:
    with torch.device("meta"):
        taps = build(network, features_only=True)(torch.zeros(2, 3, network.resolution, network.resolution))
    found = scales(network.parts())
    assert [tuple(tap.shape) for tap in taps] == [(2, scale.channels, scale.side, scale.side) for scale in found]


@pytest.mark.parametrize("kind", BLOCK_STAGES)
def test_every_block_kind_trains(kind: str) -> None:
    torch.manual_seed(0)
    module = build(one_block(kind)).train()
    logits = module(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, 10)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in module.parameters())  # type: ignore[arg-type]


def test_the_shortcut_really_is_added() -> None:
    """With the last normalisation's scale and shift at zero, an identity block passes its input through."""
    module = build(one_block("bottleneck")).eval()
    block = module.stages[0][1]  # type: ignore[index]
    torch.nn.init.zeros_(block.main[-1][1].weight)
    x = torch.rand(1, 32, 8, 8)
    assert torch.equal(block(x), x)


def test_the_exported_program_gives_the_same_answers(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    module = build(mixed()).eval()
    export_program(module, path)
    loaded = torch.export.load(path).module()
    images = torch.randn(3, 3, 64, 64)
    assert torch.allclose(loaded(images), module(images), atol=1e-5)


def test_depthwise_weights_are_scaled_by_the_outputs_that_an_input_feeds() -> None:
    torch.manual_seed(0)
    convolutions = [part for part in build(one_block("mbconv")).modules() if isinstance(part, torch.nn.Conv2d)]
    for convolution in convolutions:
        feeds = convolution.out_channels // convolution.groups * convolution.kernel_size[0] ** 2
        assert float(convolution.weight.detach().std()) == pytest.approx((2 / feeds) ** 0.5, rel=0.15)
    assert any(convolution.groups > 1 for convolution in convolutions)
