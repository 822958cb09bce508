"""Files that stand alone say the same as the records, the torch module and the ONNX file, without deepmad."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from deepmad import __version__
from deepmad.profilers.onnx_files.export import export_onnx
from deepmad.profilers.onnx_files.layers import read_onnx_layers
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.blocks import BLOCKS, Block, Shape
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Body, Layer
from deepmad.search_spaces.standalone import WIDTH, literal, timm_name, write_standalone
from deepmad.search_spaces.torch_builder import build, network_spec
from deepmad.search_spaces.weights import initialised, write_safetensors, write_weights
from tests.catalogue import BLOCK_STAGES, mixed, one_block, published
from tests.test_onnx_export import shaken

NETWORKS = {network.name: network for network in [*map(one_block, BLOCK_STAGES), mixed()]} | {
    "backbone": one_block("bottleneck").backbone(),
    "grey": replace(mixed(), in_channels=1),
}
OTHERS_CODE = """
import importlib, json, sys
import torch

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("deepmad", "timm"):
            raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refusing())
sys.path.insert(0, sys.argv[1])
try:
    import deepmad
except ImportError:
    told = {}

def count(part, _, out):
    macs.append(out.numel() * part.weight.numel() // part.weight.shape[0])

for name in sys.argv[2:]:
    held = torch.load(f"{sys.argv[1]}/{name}.pt")
    model = importlib.import_module(name).network().eval()
    model.load_state_dict(held["weights"])
    macs = []
    for part in model.modules():
        if hasattr(part, "weight") and not isinstance(part, torch.nn.BatchNorm2d):
            part.register_forward_hook(count)
    with torch.inference_mode():
        output = model(held["images"])
    told[name] = {
        "difference": float((output - held["output"]).abs().max() / held["output"].abs().max()),
        "macs": sum(macs),
        "params": sum(parameter.numel() for parameter in model.parameters()),
    }
print(json.dumps(told))
"""


def loaded(path: Path) -> ModuleType:
    """Return the module in a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images_of(network: Architecture, count: int = 1) -> torch.Tensor:
    """Return random images that the network takes."""
    shape = (count, network.in_channels, network.resolution, network.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_without_deepmad_the_file_gives_the_same_answers_at_the_same_costs(tmp_path: Path) -> None:
    for name, network in NETWORKS.items():
        write_standalone(network, tmp_path / f"{name}.py")
        model, images = shaken(network), images_of(network)
        with torch.inference_mode():
            held = {"weights": model.state_dict(), "images": images, "output": model(images)}
        torch.save(held, tmp_path / f"{name}.pt")
    command = [sys.executable, "-I", "-c", OTHERS_CODE, str(tmp_path), *NETWORKS]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for name, network in NETWORKS.items():
        expected = NetworkLayers.of(network)
        assert told[name]["difference"] <= 1e-5, name
        assert (told[name]["macs"], told[name]["params"]) == (expected.macs, expected.params), name


@pytest.mark.parametrize("name", NETWORKS)
def test_records_torch_and_onnx_count_the_same(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    expected = NetworkLayers.of(network)
    assert sum(parameter.numel() for parameter in build(network).parameters()) == expected.params
    found = read_onnx_layers(export_onnx(network, tmp_path / "network.onnx", 1), network.resolution)
    assert found.macs == expected.macs
    # A normalisation's scale and shift are one bias in the file.
    assert found.params == expected.params - sum(layer.outputs for layer in expected.layers if layer.norm)


@pytest.mark.parametrize("name", ["mixed", "grey", "backbone"])
def test_feature_maps_are_those_of_the_builder(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    write_standalone(network, tmp_path / "one.py")
    model = loaded(tmp_path / "one.py").network(features_only=True).eval()
    expected = build(network, features_only=True).eval()
    model.load_state_dict(expected.state_dict())
    images = images_of(network, 2)
    with torch.inference_mode():
        maps, others = model(images), expected(images)
    assert len(maps) == len(others) == len(model.feature_info) >= 2
    for one, other, info in zip(maps, others, model.feature_info, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
        assert one.shape[1:] == (info["num_chs"], *[network.resolution // info["reduction"]] * 2)


def test_classes_and_channels_are_arguments(tmp_path: Path) -> None:
    write_standalone(mixed(), tmp_path / "mixed_network.py")
    network = loaded(tmp_path / "mixed_network.py").network
    images, grey = images_of(mixed(), 2), images_of(replace(mixed(), in_channels=1), 2)
    assert network()(images).shape == (2, 7)
    assert network(num_classes=10, in_chans=1)(grey).shape == (2, 10)
    assert network(num_classes=0)(images).shape == (2, 32)
    assert network(num_classes=0, global_pool="")(images).shape == (2, 32, 4, 4)
    for options in ({"global_pool": ""}, {"global_pool": "max"}):
        with pytest.raises(ValueError, match="global_pool"):
            network(**options)


def test_a_backbone_file_makes_a_classifier_too(tmp_path: Path) -> None:
    network = one_block("mbconv").backbone()
    write_standalone(network, tmp_path / "backbone.py")
    module = loaded(tmp_path / "backbone.py")
    images = images_of(network, 2)
    assert module.network()(images).shape == build(network)(images).shape == (2, 40, 8, 8)
    assert module.network(num_classes=5, global_pool="avg")(images).shape == (2, 5)


class Odd(Block):
    """A kind that no other resembles: a bias without normalisation, two gates, the first before any convolution."""

    def body(self, shape: Shape, *, first: bool) -> Body:
        side = shape.side // shape.stride
        gates = [
            (
                Layer("gate", "global_pool", channels, channels, size, norm=False),
                Layer("gate", "conv", channels, channels, 1, norm=False, bias=True, activation="sigmoid"),
            )
            for channels, size in ((shape.c_in, shape.side), (shape.out, side))
        ]
        spatial = Layer("main", "conv", shape.c_in, shape.width, shape.side, shape.kernel, shape.stride, bias=True)
        wide = Layer("main", "conv", shape.width, shape.width, side, 7, depthwise=True, norm=False, activation="silu")
        last = Layer("main", "conv", shape.width, shape.out, side)
        return Body((*gates[0], spatial, wide, last, *gates[1]), residual=not first)


def test_a_new_block_kind_needs_no_code_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCKS, "odd", Odd())
    network = replace(mixed(), stages=tuple(replace(stage, block="odd") for stage in mixed().stages))
    write_standalone(network, tmp_path / "odd_network.py")
    model, expected = loaded(tmp_path / "odd_network.py").network().eval(), shaken(network)
    model.load_state_dict(expected.state_dict())
    images = images_of(network)
    with torch.inference_mode():
        assert torch.allclose(model(images), expected(images), rtol=1e-5, atol=1e-5)
    assert sum(parameter.numel() for parameter in model.parameters()) == NetworkLayers.of(network).params


def test_the_file_is_readable_and_tells_what_it_is(tmp_path: Path) -> None:
    write_standalone(published("r50"), tmp_path / "r50.py")
    text = (tmp_path / "r50.py").read_text(encoding="utf-8")
    assert "import deepmad" not in text
    assert "from deepmad" not in text
    docstring = loaded(tmp_path / "r50.py").__doc__ or ""
    counts = NetworkLayers.of(published("r50"))
    for words in (
        f"deepmad {__version__}",
        f"{counts.macs:,}",
        f"{counts.params:,}",
        "from r50 import network",
        "depth 15",
    ):
        assert words in docstring
    lines = text.splitlines()
    assert len(lines) < 450
    assert max(map(len, lines)) <= WIDTH


def test_a_name_cannot_put_code_into_the_file(tmp_path: Path) -> None:
    name = '"""\nraise SystemExit("run")\n"""\\'
    write_standalone(replace(mixed(), name=name), tmp_path / "named.py")
    assert loaded(tmp_path / "named.py").network()(images_of(mixed(), 2)).shape == (2, 7)


def test_literals_are_python_that_gives_the_value_back() -> None:
    names = vars(importlib.import_module("deepmad.search_spaces.torch_modules"))
    for network in NETWORKS.values():
        spec = network_spec(network)
        assert eval(literal(spec), dict(names)) == spec


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r50-4.13G-25.6M", "deepmad_r50_4p13g_25p6m"),
        ("deepmad-r50", "deepmad_r50"),
        ("Größe!", "deepmad_gr_e"),
        ("", "deepmad_network"),
    ],
)
def test_names_become_those_of_timm(name: str, expected: str) -> None:
    assert timm_name(name) == expected


def test_weights_follow_from_the_seed_and_fit_everywhere(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network, paths = mixed(), [tmp_path / f"{name}.safetensors" for name in ("a", "b", "c", "zero")]
    before = torch.random.get_rng_state()
    for path, seed in zip(paths, (1, 1, 2), strict=False):
        write_weights(network, path, seed)
    write_weights(network, paths[3], 1, zero_init_last=True)
    assert torch.equal(before, torch.random.get_rng_state())
    same, again, other, zero = (path.read_bytes() for path in paths)
    assert same == again
    assert len({same, other, zero}) == 3
    write_standalone(network, tmp_path / "weighted.py")
    for model in (build(network), loaded(tmp_path / "weighted.py").network()):
        model.load_state_dict(load_file(paths[0]))
        write_safetensors(model, tmp_path / "once_more.safetensors")
        assert (tmp_path / "once_more.safetensors").read_bytes() == same


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writers: list[Any] = [write_standalone, write_weights]
    for write in writers:
        with pytest.raises(InputError, match="cannot write"):
            write(mixed(), tmp_path / "file" / "x")


def test_residual_blocks_start_as_their_shortcuts_where_asked() -> None:
    for network in NETWORKS.values():
        plain, zero = initialised(network), build(network, zero_init_last=True)  # the first is what is timed
        scales = [module.weight for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
        assert all(bool((scale == 1).all()) for scale in scales)
        empty = sum(bool((module.weight == 0).all()) for module in zero.modules() if isinstance(module, nn.BatchNorm2d))
        assert empty == sum(part.repeats for part in network.parts() if part.body.residual)
