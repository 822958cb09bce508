"""What every stage costs, as stacked bars: MACs, parameters and predicted latency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MEASURES = ("macs", "params", "latency_seconds")
"""What is shown of a network's parts, by the keys of zoo.json."""

REST = "stem, tail, classifier"


@dataclass(frozen=True)
class Segment:
    """A part's share of a bar: `percent` of its length; `tone` from 0 to 1 tells stages apart, None is the rest."""

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
    total, values = _total(entry, measure), [stage[measure] for stage in entry["stages"]]
    if not total or None in values:
        return None
    segments = [
        Segment(f"stage {index + 1}", value, 100 * value / total, palette[index]) for index, value in enumerate(values)
    ]
    rest = total - sum(values)
    name = f"{REST}, overhead" if measure == "latency_seconds" else REST
    segments.append(Segment(name, rest, max(0.0, 100 * rest / total), None))
    return Bar(total, 100 * total / longest, tuple(segments))
