"""The report's two charts with hover details, as documents for plotly.js.

Colours are the names of the page's CSS variables, like "--device-0"; the page puts the values of the light or the dark
scheme in their place. Texts are escaped, because plotly.js reads tags in them.
"""

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepmad.zoo import formats

Document = dict[str, Any]
Record = Mapping[str, Any]

COLOURS = 6
"""Devices with a colour of their own; the seventh has the first one's again, with another mark."""
MARKS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagram")
BANDS = (0.10, 0.05)
"""Bands around the diagonal of predicted against measured, the widest first: it is drawn below the others."""
LABELLED = 8
"""Up to so many networks have their target written beside their mark; a pointer on a mark always tells everything."""
LOGARITHMIC = 5.0
"""Latencies that differ by more than this factor stand on a logarithmic axis."""
FAR_BELOW = 1.0
"""A reference that is below all networks by more than this share of their best, or of their span, is far below."""
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif'


@dataclass(frozen=True)
class Chart:
    """A chart: its key in the page, what it shows in words, and the document with `data` and `layout`."""

    key: str
    description: str
    document: Document


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


def front_chart(zoo: Record) -> Chart | None:
    """Return the chart of objective against latency: entries, their front on every device, and what they are held to.

    References without an objective, and those so far below all entries that these could not be told apart, stand on
    the axis of latency. None without an entry to show.
    """
    entries = [entry for entry in zoo["entries"] if entry["stages"] and delivered_seconds(entry) is not None]
    if not entries:
        return None
    others = [other for other in [*references(zoo)] if other["latency_seconds"] is not None]
    objectives = [entry["objective"] for entry in entries]
    least = min(objectives) - FAR_BELOW * max(max(objectives) - min(objectives), abs(max(objectives)))
    traces: list[Document] = []
    for index, device in enumerate(zoo["devices"]):
        here = [entry for entry in entries if entry["device"] == device["name"]]
        beside = [other for other in others if other["device"] == device["name"]]
        traces += [*_bound_traces(index, here), *_front_traces(index, device, here, len(entries) <= LABELLED)]
        traces += _reference_traces(index, beside, least)
    layout = _layout("latency of one batch, ms", f"objective ({html.escape(zoo['objective'])})")
    shown = [delivered_seconds(entry) for entry in entries] + [other["latency_seconds"] for other in others]
    layout["xaxis"]["type"] = _axis_type(shown)
    layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    shown_here = f"{formats.plural(len(entries), 'network')} and {formats.plural(len(others), 'reference')}"
    description = f"Objective against latency: {shown_here}. The tables hold the same figures."
    return Chart("front", description, {"data": traces, "layout": layout})


def references(zoo: Record) -> Iterator[Document]:
    """Yield what the networks are held to: the references, and the designs without a latency target."""
    for baseline in zoo["baselines"]:
        known = {"name": f"{baseline['space']} without a target", "low": None, "high": None}
        yield dict(baseline) | known | {"note": baseline["message"]}
    for reference in zoo["references"]:
        yield dict(reference)


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


def _bound_traces(index: int, entries: Sequence[Record]) -> list[Document]:
    """Return the stairs of a device's bounds, one a space, as dotted lines."""
    traces: list[Document] = []
    for space in dict.fromkeys(entry["space"] for entry in entries):
        stairs = bound_stairs([entry for entry in entries if entry["space"] == space])
        if len(stairs) > 1:
            name = html.escape(f"{space}: none above", quote=False)
            trace = {"type": "scatter", "mode": "lines", "name": name, "hoverinfo": "skip", "showlegend": False}
            line = {"shape": "vh", "width": 1, "dash": "dot", "color": _colour(index)}
            traces.append(trace | {"x": [1e3 * x for x, _ in stairs], "y": [y for _, y in stairs], "line": line})
    return traces


def _front_traces(index: int, device: Record, entries: Sequence[Record], labelled: bool) -> list[Document]:
    """Return a device's front as a line, and its entries as marks: filled if measured, a cross if missed."""
    if not entries:
        return []
    points = [(1e3 * _known_seconds(entry), entry["objective"]) for entry in entries]
    best = front(points)
    colour, mark = _colour(index), _mark(index)
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": [latency for latency, _ in best],
        "y": [objective for _, objective in best],
        "line": {"shape": "hv", "width": 1.5, "color": colour},
        "opacity": 0.6,
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": device["name"],
    }
    symbols = ["x" if one["outcome"] == "missed" else mark if one["measured"] else f"{mark}-open" for one in entries]
    marks = _marks(device_label(device), points, [_told(entry) for entry in entries], colour, symbols)
    marks |= {"legendgroup": device["name"], "text": [f"≤ {_target(entry)}" for entry in entries]}
    marks["textfont"] = {"size": 11, "color": "--muted"}
    marks |= {"mode": "markers+text" if labelled else "markers", "textposition": "top center"}
    return [line, marks]


def _reference_traces(index: int, others: Sequence[Record], least: float) -> list[Document]:
    """Return a device's references: stars where the objective is at least `least`, else ticks on the latency axis."""
    scored = [other for other in others if other["objective"] is not None and other["objective"] >= least]
    unscored = [other for other in others if other["objective"] is None or other["objective"] < least]
    traces: list[Document] = []
    if scored:
        points = [(1e3 * other["latency_seconds"], other["objective"]) for other in scored]
        symbols = ["star" if other["source"] == "measured" else "star-open" for other in scored]
        traces.append(_marks("", points, [_told_reference(other) for other in scored], _colour(index), symbols, 12))
    if unscored:
        points = [(1e3 * other["latency_seconds"], 0.03) for other in unscored]
        told = [_told_reference(other) for other in unscored]
        trace = _marks("", points, told, _colour(index), ["line-ns-open"] * len(points), 16)
        trace["marker"]["line"]["width"] = 2.5
        traces.append(trace | {"yaxis": "y2"})
    return [trace | {"showlegend": False} for trace in traces]


def prediction_chart(zoo: Record) -> Chart | None:
    """Return the chart of predicted against measured latency with its bands; None without a measured network."""
    entries = measured_entries(zoo)
    if not entries:
        return None
    times = [1e3 * entry[key]["latency_seconds"] for entry in entries for key in ("predicted", "measured")]
    kind = _axis_type(times)
    low, high = _ends(times, kind)
    traces: list[Document] = [_band(width, low, high) for width in BANDS]
    line = {"type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high], "hoverinfo": "skip"}
    traces.append(line | {"line": {"width": 1, "color": "--zero"}, "showlegend": False})
    for index, device in enumerate(zoo["devices"]):
        here = [entry for entry in entries if entry["device"] == device["name"]]
        if here:
            traces.append(_prediction_marks(index, device, here))
    layout = _layout("measured latency of one batch, ms", "predicted latency, ms")
    ends = [math.log10(low), math.log10(high)] if kind == "log" else [low, high]
    for axis in ("xaxis", "yaxis"):
        layout[axis] |= {"type": kind, "range": ends}
    description = f"Predicted against measured latency. {prediction_errors(zoo)}"
    return Chart("prediction", description, {"data": traces, "layout": layout})


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


def _prediction_marks(index: int, device: Record, entries: Sequence[Record]) -> Document:
    """Return a device's measured networks with the 95 % intervals of both latencies."""
    colour = _colour(index)
    points = [(1e3 * one["measured"]["latency_seconds"], 1e3 * one["predicted"]["latency_seconds"]) for one in entries]
    symbols = ["x" if entry["outcome"] == "missed" else _mark(index) for entry in entries]
    trace = _marks(device_label(device), points, [_told(entry) for entry in entries], colour, symbols)
    for axis, key in (("error_x", "measured"), ("error_y", "predicted")):
        trace[axis] = _error_bars([entry[key] for entry in entries]) | {"color": colour}
    return trace


def _error_bars(timings: Sequence[Record]) -> Document:
    """Return the intervals around latencies as lengths in milliseconds; 0 where an interval is not known."""

    def lengths(length: Callable[[Record], float]) -> list[float]:
        return [0.0 if timing["low"] is None else max(0.0, 1e3 * length(timing)) for timing in timings]

    above = lengths(lambda timing: timing["high"] - timing["latency_seconds"])
    below = lengths(lambda timing: timing["latency_seconds"] - timing["low"])
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1, "width": 0}


def _band(width: float, low: float, high: float) -> Document:
    """Return the region between the lines (1 - width) x and (1 + width) x."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [low, high, high, low],
        "y": [low * (1 - width), high * (1 - width), high * (1 + width), low * (1 + width)],
        "fill": "toself",
        "fillcolor": f"--band-{100 * width:.0f}",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "name": f"within ±{width:.0%}",
    }


def _axis_type(times: Sequence[float | None]) -> str:
    known = [time for time in times if time]
    return "log" if max(known) > LOGARITHMIC * min(known) else "linear"


def _ends(times: Sequence[float], kind: str) -> tuple[float, float]:
    """Return the ends of an axis with room around all of `times`."""
    low, high = min(times), max(times)
    if kind == "log":
        return low / 1.25, high * 1.25
    margin = max(0.1 * (high - low), 0.1 * low)
    return low - margin, high + margin


def _marks(
    name: str,
    points: Sequence[tuple[float, float]],
    told: Sequence[str],
    colour: str,
    symbols: Sequence[str],
    size: int = 10,
) -> Document:
    """Return a trace of marks that tell about themselves under a pointer."""
    outline = {"width": 1.5, "color": "--outline"}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": html.escape(name, quote=False),
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "hovertext": list(told),
        "hoverinfo": "text",
        "cliponaxis": False,
        "marker": {"color": colour, "size": size, "symbol": list(symbols), "line": outline, "opacity": 1},
    }


def _told(entry: Record) -> str:
    """Return what a pointer on an entry tells."""
    predicted, measured = entry["predicted"], entry["measured"]
    lines = [f"<b>{html.escape(entry['name'], quote=False)}</b>", f"target {_target(entry)}: {entry['outcome']}"]
    lines.append(f"objective {formats.score(entry['objective'])}, gap {formats.gap(entry['gap'])}")
    if measured:
        ends = formats.interval(measured["low"], measured["high"])
        lines.append(f"measured {formats.seconds(measured['latency_seconds'])} ({ends})")
    if predicted:
        lines.append(f"predicted {formats.seconds(predicted['latency_seconds'])}")
    lines.append(f"{formats.count(entry['macs'])} MACs, {formats.count(entry['params'])} parameters")
    lines.append("depths " + " ".join(str(stage["depth"]) for stage in entry["stages"]))
    return "<br>".join(lines)


def _told_reference(other: Record) -> str:
    """Return what a pointer on a reference tells."""
    lines = [f"<b>{html.escape(other['name'], quote=False)}</b>"]
    lines.append(f"{html.escape(other['source'], quote=False)} {formats.seconds(other['latency_seconds'])}")
    if other["objective"] is not None:
        lines.append(f"objective {formats.score(other['objective'])}")
    lines.append(f"{formats.count(other['macs'])} MACs, {formats.count(other['params'])} parameters")
    return "<br>".join(lines)


def _target(entry: Record) -> str:
    return formats.seconds(entry["target"]["latency_seconds"])


def _known_seconds(entry: Record) -> float:
    latency = delivered_seconds(entry)
    assert latency is not None, "only networks with a latency are drawn"
    return latency


def _colour(index: int) -> str:
    return f"--device-{index % COLOURS}"


def _mark(index: int) -> str:
    return MARKS[(index + index // COLOURS) % len(MARKS)]


def _layout(horizontal: str, vertical: str) -> Document:
    """Return the look that both charts share."""

    def axis(title: str) -> Document:
        return {
            "title": {"text": title, "standoff": 12},
            "gridcolor": "--grid",
            "linecolor": "--zero",
            "showline": True,
            "zeroline": False,
            "automargin": True,
            "fixedrange": True,
        }

    return {
        "paper_bgcolor": "--panel",
        "plot_bgcolor": "--panel",
        "font": {"family": FONT, "size": 13, "color": "--text"},
        "margin": {"l": 16, "r": 24, "t": 16, "b": 16},
        "xaxis": axis(horizontal),
        "yaxis": axis(vertical),
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "--panel", "bordercolor": "--zero", "align": "left", "font": {"color": "--text"}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
        "dragmode": False,
    }
