"""Timing a designed network on this machine, as the measured loop wants it told."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepmad.engine.solutions import Measured
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.table_files import Key
from deepmad.search_spaces.architectures import Architecture

if TYPE_CHECKING:
    from deepmad.profilers.measurements import Measurement, Request

UNDISTURBED = 0.25
"""The quantile of the times of two networks in turns that tells how one is to the other: other work only adds time, and
in some of the turns more than in others."""


@dataclass(frozen=True)
class Companion:
    """A network that takes turns with the one that is timed, and its usual seconds for one batch.

    A machine that others share is slow for minutes on end. Two networks of the same kind, timed in turns, are slow
    alike, so that what one is to the other holds from one minute to the next where seconds do not.
    """

    network: Architecture
    seconds: float


def timed_apart(
    key: Key, network: Architecture | str, seconds: float | None = None, companion: Companion | None = None
) -> Measured:
    """Time a network in a new process, for about `seconds` (by default as long as `deepmad.measure` does).

    A design leaves warm caches, threads and memory behind; a process of its own times what `deepmad measure` would. A
    name is one that `deepmad measure` takes. With a companion, which takes as long again, the latency is the one that
    the network has where its companion takes its usual time. Raises `DeviceError` where the back end fails.
    """
    from deepmad.profilers.isolation import measure_apart, measure_both_apart
    from deepmad.profilers.measurements import STANDARD, Failure
    from deepmad.profilers.timing import Timer

    request, timer = _request(key, network), STANDARD if seconds is None else Timer(seconds)
    if companion is None:
        found = measure_apart(request, timer)
        if isinstance(found, Failure):
            raise DeviceError(f"{key.backend}: {found.reason}")
        return measured(found)
    both = measure_both_apart(request, _request(key, companion.network), timer)
    if isinstance(both, Failure):
        raise DeviceError(f"{key.backend}: {both.reason}")
    return paced(*both, companion.seconds)


def _request(key: Key, network: Architecture | str) -> "Request":
    from deepmad.profilers.measurements import Request

    return Request(network, key.backend, key.batch, key.precision, key.threads)


def paced(network: "Measurement", companion: "Measurement", usual: float) -> Measured:
    """Return what a network takes when the companion that took turns with it takes its `usual` seconds."""
    ratio = float(np.quantile(network.times, UNDISTURBED) / np.quantile(companion.times, UNDISTURBED))
    return measured(network, pace=network.seconds / (ratio * usual))


def measured(measurement: "Measurement", pace: float | None = None) -> Measured:
    """Return a measurement as the solution file tells it; whether a limit is violated is not known here."""
    what, slow = measurement.conditions, 1.0 if pace is None else pace
    return Measured(
        measurement.seconds / slow,
        measurement.low / slow,
        measurement.high / slow,
        measurement.throughput * slow,
        None,
        what.device,
        what.backend,
        what.version,
        what.precision,
        what.batch,
        what.threads,
        what.date,
        pace,
    )
