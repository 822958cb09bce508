"""ONNX files say the same as the torch modules they were written from."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deepmad.profilers.backends import BACKENDS, Settings
from deepmad.profilers.onnx_files.export import export_onnx
from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.torch_builder import Network, build
from deepmad.search_spaces.weights import initialised


def small(block: str, *, classes: int = 7, tail: Tail | None = None) -> Architecture:
    """Return a small network of one block kind with both strides, both kernels, first and later blocks."""
    stages = (Stage(block, 16, 8, 3, 2, 2), Stage(block, 24, 16, 5, 2, 1), Stage(block, 24, 16, 3, 1, 2))
    return Architecture(32, Stem(16), stages, tail, classes)


def shaken(architecture: Architecture) -> Network:
    """Return its module with normalisations that are not the identity."""
    network = initialised(architecture)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                assert tensor is not None
                tensor.normal_(0.0, 0.2, generator=generator)
    return network


def run_file(path: Path, settings: Settings) -> tuple[torch.Tensor, np.ndarray]:
    """Return the fixed input of the ONNX Runtime back end, and what the file makes of it."""
    runnable = BACKENDS["onnxruntime"].prepare(path, settings)
    images = torch.from_numpy(np.random.default_rng(0).standard_normal(settings.shape, dtype=np.float32))
    runnable.run()
    (output,) = runnable.outputs()  # type: ignore[attr-defined]
    return images, output


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("classes", "tail"), [(7, None), (0, Tail(32)), (7, Tail(32, 3))])
def test_direct_graph_equals_torch(block: str, classes: int, tail: Tail | None, tmp_path: Path) -> None:
    network = shaken(small(block, classes=classes, tail=tail))
    path = export_onnx(network, tmp_path / "network.onnx")
    images, output = run_file(path, Settings(2, "fp32", 1, 3, 32))
    with torch.inference_mode():
        expected = network(images).numpy()
    assert output.shape == expected.shape
    assert np.abs(output - expected).max() <= 1e-4 * max(1.0, float(np.abs(expected).max()))


def test_export_leaves_module_and_random_state_alone(tmp_path: Path) -> None:
    network = build(small("bottleneck")).train()
    before = torch.random.get_rng_state()
    export_onnx(network, tmp_path / "a.onnx")
    export_onnx(small("mbconv"), tmp_path / "b.onnx")
    assert network.training
    assert torch.equal(before, torch.random.get_rng_state())


def test_batch_is_open_or_fixed(tmp_path: Path) -> None:
    for batch, expected in ((None, ""), (3, "")):
        model = onnx.load(str(export_onnx(small("basic"), tmp_path / "a.onnx", batch)))
        axis = model.graph.input[0].type.tensor_type.shape.dim[0]
        assert (axis.dim_param, axis.dim_value) == ((expected or "batch", 0) if batch is None else ("", batch))


@pytest.mark.parametrize("batch", [None, 2])
def test_any_module_goes_through_torch(batch: int | None, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    path = export_onnx(module, tmp_path / "module.onnx", batch, resolution=16)
    assert all(part.training for part in module.modules())
    images, output = run_file(path, Settings(2, "fp32", 1, 3, 16))
    with torch.inference_mode():
        assert np.abs(module.eval()(images).numpy() - output).max() <= 1e-4
    with pytest.raises(InputError, match="resolution"):
        export_onnx(module, tmp_path / "module.onnx")


def test_a_network_with_taps_is_exported_with_all_of_them(tmp_path: Path) -> None:
    network = build(small("mbconv_se"), features_only=True)
    model = onnx.load(str(export_onnx(network, tmp_path / "taps.onnx", 1)))
    assert len(model.graph.output) == 3


def test_errors_name_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="-o"):
        export_onnx(small("basic"), tmp_path / "file" / "a.onnx")

    class Refusing(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(f"no {images.ndim} dimensions here")

    with pytest.raises(InputError, match="Refusing"):
        export_onnx(Refusing(), tmp_path / "a.onnx", resolution=8)


def test_an_exporter_that_gives_no_reason_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def speechless(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(torch.onnx, "export", speechless)
    with pytest.raises(InputError, match="Conv2d: PyTorch cannot export it to ONNX \\(NotImplementedError\\)"):
        export_onnx(nn.Conv2d(3, 8, 3), tmp_path / "a.onnx", resolution=8)


def test_an_export_without_room_leaves_the_old_file(tmp_path: Path) -> None:
    network, path = tmp_path / "net.json", tmp_path / "net.onnx"
    network.write_text(json.dumps(small("basic").to_dict()), encoding="utf-8")
    path.write_text("old", encoding="utf-8")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
    command = [sys.executable, "-c", limited + "from deepmad.cli import main; main()", "export", str(network)]
    process = subprocess.run(
        [*command, "--to", "onnx", "-o", str(path)], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert process.returncode == 2
    assert "the old content is untouched" in process.stderr
    assert path.read_text(encoding="utf-8") == "old"
