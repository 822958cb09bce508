"""Requests: what is to be timed, and how it is run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.profilers.measuring.sources import load_source
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
        source = self.model if isinstance(self.model, Architecture) else getattr(self.model, "architecture", None)
        channels, side = _onnx_input(self.model) if isinstance(self.model, Path) else (None, None)
        if isinstance(source, Architecture):
            channels, side = source.in_channels, source.resolution
        side = self.resolution or side
        if side is None:
            raise InputError("resolution: the network does not say what it takes; give the side of its input in pixels")
        return Settings(self.batch, self.precision, self.threads, self.in_channels or channels or 3, side)


def _onnx_input(path: Path) -> tuple[int | None, int | None]:
    """Return channels and side of an ONNX file's first input, None where the file leaves one open."""
    import onnx

    if not path.is_file():
        raise InputError(f"{path}: no such file; give an architecture file or an ONNX file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        sizes = [axis.dim_value or None for axis in model.graph.input[0].type.tensor_type.shape.dim]
    except Exception as error:  # the parser raises classes of its own
        raise InputError(f"{path}: not an ONNX file that can be read ({type(error).__name__})") from error
    return (sizes[1], sizes[2]) if len(sizes) == 4 else (None, None)
