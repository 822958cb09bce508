"""Where a command finds its latency tables, and what they predict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.profilers.tables.own_tables import default_table
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from deepmad.engine.answers.solutions import Predicted
    from deepmad.profilers.tables.tables import LatencyTable
    from deepmad.search_spaces.architectures import Architecture
    from deepmad.search_spaces.spaces import Space


@dataclass(frozen=True)
class Conditions:
    """What a network is timed under."""

    backend: str = "onnxruntime"
    precision: str = "fp32"
    batch: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Asked:
    """The conditions that the user gave; None is left to the table, or to the default."""

    backend: str | None = None
    precision: str | None = None
    batch: int | None = None
    threads: int | None = None

    def completed(self, tables: "Sequence[LatencyTable]" = ()) -> Conditions:
        """Return the conditions: as asked, else the first table's, else the defaults."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        first = {name: getattr(tables[0], name) for name in asdict(self)} if tables else {}
        return Conditions(**(first | given))


def load_tables(paths: Sequence[Path], argument: str, space: "Space", asked: Asked) -> "dict[Path, LatencyTable]":
    """Return the tables at `paths`, or this machine's for the space where there are none, by their paths.

    A file that holds one table needs no conditions; where several fit, the defaults choose. `argument` is the space
    as the user named it, for the command that builds a missing table. Raises `InputError` with that command, or
    where the batches differ.
    """
    from deepmad.profilers.tables.tables import LatencyTable

    if not paths:
        return _own_table(argument, space, asked.completed())
    tables = {path: LatencyTable.load(path, **_chosen(path, asked)) for path in paths}
    for path, table in tables.items():
        if table.batch != tables[paths[0]].batch:
            raise InputError(
                f"--table: {paths[0]} is for batch {tables[paths[0]].batch}, {path} for batch {table.batch}; "
                "take tables of one batch"
            )
    return tables


def _chosen(path: Path, asked: Asked) -> dict[str, Any]:
    """Return the conditions asked for, and the default of each that the tables in a file leave open."""
    from deepmad.profilers.tables.table_files import open_table

    wanted = {name: value for name, value in asdict(asked).items() if value is not None}
    with open_table(path) as file:
        held = [asdict(series.key) for series in file.series()]
    fitting = [conditions for conditions in held if wanted.items() <= conditions.items()]
    defaults = asdict(Conditions())
    return wanted | {
        name: default
        for name, default in defaults.items()
        if name not in wanted and len({conditions[name] for conditions in fitting}) > 1
    }


def _own_table(argument: str, space: "Space", conditions: Conditions) -> "dict[Path, LatencyTable]":
    """Return this machine's table for a space, by its path."""
    from deepmad.profilers.tables.table_files import Key
    from deepmad.profilers.tables.tables import LatencyTable

    path = default_table(space.name, space.resolution, **asdict(conditions))
    if not path.exists():
        backend, precision, batch, threads = asdict(conditions).values()
        raise InputError(
            f"no latency table of this machine for space {space.name} of {space.resolution} pixels with {backend}, "
            f"{precision}, batch {batch}, {threads} thread(s); build it: deepmad table build {argument} "
            f"{Key(**asdict(conditions)).options()} --resolution {space.resolution}"
        )
    return {path: LatencyTable.load(path, **asdict(conditions))}


def predicted_by_device(
    tables: "Sequence[LatencyTable]", network: "Architecture | None"
) -> "dict[str, Predicted] | None":
    """Return what every table predicts for a network, by the name of its device; None for less than two tables.

    Tables of one device are told apart by their conditions.
    """
    from deepmad.engine.answers.solutions import Predicted

    if network is None or len(tables) < 2:
        return None
    count = Counter(table.device for table in tables)
    found = {}
    for table in tables:
        conditions = f" ({table.backend}, {table.precision}, {table.threads} thread(s))"
        name = table.device + (conditions if count[table.device] > 1 else "")
        seconds = table.predict(network)
        found[name] = Predicted(seconds, table.batch / seconds)
    return found
