"""Back ends: what they run is the network asked for, in the precision asked for; engines are really built."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from deepmad.profilers.backends import BACKENDS, Settings, find_backend, tensorrt_engines
from deepmad.profilers.backends.cuda import MAX_ROTATED, rotations
from deepmad.profilers.backends.onnxruntime_backend import OnnxRuntime
from deepmad.profilers.backends.openvino_backend import OpenVino
from deepmad.profilers.backends.telemetry import visible_gpu_name
from deepmad.profilers.backends.tensorrt_engines import build_engine, module_name
from deepmad.profilers.backends.torch_backend import on_processor
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.onnx_files.export import export_onnx
from deepmad.profilers.onnx_files.precisions import onnx_model, random_images
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError
from tests.catalogue import one_block

NO_OPENVINO = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
NO_TENSORRT = pytest.mark.skipif(
    module_name() not in ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    reason="the wheels of TensorRT-RTX are not installed",
)


class Scaled(nn.Module):
    """A module of its own, with a constant inside a node once exported."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        for weight in self.convolution.parameters():
            nn.init.constant_(weight, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, 8, H, W)."""
        return nn.functional.hardswish(self.convolution(x)) * 0.5


def settings(precision: str, batch: int = 2) -> Settings:
    return Settings(batch, precision, 1, 3, 32)


def reference(kind: str) -> np.ndarray:
    """Return what ONNX Runtime makes of the network in fp32."""
    session = OnnxRuntime().prepare(one_block(kind), settings("fp32"))
    session.run()
    outputs: np.ndarray = session.outputs()[0]  # type: ignore[attr-defined]
    return outputs


def test_names_are_those_of_the_registry() -> None:
    assert all(backend.name == name for name, backend in BACKENDS.items())


@pytest.mark.parametrize("name", BACKENDS)
def test_a_gpu_is_asked_for_where_there_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = BACKENDS[name]
    everything = importlib.util.find_spec("json")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: everything)
    for part in ("cuda", "onnxruntime_backend"):
        monkeypatch.setattr(f"deepmad.profilers.backends.{part}.package_files", lambda *_: [Path("libtorch_cuda.so")])
    monkeypatch.setattr("deepmad.profilers.backends.tensorrt_onnx.module_name", lambda: "tensorrt")
    monkeypatch.setattr("deepmad.profilers.backends.cuda.visible_gpu_name", lambda: None)
    if backend.processor == "cuda":
        with pytest.raises(InputError, match="no NVIDIA GPU"):
            find_backend(name, "fp32")
    else:
        assert backend.availability() is None
    monkeypatch.setattr("deepmad.profilers.backends.cuda.visible_gpu_name", lambda: "NVIDIA H100 80GB HBM3")
    assert backend.availability() is None
    if backend.processor == "cuda":
        assert backend.device() == "NVIDIA H100 80GB HBM3"


def test_builds_without_cuda_are_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("cuda", "onnxruntime_backend"):
        monkeypatch.setattr(f"deepmad.profilers.backends.{part}.package_files", lambda *_: [])
    monkeypatch.setattr("deepmad.profilers.backends.cuda.visible_gpu_name", lambda: "NVIDIA H100 80GB HBM3")
    with pytest.raises(
        InputError, match="no CUDA provider; pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
    ):
        find_backend("onnxruntime:cuda", "fp32")
    with pytest.raises(InputError, match="pip install --force-reinstall torch"):
        find_backend("torch:cuda", "fp16")


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "g++" in (BACKENDS["torch:compiled"].availability() or "")
    assert BACKENDS["torch"].availability() is None


def test_compiled_and_eager_agree() -> None:
    backend = BACKENDS["torch:compiled"]
    if backend.availability() is not None:
        pytest.skip("no C++ compiler")
    from torch._dynamo.utils import counters

    threads = torch.get_num_threads()
    outputs = []
    for name in ("torch", "torch:compiled"):
        runnable = BACKENDS[name].prepare(Scaled(), settings("fp32"))
        graphs = counters["stats"]["unique_graphs"]
        outputs.append(runnable.run())
        assert counters["stats"]["unique_graphs"] == graphs  # nothing is compiled while it is timed
        runnable.close()
    assert graphs > 0
    torch.testing.assert_close(outputs[1], outputs[0])
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_torch_runs_channels_last_in_the_precision_asked_for(precision: str, dtype: torch.dtype) -> None:
    module, images = on_processor("torch", one_block("basic"), settings(precision), "cpu")
    assert {weight.dtype for weight in module.parameters()} == {images.dtype} == {dtype}
    assert images.is_contiguous(memory_format=torch.channels_last)
    wide = [weight for weight in module.parameters() if weight.dim() == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)


@NO_OPENVINO
@pytest.mark.parametrize("kind", BLOCKS)
def test_openvino_computes_the_network_in_fp32(kind: str) -> None:
    request = OpenVino().prepare(one_block(kind), settings("fp32"))
    request.run()
    np.testing.assert_allclose(request.outputs()[0], reference(kind), rtol=1e-3, atol=1e-5)  # bfloat16 would miss it
    assert request.kernel_precisions() == {"f32"}
    request.close()


@NO_OPENVINO
@pytest.mark.parametrize("kind", BLOCKS)
def test_openvino_runs_integer_kernels_for_int8(kind: str) -> None:
    request = OpenVino().prepare(one_block(kind), settings("int8"))
    request.run()
    wanted = reference(kind)
    assert request.kernel_precisions() <= {"i8", "u8"}
    assert float(np.abs(request.outputs()[0] - wanted).max()) < 0.1 * float(np.abs(wanted).max())
    request.close()


def test_onnxruntime_quantises() -> None:
    session = OnnxRuntime().prepare(one_block("mbconv_se"), settings("int8"))
    session.run()
    wanted, found = reference("mbconv_se"), session.outputs()[0]  # type: ignore[attr-defined]
    assert 0 < float(np.abs(found - wanted).max()) < 0.1 * float(np.abs(wanted).max())


@pytest.mark.parametrize("kind", BLOCKS)
def test_fp16_models_are_strongly_typed_and_compute_the_network(kind: str) -> None:
    model = onnx_model(one_block(kind), settings("fp16"))
    onnx.checker.check_model(model, full_check=True)
    assert {weight.data_type for weight in model.graph.initializer} == {TensorProto.FLOAT16}
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    assert not [node for node in model.graph.node if node.op_type == "Cast"]
    typed = onnx.shape_inference.infer_shapes(model)
    assert {value.type.tensor_type.elem_type for value in typed.graph.value_info} <= {
        TensorProto.FLOAT16,
        TensorProto.INT64,
    }
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    output = session.run(None, {"images": random_images(settings("fp16")).astype(np.float16)})[0]
    assert output.dtype == np.float16
    np.testing.assert_allclose(output, reference(kind), rtol=0.05, atol=2e-3)


def test_plain_modules_and_files_are_typed_too(tmp_path: Path) -> None:
    path = export_onnx(one_block("mbconv"), tmp_path / "open.onnx")  # an open batch
    half = tmp_path / "half.onnx"
    onnx.save(onnx_model(path, settings("fp16")), str(half))
    for model in (Scaled().eval(), path, half):
        typed = onnx_model(model, settings("fp16"))
        onnx.checker.check_model(typed, full_check=True)
        assert typed.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    with pytest.raises(InputError, match="shape"):
        onnx_model(export_onnx(one_block("mbconv"), tmp_path / "one.onnx", 1), settings("fp16"))
    for refuse in (OnnxRuntime().prepare, onnx_model):
        with pytest.raises(InputError, match=r"(?i)float16.* in fp32"):
            refuse(half, settings("fp32"))
    with pytest.raises(InputError, match="no such file"):
        onnx_model(tmp_path / "none.onnx", settings("fp16"))


@NO_TENSORRT
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_tensorrt_builds_an_engine_of_every_block_ahead_of_time(kind: str, precision: str) -> None:
    network = one_block(kind)
    engine = build_engine(onnx_model(network, settings(precision)).SerializeToString())
    weights = sum(tensor.numel() for tensor in _parameters(network))
    assert len(engine) > weights * {"fp32": 4, "fp16": 2}[precision] * 0.9  # it holds the weights


def _parameters(network: Architecture) -> list[torch.Tensor]:
    from deepmad.search_spaces.weights import initialised

    return list(initialised(network).parameters())


@NO_TENSORRT
def test_tensorrt_builds_modules_and_files_too(tmp_path: Path) -> None:
    path = export_onnx(one_block("mbconv"), tmp_path / "open.onnx")
    sources: list[Callable[[], bytes]] = [
        lambda: onnx_model(Scaled().eval(), settings("fp16")).SerializeToString(),
        lambda: onnx_model(path, settings("fp16")).SerializeToString(),
    ]
    assert all(len(build_engine(source())) > 1000 for source in sources)


@NO_TENSORRT
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorRT-RTX has the calls, but advises against them
def test_tensorrt_keeps_a_timing_cache_where_it_is_given_a_place(tmp_path: Path) -> None:
    model = onnx_model(one_block("basic"), settings("fp16")).SerializeToString()
    cache = tmp_path / "new" / "gpu.timing"
    sizes = []
    for _ in range(2):
        assert len(build_engine(model, cache)) > 1000
        sizes.append(cache.stat().st_size)
    assert sizes[0] == sizes[1] > 0
    assert list(cache.parent.iterdir()) == [cache]


def test_tensorrt_is_told_from_what_stands_in_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch-TensorRT, once imported, leaves TensorRT-RTX among the loaded modules as `tensorrt`."""
    installed, stand_in = module_name(), ModuleType("tensorrt")
    stand_in.__spec__ = importlib.util.spec_from_loader("tensorrt", loader=None)
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in)
    assert module_name() == installed


def test_the_timing_cache_belongs_to_a_version_and_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_engines, "module_name", lambda: "tensorrt")
    monkeypatch.setattr(tensorrt_engines, "installed_version", lambda *_: "10.13.3")
    path = tensorrt_engines.timing_cache_path("NVIDIA RTX A4000/SXM")
    assert path is not None
    assert path.name == "tensorrt-10.13.3-NVIDIA-RTX-A4000-SXM.timing"
    monkeypatch.setattr(tensorrt_engines, "module_name", lambda: "tensorrt_rtx")
    assert tensorrt_engines.timing_cache_path("NVIDIA H100 80GB HBM3") is None


@NO_TENSORRT
@pytest.mark.skipif(visible_gpu_name() is not None, reason="there is a GPU")
def test_an_engine_that_cannot_run_here_is_told() -> None:
    engine = build_engine(onnx_model(one_block("basic"), settings("fp16")).SerializeToString())
    with pytest.raises(DeviceError, match=r"cannot run the engine \((?!no reason).+\)"):
        tensorrt_engines.load_engine(engine)


@NO_TENSORRT
def test_tensorrt_tells_what_it_cannot_parse() -> None:
    with pytest.raises(InputError, match="cannot parse"):
        build_engine(b"nonsense")


@pytest.mark.skipif(BACKENDS["torch:cuda"].availability() is not None, reason="there is no GPU for PyTorch")
def test_a_captured_graph_keeps_what_it_reads() -> None:
    """Its weights and inputs stay where they are while other networks come, and the cache of free memory goes."""
    run = BACKENDS["torch:cuda"].prepare(one_block("basic"), settings("fp16"))
    held = torch.cuda.memory_allocated()
    BACKENDS["torch:cuda"].prepare(one_block("mbconv"), settings("fp16")).close()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() >= held
    assert isinstance(run.run(), float)
    run.close()
    assert torch.cuda.memory_allocated() < held


def test_inputs_take_turns_until_they_outgrow_the_cache() -> None:
    assert rotations(50 << 20, 20 << 20) == 5
    assert rotations(50 << 20, 200 << 20) == 1
    assert rotations(50 << 20, 1) == MAX_ROTATED


def test_what_fp16_cannot_hold_and_what_cannot_be_quantised(tmp_path: Path) -> None:
    def saved(node: onnx.NodeProto, weights: list[TensorProto]) -> Path:
        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [2, 3, 32, 32])
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [2, 3, 32, 32])
        graph = helper.make_graph([node], "network", [images], [output], weights)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(tmp_path / "net.onnx"))
        return tmp_path / "net.onnx"

    large = helper.make_tensor("large", TensorProto.FLOAT, [1], [1e6])
    path = saved(helper.make_node("Mul", ["images", "large"], ["output"]), [large])
    (weight,) = onnx_model(path, settings("fp16")).graph.initializer
    assert np.isinf(numpy_helper.to_array(weight)).all()
    path = saved(helper.make_node("Magic", ["images"], ["output"], domain="com.acme"), [])
    with pytest.raises(InputError, match="int8: ONNX Runtime cannot quantise the network"):
        onnx_model(path, settings("int8"))
