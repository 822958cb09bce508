"""The report's two charts: objective against latency, and predicted against measured latency."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepmad.zoo import formats
from deepmad.zoo.charts import Axis, Band, Chart, Key, Line, Mark
from deepmad.zoo.published import published_top1

Document = dict[str, Any]
Record = Mapping[str, Any]

COLOURS = 6
"""Devices with a colour of their own; the seventh has the first one's again, with another mark."""
MARKS = ("circle", "square", "diamond", "triangle", "pentagon", "hexagon")
BANDS = (0.10, 0.05)
"""Bands around the diagonal of predicted against measured, the widest first: it is drawn below the others."""
LABELLED = 8
"""Up to so many networks have their name written beside their mark; a pointer on a mark always tells everything."""
LOGARITHMIC = 5.0
"""Latencies that differ by more than this factor stand on a logarithmic axis."""
FAR_BELOW = 1.0
"""A reference that is below all networks by more than this share of their best, or of their span, is far below."""


def delivered_seconds(entry: Record) -> float | None:
    """Return a network's measured latency in seconds, the predicted one where it was not measured."""
    timing = entry["measured"] or entry["predicted"]
    return timing["latency_seconds"] if timing else None


def delivered_limits(entry: Record) -> dict[str, Document]:
    """Return a network's limits with what it uses of each: of the latency, the measured one where it was measured."""
    limits, measured = dict(entry["limits"]), entry["measured"]
    if measured and "latency_seconds" in limits:
        limit, used = limits["latency_seconds"]["limit"], measured["latency_seconds"]
        limits["latency_seconds"] = {"limit": limit, "used": used, "share": used / limit}
    return limits


def front_chart(zoo: Record, names: Mapping[str, str]) -> Chart | None:
    """Return the chart of objective against latency: entries, their front on every device, and what they are held to.

    `names` are the short names of the entries. References without an objective, and those so far below all entries
    that these could not be told apart, stand on the axis of latency. None without an entry to show.
    """
    entries = [entry for entry in zoo["entries"] if entry["stages"] and delivered_seconds(entry) is not None]
    if not entries:
        return None
    others = [other for other in references(zoo) if other["latency_seconds"] is not None]
    objectives = [entry["objective"] for entry in entries]
    least = min(objectives) - FAR_BELOW * max(max(objectives) - min(objectives), abs(max(objectives)))
    marks: list[Mark] = []
    lines: list[Line] = []
    legend: list[Key] = []
    for index, device in enumerate(zoo["devices"]):
        here = [entry for entry in entries if entry["device"] == device["name"]]
        beside = [other for other in others if other["device"] == device["name"]]
        colour = _colour(index)
        marks += [_reference_mark(other, colour, least) for other in beside]  # first: their names are looked for
        if here:
            points = [(1e3 * _known_seconds(entry), entry["objective"]) for entry in here]
            lines.append(Line(tuple(front(points)), colour, stepped=True))
            shown = names if len(entries) <= LABELLED else {}
            marks += [_entry_mark(entry, index, shown.get(entry["name"], "")) for entry in here]
            legend.append(Key(_mark(index), colour, f"{device_label(device)}: designed here, untrained"))
            lines += [Line(stairs, colour, dashed=True) for stairs in _bound_lines(here)]
    legend += _meanings(entries, marks)
    times = [_known_seconds(entry) for entry in entries] + [other["latency_seconds"] for other in others]
    heights = [mark.y for mark in marks if mark.y is not None] + [y for line in lines for _, y in line.points]
    shown_here = f"{formats.plural(len(entries), 'network')} and {formats.plural(len(others), 'reference')}"
    return Chart(
        "front",
        f"Objective against latency: {shown_here}. The tables hold the same figures.",
        _time_axis("latency of one batch, ms", times, _logarithmic(times)),
        Axis(f"objective ({zoo['objective']})", *_ends(heights, 0.14)),
        tuple(marks),
        tuple(lines),
        legend=tuple(legend),
    )


def references(zoo: Record) -> Iterator[Document]:
    """Yield what the networks are held to: the references, and the designs without a latency target.

    Each has its published accuracy as `top1`, None where none is known.
    """
    for baseline in zoo["baselines"]:
        known = {"name": f"{baseline['space']} without a target", "low": None, "high": None}
        yield dict(baseline) | known | {"note": baseline["message"], "untrained": True, "top1": None}
    for reference in zoo["references"]:
        yield dict(reference) | {"untrained": False, "top1": published_top1(reference["name"])}


def device_label(device: Record) -> str:
    """Return a device with the conditions that its latencies hold for."""
    return f"{device['name']} ({device['backend']}, {device['precision']}, batch {device['batch']})"


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the (latency, objective) pairs that no other one beats in both, by rising latency."""
    best = -math.inf
    kept: list[tuple[float, float]] = []
    for latency, objective in sorted(points, key=lambda point: (point[0], -point[1])):
        if objective > best:
            kept.append((latency, objective))
            best = objective
    return kept


def _entry_mark(entry: Record, index: int, name: str) -> Mark:
    """Return an entry's mark: filled if measured, hollow if predicted, a cross if missed."""
    x = 1e3 * _known_seconds(entry)
    return Mark(x, entry["objective"], _symbol(entry, index), _colour(index), _told(entry), name)


def bound_stairs(entries: Sequence[Record]) -> list[tuple[float, float]]:
    """Return (seconds, objective) of the ends of a stair that no network of a space and device goes above.

    What is proven within a limit holds below it, so that the stair is at an entry's bound up to the entry's limit. That
    limit is on the prediction; of an entry that was measured it stands where a measurement would, at the same ratio.
    """
    ends = []
    for entry in entries:
        limit = entry["limits"].get("latency_seconds")
        if limit is None or entry["bound"] is None:
            continue
        both = entry["measured"] and entry["predicted"]
        ratio = entry["measured"]["latency_seconds"] / entry["predicted"]["latency_seconds"] if both else 1.0
        ends.append((ratio * limit["limit"], entry["bound"]))
    highest = -math.inf
    stairs = []
    for latency, bound in sorted(ends):
        highest = max(highest, bound)
        stairs.append((latency, highest))
    return stairs


def _bound_lines(entries: Sequence[Record]) -> Iterator[tuple[tuple[float, float], ...]]:
    """Yield the stairs of a device's bounds, one a space, as points (ms, objective): up at a limit, then across."""
    for space in dict.fromkeys(entry["space"] for entry in entries):
        stairs = bound_stairs([entry for entry in entries if entry["space"] == space])
        starts = [x for x, _ in stairs]
        corners = [((1e3 * start, y), (1e3 * end, y)) for start, (end, y) in zip(starts, stairs[1:], strict=False)]
        if corners:
            yield tuple(point for corner in corners for point in corner)


def _symbol(entry: Record, index: int) -> str:
    return "cross" if entry["outcome"] == "missed" else _mark(index) if entry["measured"] else f"{_mark(index)}-open"


def _reference_mark(other: Record, colour: str, least: float) -> Mark:
    """Return a star where the objective is at least `least`, else a tick on the axis of latency."""
    scored = other["objective"] is not None and other["objective"] >= least
    symbol = ("star" if other["source"] == "measured" else "star-open") if scored else "tick"
    note = formats.top1(other["top1"]) if other["top1"] else "untrained" if other["untrained"] else ""
    height = other["objective"] if scored else None
    name = other["name"].removeprefix("timm:").removeprefix("torchvision:")
    return Mark(1e3 * other["latency_seconds"], height, symbol, colour, _told_reference(other), name, note)


def _meanings(entries: Sequence[Record], marks: Sequence[Mark]) -> Iterator[Key]:
    """Yield what marks of other forms mean, where there are any."""
    if any(mark.symbol.endswith("-open") for mark in marks):
        yield Key("circle-open", "--text", "predicted, not measured")
    if any(entry["outcome"] == "missed" for entry in entries):
        yield Key("cross", "--text", "missed its target")
    if any(mark.symbol.startswith("star") for mark in marks):
        yield Key("star", "--text", "reference with an objective")
    if any(mark.symbol == "tick" for mark in marks):
        yield Key("tick", "--text", "reference without an objective, or with one far below")


def prediction_chart(zoo: Record, names: Mapping[str, str]) -> Chart | None:
    """Return the chart of predicted against measured latency with its bands; None without a measured network."""
    entries = measured_entries(zoo)
    if not entries:
        return None
    times = [entry[key]["latency_seconds"] for entry in entries for key in ("predicted", "measured")]
    logarithmic = _logarithmic(times)
    across = _time_axis("measured latency of one batch, ms", times, logarithmic)
    low, high = across.low, across.high
    marks, legend = list[Mark](), list[Key]()
    shown = names if len(entries) <= LABELLED else {}
    for index, device in enumerate(zoo["devices"]):
        here = [entry for entry in entries if entry["device"] == device["name"]]
        marks += [_prediction_mark(entry, index, shown.get(entry["name"], "")) for entry in here]
        legend += [Key(_mark(index), _colour(index), device_label(device))] if here else []
    legend += [Key("area", f"--band-{100 * width:.0f}", f"within ±{width:.0%}") for width in sorted(BANDS)]
    return Chart(
        "prediction",
        f"Predicted against measured latency. {prediction_errors(zoo)}",
        across,
        Axis(f"predicted latency, ms{_kind(logarithmic)}", low, high, logarithmic),
        tuple(marks),
        (Line(((low, low), (high, high)), "--zero"),),
        tuple(_band(width, low, high) for width in BANDS),
        tuple(legend),
    )


def measured_entries(zoo: Record) -> list[Record]:
    """Return the entries with both a prediction and a measurement."""
    return [entry for entry in zoo["entries"] if entry["predicted"] and entry["measured"]]


def prediction_errors(zoo: Record) -> str:
    """Return in words how far predictions are from measurements; nothing where none was measured."""
    pairs = [(one["predicted"]["latency_seconds"], one["measured"]["latency_seconds"]) for one in measured_entries(zoo)]
    if not pairs:
        return ""
    errors = [abs(predicted / measured - 1) for predicted, measured in pairs]
    within = [f"{sum(error <= band for error in errors)} within ±{band:.0%}" for band in sorted(BANDS)]
    mean = f"mean absolute error {sum(errors) / len(errors):.1%}"
    return f"Of {formats.plural(len(errors), 'network')} measured, {formats.listed(within)}; {mean}."


def _prediction_mark(entry: Record, index: int, name: str) -> Mark:
    """Return a measured network with the 95 % intervals of both latencies."""
    predicted, measured = entry["predicted"], entry["measured"]
    x, y = 1e3 * measured["latency_seconds"], 1e3 * predicted["latency_seconds"]
    across, along = _interval(measured), _interval(predicted)
    return Mark(x, y, _symbol(entry, index), _colour(index), _told(entry), name, across=across, along=along)


def _interval(timing: Record) -> tuple[float, float] | None:
    """Return the ends of a latency's interval in milliseconds; None where it is not known."""
    return None if timing["low"] is None else (1e3 * timing["low"], 1e3 * timing["high"])


def _band(width: float, low: float, high: float) -> Band:
    """Return the region between the lines (1 - width) x and (1 + width) x."""
    corners = (
        (low, low * (1 - width)),
        (high, high * (1 - width)),
        (high, high * (1 + width)),
        (low, low * (1 + width)),
    )
    return Band(corners, f"--band-{100 * width:.0f}")


def _logarithmic(times: Sequence[float]) -> bool:
    return max(times) > LOGARITHMIC * min(times)


def _kind(logarithmic: bool) -> str:
    return " (logarithmic)" if logarithmic else ""


def _time_axis(title: str, times: Sequence[float], logarithmic: bool) -> Axis:
    """Return an axis in milliseconds for times in seconds, with room around them."""
    shown = [1e3 * time for time in times]
    ends = (min(shown) / 1.15, max(shown) * 1.15) if logarithmic else _ends(shown, 0.08)
    return Axis(title + _kind(logarithmic), *ends, logarithmic)


def _ends(values: Sequence[float], room: float) -> tuple[float, float]:
    """Return the ends of an axis with room around all values."""
    low, high = min(values), max(values)
    margin = max(room * (high - low), 0.05 * abs(low), 1e-9)
    return low - margin, high + margin


def _told(entry: Record) -> str:
    """Return the lines that a pointer on an entry tells."""
    predicted, measured = entry["predicted"], entry["measured"]
    target = formats.seconds(entry["target"]["latency_seconds"])
    lines = [entry["name"], f"target {target}: {entry['outcome']}"]
    lines.append(f"objective {formats.score(entry['objective'])}, gap {formats.gap(entry['gap'])}")
    if measured:
        ends = formats.interval(measured["low"], measured["high"])
        lines.append(f"measured {formats.seconds(measured['latency_seconds'])} ({ends})")
    if predicted:
        lines.append(f"predicted {formats.seconds(predicted['latency_seconds'])}")
    lines.append(f"{formats.count(entry['macs'])} MACs, {formats.count(entry['params'])} parameters")
    lines.append("depths " + " ".join(str(stage["depth"]) for stage in entry["stages"]))
    lines.append("untrained: its accuracy is not known")
    return "\n".join(lines)


def _told_reference(other: Record) -> str:
    """Return the lines that a pointer on a reference tells."""
    lines = [other["name"], f"{other['source']} {formats.seconds(other['latency_seconds'])}"]
    if other["objective"] is not None:
        lines.append(f"objective {formats.score(other['objective'])}")
    lines.append(f"{formats.count(other['macs'])} MACs, {formats.count(other['params'])} parameters")
    if other["top1"]:
        lines.append(f"{formats.top1(other['top1'])} ({other['top1']['source']})")
    return "\n".join(lines)


def _known_seconds(entry: Record) -> float:
    latency = delivered_seconds(entry)
    assert latency is not None, "only networks with a latency are drawn"
    return latency


def _colour(index: int) -> str:
    return f"--device-{index % COLOURS}"


def _mark(index: int) -> str:
    return MARKS[(index + index // COLOURS) % len(MARKS)]
