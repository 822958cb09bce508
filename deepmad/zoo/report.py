"""The report of a zoo: one page that needs nothing else, made from `zoo.json`.

The page opens from a folder without a network: style, script and charts are inside it, and its own content security
policy lets nothing be fetched and no other script run than the one that is written here.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_format, read_json, write_text
from deepmad.zoo import formats
from deepmad.zoo.charts import drawings
from deepmad.zoo.costs import MEASURES, OTHERS, cost_bars, tones
from deepmad.zoo.doubts import doubts, unsteady
from deepmad.zoo.figures import delivered_limits, front_chart, prediction_chart, prediction_errors, references
from deepmad.zoo.pictures import drawn, own_frame, pieces, shared_frame

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html"
STATES = {
    "met": ("good", "met"),
    "unsteady": ("warn", "met, unsteady"),
    "missed": ("warn", "missed"),
    "infeasible": ("bad", "cannot be met"),
    "failed": ("bad", "no network"),
}
"""The colour and the words of every state of an entry, the best one first."""

OPENED = 3
"""Up to so many networks are shown in full; of more, each opens at a click."""


def write_report(folder: Path) -> Path:
    """Write the report of the zoo in `folder`, from its zoo.json alone, and return the report's path.

    The zoo may be unfinished, and lack measurements, references or any network. Raises `InputError` where zoo.json
    cannot be read, a library is missing, or the report cannot be written.
    """
    source, path = folder / "zoo.json", folder / PAGE
    write_text(path, report_text(read_json(source), str(source)))
    return path


def report_text(zoo: Mapping[str, Any], source: str = "zoo.json") -> str:
    """Return the page of a zoo's document; `source` is what errors call it. Raises `InputError` as `write_report`."""
    check_format(zoo, "zoo_results", source)
    environment = _environment()
    from jinja2 import UndefinedError

    try:
        return environment.get_template("report.html.jinja").render(_context(zoo))
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, UndefinedError) as error:
        raise InputError(f"{source}: not a whole zoo ({error}); write it anew with 'deepmad zoo'") from error


def _environment() -> "Environment":
    """Return the templates with what they write quantities with; every text is escaped."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise InputError(f"report: jinja2 is missing ({error}); pip install 'deepmad[report]'") from error
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        "asked",
        "breakable",
        "count",
        "day",
        "gap",
        "interval",
        "limit",
        "limit_name",
        "rate",
        "score",
        "seconds",
        "share",
        "top1",
    )
    environment.filters |= {name: getattr(formats, name) for name in filters}
    environment.filters["link"] = _link
    environment.filters["state"] = _state
    environment.filters["uses"] = delivered_limits
    return environment


def _link(name: str) -> str:
    """Return the address of a file beside the report; no name can become an address of another kind."""
    return f"./{quote(name)}"


def _context(zoo: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows, beside the zoo's own document."""
    entries = zoo["entries"]
    networks = [entry for entry in entries if entry["stages"]]
    names = formats.short_names(entries)
    charts = {chart.key: chart for chart in (front_chart(zoo, names), prediction_chart(zoo, names)) if chart}
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return {
        "zoo": zoo,
        "title": zoo["title"] or f"{formats.listed(_spaces(zoo)) or 'Nothing'} on {formats.listed(_devices(zoo))}",
        "lead": _lead(zoo),
        "asked": _asked(zoo),
        "states": STATES,
        "tally": {name: sum(_state(entry) == name for entry in entries) for name in STATES},
        "doubts": list(doubts(zoo)),
        "names": names,
        "several_devices": len(zoo["devices"]) > 1,
        "anchors": {entry["name"]: f"network-{number}" for number, entry in enumerate(networks, start=1)},
        "entries": entries,
        "networks": networks,
        "open": len(networks) <= OPENED,
        "unmet": [entry for entry in entries if entry["outcome"] != "met"],
        "networkless": zoo.get("without_network", []),  # zoos of earlier versions do not tell
        "references": list(references(zoo)),
        "charts": charts,
        "drawings": {key: drawings(chart) for key, chart in charts.items()},
        "errors": prediction_errors(zoo),
        "limits": list(dict.fromkeys(name for entry in networks for name in entry["limits"])),
        "binding": _binding(networks),
        "spec": _spec(zoo),
        "style": (TEMPLATES / "report.css").read_text(encoding="utf-8"),
        "script": script,
        "policy": _policy(script),
    } | _drawings(networks)


def _drawings(networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the networks' pictures, small ones of one scale beside them, and the bars of their stages' costs."""
    rows = [pieces(entry) for entry in networks]
    thumb = shared_frame(rows, 220.0, 36.0)
    return {
        "pictures": [(frame, drawn(row, frame)) for row in rows for frame in [own_frame(row)]],
        "thumb": thumb,
        "thumbs": [drawn(row, thumb) for row in rows],
        "measures": dict(zip(MEASURES, ("MACs", "parameters", "predicted latency"), strict=True)),
        "bars": cost_bars(networks),
        "tones": tones(max((len(entry["stages"]) for entry in networks), default=0)),
        "others": (*OTHERS, "overhead"),
    }


def _policy(script: str) -> str:
    """Return a content security policy that allows this script alone, and nothing to be fetched."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"


def _state(entry: Mapping[str, Any]) -> str:
    """Return an entry's outcome, or that it is met as far as its time is steady."""
    return "unsteady" if unsteady(entry) else str(entry["outcome"])


def _spec(zoo: Mapping[str, Any]) -> str:
    """Return the spec of the zoo as YAML."""
    import yaml

    text: str = yaml.safe_dump(zoo["spec"], sort_keys=False, allow_unicode=True)
    return text.rstrip()


def _spaces(zoo: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(entry["space"] for entry in zoo["entries"]))


def _devices(zoo: Mapping[str, Any]) -> list[str]:
    return [device["name"] for device in zoo["devices"]]


def _asked(zoo: Mapping[str, Any]) -> str:
    """Return in words which latencies were asked for."""
    times = sorted(entry["target"]["latency_seconds"] for entry in zoo["entries"])
    if not times:
        return "no target yet"
    ends = formats.seconds(times[0]) if times[0] == times[-1] else formats.interval(times[0], times[-1])
    return f"{formats.plural(len(times), 'target')}, {ends} a batch"


def _lead(zoo: Mapping[str, Any]) -> str:
    """Return what the zoo is, in a sentence."""
    number = len(zoo["entries"])
    if not number:
        return "No network has been designed."
    where = f"{formats.listed(_spaces(zoo))} on {formats.listed(_devices(zoo))}"
    return (
        f"{formats.plural(number, 'latency target')} for {where}: for each the network of the highest objective "
        f"({zoo['objective']}) that keeps it and every other limit."
    )


def _binding(networks: Sequence[Mapping[str, Any]]) -> str:
    """Return in words how many networks each limit binds."""
    numbers: dict[str, int] = {}
    for entry in networks:
        for name in entry["binding"]:
            numbers[name] = numbers.get(name, 0) + 1
    if not numbers:
        return "No limit binds."
    ranked = sorted(numbers.items(), key=lambda item: -item[1])
    words = [f"{formats.limit_name(name)} in {number}" for name, number in ranked]
    return f"Of {formats.plural(len(networks), 'network')}, these limits bind: {formats.listed(words)}."
