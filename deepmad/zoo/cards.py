"""The model card of an entry: what was asked, what came of it, and how to make it again."""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from deepmad.engine.program.limits import KINDS
from deepmad.search_spaces.units import human
from deepmad.zoo.entries import Entry
from deepmad.zoo.figures import delivered_limits
from deepmad.zoo.spec import Spec

WHAT = {
    "architecture": "the network as data; `deepmad show`, `export` and `measure` take it",
    "solution": "how it was designed: limits, bound, gap, rounds",
    "onnx": "ONNX, batch left open, random weights",
    "model": "PyTorch, without deepmad",
    "weights": "random weights for it",
}


def card(entry: Entry, record: dict[str, Any], spec: Spec) -> str:
    """Return the card of an entry that has a network, as Markdown; `record` is its document in zoo.json."""
    return "\n".join(
        [
            f"# {entry.name}",
            "",
            f"{_sentence(entry, record)} Its weights are random; it has not been trained.",
            "",
            *_table(("limit", "asked", "used"), _limits(record)),
            "",
            *_table(("", "latency", "throughput", "95 % interval"), _speeds(record)),
            "",
            *_conditions(entry, record),
            "",
            *_table(("figure", "value"), _figures(record, spec)),
            "",
            *_table(("stage", "out", "width", "kernel", "depth", "stride", "side", "MACs", "params"), _stages(record)),
            "",
            "## Files",
            "",
            *(f"- `{record['files'][kind]}`: {what}" for kind, what in WHAT.items() if record["files"][kind]),
            "",
            "## Made with",
            "",
            "`deepmad zoo`. A network for this target alone, from the folder of the zoo's spec:",
            "",
            "    " + command(entry, spec),
            "",
            f"Outcome: {_plain(record['message'])}. A limit in seconds, and several workers, promise no identical "
            "answer.",
            "",
        ]
    )


def _sentence(entry: Entry, record: dict[str, Any]) -> str:
    """Say in a sentence what the network is and how its target went."""
    asked = f"{human(entry.seconds, 'seconds')} for a batch of {record['batch']} ({_number(entry.throughput)} images/s)"
    verdict = "meets" if record["outcome"] == "met" else "misses"
    space, device = _plain(record["space"]), _plain(entry.family.table.device)
    return (
        f"A network of space {space} designed for {asked} on {device} under "
        f"{record['backend']} in {record['precision']}; as {record['judged_by']}, it {verdict} that."
    )


def _limits(record: dict[str, Any]) -> Iterator[Sequence[str]]:
    for name, use in delivered_limits(record).items():
        kind = KINDS[name]
        binding = " (binding)" if name in record["binding"] else ""
        from_below = ">= " if use.get("sense") == "at least" else ""
        yield name, from_below + human(use["limit"], kind), f"{human(use['used'], kind)}{binding}"


def _speeds(record: dict[str, Any]) -> Iterator[Sequence[str]]:
    target = record["target"]
    yield "asked", human(target["latency_seconds"], "seconds"), f"{_number(target['throughput'])}/s", ""
    for kind in ("predicted", "measured"):
        if (speed := record[kind]) is not None:
            low, high = speed["low"], speed["high"]
            interval = "" if low is None else f"{human(low, 'seconds')} to {human(high, 'seconds')}"
            yield kind, human(speed["latency_seconds"], "seconds"), f"{_number(speed['throughput'])}/s", interval


def _conditions(entry: Entry, record: dict[str, Any]) -> Iterator[str]:
    table, measured = entry.family.table, record["measured"]
    device = _plain(table.device)
    yield (
        f"Predicted by the latency table of {device}: {table.backend} {table.version}, {table.precision}, "
        f"batch {table.batch}, {table.threads} thread(s)."
    )
    if measured is None:
        yield "Not measured."
    else:
        yield (
            f"Measured on {_plain(measured['device'])}: {measured['backend']} {measured['version']}, "
            f"{measured['precision']}, batch {measured['batch']}, {measured['threads']} thread(s), {measured['date']}."
        )
        for doubt in measured.get("warnings", ()):
            yield f"The measurement is doubtful: {_plain(doubt)}."
        if (clock := measured["clock_seconds"]) is not None:
            yield (
                "It took turns with the design without a target, and its latency is the one at which that takes its "
                f"usual time; the clock showed {human(clock, 'seconds')}."
            )


def _figures(record: dict[str, Any], spec: Spec) -> Iterator[Sequence[str]]:
    yield "MACs", human(record["macs"], "count")
    yield "parameters", human(record["params"], "count")
    conditions = f"batch {record['batch']}, {record['precision']}"
    yield f"peak activations ({conditions})", human(record["activation_bytes"], "bytes")
    yield "input, classes", f"{record['resolution']}, {record['classes']}"
    yield "entropy", f"{record['entropy']:,.2f}"
    yield "rho", f"{record['rho']:.4f}"
    yield f"objective ({spec.solver.objective})", f"{record['objective']:,.2f}"
    if record["gap"] is not None:
        yield "bound, gap", f"{record['bound']:,.2f}, {record['gap']:.2%}"


def _stages(record: dict[str, Any]) -> Iterator[Sequence[str]]:
    stem, tail, classifier = record["stem"], record["tail"], record["classifier"]
    first = (str(stem["out"]), "", str(stem["kernel"]), "1", str(stem["stride"]), str(stem["side"]))
    yield "stem", *first, *_costs(stem)
    for stage in record["stages"]:
        plain = tuple(str(stage[key]) for key in ("out", "width", "kernel", "depth", "stride", "side"))
        yield stage["block"], *plain, *_costs(stage)
    if tail is not None:
        yield "tail", str(tail["out"]), "", str(tail["kernel"]), "1", "1", str(tail["side"]), *_costs(tail)
    if classifier is not None:
        yield "classifier", str(record["classes"]), "", "", "", "", "1", *_costs(classifier)


def _costs(part: dict[str, Any]) -> tuple[str, str]:
    return human(part["macs"], "count"), human(part["params"], "count")


def _number(value: float) -> str:
    """Return a number to four digits, in full from ten thousand on."""
    return f"{value:.4g}" if value < 9999.5 else f"{value:,.0f}"


def _plain(text: str) -> str:
    """Return a text that a user chose, on one line, without a meaning in Markdown."""
    return re.sub(r"([\\`*<>\[\]|])", r"\\\1", " ".join(text.split()))


def _table(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def command(entry: Entry, spec: Spec) -> str:
    """Return the command that designs a network for the target alone, under the same limits and settings."""
    need, settings, limits = entry.family.need, spec.solver, spec.limits
    words = ["deepmad", "design", need.member.name, "--latency", f"{entry.seconds!r}s"]
    words += ["--table", need.device.table] if need.device.table is not None else []
    words += entry.family.key.options().split()
    asked = {name: getattr(limits, name) for name in ("macs", "params", "rho", "activations")}
    for name, limit in asked.items():
        if limit != "space":
            words += [f"--{name}", "none" if limit is None else str(limit)]
    given = {
        "memory": limits.memory,
        "classes": settings.classes,
        "resolution": settings.resolution,
        "multiple": settings.multiple,
        "workers": settings.workers,
        "deterministic-limit": settings.deterministic_limit,
    }
    for name, value in given.items():
        if value is not None:
            words += [f"--{name}", repr(value)]
    if settings.alpha is not None:
        alpha = settings.alpha if isinstance(settings.alpha, str) else ",".join(map(repr, settings.alpha))
        words += ["--alpha", alpha]
    words += ["--objective", settings.objective, "--gap", repr(settings.gap), "--seed", str(settings.seed)]
    words += ["--time-limit", repr(settings.time_limit)]
    if entry.family.measured:
        words += ["--measure", "--rounds", str(spec.verify.rounds)]
    return shlex.join(words)
