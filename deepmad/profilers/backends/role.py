"""What a back end is: a library that runs a network, asked in one way."""

import platform
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deepmad.search_spaces.architectures import Architecture

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Settings:
    """How a network is run: images in a batch, precision, threads, and the size of the input."""

    batch: int
    precision: str
    threads: int
    in_channels: int
    resolution: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the input: (batch, in_channels, resolution, resolution)."""
        return (self.batch, self.in_channels, self.resolution, self.resolution)


class Runnable(Protocol):
    """A network that is ready to run on an input of its own."""

    def run(self) -> object:
        """Do one inference of one batch; it has ended when this returns."""

    def close(self) -> None:
        """Give back what `prepare` took; nothing runs after it."""


class Backend(ABC):
    """A library that runs networks on one device."""

    name: str
    precisions: tuple[str, ...]

    @abstractmethod
    def availability(self) -> str | None:
        """Return None where the back end works here, or a sentence with the command that installs it."""

    @abstractmethod
    def version(self) -> str:
        """Return the version of the library."""

    @abstractmethod
    def device(self) -> str:
        """Return the name of the device it runs on."""

    @abstractmethod
    def prepare(self, model: "Architecture | nn.Module | Path", settings: Settings) -> Runnable:
        """Return `model` ready to run on a fixed random input.

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
