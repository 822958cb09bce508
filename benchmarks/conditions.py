"""What every result file says of how it came about, and how it is written."""

import csv
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from deepmad import __version__
from deepmad.profilers.backends.role import cpu_name
from deepmad.search_spaces.files import write_text

RESULTS = Path(__file__).parents[1] / "results"


def conditions() -> dict[str, str]:
    """Return command, commit, machine, date and version."""
    root = RESULTS.parent
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    script, *arguments = [Path(text).name if Path(text).is_absolute() else text for text in sys.argv]
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{Path(script).stem}", *arguments]),
        "commit": described.stdout.strip() or "unknown",
        "machine": f"{cpu_name()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "deepmad": __version__,
    }


def write_results(name: str, rows: Sequence[Mapping[str, object]], notes: Mapping[str, str] | None = None) -> Path:
    """Write `rows` as results/NAME.csv under the conditions and notes as comment lines; return the path."""
    text = io.StringIO()
    for key, value in (conditions() | dict(notes or {})).items():
        text.write(f"# {key}: {value}\n")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = RESULTS / f"{name}.csv"
    write_text(path, text.getvalue())
    return path
