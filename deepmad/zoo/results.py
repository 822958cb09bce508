"""zoo.json and zoo.csv: everything that a zoo has come to, as one document and as one table."""

import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.files import write_text
from deepmad.version import __version__
from deepmad.zoo.csv_rows import csv_text
from deepmad.zoo.families import Family
from deepmad.zoo.records import Baseline, Record, device_record
from deepmad.zoo.spec import SpecFile

FORMAT = "deepmad/zoo_results@1"
DOCUMENT, TABLE = "zoo.json", "zoo.csv"


def write_results(
    folder: Path,
    file: SpecFile,
    families: Sequence[Family],
    baselines: Sequence[Baseline],
    networkless: Sequence[Record],
    references: Sequence[Record],
    entries: Sequence[Record],
    *,
    finished: bool,
) -> dict[str, Any]:
    """Write zoo.json and zoo.csv in `folder`, each whole or not at all; return the document of the former."""
    names = dict.fromkeys(family.device.name for family in families)
    devices = [[family for family in families if family.device.name == name] for name in names]
    document = {
        "format": FORMAT,
        "deepmad": {"version": __version__, "commit": _commit()},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished": finished,
        "title": file.spec.title,
        "spec": file.document,
        "objective": file.spec.solver.objective,
        "devices": [device_record(found) for found in devices],
        "baselines": [baseline.record() for baseline in baselines],
        "without_network": list(networkless),
        "references": list(references),
        "entries": list(entries),
    }
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_text(folder / DOCUMENT, text)
    named = [(entry, entry["files"]["architecture"]) for entry in entries]
    write_text(folder / TABLE, csv_text([(entry, Architecture.load(folder / name)) for entry, name in named if name]))
    read: dict[str, Any] = json.loads(text)  # as every reader has it: lists, no tuples
    return read


@cache
def _commit() -> str | None:
    """Return the commit of the checkout that deepmad runs from; None where it is installed, or git cannot tell."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return done.stdout.strip() or None
