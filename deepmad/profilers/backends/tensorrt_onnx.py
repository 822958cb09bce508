"""TensorRT, or TensorRT-RTX, on the exported ONNX model."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.profilers.backends.cuda import CudaRun, gpu_name, new_stream, rotated_inputs, torch_cuda_missing
from deepmad.profilers.backends.role import Backend
from deepmad.profilers.backends.tensorrt_engines import (
    build_engine,
    load_engine,
    load_module,
    module_name,
    module_version,
    timing_cache_path,
)
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import first_line

if TYPE_CHECKING:
    from torch import Tensor, nn


class TensorRtOnnx(Backend):
    """The exported ONNX model through TensorRT's own Python API; PyTorch holds the buffers and the stream."""

    runs_onnx = True
    name = "tensorrt-onnx"
    precisions = ("fp32", "fp16")
    processor = "cuda"

    def modules(self) -> tuple[str, ...]:
        """Return the TensorRT that is installed, and PyTorch."""
        return (*filter(None, [module_name()]), "torch")

    def availability(self) -> str | None:
        """Return None where TensorRT or TensorRT-RTX and a GPU are there, or the way out."""
        if (missing := torch_cuda_missing()) is not None:
            return missing
        if module_name() is None:
            return "neither TensorRT nor TensorRT-RTX is installed; pip install 'deepmad[tensorrt-rtx]', or tensorrt"
        return None

    def version(self) -> str:
        """Return which TensorRT, and its version."""
        return module_version()

    def device(self) -> str:
        """Return the GPU's name."""
        return gpu_name()

    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> "EngineRun":
        """Return an engine of the ONNX model, its buffers on the GPU."""
        from deepmad.profilers.onnx_files.precisions import onnx_model

        source: bytes = onnx_model(model, settings).SerializeToString()
        engine = build_engine(source, timing_cache_path(self.device()))
        try:
            return EngineRun(engine, settings)
        except RuntimeError as error:  # CUDA's, out of memory for one
            raise DeviceError(f"{self.name}: {first_line(error)}") from error


class EngineRun:
    """An engine that runs on rotated inputs, timed by CUDA events."""

    def __init__(self, engine: bytes, settings: Settings) -> None:
        import torch

        from deepmad.profilers.onnx_files.precisions import random_images

        self._trt, self._engine = load_module(), load_engine(engine)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceError("tensorrt-onnx: the GPU has no memory for the engine; take a smaller batch")
        self._stream = new_stream()
        images = torch.from_numpy(random_images(settings))
        self._input, self._outputs = self._bind(images)
        self._inputs = rotated_inputs(images.to(self._type(self._input)))
        launches = [partial(self._launch, self._context, one) for one in self._inputs]
        self._run = CudaRun("tensorrt-onnx", launches, self._stream)

    def run(self) -> float:
        """Do one inference; return its seconds by the GPU's clock."""
        return self._run.run()

    def outputs(self) -> "list[Tensor]":
        """Return the outputs of the last run, on the GPU."""
        return list(self._outputs)

    def layer_seconds(self) -> dict[str, float]:
        """Return the seconds of every layer of the engine in one run, by TensorRT's profiler, in order.

        Profiling stops the overlap of layers: their sum is more than the time of the whole.
        """
        found: dict[str, float] = {}

        class Profiler(self._trt.IProfiler):  # type: ignore[misc, name-defined]
            """Adds up what TensorRT reports of each layer."""

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                """Take one layer's time in milliseconds."""
                found[layer_name] = found.get(layer_name, 0.0) + ms / 1e3

        # A context cannot let its profiler go, so this one is used here only; its first run loads the kernels.
        context = self._engine.create_execution_context()
        for name in self._names():
            context.set_tensor_address(name, self._context.get_tensor_address(name))
        context.profiler = Profiler()
        for _ in range(2):
            found.clear()
            self._launch(context, self._inputs[0])
            self._stream.synchronize()
        return found

    def close(self) -> None:
        """Let the engine and its buffers go."""
        self._run.close()
        self._inputs.clear()
        self._outputs.clear()
        del self._context, self._engine

    def _names(self) -> list[str]:
        return [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]

    def _type(self, name: str) -> Any:
        """Return the PyTorch type of one of the engine's inputs or outputs."""
        import torch

        kind = self._trt.DataType
        types = {
            kind.FLOAT: torch.float32,
            kind.HALF: torch.float16,
            kind.INT32: torch.int32,
            kind.INT64: torch.int64,
            kind.BOOL: torch.bool,
        }
        return types[self._engine.get_tensor_dtype(name)]

    def _bind(self, images: "Tensor") -> "tuple[str, list[Tensor]]":
        """Give the outputs their buffers; return the input's name and the buffers."""
        import torch

        outputs, entry = [], ""
        for name in self._names():
            if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT:
                entry = name
                assert tuple(self._engine.get_tensor_shape(name)) == tuple(images.shape), "the batch is fixed"
                continue
            buffer = torch.empty(tuple(self._engine.get_tensor_shape(name)), dtype=self._type(name), device="cuda")
            self._context.set_tensor_address(name, buffer.data_ptr())
            outputs.append(buffer)
        return entry, outputs

    def _launch(self, context: Any, one: "Tensor") -> None:
        context.set_tensor_address(self._input, one.data_ptr())
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise DeviceError("tensorrt-onnx: the engine failed to run")
