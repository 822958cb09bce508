"""Timing a designed network on this machine, as the measured loop wants it told."""

from typing import TYPE_CHECKING

from deepmad.engine.solutions import Measured
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.table_files import Key
from deepmad.search_spaces.architectures import Architecture

if TYPE_CHECKING:
    from deepmad.profilers.measurements import Measurement


def timed_apart(key: Key, network: Architecture | str, seconds: float | None = None) -> Measured:
    """Time a network in a new process, for about `seconds` (by default as long as `deepmad.measure` does).

    A design leaves warm caches, threads and memory behind; a process of its own times what `deepmad measure` would. A
    name is one that `deepmad measure` takes. Raises `DeviceError` where the back end fails.
    """
    from deepmad.profilers.isolation import measure_apart
    from deepmad.profilers.measurements import STANDARD, Failure, Request
    from deepmad.profilers.timing import Timer

    request = Request(network, key.backend, key.batch, key.precision, key.threads)
    found = measure_apart(request, STANDARD if seconds is None else Timer(seconds))
    if isinstance(found, Failure):
        raise DeviceError(f"{key.backend}: {found.reason}")
    return measured(found)


def measured(measurement: "Measurement") -> Measured:
    """Return a measurement as the solution file tells it; whether a limit is violated is not known here."""
    what = measurement.conditions
    return Measured(
        measurement.seconds,
        measurement.low,
        measurement.high,
        measurement.throughput,
        None,
        what.device,
        what.backend,
        what.version,
        what.precision,
        what.batch,
        what.threads,
        what.date,
    )
