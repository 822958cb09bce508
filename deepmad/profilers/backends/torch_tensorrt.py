"""Torch-TensorRT: TensorRT compiled from the PyTorch module itself."""

import sys
from contextlib import redirect_stdout
from functools import partial
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.profilers.backends.cuda import CudaRun, gpu_name, new_stream, rotated_inputs, torch_cuda_missing
from deepmad.profilers.backends.role import Backend, Runnable, installed_version, load_library
from deepmad.profilers.backends.torch_backend import on_processor
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import first_line
from deepmad.search_spaces.extras import installation

if TYPE_CHECKING:
    from torch import nn

_DISTRIBUTIONS = ("torch-tensorrt", "torch-tensorrt-rtx")
"""Either brings the module `torch_tensorrt`; the second compiles for TensorRT-RTX."""


class TorchTensorRt(Backend):
    """`torch_tensorrt.compile` with its dynamo front end; every operation must become TensorRT's."""

    name = "tensorrt"
    precisions = ("fp32", "fp16", "bf16")
    processor = "cuda"

    def modules(self) -> tuple[str, ...]:
        """Return `torch_tensorrt`."""
        return ("torch_tensorrt",)

    def availability(self) -> str | None:
        """Return None where Torch-TensorRT, a CUDA build of PyTorch and a GPU are there, or the way out."""
        if (missing := torch_cuda_missing()) is not None:
            return missing
        if util.find_spec("torch_tensorrt") is None:
            return f"Torch-TensorRT is missing; {installation('tensorrt')}"
        return None

    def version(self) -> str:
        """Return which Torch-TensorRT, and its version."""
        known = (f"{name} {found}" for name in _DISTRIBUTIONS if (found := installed_version(name)) != "unknown")
        return next(known, "unknown")

    def device(self) -> str:
        """Return the GPU's name."""
        return gpu_name()

    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> Runnable:
        """Return the compiled module on rotated inputs; the caller's own module is not touched."""
        import torch

        torch_tensorrt = load_library("torch_tensorrt", self.name)
        module, images = on_processor(self.name, model, settings, "cuda")
        # Torch-TensorRT hands its engines contiguous tensors: channels last would be copied in every run.
        module, images = module.to(memory_format=torch.contiguous_format), images.contiguous()  # type: ignore[call-overload]
        try:
            with redirect_stdout(sys.stderr):  # it prints what it misses in TensorRT
                compiled = torch_tensorrt.compile(
                    module,
                    ir="dynamo",
                    inputs=[images],
                    use_explicit_typing=True,  # the types of the module and its input are the precision
                    disable_tf32=True,  # it would not be fp32
                    require_full_compilation=True,
                    min_block_size=1,
                )
            inputs = rotated_inputs(images)
            return CudaRun(self.name, [partial(compiled, one) for one in inputs], new_stream())
        except Exception as error:  # TensorRT, the exporter and the partitioner raise classes of their own
            raise DeviceError(f"tensorrt: Torch-TensorRT failed ({first_line(error)})") from error
