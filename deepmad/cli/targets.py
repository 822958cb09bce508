"""Whether a measurement meets a target on latency or throughput."""

from typing import TYPE_CHECKING

from deepmad.cli.options import limit
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.profilers.measuring.measurements import Measurement


def asked_seconds(latency: str | None, throughput: str | None, batch: int) -> float | None:
    """Return a target in seconds for one batch, None where there is none. Raises `InputError` for two of them."""
    if latency is not None and throughput is not None:
        raise InputError(f"--latency {latency} and --throughput {throughput}: give one target")
    if throughput is not None:
        images = limit(throughput, "per second", "throughput")
        return None if images is None else batch / images
    return limit(latency, "seconds", "latency")


def misses(measured: "Measurement", target: float) -> bool:
    """Return whether a network's latency is above the target, in seconds for one batch."""
    return measured.seconds > target


def verdict(measured: "Measurement", target: float) -> str:
    """Return whether a measurement meets a target, and whether its 95 % interval leaves a doubt of that."""
    missed = misses(measured, target)
    told = f"{human(measured.seconds, 'seconds')} {'misses' if missed else 'meets'} {human(target, 'seconds')}"
    if not measured.low <= target <= measured.high:
        return told
    interval = f"{human(measured.low, 'seconds')} to {human(measured.high, 'seconds')}"
    return f"{told}, unsteady: the 95 % interval, {interval}, holds the target; measure again while nothing else runs"
