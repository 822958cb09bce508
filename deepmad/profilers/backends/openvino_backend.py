"""OpenVINO on the CPU."""

import tempfile
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmad.profilers.backends.role import Backend, cpu_name, installed_version, load_library
from deepmad.profilers.errors import DeviceError, require_memory
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, first_line

if TYPE_CHECKING:
    from torch import nn


class OpenVino(Backend):
    """OpenVINO on the CPU, one stream, so that all threads work on one batch.

    int8 runs the quantise-dequantise pairs of `onnx_files.precisions`, which OpenVINO turns into integer kernels.
    """

    runs_onnx = True
    name = "openvino"
    precisions = ("fp32", "int8")

    def modules(self) -> tuple[str, ...]:
        """Return `openvino`."""
        return ("openvino",)

    def availability(self) -> str | None:
        """Return None where OpenVINO is installed, or how to install it."""
        return None if util.find_spec("openvino") else "OpenVINO is missing; pip install 'deepmad[openvino]'"

    def version(self) -> str:
        """Return OpenVINO's version."""
        return installed_version("openvino")

    def device(self) -> str:
        """Return the processor's name."""
        return cpu_name()

    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> "OpenVinoRequest":
        """Return an inference request on the ONNX model."""
        from deepmad.profilers.onnx_files.leaving import write_beside
        from deepmad.profilers.onnx_files.precisions import lean_model, onnx_model, random_images

        openvino = load_library("openvino", self.name)
        options = {
            # On a processor with bfloat16, OpenVINO would run fp32 networks in it.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": settings.threads,
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, a thread would wait for a core that others use while another one is free.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = openvino.Core()
            if isinstance(model, Path) and settings.precision == "fp32":
                with tempfile.TemporaryDirectory() as folder:  # what is mapped from there stays after it
                    read = core.read_model(model=str(write_beside(lean_model(model, settings), Path(folder))))
            else:
                read = core.read_model(model=onnx_model(model, settings).SerializeToString())
            compiled = core.compile_model(read, "CPU", options)
        except RuntimeError as error:
            require_memory(error, "openvino")
            raise InputError(f"openvino: cannot compile the network ({first_line(error)})") from error
        return OpenVinoRequest(compiled, random_images(settings), _shapes(read))


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes that OpenVINO infers for a model's tensors."""
    ends = (end for operation in model.get_ordered_ops() for end in operation.outputs())
    known = (end for end in ends if end.get_partial_shape().is_static)
    return {name: tuple(end.get_shape()) for end in known for name in end.get_names()}


class OpenVinoRequest:
    """A compiled network with its input."""

    def __init__(self, compiled: Any, images: np.ndarray, shapes: dict[str, tuple[int, ...]]) -> None:
        import openvino

        self._shapes = shapes
        self._compiled, self._request = compiled, compiled.create_infer_request()
        self._request.set_input_tensor(openvino.Tensor(images))

    def run(self) -> object:
        """Do one inference."""
        try:
            self._request.infer()
        except RuntimeError as error:
            raise DeviceError(f"openvino: {first_line(error)}") from error
        return self._request

    def outputs(self) -> list[np.ndarray]:
        """Return the outputs of the last run."""
        return [tensor.data.copy() for tensor in self._request.output_tensors]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the network's tensors by name, as OpenVINO has them."""
        return self._shapes

    def kernel_precisions(self) -> set[str]:
        """Return the types in which the network's convolutions and classifier run, as OpenVINO names them."""
        operations = [operation.get_rt_info() for operation in self._compiled.get_runtime_model().get_ops()]
        return {
            found["runtimePrecision"].astype(str)
            for found in operations
            if found["layerType"].astype(str) in ("Convolution", "FullyConnected")
        }

    def close(self) -> None:
        """Let the compiled network go."""
        del self._request, self._compiled
