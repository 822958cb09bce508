"""Predicted against measured latency as a picture: SVG, PNG, or a page whose points tell their names."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from deepmad.profilers.prediction.accuracy import accuracy
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_writable, write_bytes
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".html", ".svg", ".png")
BAND = 0.10
"""The band around the diagonal: predictions within 10 % of what was measured."""
LABELLED = 30
"""Up to so many points have their name beside them, where there is room; a pointer on a point always tells it."""
_PLACES = (
    (8, -3, "left", "top"), (-8, 3, "right", "bottom"), (9, 0, "left", "center"), (-9, 0, "right", "center"),
    (0, 9, "center", "bottom"), (0, -9, "center", "top"), (16, -10, "left", "top"), (-16, 10, "right", "bottom"),
)  # fmt: skip
"""Where a name may stand beside its point: its distance in typographic points, and how it is aligned. The side away
from the diagonal comes first."""
_SVG = "http://www.w3.org/2000/svg"
_COLOURS = ("#1f6fb4", "#d1622b", "#2c8a57", "#8e5ab5", "#b0891b", "#c0476f", "#4f6d7a", "#6b6b1f")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Point:
    """A network's name, the series that it belongs to, and its measured and predicted seconds."""

    name: str
    series: str
    measured: float
    predicted: float

    @property
    def told(self) -> str:
        """What a pointer on the point tells."""
        figures = f"measured {human(self.measured, 'seconds')}, predicted {human(self.predicted, 'seconds')}"
        return f"{self.name} ({self.series}): {figures} ({self.predicted / self.measured - 1:+.1%})"


def check_plot(path: Path) -> None:
    """Raise `InputError` where a picture could not be drawn into `path`: its kind, the library, the place."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"--plot: {path} ends in {path.suffix or 'nothing'}; choose from {', '.join(SUFFIXES)}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError(f"--plot: matplotlib is missing ({error}); pip install 'deepmad[report]'") from error
    check_writable(path, "--plot")


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw the points, the diagonal and the band of 10 % into `path`, whole or not at all.

    Raises `InputError` where there is no point, or the file cannot be written.
    """
    if not points:
        raise InputError(f"{path}: nothing to plot; no network has a prediction, see its note")
    import matplotlib as mpl

    figure = _figure(points)
    stream = io.BytesIO()
    if path.suffix == ".png":
        figure.savefig(stream, format="png", dpi=160)
        write_bytes(path, stream.getvalue())
        return
    with mpl.rc_context({"svg.hashsalt": "deepmad"}):  # the same points give the same file
        figure.savefig(stream, format="svg", metadata={"Date": None})
    picture = _with_titles(stream.getvalue(), points)
    if path.suffix == ".html":
        head = '<!doctype html>\n<meta charset="utf-8">\n<title>Predicted against measured latency</title>\n'
        style = "<style>svg {max-width: 100%; height: auto} g[id^=point]:hover {opacity: 0.6; cursor: help}</style>\n"
        picture = head + style + picture
    write_bytes(path, picture.encode())


def _figure(points: Sequence[Point]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7.2), layout="constrained")
    axes = figure.add_subplot()
    low, high = _scales(axes, points)
    axes.plot([low, high], [low, high], color="#444444", linewidth=1, zorder=1)
    below, above = ([factor * end for end in (low, high)] for factor in (1 - BAND, 1 + BAND))
    axes.fill_between(
        [low, high], below, above, color="#9aa7b1", alpha=0.25, linewidth=0, zorder=0, label="within ±10 %"
    )
    series = list(dict.fromkeys(point.series for point in points))
    for index, point in enumerate(points):
        place = series.index(point.series)
        first = next(one for one in points if one.series == point.series) is point
        axes.plot(
            [1e3 * point.measured],
            [1e3 * point.predicted],
            linestyle="",
            color=_COLOURS[place % len(_COLOURS)],
            marker=_MARKS[place % len(_MARKS)],
            markersize=7,
            markeredgecolor="white",
            gid=f"point-{index}",
            label=point.series if first else "_",
            zorder=3,
        )
    told = accuracy([point.predicted / point.measured - 1 for point in points])
    within, mean = told["within_10_percent"], told["mean_absolute_percentage_error"]
    axes.set_title(f"{within:.1%} of {len(points)} within ±10 %, mean absolute error {mean:.1f} %", fontsize=11)
    axes.set_xlabel("measured latency of a batch, ms")
    axes.set_ylabel("predicted latency of a batch, ms")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(points) <= LABELLED:
        _label(axes, points)
    return figure


def _scales(axes: "Axes", points: Sequence[Point]) -> tuple[float, float]:
    """Give both axes one range in milliseconds, logarithmic where it is wide; return it."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = [1e3 * value for point in points for value in (point.measured, point.predicted)]
    low, high = min(values), max(values)
    if high > 5 * low:
        low, high = low / 1.25, high * 1.25
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    else:
        margin = max(0.1 * (high - low), 0.1 * low)
        low, high = low - margin, high + margin
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    return low, high


def _label(axes: "Axes", points: Sequence[Point]) -> None:
    """Write the names beside their points, where they meet neither each other nor a point; one without room is left."""
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the layout decides where everything is
    frame = axes.get_window_extent()
    marks = [axes.transData.transform((1e3 * point.measured, 1e3 * point.predicted)) for point in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in marks]
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    for point in points:
        above = point.predicted > point.measured
        for x, y, across, along in sorted(_PLACES, key=lambda place: (place[1] > place[0]) != above):
            place: dict[str, Any] = {
                "textcoords": "offset points",
                "ha": across,
                "va": along,
                "fontsize": 7.5,
                "color": "#333333",
            }
            text = axes.annotate(point.name, (1e3 * point.measured, 1e3 * point.predicted), xytext=(x, y), **place)
            box = text.get_window_extent()
            inside = frame.x0 + 5 < box.x0 and box.x1 < frame.x1 - 5 and frame.y0 + 5 < box.y0 and box.y1 < frame.y1 - 5
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _with_titles(svg: bytes, points: Sequence[Point]) -> str:
    """Return the picture with a title inside every point, which browsers show under the pointer."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    groups: dict[str | None, Any] = {group.get("id"): group for group in root.iter(f"{{{_SVG}}}g")}
    for index, point in enumerate(points):
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = point.told
        groups[f"point-{index}"].insert(0, title)
    return ElementTree.tostring(root, encoding="unicode")
