"""Where this machine's own latency tables stand unless the user says so."""

from pathlib import Path

import platformdirs


def default_table(space: str, resolution: int, *, backend: str, precision: str, batch: int, threads: int) -> Path:
    """Return where this machine's table for a space, a side of its images and its conditions stands by default."""
    folder = Path(platformdirs.user_data_dir("deepmad", appauthor=False)) / "tables"
    return folder / f"{space}-{resolution}-{backend}-{precision}-b{batch}-t{threads}.sqlite"
