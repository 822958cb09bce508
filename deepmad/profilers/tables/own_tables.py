"""Where this machine's own latency tables stand unless the user says so."""

import hashlib
from pathlib import Path
from urllib.parse import quote

import platformdirs

LONGEST = 60
"""Letters of a name that are kept in the name of a file."""


def default_table(space: str, resolution: int, *, backend: str, precision: str, batch: int, threads: int) -> Path:
    """Return where this machine's table for a space, a side of its images and its conditions stands by default."""
    folder = Path(platformdirs.user_data_dir("deepmad", appauthor=False)) / "tables"
    return (
        folder
        / f"{_in_files(space)}-{resolution}-{_in_files(backend)}-{_in_files(precision)}-b{batch}-t{threads}.sqlite"
    )


def _in_files(name: str) -> str:
    """Return a name as a part of a file's name: of any letters, of any length, and another one for another name."""
    quoted = quote(name, safe=" ")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return quoted if len(quoted) <= LONGEST else f"{quoted[:LONGEST]}-{digest[:16]}"
