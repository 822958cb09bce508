"""Timing a designed network on this machine, as the measured loop wants it told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from deepmad.engine.answers.solutions import Measured
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.steps import Tell, untold
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture

if TYPE_CHECKING:
    from deepmad.profilers.measuring.measurements import Measurement
    from deepmad.profilers.measuring.requests import Request

UNDISTURBED = 0.25
"""The quantile of the times of two networks in turns that tells how one is to the other: other work only adds time, and
in some of the turns more than in others."""
RESAMPLES = 1000
LONGEST_SECONDS = 900.0
"""A process that times for longer than this, beside the seconds it is given, hangs and is killed."""


@dataclass(frozen=True)
class Companion:
    """A network that takes turns with the one that is timed, and its usual seconds for one batch.

    A machine that others share is slow for minutes on end. Two networks of the same kind, timed in turns, are slow
    alike, so that what one is to the other holds from one minute to the next where seconds do not.
    """

    network: Architecture
    seconds: float


def timed_apart(
    key: Key,
    network: Architecture | str,
    seconds: float | None = None,
    companion: Companion | None = None,
    *,
    tell: Tell = untold,
) -> Measured:
    """Time a network in a new process, for about `seconds` (by default as long as `deepmad.measure` does).

    A design leaves warm caches, threads and memory behind; a process of its own times what `deepmad measure` would. A
    name is one that `deepmad measure` takes. Alone it has the reference network before and after it. With a companion,
    which takes as long again, the latency is the one that the network has where its companion takes its usual time.
    `tell` is told for whom it waits. Raises `DeviceError`
    where the back end fails or hangs.
    """
    from deepmad.profilers.measuring.measurements import STANDARD, Failure, measure_apart
    from deepmad.profilers.measuring.timing import Timer

    timer = STANDARD if seconds is None else Timer(seconds)
    networks = [network] if companion is None else [network, companion.network]
    requests = [_request(key, one) for one in networks]
    longest = LONGEST_SECONDS + 2 * timer.seconds
    found = measure_apart(requests, timer, reference=companion is None, limit_seconds=longest, tell=tell)
    if isinstance(found, Failure):
        raise DeviceError(f"{key.backend}: {found.reason}")
    return measured(found[0]) if companion is None else at_usual_speed(found[0], found[1], companion.seconds)


def _request(key: Key, network: Architecture | str) -> "Request":
    from deepmad.profilers.measuring.requests import Request

    return Request(network, key.backend, key.batch, key.precision, key.threads)


def at_usual_speed(network: "Measurement", companion: "Measurement", usual: float) -> Measured:
    """Return what a network takes when the companion that took turns with it takes its `usual` seconds.

    That is `usual` times the ratio of their undisturbed times, and the interval the 95 % bootstrap one of the ratio.
    """
    ratios = usual * _drawn(network.times, seed=0) / _drawn(companion.times, seed=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    seconds = usual * float(np.quantile(network.times, UNDISTURBED) / np.quantile(companion.times, UNDISTURBED))
    return replace(
        measured(network),
        latency_seconds=seconds,
        low=min(float(low), seconds),
        high=max(float(high), seconds),
        throughput=network.conditions.batch / seconds,
        clock_seconds=network.seconds,
    )


def _drawn(times: Sequence[float], seed: int) -> "np.ndarray":
    """Return undisturbed times of bootstrap samples."""
    draws = np.random.default_rng(seed).choice(np.asarray(times), size=(RESAMPLES, len(times)))
    undisturbed: np.ndarray = np.quantile(draws, UNDISTURBED, axis=1)
    return undisturbed


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
        warnings=measurement.warnings,
        reference_seconds=None if measurement.reference is None else measurement.reference.seconds,
    )
