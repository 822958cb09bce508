"""What is wrong with what became of a bad input, if anything."""

import ast
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.bad_inputs.runner import Ran
from benchmarks.bad_inputs.values import Wanted

CODES = (0, 1, 2, 3)
"""The exit codes that the README lists for a run that nothing interrupts."""
LONGEST = 1000
"""Letters of an error's line."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TOLD = re.compile(r"^warning: |left out|skipped|unmeasured", re.MULTILINE)
Listing = Mapping[str, bytes]


def listing(folder: Path) -> Listing:
    """Return the content of every file below a folder by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def faults(
    ran: Ran, arguments: Sequence[str], wanted: Wanted, named: Sequence[str], before: Listing, after: Listing
) -> list[str]:
    """Return the faults of a run; `named` are the texts of which an error has to name one."""
    if ran.code is None:
        return [ran.end]
    found = []
    if ran.end == "traceback" or "Traceback (most recent call last)" in ran.err:
        found.append("traceback")
    elif ran.code not in CODES:
        found.append("exit code")
    else:
        found += _told(ran, arguments, wanted, named)
    if CONTROL.search(ran.out) or CONTROL.search(ran.err):
        found.append("control characters")
    return [*found, *dict.fromkeys(_files(ran, before, after))]


def _told(ran: Ran, arguments: Sequence[str], wanted: Wanted, named: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the exit code and with what was printed."""
    lines = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    if ran.code in (2, 3):
        if len(lines) != 1:
            yield "not one line"
        elif len(lines[0]) > LONGEST:
            yield "line too long"
        elif named and not any(form in lines[0] for text in named for form in _forms(text)):
            yield "names nothing"
    if ran.code in (0, 1) and wanted != "any" and not (wanted == "told" and TOLD.search(ran.err + ran.out)):
        yield "taken in silence"
    if "--json" in arguments and (ran.code in (0, 1) or ran.out.strip()):
        try:
            strict_json(ran.out)
        except ValueError:
            yield "no JSON"


def _forms(text: str) -> Iterator[str]:
    """Yield how a line may write a text: as it is, escaped, or with single spaces."""
    yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1], " ".join(text.split()) or repr(text))


def strict_json(text: str) -> Any:
    """Return a JSON document. Raises `ValueError` for NaN and the like, too."""

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def _files(ran: Ran, before: Listing, after: Listing) -> Iterator[str]:
    """Yield what is wrong with the files that are there."""
    for name, content in after.items():
        if before.get(name) == content or name.endswith(".zoo/lock"):
            continue
        steps = Path(name).parts
        if any(step.startswith(".") and step != ".zoo" for step in steps) or name.endswith(
            ("-journal", "-wal", "-shm")
        ):
            yield "file left behind"
        elif ran.code == 2 and name not in before and ".zoo" not in steps:
            yield "refused, and written"
        elif ran.code == 2 and name in before and ".zoo" not in steps:
            yield "refused, and changed"
        elif not readable(name, content):
            yield "half a file"
    if any(name not in after for name in before):
        yield "file lost"


def readable(name: str, content: bytes) -> bool:
    """Return whether a file of a kind that deepmad writes is whole, by how it begins, else by its name."""
    kinds = [suffix for start, suffix in _STARTS.items() if content.startswith(start)] or [Path(name).suffix]
    try:
        return bool(content) and _CHECKS.get(kinds[0], bool)(content)
    except (ValueError, SyntaxError, sqlite3.Error):
        return False


def _is_table(content: bytes) -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(content)
        formats = connection.execute("SELECT format FROM about").fetchall()
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",) and len(formats) == 1)


def _is_onnx(content: bytes) -> bool:
    import onnx

    try:
        onnx.checker.check_model(content)
    except Exception:  # noqa: BLE001 - it raises classes of its own
        return False
    return True


_STARTS = {b"SQLite format 3": ".sqlite", b"{": ".json", b"[": ".json", b"PK": ".pt2", b"model,": ".csv", b'"""': ".py"}
_CHECKS: dict[str, Callable[[bytes], bool]] = {
    ".json": lambda content: bool(strict_json(content.decode())),
    ".csv": lambda content: content.endswith(b"\n"),
    ".svg": lambda content: content.rstrip().endswith(b"</svg>"),
    ".html": lambda content: content.rstrip().endswith(b"</html>"),
    ".py": lambda content: bool(ast.parse(content)),
    ".sqlite": _is_table,
    ".onnx": _is_onnx,
    ".pt2": lambda content: content.startswith(b"PK") and b"PK\x05\x06" in content,
    ".parquet": lambda content: content.endswith(b"PAR1"),
    ".safetensors": lambda content: bool(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])),
}
