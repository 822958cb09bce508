"""What the back ends on NVIDIA GPUs share: is there a GPU, which one, and timing by CUDA events."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from deepmad.profilers.backends.role import package_files
from deepmad.profilers.backends.telemetry import visible_gpu_name
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.errors import first_line

if TYPE_CHECKING:
    from torch import Tensor

MAX_ROTATED = 16
"""Inputs that are rotated at most: small ones would need hundreds to outgrow the cache."""


def gpu_missing() -> str | None:
    """Return None where the driver sees an NVIDIA GPU, or a sentence; neither PyTorch nor CUDA is loaded."""
    if visible_gpu_name() is None:
        return "no NVIDIA GPU is visible to the driver; run on a machine with one, or choose a CPU back end"
    return None


def gpu_name() -> str:
    """Return the name of the GPU that runs networks. Raises `DeviceError` where there is none."""
    name = visible_gpu_name()
    if name is None:
        raise DeviceError("cuda: no NVIDIA GPU is visible to the driver")
    return name


def torch_cuda_missing() -> str | None:
    """Return None where a CUDA build of PyTorch and a GPU are there, or a sentence with the way out."""
    if (missing := gpu_missing()) is not None:  # first: without a GPU no other build helps
        return missing
    if not package_files("torch", "lib/*torch_cuda*"):
        return "PyTorch is missing or its build has no CUDA; pip install --force-reinstall torch"
    return None


def rotations(cache_bytes: int, input_bytes: int) -> int:
    """Return how many inputs outgrow a cache together: twice its size, `MAX_ROTATED` inputs at the most."""
    return max(1, min(MAX_ROTATED, math.ceil(2 * cache_bytes / input_bytes)))


def rotated_inputs(images: "Tensor") -> "list[Tensor]":
    """Return copies of `images` on the GPU: together twice its level-2 cache, `MAX_ROTATED` at the most.

    With them in turns no run finds its input in the cache because the last one read it.
    """
    import torch

    first = images.to("cuda")
    cache_bytes = torch.cuda.get_device_properties(first.device).L2_cache_size
    count = rotations(cache_bytes, first.numel() * first.element_size())
    return [first, *(first.clone() for _ in range(count - 1))]


def new_stream() -> Any:
    """Return a CUDA stream that starts after what was launched before."""
    import torch

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    return stream


def ieee() -> AbstractContextManager[None]:
    """Return a context in which cuDNN keeps fp32 IEEE (no TF32) and tries its algorithms."""
    import torch

    context: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
    return context


class CudaRun:
    """Launches that take turns, one an input, each timed by a pair of CUDA events on `stream`.

    `keeps` is what must stay alive as long as they run: a captured graph knows addresses, and holds neither
    the weights nor the input that lie there.
    """

    def __init__(
        self, name: str, launches: Sequence[Callable[[], object]], stream: Any, *, keeps: Sequence[object] = ()
    ) -> None:
        import torch

        self._name, self._launches, self._stream, self._runs = name, list(launches), stream, 0
        self._keeps = list(keeps)
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()

    def run(self) -> float:
        """Do one inference; return its seconds by the GPU's clock, from the launch to the last kernel's end."""
        import torch

        launch = self._launches[self._runs % len(self._launches)]
        self._runs += 1
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream), ieee():
                self._start.record(self._stream)
                launch()
                self._end.record(self._stream)
                self._end.synchronize()
        except RuntimeError as error:
            raise DeviceError(f"{self._name}: {first_line(error)}") from error
        return float(self._start.elapsed_time(self._end)) / 1e3

    def close(self) -> None:
        """Let the inputs, graphs and engines go."""
        import torch

        self._launches.clear()
        self._keeps.clear()
        torch.cuda.empty_cache()
