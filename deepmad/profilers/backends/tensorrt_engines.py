"""TensorRT engines from ONNX models, by TensorRT's own Python API or that of TensorRT-RTX."""

from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import platformdirs

from deepmad.profilers.backends.role import installed_version, load_library
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import write_bytes

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""TensorRT, TensorRT-RTX, and what TensorRT-RTX is called where its wheels are installed alone; the first is used."""
_DISTRIBUTIONS = {
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings"),
    "tensorrt_rtx_bindings": ("tensorrt-rtx-cu13-bindings",),
}


def module_name() -> str | None:
    """Return the name of the module that is used, None where none is installed.

    What is installed counts, not what is loaded: Torch-TensorRT, once imported, passes TensorRT-RTX off as `tensorrt`.
    """
    return next((name for name in MODULES if PathFinder.find_spec(name) is not None), None)


def module_version() -> str:
    """Return the name and version of the module that is used: TensorRT and TensorRT-RTX count differently."""
    name = module_name()
    assert name is not None, "asked only where the back end is available"
    return f"{name.removesuffix('_bindings')} {installed_version(*_DISTRIBUTIONS[name])}"


def load_module() -> Any:
    """Import TensorRT or TensorRT-RTX.

    Raises `InputError` where none is installed, `DeviceError` where it is broken.
    """
    name = module_name()
    if name is None:
        raise InputError("tensorrt-onnx: TensorRT is missing; pip install 'deepmad[tensorrt-rtx]'")
    return load_library(name, "tensorrt-onnx")


def build_engine(onnx_file: bytes, timing_cache: Path | None = None) -> bytes:
    """Return the serialised engine of an ONNX model whose types are the precision it runs in (strongly typed).

    fp32 is IEEE: no TF32. TensorRT-RTX builds ahead of time, on a CPU too; TensorRT needs the GPU. The
    timing cache, read and updated where a path is given, makes later builds quicker and choose alike.
    Raises `InputError` for a model that TensorRT cannot parse, `DeviceError` where it cannot build it.
    """
    trt = load_module()
    messages = _messages(trt)
    builder = trt.Builder(messages)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, messages)
    if not parser.parse(onnx_file):
        reason = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise InputError(f"tensorrt-onnx: TensorRT cannot parse the network ({reason})")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.LAYER_NAMES_ONLY
    if timing_cache is not None:
        held = timing_cache.read_bytes() if timing_cache.is_file() else b""
        config.set_timing_cache(config.create_timing_cache(held), ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DeviceError(f"tensorrt-onnx: TensorRT cannot build the engine ({_reason(messages)})")
    if timing_cache is not None:
        with suppress(InputError):  # a full disk loses only a cache
            write_bytes(timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def load_engine(engine: bytes) -> Any:
    """Return an engine ready to run on the GPU. Raises `DeviceError` where the GPU cannot run it."""
    trt = load_module()
    messages = _messages(trt)
    runtime = trt.Runtime(messages)
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        raise DeviceError(f"tensorrt-onnx: the GPU cannot run the engine ({_reason(messages)})")
    return loaded


def timing_cache_path(gpu: str) -> Path | None:
    """Return where the timing cache of TensorRT on that GPU is kept; TensorRT-RTX, which times nothing, has none."""
    if module_name() != "tensorrt":
        return None
    stem = f"{module_version()} {gpu}".replace(" ", "-").replace("/", "-")
    return platformdirs.user_cache_path("deepmad") / f"{stem}.timing"


def _reason(messages: Any) -> str:
    """Return the first errors that a logger kept."""
    return "; ".join(messages.errors[:2]) or "no reason given"


def _messages(trt: Any) -> Any:
    """Return a logger that keeps errors instead of printing them."""

    class Messages(trt.ILogger):  # type: ignore[misc]
        """Keeps what is an error."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Keep a message of the two gravest kinds."""
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(message)

    return Messages()
