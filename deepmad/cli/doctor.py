"""`deepmad doctor`: what works on this machine, and the command that installs what does not."""

import importlib
import os
import platform
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from deepmad.cli.options import Json
from deepmad.cli.output import DEVICE_FAILED, DONE, emit_json, out, warn, working
from deepmad.cli.render import plain_table
from deepmad.search_spaces.errors import first_line
from deepmad.search_spaces.extras import installation
from deepmad.search_spaces.torchvision_operators import import_torchvision, operators_load
from deepmad.version import __version__

if TYPE_CHECKING:
    from deepmad.profilers.backends import Backend
    from deepmad.profilers.measuring.machine import MachineState

_NEEDED = {
    "torch": "torch",
    "ortools": "ortools",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "deap": "deap",
    "nvidia-ml-py": "pynvml",
    "safetensors": "safetensors",
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "pandas": "pandas",
}
_EXTRAS = {
    "timm": ("timm", "timm"),
    "torchvision": ("torchvision", "timm"),
    "openvino": ("openvino", "openvino"),
    "tensorrt-rtx-cu13-bindings": ("tensorrt_rtx_bindings", "tensorrt-rtx"),
    "torch-tensorrt": ("torch_tensorrt", "tensorrt"),
    "ray": ("ray", "ray"),
    "jinja2": ("jinja2", "report"),
    "matplotlib": ("matplotlib", "report"),
    "pyarrow": ("pyarrow", "parquet"),
}

_FOR_GPUS = ("tensorrt", "tensorrt-rtx")
"""Extras that are of no use without an NVIDIA GPU."""
_MISFIT = (
    "installed but broken (its operators do not load beside torch {torch}): deepmad does without them, import timm "
    "alone does not; pip install --force-reinstall --no-deps torchvision=={version} "
    "--index-url <where that torch is from>"
)


def doctor(json: Json = False) -> int:
    """Say what works here and how to install what does not.

    Example: deepmad doctor
    """
    with working("looking"):
        report = examine()
    healthy = all(row["works"] for row in report["libraries"] if row["needed"])
    if json:
        emit_json(report)
    else:
        out().print(
            f"deepmad {report['deepmad']}, Python {report['python']}, {_cores(report)}, {report['cpu']}, "
            f"{report['gpu'] or 'no NVIDIA GPU'}"
        )
        if report["machine"]["settings"]:
            out().print(f"processor: {report['machine']['settings']}")
        out().print()
        rows = [[row["name"], row["version"] or "-", row["state"]] for row in report["libraries"]]
        out().print(plain_table(("library", "version", ""), rows, text=True))
        rows = [[row["name"], row["version"] or "-", row["state"]] for row in report["backends"]]
        out().print()
        out().print(plain_table(("back end", "version", ""), rows, text=True))
    for doubt in report["machine"]["warnings"]:
        warn(f"a measurement would be doubtful now: {doubt}")
    return DONE if healthy else DEVICE_FAILED


def _cores(report: dict[str, Any]) -> str:
    """Return how many cores may be used, and of how many where that is not all."""
    usable, there = report["cores"], report["cores_of_machine"]
    return f"{usable} cores" if there in (None, usable) else f"{usable} of {there} cores"


def examine() -> dict[str, Any]:
    """Return what there is: the machine, the libraries and the back ends."""
    from deepmad.profilers.backends import BACKENDS
    from deepmad.profilers.backends.role import cpu_name
    from deepmad.profilers.backends.telemetry import visible_gpu_name
    from deepmad.profilers.measuring.machine import machine_state
    from deepmad.tasks.cores import usable_cores

    libraries = [_library(name, module, None) for name, module in _NEEDED.items()]
    libraries += [_library(name, module, extra) for name, (module, extra) in _EXTRAS.items()]
    backends = [_backend(name, backend) for name, backend in BACKENDS.items()]
    return {
        "deepmad": __version__,
        "python": platform.python_version(),
        "cores": usable_cores(),
        "cores_of_machine": os.cpu_count(),
        "machine": _machine(machine_state()),
        "cpu": cpu_name(),
        "gpu": visible_gpu_name(),
        "libraries": libraries,
        "backends": backends,
    }


def _machine(state: "MachineState") -> dict[str, Any]:
    """Return how the processor is set, where the system shows it, and what would spoil a measurement now."""
    from deepmad.profilers.backends.telemetry import visible_gpu_doubts

    found, doubts = state.processor, (*state.doubts(state, 1).values(), *visible_gpu_doubts())
    return asdict(found) | {"settings": ", ".join(found.words), "warnings": list(doubts)}


def _backend(name: str, backend: "Backend") -> dict[str, Any]:
    """Return a back end's state; what it imports is imported, so that one installed but broken is told apart."""
    reason = backend.availability()
    if reason is None:
        broken = (f"{module}: {why}" for module in backend.modules() if (why := _why_broken(module)) is not None)
        reason = next((f"installed but broken ({first}): reinstall it" for first in broken), None)
    return {
        "name": name,
        "works": reason is None,
        "state": reason or f"works: {', '.join(backend.precisions)}",
        "version": backend.version() if reason is None else None,
    }


def _library(name: str, module: str, extra: str | None) -> dict[str, Any]:
    """Return a library's state; it is imported, so that one installed but broken is told apart."""
    row = {"name": name, "needed": extra is None, "works": False, "version": None}
    if find_spec(module) is None:
        what = "not installed" if extra not in _FOR_GPUS else "not installed, which only an NVIDIA GPU needs"
        return row | {"state": f"{what}: {f'pip install {name}' if extra is None else installation(extra)}"}
    with suppress(PackageNotFoundError):
        row["version"] = version(name)
    if (reason := _why_broken(module)) is not None:
        again = f"pip install --force-reinstall --no-deps {name}" + (f"=={row['version']}" if row["version"] else "")
        return row | {"state": f"installed but broken ({reason}): {again}"}
    if module == "torchvision" and not operators_load():
        return row | {"state": _MISFIT.format(version=row["version"], torch=version("torch"))}
    return row | {"works": True, "state": "works"}


def _why_broken(module: str) -> str | None:
    """Import a module; return None where that works, else the first words of why it does not.

    What it prints goes to standard error: on standard output is the report alone.
    """
    try:
        with redirect_stdout(sys.stderr):
            if module in ("timm", "torchvision"):
                import_torchvision()
            importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything
        return first_line(error)[:80]
    return None
