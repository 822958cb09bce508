"""How a report writes quantities, names and dates."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from deepmad.engine.program.limits import KINDS
from deepmad.search_spaces.units import Kind, human

if TYPE_CHECKING:
    from markupsafe import Markup

AT_LEAST = "\N{GREATER-THAN OR EQUAL TO}"
ABSENT = "–"
"""What stands in a table where a value does not apply."""

LIMITS = {
    "macs": "MACs",
    "params": "parameters",
    "activations": "activations",
    "rho": "ρ",
    "latency_seconds": "latency",
    "memory_bytes": "memory",
}
"""What a reader calls the limits; one that only a function knows keeps its own name."""


def figure(value: float | None, kind: Kind) -> str:
    """Return a quantity (SI) with its unit, on one line."""
    return ABSENT if value is None else _joined(human(value, kind).split(" "))


def _joined(words: Sequence[str]) -> str:
    return "\N{NO-BREAK SPACE}".join(words)


def count(value: float | None) -> str:
    """Return a number of MACs or parameters."""
    return figure(value, "count")


def seconds(value: float | None) -> str:
    """Return a time given in seconds."""
    return figure(value, "seconds")


def rate(value: float | None) -> str:
    """Return a throughput given in images a second."""
    return figure(value, "per second")


def interval(low: float | None, high: float | None) -> str:
    """Return the ends of an interval of seconds; nothing where it is not known."""
    if low is None or high is None:
        return ""
    ends = [human(end, "seconds").split(" ") for end in (low, high)]
    units = ends[0][1:] if ends[0][1:] != ends[1][1:] else []  # a shared unit is written once
    return f"{_joined([ends[0][0], *units])} to {_joined(ends[1])}"


def limit(value: float | None, name: str) -> str:
    """Return a limit, or what is used of it, in the unit of the limit called `name`."""
    return figure(value, KINDS.get(name, "number"))


def asked(use: Mapping[str, Any], name: str) -> str:
    """Return the limit called `name` as it was asked for, with a sign where it is one from below."""
    told = limit(use["limit"], name)
    return _joined([AT_LEAST, told]) if use.get("sense") == "at least" else told


def limit_name(name: str) -> str:
    """Return what a reader calls a limit."""
    return LIMITS.get(name, name)


def share(value: float | None) -> str:
    """Return a ratio as percent with one digit."""
    return ABSENT if value is None else f"{value:.1%}".replace("%", "\N{NO-BREAK SPACE}%")


def gap(value: float | None) -> str:
    """Return a relative gap to the bound as percent with two digits."""
    return ABSENT if value is None else f"{value:.2%}".replace("%", "\N{NO-BREAK SPACE}%")


def score(value: float | None) -> str:
    """Return an objective in full, unless a penalty has made it astronomical."""
    if value is None:
        return ABSENT
    return f"{value:,.1f}" if abs(value) < 1e9 else f"{value:.3g}"


def day(text: str) -> str:
    """Return an ISO date and time as a reader writes it; a text that is none stays as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".rstrip()


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: a, b and c."""
    *most, last = words or [""]
    return f"{', '.join(most)} and {last}" if most else last


def breakable(name: str) -> "Markup":
    """Return a name that a narrow column may break after every underscore; all its characters are escaped."""
    from markupsafe import Markup

    return Markup("_<wbr>").join(name.split("_"))


def plural(number: int, word: str) -> str:
    """Return a number with its word: 1 network, 2 networks."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def top1(published: Mapping[str, Any] | None) -> str:
    """Return a published accuracy, as `published_top1` gives it."""
    return ABSENT if published is None else f"top-1 {published['value']:.1f}\N{NO-BREAK SPACE}%"


def short_names(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what tables call each entry, by its name: its target, and what else tells it from the others.

    That is the space and the device, where there are several. Entries that this does not tell apart keep their names.
    """
    parts = [key for key in ("space", "device") if len({entry[key] for entry in entries}) > 1]
    found = {
        entry["name"]: " · ".join([seconds(entry["target"]["latency_seconds"]), *(entry[key] for key in parts)])
        for entry in entries
    }
    texts = list(found.values())
    return {name: text if texts.count(text) == 1 else name for name, text in found.items()}
