"""Requests: what is to be timed, and how it is run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.profilers.measuring.sources import load_source
from deepmad.profilers.onnx_files.reading import ImageSize, read_model
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Request:
    """A network to be timed, and how.

    `model` is an architecture, a torch module, the path of an ONNX file, or a name that
    `sources.load_source` takes. The size of the input is the architecture's (a module of `deepmad.build`
    knows its own) unless it is given here. `name` is what errors call the model, by default its own name.
    """

    model: "Architecture | nn.Module | Path | str"
    backend: str = "onnxruntime"
    batch: int = 1
    precision: str = "fp32"
    threads: int = 1
    resolution: int | None = None
    in_channels: int | None = None
    name: str | None = None

    @property
    def label(self) -> str:
        """What errors call the model."""
        if self.name is None and isinstance(self.model, Architecture):
            return self.model.name
        named = self.model if isinstance(self.model, Path | str) else type(self.model).__name__
        return self.name or str(named)

    def loaded(self) -> "Request":
        """Return this request with its model at hand instead of the name, an architecture made for the input's size.

        Raises `InputError`.
        """
        found = self
        if isinstance(self.model, str):
            source = load_source(self.model, resolution=self.resolution)
            channels = self.in_channels or source.in_channels
            name = self.name or self.model
            found = replace(self, model=source.model, resolution=source.resolution, in_channels=channels, name=name)
        model = found.model
        if isinstance(model, Architecture):
            side, channels = found.resolution or model.resolution, found.in_channels or model.in_channels
            found = replace(found, model=replace(model, resolution=side, in_channels=channels))
        return found

    def settings(self) -> Settings:
        """Return how the network is run, its input size found out. Raises `InputError` where it cannot be."""
        for name in ("batch", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} is no positive number")
        if isinstance(self.model, Path):
            size = ImageSize.of(read_model(self.model, weights=False), self.label)
            batch, channels, height, width = size.filled(self.label, self.batch, self.in_channels, self.resolution)
            return Settings(batch, self.precision, self.threads, channels, height, None if width == height else width)
        known = self.model if isinstance(self.model, Architecture) else getattr(self.model, "architecture", None)
        own = (known.in_channels, known.resolution) if isinstance(known, Architecture) else (3, None)
        if (side := self.resolution or own[1]) is None:
            raise InputError("resolution: the network does not say what it takes; give the side of its input in pixels")
        return Settings(self.batch, self.precision, self.threads, self.in_channels or own[0], side)
