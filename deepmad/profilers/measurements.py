"""Measurements: the latency of a network with its raw times, its conditions and its own doubts."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from deepmad.profilers.backends import Settings, find_backend
from deepmad.profilers.machine import MachineState, machine_state
from deepmad.profilers.sources import load_source
from deepmad.profilers.telemetry import GpuTelemetry, GpuWatch
from deepmad.profilers.timing import Timer, bootstrap_interval
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from torch import nn

STANDARD = Timer()
WIDE_INTERVAL = 0.03
"""An interval wider than this share of the median is doubtful."""
STOLEN_SHARE = 0.01
"""So is a measurement while the hypervisor kept more than this share of the processor's time."""
CLOCK_DROP = 0.1
"""And one after which the processor's clock is lower by more than this share."""


@dataclass(frozen=True)
class Conditions:
    """What a number was measured with; `date` is ISO 8601 in UTC."""

    device: str
    backend: str
    version: str
    precision: str
    batch: int
    threads: int
    in_channels: int
    resolution: int
    date: str


@dataclass(frozen=True)
class Measurement:
    """The latency of one network for one batch.

    `times` holds the raw seconds in the order they were taken, `before` and `after` what else the machine
    was doing, `gpu` what the GPU was doing, where the back end runs on one and NVML tells.
    """

    times: tuple[float, ...]
    conditions: Conditions
    before: MachineState
    after: MachineState
    gpu: GpuTelemetry | None = None

    @property
    def seconds(self) -> float:
        """Median seconds for one batch."""
        return float(np.median(self.times))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the median, in seconds."""
        return bootstrap_interval(self.times)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the median, in seconds."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval of the median, in seconds."""
        return self.interval[1]

    @property
    def throughput(self) -> float:
        """Images per second."""
        return self.conditions.batch / self.seconds

    @property
    def joules_per_image(self) -> float | None:
        """Energy of the GPU for one image; None on a CPU, without a power sensor, or where networks took turns."""
        return self.gpu.joules_per_image(self.seconds, self.conditions.batch) if self.gpu else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes this number doubtful, a sentence each; empty where nothing does."""
        return tuple(self._doubts())

    def _doubts(self) -> Iterator[str]:
        width = (self.high - self.low) / self.seconds
        if width > WIDE_INTERVAL:
            limit = f"{WIDE_INTERVAL:.0%}"
            yield f"the 95 % interval is {width:.1%} wide, above {limit}; measure longer or free the machine"
        load, own = max(self.before.load, self.after.load), self.conditions.threads
        if load > own + 0.5:
            yield f"the load average was {load:.1f}, and the timing explains {own}; other processes were running"
        stolen = self.before.stolen_share(self.after)
        if stolen > STOLEN_SHARE:
            yield f"the hypervisor kept {stolen:.1%} of the processor's time for others"
        first, last = self.before.megahertz, self.after.megahertz
        if first is not None and last is not None and last < (1 - CLOCK_DROP) * first:
            yield f"the processor's clock fell from {first:.0f} to {last:.0f} MHz; let it cool or fix its clock"
        if self.gpu is not None:
            yield from self.gpu.warnings

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "latency_seconds": self.seconds,
            "low": self.low,
            "high": self.high,
            "throughput": self.throughput,
            **asdict(self.conditions),
            "load_before": self.before.load,
            "load_after": self.after.load,
            "stolen_share": self.before.stolen_share(self.after),
            "megahertz_before": self.before.megahertz,
            "megahertz_after": self.after.megahertz,
            "joules_per_image": self.joules_per_image,
            "gpu": self.gpu.to_dict() if self.gpu else None,
            "warnings": list(self.warnings),
            "times": list(self.times),
        }


@dataclass(frozen=True)
class Request:
    """A network to be timed, and how.

    `model` is an architecture, a torch module, the path of an ONNX file, or a name that
    `sources.load_source` takes. The size of the input is the architecture's (a module of `deepmad.build`
    knows its own) unless it is given here.
    """

    model: "Architecture | nn.Module | Path | str"
    backend: str = "onnxruntime"
    batch: int = 1
    precision: str = "fp32"
    threads: int = 1
    resolution: int | None = None
    in_channels: int | None = None

    def loaded(self) -> "Request":
        """Return this request with its model at hand instead of the name. Raises `InputError`."""
        if not isinstance(self.model, str):
            return self
        source = load_source(self.model, resolution=self.resolution)
        channels = self.in_channels or source.in_channels
        return replace(self, model=source.model, resolution=source.resolution, in_channels=channels)

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


@dataclass(frozen=True)
class Failure:
    """A network that could not be timed, and why, in a sentence."""

    request: Request
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return what failed, under which conditions, as one JSON document."""
        names = ("backend", "batch", "precision", "threads")
        return {"failed": self.reason} | {name: getattr(self.request, name) for name in names}


def measure(
    model: "Architecture | nn.Module | Path | str",
    *,
    backend: str = "onnxruntime",
    batch: int = 1,
    precision: str = "fp32",
    threads: int = 1,
    resolution: int | None = None,
    in_channels: int | None = None,
    timer: Timer = STANDARD,
) -> Measurement:
    """Time one network and return its measurement, the median of whole batches in seconds.

    An architecture gets random weights; a module is timed in evaluation mode and left as it was, and so is
    the global random state. Raises `InputError` for an unknown back end, a precision that it does not take,
    a missing library or an unusable model, and `DeviceError` where the back end fails.
    """
    request = Request(model, backend, batch, precision, threads, resolution, in_channels)
    return measure_all([request], timer=timer)[0]


@overload
def measure_all(
    requests: Sequence[Request], *, timer: Timer = STANDARD, isolated: Literal[False] = False
) -> list[Measurement]: ...
@overload
def measure_all(
    requests: Sequence[Request], *, timer: Timer = STANDARD, isolated: Literal[True]
) -> list[Measurement | Failure]: ...
def measure_all(
    requests: Sequence[Request], *, timer: Timer = STANDARD, isolated: bool = False
) -> list[Measurement] | list[Measurement | Failure]:
    """Time several networks, interleaved so that a drift of the machine hits all alike.

    Returns one measurement a request, in their order. Raises what `measure` raises. With `isolated` each is
    prepared and timed in a process of its own, one after the other: one that fails, or takes its process
    down, is a `Failure` in its place, and nothing is raised.
    """
    if isolated:
        from deepmad.profilers.isolation import measure_apart

        return [measure_apart(request, timer) for request in requests]
    with ExitStack() as stack:
        runs, conditions, on_gpu = [], [], False
        for request in (asked.loaded() for asked in requests):
            backend, settings = find_backend(request.backend, request.precision), request.settings()
            assert not isinstance(request.model, str), "loaded"
            runnable = backend.prepare(request.model, settings)
            stack.callback(runnable.close)
            runs.append(runnable.run)
            date = datetime.now(UTC).isoformat(timespec="seconds")
            where = (backend.device(), backend.name, backend.version())
            conditions.append((Conditions(*where, **asdict(settings), date=date), backend.processor == "cuda"))
            on_gpu = on_gpu or backend.processor == "cuda"
        before = machine_state()
        with GpuWatch(len(requests)) if on_gpu else nullcontext() as watch:
            times = timer.time_all(runs)
        after = machine_state()
    gpu = watch.telemetry if watch is not None else None
    return [
        Measurement(tuple(found), what, before, after, gpu if uses_gpu else None)
        for found, (what, uses_gpu) in zip(times, conditions, strict=True)
    ]


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
