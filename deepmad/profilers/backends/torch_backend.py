"""PyTorch, eager, on the CPU."""

import copy
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.profilers.backends.role import Backend, Runnable, Settings, cpu_name
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Torch(Backend):
    """PyTorch, eager, on the CPU."""

    name = "torch"
    precisions = ("fp32", "bf16")

    def availability(self) -> str | None:
        """Return None where PyTorch is installed, or how to install it."""
        return None if util.find_spec("torch") else "PyTorch is missing; pip install torch"

    def version(self) -> str:
        """Return PyTorch's version."""
        return metadata.version("torch")

    def device(self) -> str:
        """Return the processor's name."""
        return cpu_name()

    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> Runnable:
        """Return a copy of the module in evaluation mode; the caller's own is not touched."""
        import torch

        from deepmad.profilers.onnx_export import initialised

        if isinstance(model, Path):
            raise InputError(f"{model}: the back end torch does not run ONNX files; choose onnxruntime")
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[settings.precision]
        module = initialised(model) if isinstance(model, Architecture) else copy.deepcopy(model)
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(settings.shape, generator=generator)
        return _Eager(module.eval().to("cpu", dtype), images.to(dtype), settings.threads)


class _Eager:
    """A module with its input and the number of threads it runs on."""

    def __init__(self, module: "nn.Module", images: "Tensor", threads: int) -> None:
        import torch

        self._torch, self._module, self._images, self._threads = torch, module, images, threads
        self._threads_before = torch.get_num_threads()

    def run(self) -> object:
        if self._torch.get_num_threads() != self._threads:  # another network may have run in between
            self._torch.set_num_threads(self._threads)
        try:
            with self._torch.inference_mode():
                return self._module(self._images)
        except RuntimeError as error:
            raise DeviceError(f"torch: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        self._torch.set_num_threads(self._threads_before)
