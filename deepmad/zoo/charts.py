"""Charts as geometry: where the marks, lines, ticks and names of a chart stand, for the template that draws them.

Colours are the names of the page's CSS variables, like "--device-0". A page holds each chart in several widths, and its
style shows the one that suits the window.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTHS = (360, 680, 1100)
"""The widths, in pixels at their own size, that a chart is drawn in."""
NOTES_FROM = 680
"""From this width on there is room for a mark's note behind its name."""
FEW = 8
"""A chart of up to so many marks with a height of their own is half as high as one of more."""
HEIGHTS = (190.0, 340.0)
"""The heights of the frame for few marks and for many."""
FONT = 12.0
GLYPH = 0.56
"""The mean width of a letter in sizes of its font; names are placed by it, a little too wide rather than too narrow."""
ROW = 17.0
"""The height of a row of names below the marks."""
ROWS = 6
"""Names at the horizontal axis fill up to so many rows; what finds no room is told by the pointer alone."""
SHORT = 20.0
"""A logarithmic axis over less than this factor has ticks at every whole multiple of a power of ten."""
GAP = 8.0
"""Least distance between two texts side by side."""


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`; a logarithmic one has positive ends."""

    title: str
    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands, 0 at the low end and 1 at the high one."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[float]:
        """Return round values along the axis: about `most` of them, if logarithmic whole multiples of powers of ten."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = range(1, 10) if self.high < SHORT * self.low else (1, 2, 5)
            values = [factor * 10.0**power for power in powers for factor in factors]
            return [value for value in values if self.low <= value <= self.high]
        rough = (self.high - self.low) / max(1, most)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


@dataclass(frozen=True)
class Mark:
    """A mark with its name and its note, and the lines that a pointer on it tells.

    Where `y` is None it is a tick on the horizontal axis. `spread` holds the ends of an interval across and along.
    """

    x: float
    y: float | None
    symbol: str
    colour: str
    told: str
    name: str = ""
    note: str = ""
    across: tuple[float, float] | None = None
    along: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A line through points; a stepped one goes across before it goes up."""

    points: tuple[tuple[float, float], ...]
    colour: str
    stepped: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Band:
    """The region within a polygon."""

    points: tuple[tuple[float, float], ...]
    colour: str


@dataclass(frozen=True)
class Key:
    """A line of the legend: a symbol and what it stands for."""

    symbol: str
    colour: str
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart: its key in the page, what it shows in words, and everything in it in the units of its axes."""

    key: str
    description: str
    horizontal: Axis
    vertical: Axis
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...] = ()
    bands: tuple[Band, ...] = ()
    legend: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Text:
    """A text where it stands: `anchor` is start, middle or end."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Box:
    """A rectangle by its sides."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether two rectangles have a point in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: "Box") -> bool:
        """Whether this one lies in the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class PlacedMark:
    """A mark where it is drawn, the ends of its intervals, and its name if there is room for it."""

    mark: Mark
    x: float
    y: float
    across: tuple[float, float] | None
    along: tuple[float, float] | None
    name: Text | None
    leader: float | None
    """How far up a tick reaches to its name; None without one."""


@dataclass(frozen=True)
class Drawing:
    """A chart in one width: all places are in pixels."""

    width: float
    height: float
    frame: Box
    floor: float
    """Where the lowest value of the vertical axis stands; names at the horizontal axis fill the room below it."""
    across: tuple[Text, ...]
    along: tuple[Text, ...]
    titles: tuple[Text, Text]
    bands: tuple[tuple[str, str], ...]
    lines: tuple[tuple[Line, str], ...]
    marks: tuple[PlacedMark, ...]


def drawings(chart: Chart) -> list[Drawing]:
    """Return a chart in all widths."""
    return [_drawn(chart, float(width)) for width in WIDTHS]


def text_width(text: str) -> float:
    """Return about how wide a text is, in pixels."""
    return GLYPH * FONT * len(text)


def _drawn(chart: Chart, width: float) -> Drawing:
    """Return a chart in one width."""
    noted = width >= NOTES_FROM
    rows = _rows(chart, width, noted)
    count = len({mark.y for mark in chart.marks if mark.y is not None})
    floor = 30.0 + HEIGHTS[count > FEW]
    values = chart.vertical.ticks(6 if count > FEW else 4)
    left = max(map(text_width, _labels(values)), default=0.0) + 12.0
    frame = Box(left, 30.0, width - 14.0, floor + _strip(rows))
    sides = _Sides(chart, frame, floor)
    return Drawing(
        width=width,
        height=frame.bottom + 44.0,
        frame=frame,
        floor=floor,
        across=tuple(_across(chart.horizontal, sides, width)),
        along=tuple(
            Text(left - 6.0, sides.y(value), "end", label) for value, label in zip(values, _labels(values), strict=True)
        ),
        titles=(
            Text((frame.left + frame.right) / 2, frame.bottom + 38.0, "middle", chart.horizontal.title),
            Text(2.0, 14.0, "start", chart.vertical.title),
        ),
        bands=tuple((band.colour, sides.polygon(band.points)) for band in chart.bands),
        lines=tuple((line, sides.path(line)) for line in chart.lines),
        marks=tuple(_placed(chart, sides, rows, noted)),
    )


@dataclass(frozen=True)
class _Sides:
    """Where values stand in a frame."""

    chart: Chart
    frame: Box
    floor: float

    def x(self, value: float) -> float:
        return self.frame.left + (self.frame.right - self.frame.left) * self.chart.horizontal.place(value)

    def y(self, value: float) -> float:
        return self.floor - (self.floor - self.frame.top) * self.chart.vertical.place(value)

    def polygon(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def path(self, line: Line) -> str:
        """Return a line as the data of an SVG path."""
        (x, y), *others = line.points
        start = f"M{self.x(x):.1f} {self.y(y):.1f}"
        if line.stepped:
            return start + "".join(f"H{self.x(x):.1f}V{self.y(y):.1f}" for x, y in others)
        return start + "".join(f"L{self.x(x):.1f} {self.y(y):.1f}" for x, y in others)


def _labels(values: Sequence[float]) -> list[str]:
    """Return how ticks are written, all with the same number of decimals."""
    for decimals in range(7):
        texts = [f"{value:,.{decimals}f}" for value in values]
        if all(float(text.replace(",", "")) == round(value, 9) for text, value in zip(texts, values, strict=True)):
            break
    return texts if max(map(abs, values), default=0.0) < 1e9 else [f"{value:.3g}" for value in values]


def _across(axis: Axis, sides: _Sides, width: float) -> list[Text]:
    """Return the ticks of the horizontal axis that have room beside each other; 1, 2 and 5 come before other digits."""
    values = axis.ticks(round(width / 110))
    texts = [f"{value:g}" for value in values] if axis.logarithmic else _labels(values)
    ranked = sorted(zip(values, texts, strict=True), key=lambda tick: f"{tick[0]:e}"[0] not in "125")
    found: list[Text] = []
    for value, text in ranked:
        half = text_width(text) / 2
        middle = min(sides.x(value), width - half - 1.0)
        apart = [abs(middle - other.x) - half - text_width(other.text) / 2 for other in found]
        if min(apart, default=GAP) >= GAP:
            found.append(Text(middle, sides.frame.bottom + 17.0, "middle", text))
    return sorted(found, key=lambda text: text.x)


def _name(mark: Mark, noted: bool) -> str:
    return f"{mark.name}, {mark.note}" if mark.name and mark.note and noted else mark.name


def _strip(rows: dict[int, int]) -> float:
    """Return the height of the rows of names at the horizontal axis."""
    return 14.0 + ROW * (1 + max(rows.values())) if rows else 0.0


def _rows(chart: Chart, width: float, noted: bool) -> dict[int, int]:
    """Return the row above the horizontal axis in which the name of each tick stands, by the index of its mark.

    The left margin is not known yet; it is taken for 70 pixels, and the room between names is wide enough for any.
    """
    ends = [-math.inf] * ROWS
    found: dict[int, int] = {}
    ticks = [(mark.x, index) for index, mark in enumerate(chart.marks) if mark.y is None]
    for x, index in sorted(ticks):
        place = 70.0 + (width - 84.0) * chart.horizontal.place(x)
        length = text_width(_name(chart.marks[index], noted))
        start = place - length if place + length > width else place
        row = next((row for row in range(ROWS) if start > ends[row] + 4 * GAP), None)
        if row is not None:
            found[index] = row
            ends[row] = max(start + length, place)
    return found


_PLACES = (
    (0, -11, "middle"), (0, 19, "middle"), (11, 4, "start"), (-11, 4, "end"),
    (9, -8, "start"), (-9, -8, "end"), (9, 16, "start"), (-9, 16, "end"),
)  # fmt: skip
"""Where a name may stand beside its mark, the best place first."""


def _placed(chart: Chart, sides: _Sides, rows: dict[int, int], noted: bool) -> Iterator[PlacedMark]:
    """Yield the marks where they are drawn; a name that would meet another loses its note, or is left out."""
    room = Box(sides.frame.left + 2, sides.frame.top - 6, sides.frame.right + 12, sides.floor + 4)
    places = [(sides.x(mark.x), sides.frame.bottom if mark.y is None else sides.y(mark.y)) for mark in chart.marks]
    taken = [
        Box(x - 7, y - 7, x + 7, y + 7) for mark, (x, y) in zip(chart.marks, places, strict=True) if mark.y is not None
    ]
    for index, (mark, (x, y)) in enumerate(zip(chart.marks, places, strict=True)):
        text, name, leader = _name(mark, noted), None, None
        if mark.y is None and index in rows:
            leader = 12.0 + ROW * rows[index]
            left = x + text_width(text) > sides.frame.right + 10
            name = Text(x + (-4.0 if left else 4.0), y - leader - 2.0, "end" if left else "start", text)
        elif mark.y is not None and text:
            beside = [*_beside(x, y, text), *_beside(x, y, mark.name)]
            name = next((one for one in beside if _fits(one, room, taken)), None)
            taken += [_box(name)] if name else []
        across = (sides.x(mark.across[0]), sides.x(mark.across[1])) if mark.across else None
        along = (sides.y(mark.along[0]), sides.y(mark.along[1])) if mark.along else None
        yield PlacedMark(mark, x, y, across, along, name, leader)


def _beside(x: float, y: float, text: str) -> Iterator[Text]:
    for right, down, anchor in _PLACES:
        yield Text(x + right, y + down, anchor, text)


def _box(text: Text) -> Box:
    """Return the room of a text."""
    length = text_width(text.text)
    left = text.x - {"start": 0.0, "middle": length / 2, "end": length}[text.anchor]
    return Box(left - 2.0, text.y - 11.0, left + length + 2.0, text.y + 4.0)


def _fits(text: Text, room: Box, taken: Sequence[Box]) -> bool:
    box = _box(text)
    return box.within(room) and not any(box.meets(other) for other in taken)
