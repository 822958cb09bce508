"""The report of a zoo as a text: whole, escaped, free of addresses, readable without a picture."""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from deepmad.search_spaces.errors import InputError
from deepmad.zoo import formats
from deepmad.zoo.charts import Axis, Chart, Drawing, Line, Mark, drawings, text_width
from deepmad.zoo.costs import MEASURES, cost_bars
from deepmad.zoo.doubts import doubts
from deepmad.zoo.figures import bound_stairs, front, front_chart, prediction_chart
from deepmad.zoo.pictures import Frame, drawn, own_frame, pieces
from deepmad.zoo.published import published_top1
from deepmad.zoo.report import TEMPLATES, report_text, write_report
from tests.zoo_documents import HOSTILE, Document, hostile_everywhere, network_of, networks_of, zoo_document

VOID = {"meta", "link", "wbr", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A page's tags with their attributes, its texts, and its headings in order; tags have to close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)

    def named(self, tag: str, css_class: str = "") -> list[dict[str, str | None]]:
        """Return the attributes of all tags of a kind, and of a CSS class."""
        found = [attributes for name, attributes in self.tags if name == tag]
        return [
            attributes for attributes in found if css_class in (attributes.get("class") or "").split() or not css_class
        ]


@pytest.fixture(scope="module")
def six() -> Document:
    """Return a zoo of six entries of all outcomes."""
    return zoo_document(6)


@pytest.fixture(scope="module")
def page(six: Document) -> Page:
    """Return its report."""
    return Page(report_text(six))


@pytest.mark.parametrize("entries", [1, 6, 50])
def test_every_entry_is_in_the_report(entries: int) -> None:
    zoo = zoo_document(entries)
    page = Page(report_text(zoo))
    networks = networks_of(zoo)
    assert len(page.named("table", "summary")) == 1
    assert len(page.named("details", "network")) == len(page.named("svg", "picture")) == len(networks)
    assert len(page.named("div", "bar")) == len(MEASURES) * len(networks)
    assert sum("open" in attributes for attributes in page.named("details", "network")) == (entries <= 3)
    told = "".join(page.texts["span"] + page.texts["p"])
    for entry in zoo["entries"]:
        assert entry["outcome"] == "met" or entry["message"] in told


def test_headings_are_in_order(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_pictures_and_charts_are_told_in_words(page: Page) -> None:
    shown = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    assert len(shown) > 10
    assert all(attributes.get("aria-label") for attributes in shown)
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in page.named("svg"))
    assert all(attributes.get("aria-label") for _, attributes in page.tags if attributes.get("role") == "region")


def test_links_lead_somewhere(page: Page) -> None:
    anchors = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(anchors) == len(set(anchors))
    for attributes in page.named("a"):
        target = attributes["href"] or ""
        assert (
            target.removeprefix("#") in anchors
            if target.startswith("#")
            else target.startswith(("./network.", "./zoo."))
        )


def test_nothing_comes_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.tags:
        addresses = [attributes[key] or "" for key in ("src", "href", "srcset", "data", "action") if key in attributes]
        assert all(re.match(r"#|\./|data:,$", address) for address in addresses), (tag, addresses)
    written = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttpRequest", written)


def test_every_text_is_escaped(six: Document) -> None:
    zoo = deepcopy(six)
    hostile_everywhere(zoo)
    text = report_text(zoo)
    page = Page(text)
    assert HOSTILE in "".join(page.texts["h1"])
    assert not page.named("img")
    assert len(page.named("script")) == 1
    assert any(HOSTILE in (mark["data-told"] or "") for mark in page.named("g", "mark"))


def test_a_zoo_without_networks_has_a_report() -> None:
    zoo = zoo_document(2, outcomes=("infeasible", "failed"))
    page = Page(report_text(zoo))
    assert not page.named("div", "plot")
    assert not page.named("details", "network")
    assert len(page.named("ul", "reasons")) == 1


def test_an_unfinished_zoo_without_entries_has_a_report() -> None:
    zoo = zoo_document(0) | {"finished": False, "baselines": [], "references": [], "title": "a title"}
    text = report_text(zoo)
    assert "not finished" in text
    assert len(text) < 60_000


def test_a_zoo_that_is_predicted_only_has_no_second_chart() -> None:
    zoo = zoo_document(2)
    for entry in zoo["entries"]:
        entry |= {"measured": None, "rounds": None, "judged_by": "predicted"}
    page = Page(report_text(zoo))
    plots = [attributes["id"] for attributes in page.named("div", "plot")]
    assert plots == ["plot-front"]


def test_spaces_without_any_network_are_told(six: Document) -> None:
    without = {"space": HOSTILE, "device": "cpu", "targets": 3, "outcome": "infeasible", "message": HOSTILE}
    for zoo in (six, zoo_document(0)):
        page = Page(report_text(zoo | {"without_network": [without]}))
        assert len(page.named("ul", "reasons")) == 1
        assert HOSTILE in "".join(page.texts["h3"])
        assert HOSTILE in "".join(page.texts["p"])
        assert "none for 3 targets" in "".join(page.texts["p"])
        assert not page.named("img")


def test_what_is_used_of_a_latency_is_what_was_measured_where_it_was(six: Document) -> None:
    networks = networks_of(six)
    assert all(entry["measured"] for entry in networks)
    predicted = six | {"entries": [entry | {"measured": None, "rounds": None} for entry in networks]}
    for zoo, key in ((six, "measured"), (predicted, "predicted")):
        titles = [cell["title"] for cell in Page(report_text(zoo)).named("td") if "title" in cell]
        for entry in networks:
            ends = (entry[key]["latency_seconds"], entry["target"]["latency_seconds"])
            assert " of ".join(map(formats.seconds, ends)) in titles


def test_parts_without_a_known_latency_leave_a_gap() -> None:
    zoo = zoo_document(1)
    entry = zoo["entries"][0]
    for part in (entry["stem"], *entry["stages"], entry["classifier"]):
        part["latency_seconds"] = None
    entry["overhead_seconds"] = None
    page = Page(report_text(zoo))
    assert len(page.named("div", "bar")) == 2


def test_the_report_lies_beside_its_zoo(tmp_path: Path, six: Document) -> None:
    (tmp_path / "zoo.json").write_text(json.dumps(six), encoding="utf-8")
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == report_text(six)


@pytest.mark.parametrize("entries", [6, 50])
def test_the_page_stays_small(entries: int) -> None:
    assert len(report_text(zoo_document(entries)).encode()) < 1_500_000


def test_a_file_that_is_no_zoo_is_refused(tmp_path: Path, six: Document) -> None:
    with pytest.raises(InputError, match=r"zoo\.json: cannot read it"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="this version of deepmad reads 'deepmad/zoo_results@1'"):
        report_text({"format": "deepmad/zoo_results@2"})
    broken = deepcopy(six)
    del broken["entries"][0]["binding"]
    with pytest.raises(InputError, match=r"zoo\.json: not a whole zoo \('binding'\)"):
        report_text(broken)
    broken = deepcopy(six)
    del broken["devices"][0]["threads"]
    with pytest.raises(InputError, match=r"not a whole zoo .*no attribute 'threads'"):
        report_text(broken)


def test_a_front_is_what_no_other_point_beats() -> None:
    points = [(3.0, 5.0), (1.0, 2.0), (2.0, 2.0), (2.0, 4.0), (4.0, 5.0), (5.0, 1.0), (6.0, 7.0)]
    beaten = [
        any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points) for point in points
    ]
    assert front(points) == sorted(point for point, is_beaten in zip(points, beaten, strict=True) if not is_beaten)


NAMES = formats.short_names(zoo_document(6)["entries"])


def charts_of(zoo: Document) -> list[Chart]:
    """Return both charts of a zoo."""
    names = formats.short_names(zoo["entries"])
    found = [front_chart(zoo, names), prediction_chart(zoo, names)]
    return [chart for chart in found if chart]


@pytest.mark.parametrize("entries", [1, 6, 50])
def test_charts_hold_every_network_inside_their_frames(entries: int) -> None:
    zoo = zoo_document(entries)
    networks = networks_of(zoo)
    measured = [entry for entry in networks if entry["measured"]]
    references = [other for other in [*zoo["references"], *zoo["baselines"]] if other["latency_seconds"]]
    numbers = (len(networks) + len(references), len(measured))
    for chart, number in zip(charts_of(zoo), numbers, strict=True):
        assert len(chart.marks) == number
        for drawing in drawings(chart):
            frame = drawing.frame
            for mark in drawing.marks:
                assert frame.left <= mark.x <= frame.right
                assert frame.top <= mark.y <= frame.bottom
            assert_apart(drawing)


def assert_apart(drawing: Drawing) -> None:
    """Hold that no two names of a drawing lie over each other, by their widths as they are taken here."""
    rooms = []
    for text in filter(None, [mark.name for mark in drawing.marks]):
        length = text_width(text.text)
        left = text.x - {"start": 0.0, "middle": length / 2, "end": length}[text.anchor]
        rooms.append((left, text.y, left + length))
    for index, (left, y, right) in enumerate(rooms):
        for other in rooms[:index]:
            assert abs(y - other[1]) > 12 or right < other[0] or left > other[2]


def test_references_are_named_with_what_is_published(six: Document) -> None:
    chart = charts_of(six)[0]
    noted = {mark.name: (mark.note, mark.symbol) for mark in chart.marks if mark.note}
    assert noted["resnet18"] == ("top-1 71.5\N{NO-BREAK SPACE}%", "tick")
    assert noted["deepmad-r18 (published)"][0] == "top-1 77.7\N{NO-BREAK SPACE}%"
    assert noted["r18 without a target"] == ("untrained", "star")
    wide = drawings(chart)[-1]
    written = [mark.name.text for mark in wide.marks if mark.name]
    assert any(text.startswith("resnet18, top-1") for text in written)


def test_published_accuracies_are_those_of_the_libraries() -> None:
    pytest.importorskip("deepmad.timm")  # before torchvision: it lets any build of that be imported
    from torchvision import models

    from deepmad.search_spaces.files import read_yaml
    from deepmad.zoo.published import SOURCE

    names = [name for group in read_yaml(SOURCE)["groups"] for name in group["top1"]]
    assert len(names) == len(set(names))
    for name in names:
        if name.startswith("torchvision:"):
            weights = models.get_model_weights(name.removeprefix("torchvision:")).DEFAULT
            found = published_top1(name)
            assert found is not None
            assert found["value"] == weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert published_top1("timm:unheard_of") is None


def test_the_front_has_a_stair_of_bounds_above_it(six: Document) -> None:
    stair = next(line for line in charts_of(six)[0].lines if line.dashed)
    assert list(stair.points) == sorted(stair.points)
    assert [y for _, y in stair.points] == sorted(y for _, y in stair.points)
    for entry in networks_of(six):  # what is proven within a limit holds for all that is below it
        ratio = entry["measured"]["latency_seconds"] / entry["predicted"]["latency_seconds"]
        limit = 1e3 * ratio * entry["limits"]["latency_seconds"]["limit"]
        assert all(y >= entry["bound"] for x, y in stair.points if x > limit)
        assert min(x for x, _ in stair.points) <= limit + 1e-9
    assert bound_stairs([one for one in six["entries"] if not one["stages"]]) == []


def test_a_reference_far_below_does_not_flatten_the_front(six: Document) -> None:
    """A published structure under the other objective has one of minus millions."""
    scored = next(other for other in six["references"] if other["objective"] is not None)
    chart = charts_of(six | {"references": [scored | {"objective": -2.2e7}]})[0]
    assert chart.vertical.low >= 0
    assert any(mark.y is None for mark in chart.marks)


def test_marks_tell_what_was_measured_and_missed(six: Document) -> None:
    networks = networks_of(six)
    marks = {mark.told.split("\n")[0]: mark for mark in charts_of(six)[0].marks}
    for entry in networks:
        mark = marks[entry["name"]]
        assert mark.symbol == ("cross" if entry["outcome"] == "missed" else "circle")
        assert mark.x == 1e3 * entry["measured"]["latency_seconds"]
        assert mark.name == NAMES[entry["name"]]
    predicted = six | {"entries": [entry | {"measured": None} for entry in six["entries"]]}
    assert {mark.symbol for mark in charts_of(predicted)[0].marks} >= {"circle-open", "cross"}


def test_axes_say_what_they_are() -> None:
    assert Axis("", 0.0, 10.0).ticks(5) == [0, 2, 4, 6, 8, 10]
    assert Axis("", 5.0, 40.0, logarithmic=True).ticks(5) == [5, 6, 7, 8, 9, 10, 20, 30, 40]
    assert Axis("", 0.9, 210.0, logarithmic=True).ticks(5) == [1, 2, 5, 10, 20, 50, 100, 200]
    assert Axis("", 1.0, 100.0, logarithmic=True).place(10.0) == pytest.approx(0.5)
    zoo = zoo_document(6)
    entry = networks_of(zoo)[0]
    entry["measured"]["latency_seconds"] = 40 * entry["measured"]["latency_seconds"]
    assert all(chart.horizontal.title.endswith("(logarithmic)") for chart in charts_of(zoo))


def test_few_marks_take_half_the_height() -> None:
    few, many = (drawings(charts_of(zoo_document(entries))[1])[-1] for entries in (6, 50))
    assert few.floor - few.frame.top < 0.6 * (many.floor - many.frame.top)


def test_a_dashed_line_is_drawn_as_one() -> None:
    line = Line(((1.0, 1.0), (2.0, 3.0)), "--device-0", dashed=True)
    mark = Mark(1.5, 2.0, "circle", "--device-0", "told")
    drawing = drawings(Chart("front", "", Axis("", 1.0, 2.0), Axis("", 1.0, 3.0), (mark,), (line,)))[0]
    frame = drawing.frame
    assert drawing.lines == ((line, f"M{frame.left:.1f} {drawing.floor:.1f}L{frame.right:.1f} {frame.top:.1f}"),)


def test_short_names_tell_entries_apart() -> None:
    six, fifty = zoo_document(6), zoo_document(50)
    assert all(name.endswith("ms") for name in formats.short_names(six["entries"]).values())
    both = formats.short_names(fifty["entries"])
    assert len(set(both.values())) == 50
    assert any(name.endswith("· v100") for name in both.values())


def test_a_target_inside_the_interval_is_met_unsteadily(six: Document) -> None:
    zoo = deepcopy(six)
    entry = next(entry for entry in zoo["entries"] if entry["outcome"] == "met")
    entry["measured"] |= {"high": 1.01 * entry["target"]["latency_seconds"]}
    page = Page(report_text(zoo))
    assert "met, unsteady" in page.texts["span"]
    assert "1 met, unsteady" in page.texts["span"]
    assert any("within the noise" in doubt for doubt in doubts(zoo))


def test_doubts_stand_at_the_top(six: Document) -> None:
    assert not Page(report_text(six)).named("div", "banner")
    zoo = deepcopy(six)
    poor = {"verdict": "poor", "reasons": ["42% of 50 networks held out are predicted within 10 %"], "advice": "again"}
    zoo["devices"][0]["verdicts"] = {"r18": poor}
    measured = networks_of(zoo)[0]["measured"]
    measured |= {"clock_seconds": 1.3 * measured["latency_seconds"], "warnings": ["load: 1.2 cores were busy"]}
    page = Page(report_text(zoo))
    assert len(page.named("div", "banner")) == 1
    told = "".join(page.texts["li"])
    assert "table of r18 on cpu is poor: 42%" in told
    assert "the machine drifted".lower() in told.lower()
    assert "load: 1.2 cores were busy" in told


def test_a_bar_is_as_long_as_the_share_beside_it(six: Document) -> None:
    text = report_text(six)
    cells = re.findall(
        r'<span class="share">([\d.]+).%</span><span class="track"><span class="fill" style="width: ([\d.]+)%', text
    )
    assert len(cells) > 10
    assert all(min(100.0, float(share)) == float(width) for share, width in cells)


def test_reasons_stand_below_and_not_in_the_summary(six: Document) -> None:
    text = report_text(six)
    summary = text[text.index('<table class="summary">') :].split("</table>")[0]
    for entry in six["entries"]:
        if entry["outcome"] != "met":
            assert entry["message"] not in summary
    assert summary.count(">why</a>") == sum(entry["outcome"] != "met" for entry in six["entries"])


def test_costs_add_up(six: Document) -> None:
    networks = networks_of(six)
    for entry, bars in zip(networks, cost_bars(networks), strict=True):
        totals: Mapping[str, float] = entry | {"latency_seconds": entry["predicted"]["latency_seconds"]}
        for measure, bar in bars.items():
            assert bar is not None
            assert sum(part.value for part in bar.segments) == pytest.approx(totals[measure])
            assert sum(part.percent for part in bar.segments) == pytest.approx(100)
    assert max(bars["macs"].percent for bars in cost_bars(networks) if bars["macs"]) == pytest.approx(100)


def test_pictures_are_to_scale() -> None:
    zoo = zoo_document(1)
    row = pieces(zoo["entries"][0])
    assert [piece.depth for piece in row] == [1, *(stage.depth for stage in network_of(0).stages)]
    frame = own_frame(row)
    places = drawn(row, frame)
    assert sum(place.out.width for place in places) == pytest.approx(frame.width, rel=0.02)
    per_block = [(place.out.width + 1.5) / place.piece.depth for place in places]
    assert max(per_block) == pytest.approx(min(per_block), rel=0.01)
    for place in places:
        assert place.out.height == pytest.approx(frame.height * (place.piece.out / frame.channels) ** 0.5)
        assert len(place.dividers) == place.piece.depth - 1
    assert max(place.out.y + place.out.height for place in places) <= frame.height
    small = drawn(row, Frame(76.0, 12.0, 2 * frame.depth, frame.channels))[-1].out
    assert small.x + small.width == pytest.approx(38.0, abs=1.0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(scheme: str) -> None:
    """Hold the contrast of WCAG 2.2: 4.5 for texts, 3 for marks (success criteria 1.4.3 and 1.4.11)."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    colours = dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6})", light + (dark if scheme == "dark" else "")))
    for ground in ("--page", "--panel", "--soft"):
        for text in ("--text", "--muted", "--accent"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    marks = ["--good", "--warn", "--bad", *(f"--device-{index}" for index in range(6))]
    for mark in marks:
        assert contrast(colours[mark], colours["--panel"]) >= 3, mark


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours like #1f6fb4, as WCAG 2.2 defines it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
