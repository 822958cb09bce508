"""Chunks: a few networks timed in turns with an anchor; one that fails costs its own time only."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deepmad.profilers.backends import Backend, Settings, find_backend
from deepmad.profilers.backends.telemetry import GpuWatch
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.isolation import Broken, call_apart
from deepmad.profilers.measuring.machine import machine_state
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.prediction.rows import Row, undisturbed
from deepmad.profilers.tables.build_records import FailedProbe
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import first_line

Run = Callable[[], object]


@dataclass(frozen=True)
class Chunk:
    """What came of some probes: their rows, those that failed, what the GPU did where there is one, and the machine.

    `machine` is the document of `MachineState`, with its `settings` in words and the `warnings` about it.
    """

    rows: tuple[Row, ...] = ()
    failures: tuple[FailedProbe, ...] = ()
    gpu: dict[str, Any] | None = None
    machine: dict[str, Any] | None = None


@dataclass(frozen=True)
class ProbeSettings:
    """How the probes of a chunk are timed: as part of which series, whole or short ones, by which timer."""

    key: Key
    short: bool
    timer: Timer

    def failed(self, network: Architecture, reason: str) -> FailedProbe:
        """Return what is told of a network that has no time."""
        return FailedProbe(network, self.short, reason, _now())


class _ProbeError(Exception):
    """A probe failed while it ran; the others can be timed without it."""

    def __init__(self, network: Architecture, reason: str) -> None:
        super().__init__(reason)
        self.network = network


def settings_of(network: Architecture, key: Key) -> Settings:
    """Return how a probe of a series is run."""
    return Settings(key.batch, key.precision, key.threads, network.in_channels, network.resolution)


def measure_chunk(library: Backend, anchor: Run, networks: Sequence[Architecture], how: ProbeSettings) -> Chunk:
    """Time the networks and the anchor in turns; those that find no room beside the others come after them.

    Raises `DeviceError` where the anchor fails.
    """
    chunks, left = list[Chunk](), list(networks)
    while left:
        chunk = _attempt(library, anchor, left, how)
        settled = {row.architecture for row in chunk.rows} | {failed.architecture for failed in chunk.failures}
        left = [network for network in left if network not in settled]
        chunks.append(chunk)
    return _joined(chunks)


def _attempt(library: Backend, anchor: Run, networks: Sequence[Architecture], how: ProbeSettings) -> Chunk:
    """Time the first of the networks, as many as can be prepared at once; or return one that fails."""
    with ExitStack() as stack:
        runs = dict[Architecture, Run]()
        for network in networks:
            try:
                runnable = library.prepare(network, settings_of(network, how.key))
            except Exception as error:  # noqa: BLE001 - whatever a library raises costs this probe only
                if runs:
                    break  # perhaps they took its memory: it comes first in the next attempt
                _check(anchor)
                return Chunk(failures=(how.failed(network, first_line(error)),))
            stack.callback(runnable.close)
            runs[network] = _guarded(network, runnable.run)
        try:
            return _timed(library, anchor, runs, how)
        except _ProbeError as error:
            return Chunk(failures=(how.failed(error.network, str(error)),))


def _check(anchor: Run) -> None:
    """Raise `DeviceError` where a device does not run the anchor any more: then no network fails by itself."""
    try:
        anchor()
    except Exception as error:
        reason = f"{first_line(error)}: the device failed for good"
        raise DeviceError(f"{reason}; --isolated gives every chunk of probes a new process") from error


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    return Chunk(
        tuple(row for chunk in chunks for row in chunk.rows),
        tuple(failed for chunk in chunks for failed in chunk.failures),
        next((chunk.gpu for chunk in chunks if chunk.gpu is not None), None),
        _worst([chunk.machine for chunk in chunks if chunk.machine is not None]),
    )


def _worst(documents: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the document of most warnings, None where there is none."""
    return max(documents, key=lambda document: len(document["warnings"]), default=None)


def measure_chunk_apart(anchor: Architecture, networks: Sequence[Architecture], how: ProbeSettings) -> Chunk:
    """Time a chunk in a process of its own; where that crashes, every network of it in one of its own.

    Raises `DeviceError` where a process crashes even with the anchor alone.
    """

    def attempt(some: Sequence[Architecture]) -> Chunk | Broken:
        return call_apart(_chunk_from_scratch, anchor, tuple(some), how)

    found = attempt(networks)
    if isinstance(found, Chunk):
        return found
    if isinstance(alone := attempt(()), Broken):
        raise DeviceError(f"{how.key.backend}: the network that all probes run beside failed: {alone.reason}")
    chunks = []
    for network in networks:
        single = attempt([network])
        if isinstance(single, Broken):
            single = Chunk(failures=(how.failed(network, single.reason),))
        chunks.append(single)
    return _joined(chunks)


def _chunk_from_scratch(anchor: Architecture, networks: tuple[Architecture, ...], how: ProbeSettings) -> Chunk:
    """Prepare the anchor, run it once and time the chunk: what a process of its own does."""
    library = find_backend(how.key.backend, how.key.precision)
    with ExitStack() as stack:
        runnable = library.prepare(anchor, settings_of(anchor, how.key))
        stack.callback(runnable.close)
        runnable.run()
        return measure_chunk(library, runnable.run, networks, how)


def _guarded(network: Architecture, run: Run) -> Run:
    """Return `run` such that its failure tells which network it was."""

    def guarded() -> object:
        try:
            return run()
        except Exception as error:
            raise _ProbeError(network, first_line(error)) from error

    return guarded


def _timed(library: Backend, anchor: Run, runs: dict[Architecture, Run], how: ProbeSettings) -> Chunk:
    before = machine_state()
    with GpuWatch(len(runs) + 1) if library.processor == "cuda" else nullcontext() as watch:
        anchor_visits, *visits = how.timer.visit_all([anchor, *runs.values()])
    after = machine_state()
    levels = [undisturbed(visit) for visit in anchor_visits]
    machine = (before.load, after.load, before.stolen_share(after))
    rows = tuple(
        Row(network, how.short, found, levels, _now(), *machine) for network, found in zip(runs, visits, strict=True)
    )
    telemetry = watch.telemetry if watch is not None else None
    doubts = before.doubts(after, how.key.threads, on_gpu=library.processor == "cuda")
    settings = ", ".join(after.processor.words)
    document = before.document(after) | {"settings": settings, "warnings": list(doubts.values())}
    return Chunk(rows, gpu=telemetry.summary() if telemetry is not None else None, machine=document)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
