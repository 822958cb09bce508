"""ONNX Runtime with its CPU provider."""

import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmad.profilers.backends.role import Backend, Runnable, Settings, cpu_name
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from torch import nn


class OnnxRuntime(Backend):
    """ONNX Runtime with its CPU provider, all graph optimisations on, layers one after another."""

    name = "onnxruntime"
    precisions = ("fp32",)

    def availability(self) -> str | None:
        """Return None where ONNX Runtime is installed, or how to install it."""
        return None if util.find_spec("onnxruntime") else "ONNX Runtime is missing; pip install onnxruntime"

    def version(self) -> str:
        """Return ONNX Runtime's version."""
        return metadata.version("onnxruntime")

    def device(self) -> str:
        """Return the processor's name."""
        return cpu_name()

    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> Runnable:
        """Return a session on the file that `export_onnx` writes for the model, or on the given file."""
        from deepmad.profilers.onnx_export import export_onnx, onnx_bytes

        if isinstance(model, Path):
            if not model.is_file():
                raise InputError(f"{model}: no such file; give an architecture file or an ONNX file")
            return _Session(str(model), settings)
        if isinstance(model, Architecture):
            return _Session(onnx_bytes(model), settings)
        with tempfile.TemporaryDirectory() as folder:
            path = export_onnx(
                model, Path(folder) / "model.onnx", in_channels=settings.in_channels, resolution=settings.resolution
            )
            return _Session(str(path), settings)


class _Session:
    """An ONNX Runtime session whose input is bound once, outside the time that is measured."""

    def __init__(self, source: str | bytes, settings: Settings) -> None:
        import onnxruntime

        name = source if isinstance(source, str) else "the exported network"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises a dozen classes of its own
            raise InputError(f"{name}: ONNX Runtime cannot load it ({_first_line(error)})") from error
        _check_input(session, settings, name)
        images = np.random.default_rng(0).standard_normal(settings.shape, dtype=np.float32)
        self._session = session
        self._binding = session.io_binding()
        self._binding.bind_cpu_input(session.get_inputs()[0].name, images)
        for output in session.get_outputs():
            self._binding.bind_output(output.name, "cpu")

    def run(self) -> object:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # the library raises a dozen classes of its own
            raise DeviceError(f"onnxruntime: {_first_line(error)}") from error
        return self._binding

    def outputs(self) -> list[Any]:
        """Return the outputs of the last run as numpy arrays."""
        return list(self._binding.copy_outputs_to_cpu())

    def close(self) -> None:
        del self._binding, self._session


def _check_input(session: Any, settings: Settings, name: str) -> None:
    """Raise `InputError` unless the network takes one float input of the shape in `settings`."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{item.name}: {item.type}" for item in inputs)
        raise InputError(f"{name}: takes {found}; only networks with one float input can be timed")
    shape = inputs[0].shape
    fits = len(shape) == 4 and all(
        not isinstance(size, int) or size == wanted for size, wanted in zip(shape, settings.shape, strict=True)
    )
    if not fits:
        raise InputError(f"{name}: its input has the shape {shape}, not {list(settings.shape)}; see batch, resolution")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
