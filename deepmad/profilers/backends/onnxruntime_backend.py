"""ONNX Runtime with its CPU or its CUDA provider."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepmad.profilers.backends.cuda import gpu_missing, gpu_name, rotations
from deepmad.profilers.backends.role import Backend, Runnable, cpu_name, installed_version, load_library, package_files
from deepmad.profilers.errors import DeviceError, require_memory
from deepmad.profilers.onnx_files.reading import ImageSize
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, first_line

if TYPE_CHECKING:
    from torch import nn

_INPUTS = {
    "fp32": ("tensor(float)", np.float32),
    "fp16": ("tensor(float16)", np.float16),
    "int8": ("tensor(float)", np.float32),
}
"""A precision's type of input, as ONNX Runtime and as numpy call it; int8 networks quantise it themselves."""
_GPU_INSTALL = "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
_LARGEST_CACHE_BYTES = 128 * 2**20
"""ONNX Runtime does not tell the GPU's level-2 cache; none is larger than the 126 MB of a B200."""


@dataclass(frozen=True)
class OnnxRuntime(Backend):
    """ONNX Runtime with one provider, all graph optimisations on, layers one after another."""

    runs_onnx = True
    name: str = "onnxruntime"
    processor: Literal["cpu", "cuda"] = "cpu"
    precisions: tuple[str, ...] = ("fp32", "int8")

    def modules(self) -> tuple[str, ...]:
        """Return `onnxruntime`."""
        return ("onnxruntime",)

    def availability(self) -> str | None:
        """Return None where ONNX Runtime and the provider are installed, or the way out."""
        if self.processor == "cuda" and (missing := gpu_missing()) is not None:
            return missing
        if util.find_spec("onnxruntime") is None:
            return f"ONNX Runtime is missing; pip install onnxruntime{'-gpu' if self.processor == 'cuda' else ''}"
        if self.processor == "cuda" and not package_files("onnxruntime", "capi/*onnxruntime_providers_cuda*"):
            return f"this ONNX Runtime has no CUDA provider; {_GPU_INSTALL}"
        return None

    def version(self) -> str:
        """Return ONNX Runtime's version."""
        return installed_version(
            *(("onnxruntime-gpu",) if self.processor == "cuda" else ()), "onnxruntime", "onnxruntime-gpu"
        )

    def device(self) -> str:
        """Return the name of the GPU or of the processor."""
        return gpu_name() if self.processor == "cuda" else cpu_name()

    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> Runnable:
        """Return a session on the file that `export_onnx` writes for the model, or on the given file."""
        from deepmad.profilers.onnx_files.export import export_onnx, onnx_bytes
        from deepmad.profilers.onnx_files.precisions import onnx_model, write_quantised

        make = _CudaSession if self.processor == "cuda" else _CpuSession
        if settings.precision == "fp16":
            return make(onnx_model(model, settings).SerializeToString(), settings)
        if settings.precision == "int8":
            with tempfile.TemporaryDirectory() as folder:
                return make(str(write_quantised(model, settings, Path(folder))), settings)
        if isinstance(model, Path):
            if not model.is_file():
                raise InputError(f"{model}: no such file; give an architecture file or an ONNX file")
            return make(str(model), settings)
        if isinstance(model, Architecture):
            return make(onnx_bytes(model), settings)
        with tempfile.TemporaryDirectory() as folder:
            path = export_onnx(
                model, Path(folder) / "model.onnx", in_channels=settings.in_channels, resolution=settings.resolution
            )
            return make(str(path), settings)


def _session(source: str | bytes, settings: Settings, providers: Sequence[Any], written: Path | None = None) -> Any:
    """Return a session on a file or a model's bytes; what it makes of the network is `written` to a file.

    Raises `InputError` where it cannot be loaded or does not fit.
    """
    onnxruntime = load_library("onnxruntime", "onnxruntime")
    # What is quantised lies in a folder of its own for a moment, whose name tells nobody anything.
    name = source if isinstance(source, str) and settings.precision != "int8" else "the exported network"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # errors are raised; that they are printed as well, in colours, serves nobody
    if written is not None:
        options.optimized_model_filepath = str(written)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
    try:
        # Without the fallback: it would print on standard output, and run with other options than these.
        session = onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)
    except Exception as error:  # the library raises a dozen classes of its own
        require_memory(error, name)
        raise InputError(f"{name}: ONNX Runtime cannot load it ({first_line(error)})") from error
    _check_input(session, settings, name)
    return session


class _CpuSession:
    """A session on the CPU whose input is bound once, outside the time that is measured."""

    def __init__(self, source: str | bytes, settings: Settings) -> None:
        from deepmad.profilers.onnx_files.float_islands import float_islands
        from deepmad.profilers.onnx_files.precisions import random_images
        from deepmad.profilers.onnx_files.reading import read_model

        self._floats = Counter[str]()
        if settings.precision == "int8":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "optimised.onnx"
                self._session = _session(source, settings, ["CPUExecutionProvider"], path)
                self._floats = float_islands(read_model(path, weights=False).graph)
        else:
            self._session = _session(source, settings, ["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        images = random_images(settings).astype(_INPUTS[settings.precision][1])
        self._binding.bind_cpu_input(self._session.get_inputs()[0].name, images)
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")

    def run(self) -> object:
        _run(self._session, self._binding)
        return self._binding

    def remarks(self) -> list[str]:
        """Return the sentence that tells of operators that stayed in float between quantised ones, if there are any."""
        if not self._floats:
            return []
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self._floats.items()))
        told = f"ONNX Runtime left {self._floats.total()} operator(s) in float between quantised ones ({kinds})"
        return [f"{told}; int8 may be slower than fp32"]

    def outputs(self) -> list[Any]:
        """Return the outputs of the last run as numpy arrays."""
        return list(self._binding.copy_outputs_to_cpu())

    def close(self) -> None:
        del self._binding, self._session


class _CudaSession:
    """A session on the GPU: inputs and outputs stay there, bindings to different inputs take turns."""

    def __init__(self, source: str | bytes, settings: Settings) -> None:
        import torch  # noqa: F401 - it brings the libraries of CUDA and cuDNN, which the provider needs

        from deepmad.profilers.onnx_files.precisions import random_images

        # Convolutions in TF32 would not be fp32.
        self._session = _session(source, settings, [("CUDAExecutionProvider", {"use_tf32": "0"})])
        if "CUDAExecutionProvider" not in self._session.get_providers():  # it falls back to the CPU in silence
            raise DeviceError(
                f"onnxruntime: its CUDA provider cannot be loaded; install its CUDA and cuDNN, or {_GPU_INSTALL}"
            )
        images = random_images(settings).astype(_INPUTS[settings.precision][1])
        self._runs = 0
        try:
            self._bindings = [self._bound(images) for _ in range(rotations(_LARGEST_CACHE_BYTES, images.nbytes))]
        except Exception as error:  # the library raises a dozen classes of its own
            raise DeviceError(f"onnxruntime: {first_line(error)}") from error

    def _bound(self, images: "np.ndarray[Any, Any]") -> Any:
        """Return a binding to a copy of the input and to outputs, all on the GPU."""
        import onnxruntime

        binding = self._session.io_binding()
        on_gpu = onnxruntime.OrtValue.ortvalue_from_numpy(images, "cuda", 0)
        binding.bind_ortvalue_input(self._session.get_inputs()[0].name, on_gpu)
        for output in self._session.get_outputs():
            binding.bind_output(output.name, "cuda")
        return binding

    def run(self) -> float:
        """Do one inference; return its seconds by the host's clock, from a synchronised GPU to the next one."""
        binding = self._bindings[self._runs % len(self._bindings)]
        self._runs += 1
        binding.synchronize_inputs()
        start = perf_counter()
        _run(self._session, binding)
        binding.synchronize_outputs()
        return perf_counter() - start

    def close(self) -> None:
        del self._bindings, self._session


def _run(session: Any, binding: Any) -> None:
    try:
        session.run_with_iobinding(binding)
    except Exception as error:  # the library raises a dozen classes of its own
        require_memory(error, "onnxruntime")
        raise DeviceError(f"onnxruntime: {first_line(error)}") from error


def _check_input(session: Any, settings: Settings, name: str) -> None:
    """Raise `InputError` unless the network takes one input of the precision and shape in `settings`."""
    inputs, wanted = session.get_inputs(), _INPUTS[settings.precision][0]
    if len(inputs) != 1 or inputs[0].type != wanted:
        found = ", ".join(f"{item.name}: {item.type}" for item in inputs)
        raise InputError(
            f"{name}: takes {found}; in {settings.precision} only networks with one {wanted} input can be timed"
        )
    sizes = [size if isinstance(size, int) else None for size in inputs[0].shape]
    if len(sizes) != len(settings.shape):
        raise InputError(f"{name}: its input has {len(sizes)} axes, not batch, channels, height and width")
    ImageSize(*sizes).check(name, settings.shape)
