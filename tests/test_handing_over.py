"""Networks in other tools: exports by the command line, torch.hub, detection, segmentation, training."""

import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepmad.cli.app import run
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.torch_builder import build
from deepmad.search_spaces.weights import initialised
from tests.catalogue import ROOT, mixed, one_block
from tests.test_onnx_export import run_file
from tests.test_standalone import loaded
from tests.test_timm import pyramid

TINY = Architecture(32, Stem(8), (Stage("bottleneck", 16, 8, 3, 1, 2), Stage("mbconv_se", 24, 48, 3, 1, 2)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return an architecture file of a network of all block kinds."""
    path = tmp_path / "net.json"
    path.write_text(json.dumps(mixed().to_dict()), encoding="utf-8")
    return path


def test_exports_of_one_seed_hold_the_same_weights(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    from deepmad.profilers.backends import Settings

    paths = {"module": "exported.py", "weights": "net.safetensors", "onnx": "net.onnx", "timm": "for_timm.py"}
    for to, name in paths.items():
        assert run(["export", str(file), "--to", to, "--seed", "3", "-o", str(tmp_path / name), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["to"], told["bytes"]) == (to, (tmp_path / name).stat().st_size)
        assert told.get("name") == ("deepmad_mixed" if to == "timm" else None)
    model = loaded(tmp_path / "exported.py").network().eval()
    model.load_state_dict(load_file(tmp_path / "net.safetensors"))
    images, output = run_file(tmp_path / "net.onnx", Settings(2, "fp32", 1, 3, 64))
    with torch.inference_mode():
        assert np.abs(model(images).numpy() - output).max() <= 1e-4 * max(1.0, float(np.abs(output).max()))
        assert torch.equal(model(images), initialised(mixed(), 3)(images))


def test_the_command_line_tells_what_timm_calls_the_network(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(file), "--to", "timm", "-o", str(tmp_path / "one.py")]) == 0
    assert "timm.create_model('deepmad_mixed')" in capsys.readouterr().err
    assert run(["export", str(file), "--to", "jax", "-o", str(tmp_path / "one.py")]) == 2
    assert "module" in capsys.readouterr().err


def test_torch_hub_builds_the_network_of_a_file(file: Path) -> None:
    hub: Any = torch.hub
    options: dict[str, Any] = {"source": "local"}
    model = hub.load(str(ROOT), "network", str(file), **options)
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    model.load_state_dict(build(mixed()).state_dict())
    model = hub.load(str(ROOT), "network", str(file), num_classes=5, in_chans=1, **options)
    assert model(torch.randn(2, 1, 64, 64)).shape == (2, 5)
    assert len(hub.load(str(ROOT), "network", str(file), features_only=True, **options)(images())) == 4


def test_no_classes_mean_the_pooled_features_in_torch_hub_as_in_timm(file: Path, tmp_path: Path) -> None:
    hub: Any = torch.hub
    options: dict[str, Any] = {"source": "local", "num_classes": 0}
    pooled, kept = hub.load(str(ROOT), "network", str(file), **options).eval(), build(mixed().backbone()).eval()
    pooled.load_state_dict(kept.state_dict())
    with torch.inference_mode():
        assert torch.allclose(pooled(images()), kept(images()).mean((2, 3)), rtol=1e-5, atol=1e-5)
    backbone = tmp_path / "backbone.json"
    backbone.write_text(json.dumps(mixed().backbone().to_dict()), encoding="utf-8")
    assert hub.load(str(ROOT), "network", str(backbone), **options)(images()).shape == (2, 32)
    assert hub.load(str(ROOT), "network", str(backbone), source="local")(images()).shape == (2, 32, 4, 4)


def images() -> torch.Tensor:
    """Return two random images of 64 pixels."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.usefixtures("torchvision_operators")
@pytest.mark.parametrize("kind", BLOCKS)
def test_feature_pyramids_of_torchvision_stand_on_a_backbone(kind: str) -> None:
    from torchvision.ops import FeaturePyramidNetwork

    backbone = build(pyramid(kind), features_only=True)
    channels = [info["num_chs"] for info in backbone.feature_info]
    pyramids = FeaturePyramidNetwork(channels, 16)
    maps = pyramids(OrderedDict((str(index), one) for index, one in enumerate(backbone(images()))))
    assert [one.shape for one in maps.values()] == [(2, 16, 64 // step, 64 // step) for step in (2, 4, 8, 16, 32)]
    sum(one.square().mean() for one in maps.values()).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.usefixtures("torchvision_operators")
@pytest.mark.parametrize("kind", BLOCKS)
def test_segmentation_models_take_it_as_an_encoder(kind: str) -> None:
    heads = pytest.importorskip("segmentation_models_pytorch")
    import deepmad.timm

    name = deepmad.timm.register(pyramid(kind), f"deepmad_segmenting_{kind}")
    model = heads.Unet(encoder_name=f"tu-{name}", encoder_weights=None, classes=3)
    assert model(images()).shape == (2, 3, 64, 64)


def steps(model: nn.Module, count: int) -> list[float]:
    """Return the losses of `count` steps on one batch of noise whose mean colour tells the label."""
    labels = torch.arange(16) % 4
    generator = torch.Generator().manual_seed(0)
    colours = torch.randn(4, 3, 1, 1, generator=generator)
    batch = torch.randn(16, 3, 32, 32, generator=generator) + colours[labels]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(count):
        loss: Any = nn.functional.cross_entropy(model.train()(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_hundred_layers_learn_within_a_few_steps(kind: str) -> None:
    depth = 50 if kind == "basic" else 33
    network = Architecture(32, Stem(8), (Stage(kind, 16, 16, 3, depth, 2),), None, 4)
    assert sum(part.repeats * len(part.body.main) for part in network.parts()) >= 100
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(network, zero_init_last=True)
    losses = steps(model, 12)
    assert max(losses) == losses[0] < 2.0  # near log(4); with branches at full scale it is above 2, and rises at first
    assert losses[-1] < 0.4 * losses[0]


def test_every_block_after_the_first_starts_as_the_identity() -> None:
    for kind in BLOCKS:
        model = build(one_block(kind), zero_init_last=True).eval()
        x = torch.rand(1, 16, 16, 16)  # what the stem gives
        first, *later = (block for stage in model.stages for block in stage.children())
        entering = first(x)
        assert later
        for block in later:
            assert torch.equal(block(entering), entering)


@pytest.mark.usefixtures("torchvision_operators")
def test_the_example_learns_the_digits(capsys: pytest.CaptureFixture[str]) -> None:
    from examples import train

    with torch.random.fork_rng(devices=[]):
        task = train.digits(TINY, 64, 0)
        model = train.train(task, epochs=6, opt="adamw", lr=1e-2, weight_decay=0.05)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"pass {number}/6" for number in range(1, 7)]
    assert all("loss" in line and "accuracy" in line for line in lines)
    assert train.accuracy(model, task.test) > 0.6


@pytest.mark.usefixtures("torchvision_operators")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm leaves the images open
def test_the_example_takes_a_folder_of_images_and_writes_what_it_learnt(tmp_path: Path) -> None:
    from PIL import Image

    import deepmad.timm
    from examples import train

    for split, name, shade in (
        (split, name, shade) for split in ("train", "val") for name, shade in (("dark", 20), ("light", 230))
    ):
        (tmp_path / split / name).mkdir(parents=True)
        for index in range(4):
            Image.new("RGB", (40, 48), (shade, shade, 10 * index)).save(tmp_path / split / name / f"{index}.png")
    (tmp_path / "net.json").write_text(json.dumps(replace(TINY, name="tiny").to_dict()), encoding="utf-8")
    trained = tmp_path / "trained.safetensors"
    with torch.random.fork_rng(devices=[]):
        train.main(str(tmp_path / "net.json"), str(tmp_path), epochs=1, batch=4, workers=0, output=trained)
    name = deepmad.timm.register(trained.with_suffix(".json"), "deepmad_two_shades", weights=trained)
    import timm

    model: Any = timm.create_model(name, pretrained=True)
    assert (model.num_classes, model.in_chans) == (2, 3)
