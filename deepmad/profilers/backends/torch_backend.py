"""PyTorch on the CPU or a GPU: eager, compiled, or replayed as a CUDA graph."""

import copy
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deepmad.profilers.backends.cuda import CudaRun, gpu_name, ieee, new_stream, rotated_inputs, torch_cuda_missing
from deepmad.profilers.backends.role import Backend, Runnable, cpu_name, installed_version
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

WARM_UPS = 3
"""Runs before a capture, on the stream that captures: libraries choose and load their kernels in them."""
COMPILED_NETWORKS = 1024
"""Compiled networks that may be alive at a time; PyTorch's own limit of 8 is meant for one network's shapes."""


@dataclass(frozen=True)
class Torch(Backend):
    """PyTorch on one device, channels last.

    `compiled` runs the code that `torch.compile` makes; `graph` captures the kernels in a CUDA graph and
    replays it, which leaves Python's launches out of the time. On a GPU "fp32" is IEEE: no TF32.
    """

    name: str = "torch"
    processor: Literal["cpu", "cuda"] = "cpu"
    compiled: bool = False
    graph: bool = False
    precisions = ("fp32", "fp16", "bf16")

    def modules(self) -> tuple[str, ...]:
        """Return `torch`."""
        return ("torch",)

    def availability(self) -> str | None:
        """Return None where this way of running works here, or the way out."""
        if util.find_spec("torch") is None:
            return "PyTorch is missing; pip install torch"
        if self.processor == "cuda" and (reason := torch_cuda_missing()) is not None:
            return reason
        if self.compiled and self.processor == "cuda" and util.find_spec("triton") is None:
            return "torch.compile needs Triton on a GPU; pip install triton"
        if self.compiled and self.processor == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            return "torch.compile needs a C++ compiler on a CPU; apt-get install g++"
        return None

    def version(self) -> str:
        """Return PyTorch's version."""
        return installed_version("torch")

    def device(self) -> str:
        """Return the name of the GPU or of the processor."""
        return gpu_name() if self.processor == "cuda" else cpu_name()

    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> Runnable:
        """Return a copy of the module in evaluation mode; the caller's own is not touched."""
        module, images = on_processor(self.name, model, settings, self.processor)
        threads = settings.threads if self.processor == "cpu" else None
        forward = _compiled(self.name, module, images, threads) if self.compiled else module
        if threads is not None:
            return _OnCpu(self.name, forward, images, threads)
        try:
            return _on_gpu(self.name, forward, images, graph=self.graph)
        except RuntimeError as error:
            raise DeviceError(f"{self.name}: {first_line(error)}") from error


def on_processor(
    name: str, model: "Architecture | nn.Module | Path", settings: Settings, processor: str
) -> "tuple[nn.Module, Tensor]":
    """Return a copy of the module and a random input in the precision asked for, channels last.

    Raises `InputError` for an ONNX file, which PyTorch does not run.
    """
    import torch

    from deepmad.search_spaces.weights import initialised

    if isinstance(model, Path):
        raise InputError(f"{model}: the back end {name} does not run ONNX files; choose onnxruntime")
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[settings.precision]
    module = initialised(model) if isinstance(model, Architecture) else copy.deepcopy(model)
    images = torch.randn(settings.shape, generator=torch.Generator().manual_seed(0))
    try:
        module = module.eval().to(processor, dtype)
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module, images.to(processor, dtype, memory_format=torch.channels_last)
    except RuntimeError as error:
        raise DeviceError(f"{name}: {first_line(error)}") from error


def _compiled(name: str, module: "nn.Module", images: "Tensor", threads: int | None) -> "Callable[[Tensor], object]":
    """Return the compiled module, compiled now for this input; a part that cannot be is an error.

    Code for a CPU is written for a number of `threads`, and compiled again where it runs on another.
    """
    import torch
    from torch._dynamo import config

    forward: Callable[[Tensor], object] = torch.compile(module, fullgraph=True, dynamic=False)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    try:
        with warnings.catch_warnings(), config.patch(recompile_limit=COMPILED_NETWORKS), torch.inference_mode():
            # PyTorch's compiler uses parts of PyTorch that are deprecated; its caller can do nothing about that.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\b.*")
            with ieee():
                forward(images)
    except Exception as error:  # the compiler's own classes, the C++ compiler's and Triton's
        raise DeviceError(f"{name}: torch.compile failed ({first_line(error)})") from error
    finally:
        torch.set_num_threads(threads_before)
    return forward


def _on_gpu(name: str, forward: "Callable[[Tensor], object]", images: "Tensor", *, graph: bool) -> CudaRun:
    """Return launches on rotated inputs: replays of graphs captured here, or plain calls."""
    import torch

    inputs = rotated_inputs(images)
    stream = new_stream()  # after the copies above, so that it waits for them
    if not graph:
        return CudaRun(name, [partial(forward, one) for one in inputs], stream)
    with torch.inference_mode(), torch.cuda.stream(stream), ieee():
        for _ in range(WARM_UPS):
            forward(inputs[0])
    graphs, pool = [], torch.cuda.graph_pool_handle()
    for one in inputs:
        captured = torch.cuda.CUDAGraph()
        with torch.inference_mode(), ieee(), torch.cuda.graph(captured, pool=pool, stream=stream):
            forward(one)
        graphs.append(captured)
    return CudaRun(name, [captured.replay for captured in graphs], stream, keeps=(forward, *inputs))


class _OnCpu:
    """A module with its input and the number of threads it runs on."""

    def __init__(self, name: str, forward: "Callable[[Tensor], object]", images: "Tensor", threads: int) -> None:
        import torch

        self._name, self._torch = name, torch
        self._forward, self._images, self._threads = forward, images, threads
        self._threads_before = torch.get_num_threads()

    def run(self) -> object:
        if self._torch.get_num_threads() != self._threads:  # another network may have run in between
            self._torch.set_num_threads(self._threads)
        try:
            with self._torch.inference_mode():
                return self._forward(self._images)
        except RuntimeError as error:
            raise DeviceError(f"{self._name}: {first_line(error)}") from error

    def close(self) -> None:
        self._torch.set_num_threads(self._threads_before)
