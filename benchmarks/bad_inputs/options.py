"""Changes of one option or argument of a valid command line."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import typer

from benchmarks.bad_inputs.bases import EVOLVE, QUICK
from benchmarks.bad_inputs.values import DIGITS, NUMBER_TEXTS, WHOLE_TEXTS, WORD_TEXTS, Bad, Wanted, pick
from deepmad.cli.app import app

_IMPORT = ("--from", "timm", "--device", "made up", "--precision", "fp32", "-o", "out.sqlite")
LINES: tuple[tuple[str, ...], ...] = (
    ("design", "space.yaml", *QUICK, "--json"),
    ("design", "space.yaml", *QUICK, "-o", "out.json"),
    ("design", "space.yaml", *EVOLVE, "--front", "macs", "--bounds", "1", "-o", "out.csv"),
    ("design", "space.yaml", *EVOLVE, "--checkpoint", "mine.json", "--json"),
    ("design", "space.yaml", "--latency", "1s", "--table", "table.sqlite", *QUICK, "--json"),
    ("show", "network.json", "--json"),
    ("compare", "network.json", "solution.json"),
    ("measure", "network.json", "--seconds", "0.001", "--no-reference", "-o", "out.csv"),
    ("measure", "network.onnx", "--seconds", "0.001", "--no-reference", "--table", "table.sqlite", "--json"),
    ("export", "network.json", "--to", "onnx", "-o", "out.onnx"),
    ("export", "network.json", "--to", "module", "-o", "out.py", "--json"),
    ("export", "solution.json", "--to", "weights", "-o", "out.safetensors"),
    ("zoo", "spec.yaml", "--dry-run", "--json"),
    ("zoo", "spec.yaml", "-o", "zoo", "--json"),
    ("table", "build", "space.yaml", "--minutes", "0", "-o", "out.sqlite"),
    ("table", "import", "benchmark.csv", *_IMPORT),
    ("table", "show", "table.sqlite", "--json"),
    ("table", "export", "table.sqlite", "--to", "csv", "-o", "out.csv"),
    ("schema", "space"),
)
FILES = (
    "space.yaml", "network.json", "solution.json", "network.onnx", "table.sqlite", "benchmark.csv", "spec.yaml", "zoo",
)  # fmt: skip
QUANTITIES = {
    "macs", "params", "rho", "latency", "throughput", "memory", "limit_seconds", "time_limit", "seconds",
}  # fmt: skip
"""Options whose text is a number, with a unit where there is one."""
ENDLESS = {"generations", "population", "islands", "rounds", "seconds", "time_limit", "deterministic_limit", "minutes"}
"""Options of which a large value is taken at its word: it would take as long."""
NOT_TRIED = {"help", "version", "isolated", "measure", "explain", "top"}
"""Options that only cost time here."""
NAMES = {"device", "backend", "precision", "on"}
"""Options whose text is a name, which cannot be blank."""
_WEIGHTS = [
    Bad("not a number", "nan,1"),
    Bad("infinite", "inf,8"),
    Bad("beyond floats", "1e400,8"),
    Bad("negative", "-1,8"),
    Bad("zero", "0,0"),
    Bad("large", "1e308,1e308"),
    Bad("text", "abc"),
    Bad("text", "1;8"),
    Bad("text", ""),
    Bad("thousands of digits", "9" * DIGITS + ",1"),
]

_PATHS = [
    Bad("empty path", ""),
    Bad("folder", ".", "any"),
    Bad("folder", "folder", "any"),
    Bad("file as a folder", "network.json/x"),
    Bad("nowhere", "/proc/nowhere/x"),
    Bad("name of 300 letters", "n" * 300),
    Bad("very long path", "/".join(["abc"] * 2000)),
    Bad("terminal code", "a\x1b[31mb", "any"),
    Bad("lines", "a\nb", "any"),
    Bad("markup", "[bold]a[/red]", "any"),
    Bad("other ending", "a.xyz", "any"),
    Bad("number of a network", "solution.json#9", "any"),
    Bad("other kind of file", "table.sqlite", "any"),
    Bad("other kind of file", "space.yaml", "any"),
]


@dataclass(frozen=True)
class Line:
    """A command line with one change; `named` are the texts of which an error has to name one."""

    arguments: tuple[str, ...]
    kind: str
    place: str
    wanted: Wanted
    named: tuple[str, ...]


def changed_line(random_: random.Random) -> Line:
    """Return one of the command lines with another value in one place."""
    line = random_.choice(LINES)
    words = 2 if line[0] == "table" else 1
    if random_.random() < 0.06:
        return _misspelt(line, random_)
    parameter = random_.choice(list(_parameters(line[:words])))
    bad = _stand_in(parameter, random_)
    if "--dry-run" in line and parameter.name == "output":  # nothing is written
        bad = replace(bad, wanted="any")
    if parameter.param_type_name == "argument":
        changed = (*line[:words], bad.value, *line[words + 1 :])
        names: tuple[str, ...] = (parameter.name, str(parameter.metavar or ""), bad.value[:20] or "''")
    else:
        names = (*parameter.opts, *parameter.secondary_opts, parameter.name)
        changed = _with_option(line, parameter, bad)
        names += ("latency table",) if parameter.name in ("latency", "throughput") else ()
        names += (parameter.name.replace("_", " "), bad.value[:20] or "''")
    place = f"{' '.join(line[:words])} {'/'.join(parameter.opts)}"
    return Line(changed, bad.name, place, bad.wanted, tuple(name for name in names if name))


def _parameters(command: Sequence[str]) -> Iterator[Any]:
    """Yield the options and arguments of a command."""
    found: Any = typer.main.get_command(app)
    for word in command:
        found = found.commands[word]
    for parameter in found.params:
        if parameter.name not in NOT_TRIED and not getattr(parameter, "is_flag", False):
            yield parameter


def _with_option(line: tuple[str, ...], parameter: Any, bad: Bad) -> tuple[str, ...]:
    """Return a line in which an option has another value, or is added with it."""
    for at, word in enumerate(line):
        if word in parameter.opts:
            return (*line[: at + 1], bad.value, *line[at + 2 :])
    return (*line, max(parameter.opts, key=len), bad.value)


def _misspelt(line: tuple[str, ...], random_: random.Random) -> Line:
    """Return a line with an unknown option, a word too many, or an option without its value."""
    kind = random_.choice(("unknown option", "word too many", "no value"))
    if kind == "unknown option":
        word = random_.choice(("--bacth", "-q", "--\x1b[31m", "--[bold]"))
        return Line((*line, word), kind, line[0], "refused", ("ption",))
    if kind == "word too many" and line[0] not in ("compare", "measure") and line[:2] != ("table", "build"):
        return Line((*line, "surplus"), kind, line[0], "refused", ("surplus", "argument"))
    return Line(
        (*line, "--batch" if line[0] == "measure" else "-o"), "no value", line[0], "refused", ("ption", "requires")
    )


def _stand_in(parameter: Any, random_: random.Random) -> Bad:
    """Return a value for an option or an argument."""
    annotation = parameter.type_descriptor.annotation
    kind = next(iter(get_args(annotation)), annotation)  # of the items of a list, or the first word of a choice
    if kind in (int, float) or parameter.name in QUANTITIES:
        choices = WHOLE_TEXTS if kind is int else NUMBER_TEXTS
        slow = ("large", "odd digits") if parameter.name in ENDLESS else ()
        return pick(random_, [bad for bad in choices if bad.name not in slow])
    if kind is Path:
        return pick(random_, _PATHS)
    if parameter.name == "alpha":
        return pick(random_, _WEIGHTS)
    bad = pick(random_, WORD_TEXTS)
    if isinstance(kind, str):
        return Bad(bad.name, bad.value)
    if not bad.value.strip() and parameter.name in NAMES:
        return Bad("blank", bad.value)
    return bad
