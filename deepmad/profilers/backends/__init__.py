"""The back ends: one file each, one line a way of running in the registry. What times networks comes in."""

from deepmad.profilers.backends.onnxruntime_backend import OnnxRuntime
from deepmad.profilers.backends.openvino_backend import OpenVino
from deepmad.profilers.backends.role import Backend, Runnable
from deepmad.profilers.backends.tensorrt_onnx import TensorRtOnnx
from deepmad.profilers.backends.torch_backend import Torch
from deepmad.profilers.backends.torch_tensorrt import TorchTensorRt
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.errors import InputError, shown, unknown

__all__ = ["BACKENDS", "Backend", "Runnable", "Settings", "find_backend", "known_backend"]

BACKENDS: dict[str, Backend] = {
    "onnxruntime": OnnxRuntime(),
    "onnxruntime:cuda": OnnxRuntime("onnxruntime:cuda", "cuda", precisions=("fp32", "fp16")),
    "openvino": OpenVino(),
    "tensorrt": TorchTensorRt(),
    "tensorrt-onnx": TensorRtOnnx(),
    "torch": Torch(),
    "torch:compiled": Torch("torch:compiled", compiled=True),
    "torch:cuda": Torch("torch:cuda", "cuda", graph=True),
    "torch:cuda:compiled": Torch("torch:cuda:compiled", "cuda", compiled=True, graph=True),
    "torch:cuda:eager": Torch("torch:cuda:eager", "cuda"),
}


def known_backend(name: str) -> Backend:
    """Return the back end of that name, whether it can run here or not. Raises `InputError` for an unknown one."""
    if name not in BACKENDS:
        raise InputError(f"backend: {unknown(name, BACKENDS)}")
    return BACKENDS[name]


def find_backend(name: str, precision: str) -> Backend:
    """Return the back end of that name, ready for that precision.

    Raises `InputError` for an unknown name, a precision it does not take, or a library that is missing.
    """
    backend = known_backend(name)
    if precision not in backend.precisions:
        choices = ", ".join(backend.precisions)
        raise InputError(f"precision: the back end {name} does not take {shown(precision)}; choose from {choices}")
    if (reason := backend.availability()) is not None:
        raise InputError(f"backend {name}: {reason}")
    return backend
