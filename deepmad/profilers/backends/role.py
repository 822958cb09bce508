"""What a back end is: a library that runs a network, asked in one way."""

import platform
import sys
from abc import ABC, abstractmethod
from contextlib import redirect_stdout
from importlib import import_module, metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from deepmad.profilers.errors import DeviceError
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import first_line

if TYPE_CHECKING:
    from torch import nn


class Runnable(Protocol):
    """A network that is ready to run on an input of its own."""

    def run(self) -> object:
        """Do one inference of one batch; it has ended when this returns.

        Returns a float where the device's own clock timed it, in seconds; else the caller's clock counts.
        """

    def close(self) -> None:
        """Give back what `prepare` took; nothing runs after it."""


class Backend(ABC):
    """A library that runs networks on one processor ("cuda" is an NVIDIA GPU), in one way.

    `runs_onnx` says that it runs ONNX files, and other modules by way of one.
    """

    runs_onnx: ClassVar[bool] = False
    name: str
    precisions: tuple[str, ...]
    processor: Literal["cpu", "cuda"] = "cpu"

    @abstractmethod
    def modules(self) -> tuple[str, ...]:
        """Return the names of the modules that it imports."""

    @abstractmethod
    def availability(self) -> str | None:
        """Return None where the back end works here, or a sentence with the way out.

        It is quick: no library is imported, so one that is installed but broken passes.
        """

    @abstractmethod
    def version(self) -> str:
        """Return the version of the library."""

    @abstractmethod
    def device(self) -> str:
        """Return the name of the device it runs on."""

    @abstractmethod
    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> Runnable:
        """Return `model` ready to run on fixed random input.

        Raises `InputError` for a model that this back end cannot take, `DeviceError` where it fails on it.
        """


def cpu_name() -> str:
    """Return the model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def package_files(module: str, pattern: str) -> list[Path]:
    """Return the files of an installed package that match a glob, without importing it."""
    spec = util.find_spec(module)
    folders = spec.submodule_search_locations if spec is not None else None
    return [path for folder in folders or () for path in Path(folder).glob(pattern)]


def installed_version(*distributions: str) -> str:
    """Return the version of the first of the distributions that is installed, "unknown" where none is."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def load_library(module: str, backend: str) -> Any:
    """Import a back end's library; what it prints meanwhile goes to standard error, where results do not.

    Raises `DeviceError` where it is installed but broken.
    """
    try:
        with redirect_stdout(sys.stderr):
            return import_module(module)
    except Exception as error:  # a library that does not load raises what it likes
        raise DeviceError(f"{backend}: {module} is installed but broken ({first_line(error)}); reinstall it") from error
