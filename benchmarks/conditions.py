"""What every result file says of how it came about, and how it is written."""

import csv
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from deepmad import __version__
from deepmad.profilers.backends.role import cpu_name
from deepmad.search_spaces.files import write_text
from deepmad.tasks.cores import usable_cores

RESULTS = Path(__file__).parents[1] / "results"


def conditions() -> dict[str, str]:
    """Return command, commit, machine, date and version.

    A copy of the code without its history has its commit from the environment's DEEPMAD_COMMIT.
    """
    script, *arguments = [Path(text).name if Path(text).is_absolute() else text for text in sys.argv]
    module = Path(sys.argv[0]).parent.name if Path(script).stem == "__main__" else Path(script).stem
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{module}", *arguments]),
        "commit": _commit() or os.environ.get("DEEPMAD_COMMIT") or "unknown",
        "machine": f"{cpu_name()}, {usable_cores()} cores",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "deepmad": __version__,
    }


@cache
def _commit() -> str:
    """Return what git says of this checkout, nothing where there is no git or no checkout.

    It is asked once, and results do not count: those that this benchmark writes on its way or an earlier one has just
    written make no commit a dirty one.
    """
    git = shutil.which("git")
    if git is None:
        return ""

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([git, *arguments], cwd=RESULTS.parent, capture_output=True, text=True, check=False)

    described = ask("describe", "--always").stdout.strip()
    changed = ask("diff", "--quiet", "HEAD", "--", ".", f":(exclude){RESULTS.name}").returncode
    return f"{described}-dirty" if described and changed else described


def environment_of(checkout: Path) -> dict[str, str]:
    """Return the environment for a process that runs the code of a checkout, compiled once as an installed one is."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return found | {"PYTHONPATH": str(checkout.resolve())}


def write_results(name: str, rows: Sequence[Mapping[str, object]], notes: Mapping[str, object] | None = None) -> Path:
    """Write `rows` as results/NAME.csv under the conditions and `notes` as comment lines; return the path."""
    path = RESULTS / f"{name}.csv"
    write_csv(path, rows, notes)
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], notes: Mapping[str, object] | None = None) -> None:
    """Write `rows`, each with any of the columns, under the conditions and `notes` as comment lines."""
    text = io.StringIO()
    for key, value in {**conditions(), **(notes or {})}.items():
        text.write(f"# {key}: {value}\n")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file that `write_csv` wrote."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# ")]
    return list(csv.DictReader(lines))
