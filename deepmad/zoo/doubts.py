"""What makes a zoo's figures doubtful: poor tables, a machine that drifted, times that hold their target by chance."""

from collections.abc import Iterator, Mapping
from typing import Any

from deepmad.zoo.formats import plural

DRIFT = 0.05
"""A clock that differs by more than this share from the time in turns has drifted."""


def unsteady(entry: Mapping[str, Any]) -> bool:
    """Whether an entry met its target by a time whose 95 % interval holds that target."""
    measured, target = entry["measured"], entry["target"]["latency_seconds"]
    if entry["outcome"] != "met" or not measured or measured["low"] is None:
        return False
    return bool(measured["low"] <= target <= measured["high"])


def doubts(zoo: Mapping[str, Any]) -> Iterator[str]:
    """Yield, a sentence each, what a reader has to know before the figures of a zoo are used."""
    for device in zoo["devices"]:
        for space, told in device.get("verdicts", {}).items():  # zoos of earlier versions do not tell
            if told["verdict"] == "poor":
                reasons = "; ".join(told["reasons"])
                where = f"{space} on {device['name']}"
                yield f"The latency table of {where} is poor: {reasons}. Targets may be met by chance."
    entries = zoo["entries"]
    drifts = [drift for entry in entries if (drift := clock_drift(entry)) is not None]
    if drifts and max(map(abs, drifts)) > DRIFT:
        yield (
            f"The machine drifted: its clock was {min(drifts):+.0%} to {max(drifts):+.0%} off the times that networks "
            "took in turns with the design without a target."
        )
    near = sum(map(unsteady, entries))
    if near:
        yield f"{plural(near, 'target')} met within the noise: the interval of the measured time holds the target."
    told = [doubt for entry in entries for doubt in (entry["measured"] or {}).get("warnings", ())]
    yield from (f"While networks were timed: {doubt}." for doubt in dict.fromkeys(told))


def clock_drift(entry: Mapping[str, Any]) -> float | None:
    """Return the clock's time over the time in turns, less 1; None where a network was not timed in turns."""
    measured = entry["measured"] or {}
    clock = measured.get("clock_seconds")
    return None if clock is None else clock / measured["latency_seconds"] - 1
