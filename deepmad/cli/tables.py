"""Where a command finds its latency table."""

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from deepmad.profilers.tables import LatencyTable


def default_table(space: str, *, backend: str, precision: str, batch: int, threads: int) -> Path:
    """Return where this machine's table for a space and its conditions stands unless the user says so."""
    folder = Path(platformdirs.user_data_dir("deepmad", appauthor=False)) / "tables"
    return folder / f"{space}-{backend}-{precision}-b{batch}-t{threads}.sqlite"


def load_table(
    path: Path | None, argument: str, space: str, *, backend: str, precision: str, batch: int, threads: int
) -> "LatencyTable":
    """Return the table at `path`, or this machine's for the space.

    `argument` is the space as the user named it, for the command that builds a missing table. Raises
    `InputError` with that command.
    """
    from deepmad.profilers.tables import LatencyTable

    chosen = path or default_table(space, backend=backend, precision=precision, batch=batch, threads=threads)
    if path is None and not chosen.exists():
        raise InputError(
            f"no latency table of this machine for space {space} with {backend}, {precision}, batch {batch}, "
            f"{threads} thread(s); build it: deepmad table build {argument} --backend {backend} "
            f"--precision {precision} --batch {batch} --threads {threads}"
        )
    return LatencyTable.load(chosen, batch=batch, backend=backend, precision=precision, threads=threads)
