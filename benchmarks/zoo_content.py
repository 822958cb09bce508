"""What the files of a zoo hold, without what no two runs share: dates and seconds of solving."""

import json
from pathlib import Path
from typing import Any

from deepmad.zoo.report import PAGE
from deepmad.zoo.results import DOCUMENT

PASSING = ("date", "seconds", "solve_seconds")


def content(folder: Path) -> dict[str, Any]:
    """Return what every file of a zoo holds by its name: documents without dates and seconds, others byte for byte.

    The report is drawn from zoo.json with its dates; only that it is there is told. The journal (`.zoo`) is left out.
    """
    return {path.name: _held(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _held(path: Path) -> Any:
    if path.name == PAGE:
        return None
    if path.name == DOCUMENT or path.name.endswith(".solution.json"):
        return json.dumps(timeless(json.loads(path.read_text(encoding="utf-8"))))  # as text, in which 1 is not 1.0
    return path.read_bytes()


def timeless(document: Any) -> Any:
    """Return a document without dates and seconds."""
    if isinstance(document, dict):
        return {key: timeless(value) for key, value in document.items() if key not in PASSING}
    return [timeless(value) for value in document] if isinstance(document, list) else document


def differences(folder: Path, other: Path) -> list[str]:
    """Return the names of the files that only one of two zoos has, or that do not hold the same."""
    one, two = content(folder), content(other)
    names = sorted(one.keys() | two.keys())
    return [name for name in names if name not in one or name not in two or one[name] != two[name]]
