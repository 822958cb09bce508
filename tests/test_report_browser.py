"""The report in a real browser: opened from its folder, at three widths, in light and dark."""

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deepmad.search_spaces.files import write_text
from deepmad.zoo.report import report_text
from tests.zoo_documents import HOSTILE, Document, hostile_everywhere, networks_of, zoo_document

if TYPE_CHECKING:
    from PIL.Image import Image
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ENTRIES = (1, 6, 50)
WAYS = [
    *((6, width, scheme) for width in (1920, 1280, 400) for scheme in ("light", "dark")),
    *((entries, *way) for entries in (1, 50) for way in ((1280, "light"), (400, "dark"))),
]


@dataclass
class Events:
    """What a page complained about, and what it asked for."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Yield a headless Chromium; skip where the machine has none, which in CI is an error."""
    if CHROMIUM is None:
        reason = "no Chromium on this machine; install it (Debian: apt-get install chromium fonts-liberation)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Document, Path]]:
    """Return zoos by their number of entries, and their reports."""
    folder = tmp_path_factory.mktemp("reports")
    zoos = {entries: zoo_document(entries) for entries in ENTRIES}
    for entries, zoo in zoos.items():
        write_text(folder / f"{entries}.html", report_text(zoo))
    return {entries: (zoo, folder / f"{entries}.html") for entries, zoo in zoos.items()}


def opened(browser: "Browser", path: Path, width: int = 1280, scheme: str = "light") -> "tuple[Page, Events]":
    """Return the page of a file in a window of its own, and what happens in it from the start on."""
    settings: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    page, events = browser.new_page(**settings), Events()
    page.on("pageerror", lambda error: events.errors.append(str(error)))
    page.on("console", lambda message: events.errors.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: events.errors.append(f"failed: {request.url}"))
    page.on("request", lambda request: events.requests.append(request.url))
    page.goto(path.as_uri())
    return page, events


def picture(place: "Page | Locator") -> "Image":
    """Return a screenshot of a page's window, or of one of its elements."""
    from PIL import Image

    return Image.open(io.BytesIO(place.screenshot())).convert("RGB")


def colour(page: "Page", variable: str) -> tuple[int, ...]:
    """Return the colour of a CSS variable as red, green and blue."""
    text = page.evaluate("name => getComputedStyle(document.documentElement).getPropertyValue(name)", variable)
    return tuple(int(text.strip()[place : place + 2], 16) for place in (1, 3, 5))


@pytest.mark.parametrize(("entries", "width", "scheme"), WAYS)
def test_the_report_is_shown_whole(
    browser: "Browser", reports: dict[int, tuple[Document, Path]], entries: int, width: int, scheme: str
) -> None:
    zoo, path = reports[entries]
    page, events = opened(browser, path, width, scheme)
    try:
        check_charts(page, zoo)
        check_drawings(page, zoo)
        assert overlaps(page) == []
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"the page scrolls sideways by {wide} pixels"
        brightness = sum(picture(page).getpixel((2, 2)))  # type: ignore[arg-type]
        assert brightness > 600 if scheme == "light" else brightness < 150
        assert events.errors == []
        assert [address for address in events.requests if not address.startswith("data:")] == [path.as_uri()]
    finally:
        page.close()


def check_charts(page: "Page", zoo: Document) -> None:
    """Hold that each chart has a mark for everything it stands for, all inside it, and seen in their colour."""
    networks = networks_of(zoo)
    references = [other for other in [*zoo["references"], *zoo["baselines"]] if other["latency_seconds"]]
    measured = [entry for entry in networks if entry["measured"]]
    for plot, number in (("#plot-front", len(networks) + len(references)), ("#plot-prediction", len(measured))):
        marks = page.locator(f"{plot} .mark .near").locator("visible=true")
        assert marks.count() == number, plot
        inside = """(marks, plot) => {
            const frame = document.querySelector(plot).parentElement.getBoundingClientRect();
            return marks.every((mark) => {
                const box = mark.getBoundingClientRect();
                return Math.max(box.width, box.height) > 2 && box.left >= frame.left && box.right <= frame.right
                    && box.top >= frame.top && box.bottom <= frame.bottom;
            });
        }"""
        assert marks.evaluate_all(inside, plot), f"a mark of {plot} is empty or outside"
        shown = picture(page.locator(plot))
        counts = {value: count for count, value in shown.getcolors(shown.width * shown.height) or ()}
        assert len(counts) > 20
        assert max(counts.values()) < 0.99 * shown.width * shown.height
        assert counts.get(colour(page, "--device-0"), 0) >= 20, "no mark is seen in its colour"
        assert counts.get(colour(page, "--panel"), 0) > 0.3 * shown.width * shown.height


def check_drawings(page: "Page", zoo: Document) -> None:
    """Hold that every network has its bars and its picture, and that they can be seen once it is opened."""
    networks = networks_of(zoo)
    assert page.locator("#costs .row").count() == len(networks)
    assert page.locator("#costs .bar").count() == 3 * len(networks)
    wide = "bars => bars.every((bar) => bar.getBoundingClientRect().width > 20)"
    assert page.locator("#costs .bar").evaluate_all(wide)
    assert page.locator("#binding tbody tr").count() == len(networks)
    assert page.locator("#networks .thumb").count() == len(networks)
    if len(networks) > 3:
        page.locator("#open-all").click()
    drawn = page.locator("svg.picture")
    assert drawn.count() == len(networks)
    assert drawn.last.is_visible()
    found = picture(drawn.last).getcolors(1 << 24)
    assert found is not None
    assert len(found) > 20


def test_the_charts_follow_the_scheme(browser: "Browser", reports: dict[int, tuple[Document, Path]]) -> None:
    page, events = opened(browser, reports[6][1])
    try:
        light = picture(page.locator("#plot-front")).getpixel((3, 3))
        page.emulate_media(color_scheme="dark")
        dark = picture(page.locator("#plot-front")).getpixel((3, 3))
        assert light == (255, 255, 255)
        assert dark == colour(page, "--panel") != light
        assert events.errors == []
    finally:
        page.close()


def overlaps(page: "Page") -> list[str]:
    """Return the pairs of texts of a page that lie over each other by more than two pixels across and along.

    Texts that a box cuts off, as one that scrolls does, count as far as they are seen.
    """
    found: list[str] = page.evaluate(
        """() => {
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            const shown = [];
            for (let node = walker.nextNode(); node; node = walker.nextNode()) {
                if (!node.textContent.trim() || !node.parentElement.checkVisibility()) continue;
                const range = document.createRange();
                range.selectNodeContents(node);
                for (const box of range.getClientRects()) {
                    const seen = { left: box.left, right: box.right, top: box.top, bottom: box.bottom };
                    for (let outer = node.parentElement; outer; outer = outer.parentElement) {
                        if (getComputedStyle(outer).overflowX !== "visible" && !(outer instanceof SVGElement)) {
                            const edge = outer.getBoundingClientRect();
                            seen.left = Math.max(seen.left, edge.left);
                            seen.right = Math.min(seen.right, edge.right);
                        }
                    }
                    if (seen.right - seen.left > 2 && seen.bottom - seen.top > 2) shown.push([node, seen]);
                }
            }
            const pairs = [];
            shown.forEach(([node, one], index) => {
                for (const [other, two] of shown.slice(0, index)) {
                    const across = Math.min(one.right, two.right) - Math.max(one.left, two.left);
                    const along = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
                    if (node !== other && across > 2 && along > 2 + 0.3 * (one.bottom - one.top)) {
                        pairs.push(`${other.textContent.trim()} / ${node.textContent.trim()}`);
                    }
                }
            });
            return pairs;
        }"""
    )
    return found


def test_texts_that_overlap_are_found(browser: "Browser", tmp_path: Path) -> None:
    text = report_text(zoo_document(1))
    write_text(tmp_path / "report.html", text.replace("</style>", ".lead { margin-bottom: -60px; }</style>"))
    page, _ = opened(browser, tmp_path / "report.html")
    try:
        assert overlaps(page)
    finally:
        page.close()


def test_a_narrow_window_shows_what_is_asked_first(
    browser: "Browser", reports: dict[int, tuple[Document, Path]]
) -> None:
    page, events = opened(browser, reports[6][1], 400)
    try:
        heads = page.locator(".summary thead th")
        for number, name in enumerate(("target", "measured", "objective")):
            head = heads.nth(number)
            assert name in head.inner_text()
            box = head.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= 400
        assert page.locator(".scroll:has(.summary) + .hint.shown").count() == 1
        assert events.errors == []
    finally:
        page.close()


def test_commands_are_copied(browser: "Browser", reports: dict[int, tuple[Document, Path]]) -> None:
    page, events = opened(browser, reports[6][1])
    try:
        button = page.locator("#reproduce .copied button").first
        button.click()
        page.wait_for_function("button => button.textContent !== 'Copy'", arg=button.element_handle())
        assert button.inner_text() in ("Copied", "Selected")
        assert events.errors == []
    finally:
        page.close()


def test_print_is_light_and_without_controls(browser: "Browser", reports: dict[int, tuple[Document, Path]]) -> None:
    page, _ = opened(browser, reports[6][1], 1280, "dark")
    try:
        page.emulate_media(media="print", color_scheme="dark")
        assert picture(page).getpixel((2, 2)) == (255, 255, 255)
        assert not page.locator(".toc").is_visible()
        assert not page.locator(".copied button").first.is_visible()
    finally:
        page.close()


def test_an_unfinished_zoo_fits_a_narrow_window(browser: "Browser", tmp_path: Path) -> None:
    message = "no network of the space keeps params; loosen it"
    without = {"space": "none", "device": "cpu", "targets": 3, "outcome": "infeasible", "message": message}
    zoo = zoo_document(6) | {"finished": False, "without_network": [without]}
    write_text(tmp_path / "report.html", report_text(zoo))
    page, events = opened(browser, tmp_path / "report.html", 400)
    try:
        assert page.locator(".reasons li", has_text=message).is_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"the page scrolls sideways by {wide} pixels"
        assert events.errors == []
    finally:
        page.close()


def test_texts_of_a_user_do_not_run(browser: "Browser", tmp_path: Path) -> None:
    zoo = zoo_document(6)
    hostile_everywhere(zoo)
    write_text(tmp_path / "report.html", report_text(zoo))
    page, events = opened(browser, tmp_path / "report.html")
    try:
        assert HOSTILE in page.locator("h1").inner_text()
        page.locator("#plot-front .mark .near").locator("visible=true").last.hover(force=True)
        told = page.locator(".tip")
        told.wait_for()
        assert "<script>" in told.text_content()  # type: ignore[operator]
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == 0
        assert events.errors == []
    finally:
        page.close()


def test_a_script_that_got_in_would_not_run(browser: "Browser", tmp_path: Path) -> None:
    text = report_text(zoo_document(1)).replace("</header>", "<script>window.hacked = 1</script></header>")
    write_text(tmp_path / "report.html", text)
    page, events = opened(browser, tmp_path / "report.html")
    try:
        assert page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in error for error in events.errors)
    finally:
        page.close()


def test_a_pointer_on_a_mark_tells_its_network(browser: "Browser", reports: dict[int, tuple[Document, Path]]) -> None:
    zoo, path = reports[6]
    page, _ = opened(browser, path)
    try:
        page.locator("#plot-prediction .mark .near").locator("visible=true").first.hover(force=True)
        told = page.locator(".tip")
        told.wait_for()
        text = told.text_content() or ""
        assert any(entry["name"] in text for entry in networks_of(zoo))
        assert "MACs" in text
    finally:
        page.close()


def test_the_summary_sorts_and_links_open_networks(
    browser: "Browser", reports: dict[int, tuple[Document, Path]]
) -> None:
    zoo, path = reports[50]
    page, events = opened(browser, path)
    try:
        page.locator(".summary th button", has_text="objective").click()
        rows = page.locator(".summary tbody tr")
        values = [row.locator("td").nth(1).get_attribute("data-value") for row in rows.all()]
        numbers = [float(value) for value in values if value]
        assert numbers == sorted(entry["objective"] for entry in networks_of(zoo))
        assert values[len(numbers) :] == [""] * (50 - len(numbers)), "what has no objective stands last"
        page.locator(".summary tbody a").first.click()
        assert page.locator("details.network[open]").count() == 1
        assert events.errors == []
    finally:
        page.close()
