"""Getting networks ready to be timed: each model is loaded, and exported, once, whatever runs it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.profilers.backends import Backend, Runnable, Settings, find_backend
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring import checks
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.steps import Tell, untold
from deepmad.profilers.onnx_files.probing import Probe, probe
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Prepared:
    """A network that has run once under its settings, and what it is made of where that is known.

    `doubts` are sentences that say why it may not be the network that was meant.
    """

    run: Callable[[], object]
    backend: Backend
    settings: Settings
    network: NetworkLayers | None = None
    doubts: tuple[str, ...] = ()


def prepare_all(
    requests: Sequence[Request], stack: ExitStack, *, describe: bool = False, tell: Tell = untold
) -> list[Prepared]:
    """Return every request's network ready to run; what that takes is given back when `stack` is closed.

    With `describe` modules that no ONNX back end runs are exported too, to learn what they are made of. Raises
    `InputError` and `DeviceError`, which name the model, before anything is timed. `tell` is told every step.
    """
    backends = [find_backend(request.backend, request.precision) for request in requests]
    workshop = _Workshop(stack, describe, tell)
    loaded = [workshop.loaded(request) for request in requests]
    prepared = [workshop.prepared(request, backend) for request, backend in zip(loaded, backends, strict=True)]
    return [
        replace(one, network=workshop.network(request, one.settings))
        for request, one in zip(loaded, prepared, strict=True)
    ]


@dataclass(frozen=True)
class _Workshop:
    """What the requests of one measurement share: models by name, exported files by module and shape."""

    stack: ExitStack
    describe: bool
    tell: Tell
    sources: dict[Any, Request] = field(default_factory=dict)
    exports: dict[Any, Path] = field(default_factory=dict)
    networks: dict[Any, NetworkLayers | None] = field(default_factory=dict)
    probes: dict[Any, Probe | None] = field(default_factory=dict)

    def loaded(self, request: Request) -> Request:
        """Return the request with its model at hand, the same one for the same name."""
        self.tell(f"reading {request.label}")
        if not isinstance(request.model, str):
            with naming(request):
                return request.loaded()
        key = (request.model, request.resolution, request.in_channels)
        if key not in self.sources:
            with naming(request):
                self.sources[key] = request.loaded()
        found = self.sources[key]
        return replace(
            request, model=found.model, name=found.name, resolution=found.resolution, in_channels=found.in_channels
        )

    def prepared(self, request: Request, backend: Backend) -> Prepared:
        """Return the network of a loaded request, after its first run."""
        settings, model = request.settings(), request.model
        assert not isinstance(model, str), "loaded"
        with naming(request):
            if backend.runs_onnx and not isinstance(model, Architecture | Path) and not hasattr(model, "architecture"):
                model = self._exported(model, settings)  # once for all back ends; ours are written from their records
            if isinstance(model, Path):
                self._probed(model, settings)  # before: what it takes of memory is given back
            self.tell(f"preparing {request.label} for {backend.name}")
            runnable = backend.prepare(model, settings)
            self.stack.callback(runnable.close)
            self.tell(f"running {request.label} on {backend.name} for the first time")
            result = runnable.run()
            doubts = tuple(self._doubts(request.model, model, runnable, result, backend, settings))
        return Prepared(runnable.run, backend, settings, doubts=doubts)

    def _doubts(
        self, given: Any, model: Any, runnable: Runnable, result: object, backend: Backend, settings: Settings
    ) -> Iterator[str]:
        """Yield why a network that has run once may not be the one that was `given`; `model` is what runs."""
        outputs = checks.first_outputs(runnable, result)
        yield from checks.output_doubts(outputs)
        yield from getattr(runnable, "remarks", list)()
        if not isinstance(given, Architecture | Path) and not hasattr(given, "architecture"):
            yield from checks.module_doubts(given)
        if isinstance(model, Path) and (seen := self._probed(model, settings)) is not None:
            yield from checks.probe_doubts(seen if given is model else replace(seen, zero_weights=0))
            if backend.name != "onnxruntime":
                yield from checks.runtime_doubts(runnable, outputs, seen, backend.name, settings.precision)

    def _probed(self, path: Path, settings: Settings) -> Probe | None:
        """Return what an ONNX file's network gives for the images that it is timed with."""
        key = (path, settings.shape)
        if key not in self.probes:
            self.tell(f"looking at the activations of {path}")
            self.probes[key] = probe(path, settings)
        return self.probes[key]

    def _exported(self, module: "nn.Module", settings: Settings) -> Path:
        """Return the ONNX file of a module, written where there is none yet."""
        from deepmad.profilers.onnx_files.export import export_onnx

        key = (id(module), settings.shape)
        if key not in self.exports:
            folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
            self.exports[key] = export_onnx(
                module,
                folder / "model.onnx",
                settings.batch,
                in_channels=settings.in_channels,
                resolution=settings.resolution,
            )
        return self.exports[key]

    def network(self, request: Request, settings: Settings) -> NetworkLayers | None:
        """Return what a network is made of; None for a module that was not, or cannot be, exported."""
        model = request.model
        key = (id(model), settings.shape)
        if key not in self.networks:
            self.tell(f"counting {request.label}")
            try:
                self.networks[key] = self._read(model, settings)
            except InputError:
                self.networks[key] = None
        return self.networks[key]

    def _read(self, model: Any, settings: Settings) -> NetworkLayers | None:
        from deepmad.profilers.onnx_files.layers import read_onnx_layers

        architecture = model if isinstance(model, Architecture) else getattr(model, "architecture", None)
        if isinstance(architecture, Architecture) and architecture.resolution == settings.resolution:
            return NetworkLayers.of(architecture)
        if isinstance(model, Path):
            return read_onnx_layers(model, settings.resolution)
        if isinstance(model, Architecture) or not (self.describe or (id(model), settings.shape) in self.exports):
            return None
        found = read_onnx_layers(self._exported(model, settings), settings.resolution)
        return replace(found, params=sum(weight.numel() for weight in model.parameters()))


@contextmanager
def naming(request: Request) -> Iterator[None]:
    """Put the model's name before what went wrong with it, unless it is said already."""
    try:
        yield
    except (InputError, DeviceError) as error:
        if request.label in str(error):
            raise
        raise type(error)(f"{request.label}: {error}") from error
