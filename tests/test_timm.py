"""Designed networks keep the contract that timm's own tests hold its models to."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.standalone import write_timm
from deepmad.search_spaces.torch_builder import build
from deepmad.search_spaces.weights import initialised, write_safetensors
from tests.catalogue import ROOT, mixed, one_block
from tests.test_onnx_export import shaken

pytestmark = pytest.mark.usefixtures("torchvision_operators")


def pyramid(kind: str, tail: Tail | None = None) -> Architecture:
    """Return a network of one block kind with five scales, and a stage that does not begin one."""
    stages = (
        Stage(kind, 16, 8, 3, 2, 2),
        Stage(kind, 24, 16, 5, 1, 2),
        Stage(kind, 24, 16, 3, 2, 1),
        Stage(kind, 32, 24, 3, 1, 2),
        Stage(kind, 40, 24, 3, 2, 2),
    )
    return Architecture(64, Stem(8), stages, tail, 10)


NETWORKS = {f"deepmad_{kind}": pyramid(kind, Tail(48) if "conv" in kind else None) for kind in BLOCKS} | {
    "deepmad_mixed": mixed(),
    "deepmad_backbone": pyramid("basic").backbone(),
    "deepmad_grey": replace(pyramid("mbconv"), in_channels=1),
}


def create(name: str, **options: Any) -> Any:
    """Return `timm.create_model(name, **options)` of a network that is registered here."""
    import timm

    import deepmad.timm

    deepmad.timm.register(NETWORKS[name], name)
    return timm.create_model(name, **options)


def images_for(model: Any, count: int = 1) -> Tensor:
    """Return random images as the model's configuration wants them."""
    size = model.pretrained_cfg["input_size"]
    return torch.randn((count, *size), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_the_configuration_is_true(name: str) -> None:
    model, network = create(name).eval(), NETWORKS[name]
    config, names = model.default_cfg, model.state_dict()
    assert config is model.pretrained_cfg
    assert config["input_size"] == (network.in_channels, network.resolution, network.resolution)
    assert len(config["mean"]) == len(config["std"]) == network.in_channels
    assert (config["num_classes"], model.num_classes) == (network.classes, network.classes)
    assert (config["interpolation"], config["crop_pct"]) == ("bicubic", 0.875)
    assert f"{config['first_conv']}.weight" in names
    assert (f"{config['classifier']}.weight" in names) == bool(network.classes)
    assert model.get_submodule(config["first_conv"]).in_channels == network.in_channels
    images = images_for(model)
    features = model.forward_features(images)
    pooled = model.forward_head(features, pre_logits=True)
    assert features.shape == (1, model.num_features, *config["pool_size"])
    assert pooled.shape == (1, model.head_hidden_size)
    assert model(images).shape == (1, network.classes or model.num_features)
    assert torch.equal(model(images), model.forward_head(features))
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert torch.equal(model(images), pooled)
    model.reset_classifier(0, "")
    assert torch.equal(model(images), features)
    assert create(name, num_classes=0, global_pool="").eval()(images).shape == features.shape


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_the_network_is_the_one_that_deepmad_builds(name: str) -> None:
    model, expected = create(name).eval(), shaken(NETWORKS[name])
    model.load_state_dict(expected.state_dict())
    images = images_for(model, 2)
    output = model(images) if NETWORKS[name].classes else model.forward_features(images)
    assert torch.allclose(output, expected(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns_and_checkpoints_change_nothing(name: str) -> None:
    model = create(name, num_classes=42, zero_init_last=False).train()
    images = images_for(model, 2)
    model(images).square().mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
    model.eval()
    expected = model(images)
    assert expected.shape == (2, 42)
    model.set_grad_checkpointing()
    assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-5)
    model(images).square().mean().backward()


@pytest.mark.parametrize("feature_cls", [None, "list", "getter", "hook", "fx"])
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_feature_maps_have_the_channels_and_sides_that_are_told(name: str, feature_cls: str | None) -> None:
    model = create(name, features_only=True, feature_cls=feature_cls).eval()
    images = images_for(model)
    channels, reductions = model.feature_info.channels(), model.feature_info.reduction()
    maps = model(images)
    assert len(channels) == len(maps) >= 3
    for found, count, reduction in zip(maps, channels, reductions, strict=True):
        assert found.shape == (1, count, images.shape[2] // reduction, images.shape[3] // reduction)
    taken = create(name, features_only=True, out_indices=(1, -1), feature_cls=feature_cls).eval()
    assert taken.feature_info.channels() == [channels[1], channels[-1]]
    assert [found.shape for found in taken(images)] == [maps[1].shape, maps[-1].shape]


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_intermediates_are_the_feature_maps_of_the_builder(name: str) -> None:
    model, expected = create(name).eval(), build(NETWORKS[name], features_only=True).eval()
    expected.load_state_dict({key: value for key, value in model.state_dict().items() if "classifier" not in key})
    images = images_for(model)
    others = expected(images)
    last, maps = model.forward_intermediates(images)
    assert torch.equal(last, model.forward_features(images))
    assert len(maps) == len(others) == len(model.feature_info)
    assert all(torch.equal(one, other) for one, other in zip(maps, others, strict=True))
    (first,) = model.forward_intermediates(images, indices=[0], stop_early=True, intermediates_only=True)
    assert torch.equal(first, others[0])
    taken = model.forward_intermediates(images, indices=[2, 1], intermediates_only=True)
    assert [one.shape for one in taken] == [others[2].shape, others[1].shape]
    model.set_grad_checkpointing()
    assert torch.allclose(model.forward_intermediates(images)[0], last, rtol=1e-4, atol=1e-5)
    assert model.prune_intermediate_layers([-3]) == [len(others) - 3]
    assert model.num_features == others[-3].shape[1]
    assert torch.equal(model(images), others[-3])
    with pytest.raises(ValueError, match="NCHW"):
        model.forward_intermediates(images, output_fmt="NLC")


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_weights_load_into_other_heads_and_images(name: str, tmp_path: Path) -> None:
    import timm

    import deepmad.timm

    trained, path = shaken(NETWORKS[name]), tmp_path / "trained.safetensors"
    write_safetensors(trained, path)
    with pytest.raises(RuntimeError, match="No pretrained weights"):
        create(name, pretrained=True)
    registered = deepmad.timm.register(NETWORKS[name], f"{name}_{tmp_path.name}", weights=path)
    assert registered in timm.list_models(pretrained=True)
    model: Any = timm.create_model(registered, pretrained=True).eval()
    images = images_for(model)
    with torch.inference_mode():
        output = model(images) if NETWORKS[name].classes else model.forward_features(images)
        assert torch.allclose(output, trained(images), rtol=1e-5, atol=1e-5)
    for classes in (5, 0):
        adapted: Any = timm.create_model(registered, pretrained=True, in_chans=4, num_classes=classes)
        assert adapted.in_chans == adapted.stem.main[0][0].in_channels == 4
        kept = trained.state_dict()["stages.0.0.main.0.0.weight"]
        assert torch.equal(adapted.state_dict()["stages.0.0.main.0.0.weight"], kept)
    backbone = timm.create_model(registered, pretrained=True, features_only=True)
    assert torch.equal(backbone.state_dict()["stages_0.0.main.0.0.weight"], kept)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch advises against TorchScript
@pytest.mark.parametrize("name", NETWORKS)
def test_torchscript_gives_the_same_answers(name: str) -> None:
    model = create(name, scriptable=True).eval()
    images = images_for(model)
    with torch.inference_mode():
        assert torch.allclose(torch.jit.script(model)(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("pool", "times"), [("avg", 1), ("max", 1), ("avgmax", 1), ("catavgmax", 2)])
@torch.inference_mode()
def test_poolings_are_those_of_timm(pool: str, times: int) -> None:
    model = create("deepmad_mixed", global_pool=pool, num_classes=3).eval()
    assert model.head_hidden_size == times * model.num_features
    assert model.get_classifier().in_features == model.head_hidden_size
    assert model.get_submodule(model.get_classifier(name_only=True)) is model.get_classifier()
    assert model(images_for(model)).shape == (1, 3)
    model.reset_classifier(4)
    assert model(images_for(model)).shape == (1, 4)
    assert model.head_hidden_size == times * model.num_features


def test_channels_classes_type_and_device_are_arguments() -> None:
    model = create("deepmad_mixed", in_chans=2, num_classes=11, dtype=torch.float64)
    assert model(torch.randn(2, 2, 64, 64, dtype=torch.float64)).shape == (2, 11)
    model.reset_classifier(3)
    assert model.get_classifier().weight.dtype == torch.float64
    assert {parameter.device.type for parameter in create("deepmad_mixed", device="meta").parameters()} == {"meta"}


def test_dropping_happens_in_training_only() -> None:
    from timm.layers.drop import DropPath

    model = create("deepmad_bottleneck", drop_rate=0.5, drop_path_rate=0.3)
    rates = [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.3 * index / 7 for index in range(1, 8)])
    plain = create("deepmad_bottleneck").eval()
    plain.load_state_dict(model.state_dict())
    images = images_for(model, 8)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), plain(images))
        features = model.forward_features(images)
        assert not torch.equal(model.train().forward_head(features), plain.forward_head(features))


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_grouped_by_block_for_layer_decay(name: str) -> None:
    from timm.models import group_parameters
    from timm.optim import create_optimizer_v2

    model, network = create(name, num_classes=3), NETWORKS[name]
    names = dict(model.named_parameters())
    for coarse, count in ((True, len(network.stages)), (False, sum(stage.depth for stage in network.stages))):
        groups = group_parameters(model, model.group_matcher(coarse=coarse))
        assert sorted(chain.from_iterable(groups.values())) == sorted(names)
        assert len(groups) == 1 + count + 1
        assert groups[0] == [key for key in names if key.startswith("stem")]
        assert groups[count + 1] == ["classifier.1.1.weight", "classifier.1.1.bias"]
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1, layer_decay=0.5)
    assert len({group["lr_scale"] for group in optimizer.param_groups}) == len(groups)


def test_a_checkpoint_folder_of_timm_gives_the_model_back(tmp_path: Path) -> None:
    import timm
    from timm.models import save_for_hf

    model = create("deepmad_mixed", num_classes=4).eval()
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(model(images_for(model)), again(images_for(model)))


def test_registering_twice_changes_nothing_and_taken_names_are_refused(tmp_path: Path) -> None:
    import deepmad.timm

    network = replace(one_block("basic"), name="twice-1.5M")
    assert deepmad.timm.register(network) == deepmad.timm.register(network) == "deepmad_twice_1p5m"
    path = tmp_path / "from_a_file.json"
    path.write_text(json.dumps(replace(network, name="").to_dict()), encoding="utf-8")
    assert deepmad.timm.register(path) == "deepmad_from_a_file"
    for name, words in (("resnet50", "already"), ("deepmad_twice_1p5m", "already"), ("R-50", "lower-case")):
        with pytest.raises(InputError, match=words):
            deepmad.timm.register(mixed(), name)
    with pytest.raises(InputError, match=r"nowhere\.pt"):
        deepmad.timm.register(mixed(), "deepmad_weightless", weights="nowhere.pt")


def write_zoo(folder: Path, networks: dict[str, Architecture]) -> None:
    """Write a zoo as far as registering reads it; its last entry has no network."""
    entries: list[dict[str, Any]] = []
    for name, network in networks.items():
        (folder / f"{name}.json").write_text(json.dumps(network.to_dict()), encoding="utf-8")
        entries.append({"name": name, "outcome": "met", "files": {"architecture": f"{name}.json", "card": None}})
    entries.append({"name": "deepmad_none", "outcome": "infeasible", "files": {"architecture": None}})
    document = {"format": "deepmad/zoo_results@1", "finished": True, "entries": entries}
    (folder / "zoo.json").write_text(json.dumps(document), encoding="utf-8")


def test_zoos_are_registered_by_folder_and_by_environment(tmp_path: Path) -> None:
    import timm

    import deepmad.timm

    write_zoo(tmp_path, {"deepmad_zoo_a": mixed(), "deepmad_zoo_b": one_block("mbconv")})
    assert deepmad.timm.register_zoo(tmp_path) == ("deepmad_zoo_a", "deepmad_zoo_b")
    assert timm.create_model("deepmad_zoo_a", num_classes=3).num_classes == 3
    assert not timm.is_model("deepmad_none")
    code = "import deepmad.timm, timm\nprint(timm.list_models('deepmad_zoo_*'))"
    environment = os.environ | {"DEEPMAD_ZOO": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.stdout.strip() == "['deepmad_zoo_a', 'deepmad_zoo_b']", done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("{}", "deepmad/zoo_results@1"),
        ('{"format": "deepmad/zoo_results@1"}', "entries"),
        ('{"format": "deepmad/zoo_results@1", "entries": [{"name": "a"}]}', "files"),
    ],
)
def test_folders_without_a_zoo_are_refused(text: str | None, words: str, tmp_path: Path) -> None:
    import deepmad.timm

    if text is not None:
        (tmp_path / "zoo.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        deepmad.timm.register_zoo(tmp_path)


OPERATORS = """
import torch
if torch.version.cuda is None:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
OTHERS_CODE = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "deepmad":
            raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refusing())
sys.path.insert(0, sys.argv[1])
import timm
import handed_over

held = torch.load(sys.argv[1] + "/held.pt")
model = timm.create_model("deepmad_mixed").eval()
model.load_state_dict(held["weights"])
with torch.inference_mode():
    print(float((model(held["images"]) - held["output"]).abs().max()))
print(timm.create_model("deepmad_mixed", features_only=True, in_chans=1).feature_info.reduction())
"""


def test_the_file_for_timm_does_without_deepmad(tmp_path: Path) -> None:
    assert write_timm(mixed(), tmp_path / "handed_over.py") == "deepmad_mixed"
    model = initialised(mixed())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        held = {"weights": model.state_dict(), "images": images, "output": model(images)}
    torch.save(held, tmp_path / "held.pt")
    command = [sys.executable, "-I", "-c", OPERATORS + OTHERS_CODE, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    difference, reductions = done.stdout.splitlines()
    assert float(difference) <= 1e-5
    assert reductions == "[2, 4, 8, 16]"
