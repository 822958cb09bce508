"""Measurements: the latency of a network with its raw times, its conditions and its own doubts."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from deepmad.profilers.backends import BACKENDS
from deepmad.profilers.backends.telemetry import GpuTelemetry, GpuWatch
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.isolation import Broken, call_apart, heard
from deepmad.profilers.measuring.machine import MachineState, machine_state
from deepmad.profilers.measuring.preparation import Prepared, naming, prepare_all
from deepmad.profilers.measuring.reference import REFERENCE, SHARE, ReferenceTimes
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.steps import Tell, untold
from deepmad.profilers.measuring.timing import Timer, bootstrap_interval
from deepmad.profilers.measuring.turns import places_of, turn
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.profilers.prediction.rows import Visit
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from torch import nn

STANDARD = Timer()
WIDE_INTERVAL = 0.03
"""An interval wider than this share of the median is doubtful."""
LONG_SECONDS = 2.0
"""A measurement of so many seconds, or of several networks, is accompanied by the reference network."""


@dataclass(frozen=True)
class Conditions:
    """What a number was measured with; `date` is ISO 8601 in UTC, `width` the images' where they are no squares."""

    device: str
    backend: str
    version: str
    precision: str
    batch: int
    threads: int
    in_channels: int
    resolution: int
    date: str
    width: int | None = None


@dataclass(frozen=True)
class Measurement:
    """The latency of one network for one batch.

    `times` holds the raw seconds in the order they were taken, `before` and `after` what else the machine
    was doing, `gpu` what the GPU was doing, where the back end runs on one and NVML tells. `reference` holds
    the times of the reference network beside it, `network` what it is made of; None where that was not found out.
    `doubts` is what its preparation found: sentences that say why it may not be the network that was meant.
    """

    times: tuple[float, ...]
    conditions: Conditions
    before: MachineState
    after: MachineState
    gpu: GpuTelemetry | None = None
    reference: ReferenceTimes | None = None
    network: NetworkLayers | None = None
    doubts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        what, warned = self.conditions, f"; {len(self.warnings)} warnings" if self.warnings else ""
        low, middle, high = (human(seconds, "seconds") for seconds in (self.low, self.seconds, self.high))
        return (
            f"<Measurement {middle} ({low} to {high}), {self.throughput:.4g}/s: {what.backend}, {what.precision}, "
            f"batch {what.batch}, {what.threads} thread(s), input {what.resolution}{warned}>"
        )

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
    def memory_bytes(self) -> int | None:
        """The most memory in use on the GPU; None on a CPU, without NVML, or where networks took turns."""
        return self.gpu.memory_bytes if self.gpu else None

    @property
    def relative_to_reference(self) -> float | None:
        """Seconds for one batch over those of the reference network for one image under the same conditions."""
        return self.seconds / self.reference.seconds if self.reference else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes this number doubtful, a sentence each; empty where nothing does."""
        return tuple(self._doubts())

    def _doubts(self) -> Iterator[str]:
        yield from self.doubts
        if self.network is not None and self.network.counts_note is not None:
            yield f"MACs, parameters and activations: {self.network.counts_note}"
        width = (self.high - self.low) / self.seconds
        if width > WIDE_INTERVAL:
            limit = f"{WIDE_INTERVAL:.0%}"
            yield f"the 95 % interval is {width:.1%} wide, above {limit}; measure longer or free the machine"
        on_gpu = self.gpu is not None
        yield from self.before.doubts(self.after, self.conditions.threads, on_gpu=on_gpu).values()
        if self.gpu is not None:
            yield from self.gpu.warnings
        if self.reference is not None and self.reference.warning is not None:
            yield self.reference.warning

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        return {
            "latency_seconds": self.seconds,
            "low": self.low,
            "high": self.high,
            "throughput": self.throughput,
            **asdict(self.conditions),
            **self.before.document(self.after),
            "joules_per_image": self.joules_per_image,
            "memory_bytes": self.memory_bytes,
            "gpu": self.gpu.to_dict() if self.gpu else None,
            "macs": self.network.macs if self.network else None,
            "params": self.network.params if self.network else None,
            "activations": self.network.activations if self.network else None,
            "counts_note": self.network.counts_note if self.network else None,
            "relative_to_reference": self.relative_to_reference,
            "drift": self.reference.drift if self.reference else None,
            "reference_times": self.reference.visits if self.reference else None,
            "warnings": list(self.warnings),
            "times": list(self.times),
        }


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
    requests: Sequence[Request],
    *,
    timer: Timer = STANDARD,
    isolated: Literal[False] = False,
    reference: bool | None = None,
    describe: bool = False,
    tell: Tell = untold,
) -> list[Measurement]: ...
@overload
def measure_all(
    requests: Sequence[Request],
    *,
    timer: Timer = STANDARD,
    isolated: Literal[True],
    reference: bool | None = None,
    describe: bool = False,
    tell: Tell = untold,
) -> list[Measurement | Failure]: ...
def measure_all(
    requests: Sequence[Request],
    *,
    timer: Timer = STANDARD,
    isolated: bool = False,
    reference: bool | None = None,
    describe: bool = False,
    tell: Tell = untold,
) -> list[Measurement] | list[Measurement | Failure]:
    """Time several networks, interleaved so that a drift of the machine hits all alike.

    Returns one measurement a request, in their order. Raises what `measure` raises, naming the model, before
    anything is timed. With `isolated` each is prepared and timed in a process of its own, one after the other:
    one that fails, or takes its process down, is a `Failure` in its place, and nothing is raised.

    `reference` says whether the reference network takes turns with them, one for every back end, precision and
    number of threads (a single network has it before and after); by default where there are several, or a long
    time for one. `describe` also exports modules that only PyTorch runs, to learn what they are made of.

    Preparing and timing are one turn (see `turns`): another process that measures on the same cores or GPU waits for
    its end, and this one for that one's. `tell` is told what is being done, and for whom it waits.
    """
    if reference is None:
        reference = len(requests) > 1 or timer.seconds >= LONG_SECONDS
    if isolated:
        apart = (measure_apart([one], timer, reference=reference, describe=describe, tell=tell) for one in requests)
        return [found if isinstance(found, Failure) else found[0] for found in apart]
    with turn(_places(requests), tell) as unseen, ExitStack() as stack:
        prepared = prepare_all(requests, stack, describe=describe, tell=tell)
        ways = dict.fromkeys(map(_way, prepared)) if reference else {}
        if reference:
            tell("preparing the reference network")
        references = prepare_all([_reference(*way) for way in ways], stack)
        tell(f"timing {len(requests)} network(s)")
        date = datetime.now(UTC).isoformat(timespec="seconds")
        before = machine_state()
        with naming(requests[0]) if len(requests) == 1 else nullcontext():
            times, beside, gpu = _visits(prepared, references, timer)
        after = machine_state()
    if unseen is not None:
        prepared = [replace(one, doubts=(*one.doubts, unseen)) for one in prepared]
    accompanied = {way: ReferenceTimes(tuple(map(tuple, visits))) for way, visits in zip(ways, beside, strict=True)}
    return [
        _measurement(one, visits, date, (before, after), gpu, accompanied.get(_way(one)))
        for visits, one in zip(times, prepared, strict=True)
    ]


def measure_all_apart(
    requests: Sequence[Request],
    *,
    timer: Timer = STANDARD,
    reference: bool | None = None,
    describe: bool = False,
    tell: Tell = untold,
) -> list[Measurement]:
    """Time several networks as `measure_all` does, all of them in one new process.

    What that takes of memory is given back at its end. Raises what `measure_all` raises, and `DeviceError` where the
    process dies, as one does that takes more memory than there is.
    """

    def timed(told: Tell) -> list[Measurement] | Exception:
        try:
            return measure_all(requests, timer=timer, reference=reference, describe=describe, tell=told)
        except (InputError, DeviceError, MemoryError) as error:
            return error

    with turn(_places(requests), tell), heard(tell) as told:
        found = call_apart(timed, told)
    if isinstance(found, Broken):
        raise DeviceError(f"{', '.join(dict.fromkeys(one.label for one in requests))}: {found.reason}")
    if isinstance(found, Exception):
        raise found
    return found


def measure_apart(
    requests: Sequence[Request],
    timer: Timer,
    *,
    reference: bool = False,
    describe: bool = False,
    limit_seconds: float | None = None,
    tell: Tell = untold,
) -> list[Measurement] | Failure:
    """Time networks in turns in a new process, for `limit_seconds` at most; return what `measure_all` returns there.

    Where one fails, or takes the process down, the failure is told as the first one's. A wait for other processes that
    measure does not count.
    """

    def timed(told: Tell) -> list[Measurement]:
        return measure_all(requests, timer=timer, reference=reference, describe=describe, tell=told)

    with turn(_places(requests), tell), heard(tell) as told:
        found = call_apart(timed, told, limit_seconds=limit_seconds)
    if isinstance(found, Broken):
        return Failure(requests[0], found.reason.removeprefix(f"{requests[0].label}: "))
    return found


def _visits(
    networks: Sequence[Prepared], references: Sequence[Prepared], timer: Timer
) -> tuple[list[list[Visit]], list[list[Visit]], GpuTelemetry | None]:
    """Return the visits of the networks and of the references, and what the GPU was doing.

    A single network does not take turns, so that the GPU's energy is its own: its reference goes before and after.
    """
    runs, others = ([one.run for one in prepared] for prepared in (networks, references))
    alone = len(runs) == 1
    brief = replace(timer, seconds=SHARE * timer.seconds, visits=2)
    on_gpu = any(network.backend.processor == "cuda" for network in networks)
    earlier = brief.visit_all(others) if alone else []
    with GpuWatch(len(networks)) if on_gpu else nullcontext() as watch:
        if alone:
            found = timer.visit_all(runs)
        else:
            found = timer.visit_all([*runs, *others], shares=[1.0] * len(runs) + [SHARE] * len(others))
    beside = found[len(runs) :]
    if alone:
        later = brief.visit_all(others)
        beside = [first + last for first, last in zip(earlier, later, strict=True)]
    return found[: len(runs)], beside, watch.telemetry if watch is not None else None


def _places(requests: Sequence[Request]) -> tuple[int, ...]:
    """Return what measuring these occupies, for `turn`."""
    return places_of(BACKENDS[request.backend].processor for request in requests if request.backend in BACKENDS)


def _way(network: Prepared) -> tuple[str, str, int]:
    """Return what a reference network has in common with those that it accompanies."""
    return network.backend.name, network.settings.precision, network.settings.threads


def _reference(backend: str, precision: str, threads: int) -> Request:
    return Request(REFERENCE, backend, 1, precision, threads)


def _measurement(
    network: Prepared,
    visits: list[Visit],
    date: str,
    machine: tuple[MachineState, MachineState],
    gpu: GpuTelemetry | None,
    reference: ReferenceTimes | None,
) -> Measurement:
    """Return what was found about one network."""
    backend = network.backend
    where = (backend.device(), backend.name, backend.version())
    return Measurement(
        tuple(seconds for visit in visits for seconds in visit),
        Conditions(*where, **asdict(network.settings), date=date),
        *machine,
        gpu if backend.processor == "cuda" else None,
        reference,
        network.network,
        network.doubts,
    )
