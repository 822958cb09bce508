"""What every stage costs, as stacked bars: MACs, parameters and predicted latency."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MEASURES = ("macs", "params", "latency_seconds")
"""What is shown of a network's parts, by the keys of zoo.json."""

OTHERS = ("stem", "tail", "classifier")
"""The parts of a network beside its stages."""


@dataclass(frozen=True)
class Segment:
    """A part's share of a bar: `percent` of its length; `tone` from 0 to 1 tells stages apart, others have none."""

    name: str
    value: float
    percent: float
    tone: float | None


@dataclass(frozen=True)
class Bar:
    """A network's cost: its total in SI units, and its length in percent of the longest bar beside it."""

    total: float
    percent: float
    segments: tuple[Segment, ...]


def tones(stages: int) -> tuple[float, ...]:
    """Return a tone for each of so many stages, from light to full."""
    return tuple(0.25 + 0.75 * index / max(stages - 1, 1) for index in range(stages))


def cost_bars(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Bar | None]]:
    """Return an entry's bars by measure; None where a network's parts are not known.

    Bars of MACs and of parameters share a scale, those of latency share one on each device.
    """
    palette = tones(max((len(entry["stages"]) for entry in entries), default=0))
    longest: dict[tuple[str, str], float] = {}
    for entry in entries:
        for measure in MEASURES:
            key = _scale(entry, measure)
            longest[key] = max(longest.get(key, 0.0), _total(entry, measure) or 0.0)
    return [
        {measure: _bar(entry, measure, longest[_scale(entry, measure)], palette) for measure in MEASURES}
        for entry in entries
    ]


def _scale(entry: Mapping[str, Any], measure: str) -> tuple[str, str]:
    """Return what bars are compared with each other."""
    return measure, entry["device"] if measure == "latency_seconds" else ""


def _total(entry: Mapping[str, Any], measure: str) -> float | None:
    """Return a network's whole cost; None where it is not known."""
    if measure != "latency_seconds":
        total: float = entry[measure]
        return total
    return entry["predicted"]["latency_seconds"] if entry["predicted"] else None


def _bar(entry: Mapping[str, Any], measure: str, longest: float, palette: Sequence[float]) -> Bar | None:
    total, parts = _total(entry, measure), list(_parts(entry, measure, palette))
    if not total or any(value is None for _, value, _ in parts):
        return None
    segments = (Segment(name, value or 0.0, 100 * (value or 0.0) / total, tone) for name, value, tone in parts)
    return Bar(total, 100 * total / longest, tuple(segments))


def _parts(
    entry: Mapping[str, Any], measure: str, palette: Sequence[float]
) -> Iterator[tuple[str, float | None, float | None]]:
    """Yield every part's name, its cost (None where it is not known) and its tone, in the order that they run."""
    yield "stem", entry["stem"][measure], None
    for index, stage in enumerate(entry["stages"]):
        yield f"stage {index + 1}", stage[measure], palette[index]
    for name in OTHERS[1:]:
        if entry[name]:
            yield name, entry[name][measure], None
    if measure == "latency_seconds":
        yield "overhead", entry["overhead_seconds"], None
