"""Latency table files: measured probes in SQLite, every row with its raw times and conditions.

A file holds one series of probes for every (back end, precision, batch, threads). A builder holds the
file's write lock while it measures: two builders take turns, so that they neither disturb each other nor
measure a probe twice, and one that is killed leaves what it had stored. A series may also be imported: then
its rows are single convolutions, or blocks, engine layers or networks of other people, and it has an origin.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deepmad.profilers.prediction.convolutions import ConvolutionTimes
from deepmad.profilers.prediction.rows import ImportedRow, Row
from deepmad.profilers.prediction.stored import mapping, number, numbers, several, whole, words
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, first_line

FORMAT = "deepmad/table@1"
ANY_SPACE = "any"
"""The space of an imported series: its rows are layers, not networks of a space."""
UNKNOWN = "unknown"
"""The version of a back end that a published table does not tell."""
TURN_SECONDS = 600.0
"""How long a builder waits for its turn."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (format TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY,
    backend TEXT NOT NULL, precision TEXT NOT NULL, batch INTEGER NOT NULL, threads INTEGER NOT NULL,
    device TEXT NOT NULL, version TEXT NOT NULL, space TEXT NOT NULL,
    seed INTEGER NOT NULL, probes INTEGER NOT NULL, fit TEXT,
    UNIQUE (backend, precision, batch, threads)
);
CREATE TABLE IF NOT EXISTS probes (
    series INTEGER NOT NULL REFERENCES series (id),
    architecture TEXT NOT NULL, short INTEGER NOT NULL, visits TEXT NOT NULL, anchor TEXT NOT NULL, date TEXT NOT NULL,
    load_before REAL NOT NULL, load_after REAL NOT NULL, stolen_share REAL NOT NULL,
    UNIQUE (series, architecture)
);
"""
_IMPORT_SCHEMA = """
CREATE TABLE IF NOT EXISTS imports (
    series INTEGER PRIMARY KEY REFERENCES series (id), form TEXT NOT NULL, source TEXT NOT NULL,
    unmeasured INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS convolutions (
    series INTEGER NOT NULL REFERENCES series (id),
    depthwise INTEGER NOT NULL, batch INTEGER NOT NULL, inputs INTEGER NOT NULL, side INTEGER NOT NULL,
    outputs INTEGER NOT NULL, kernel INTEGER NOT NULL, stride INTEGER NOT NULL, adds INTEGER NOT NULL,
    nanoseconds INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS imported_rows (
    series INTEGER NOT NULL REFERENCES series (id),
    source TEXT NOT NULL, name TEXT NOT NULL, nanoseconds INTEGER NOT NULL, content TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Key:
    """Which series of a file."""

    backend: str
    precision: str
    batch: int
    threads: int

    def __str__(self) -> str:
        return f"{self.backend}, {self.precision}, batch {self.batch}, {self.threads} thread(s)"

    def options(self) -> str:
        """Return the options of the command line that ask for this series."""
        return f"--backend {self.backend} --precision {self.precision} --batch {self.batch} --threads {self.threads}"


@dataclass(frozen=True)
class Series:
    """What all rows of a series share; `probes` is how many it has when it is complete."""

    key: Key
    device: str
    version: str
    space: str
    seed: int
    probes: int


@dataclass(frozen=True)
class Origin:
    """Where an imported series comes from: the form and the name of the file, and its rows without a time."""

    form: str
    source: str
    unmeasured: int


class TableFile:
    """An open table file; use `open_table`. `build_records` adds tables of its own through `connection`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection, self.path = connection, path

    @contextmanager
    def intact(self, what: str) -> Iterator[None]:
        """Raise `InputError` in place of whatever goes wrong while `what` is read: then the file is damaged."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
            raise InputError(
                f"{self.path}: is damaged: {what} cannot be read ({reason[:200]}); build or import it again elsewhere"
            ) from error

    def series(self) -> list[Series]:
        """Return every series of the file."""
        found = self.connection.execute(
            "SELECT backend, precision, batch, threads, device, version, space, seed, probes FROM series ORDER BY id"
        )
        with self.intact("what it holds"):
            return [_series(row) for row in found]

    def add_series(self, series: Series) -> None:
        """Store a series unless the file holds one of its key; call it within `turn`.

        Raises `InputError` where the file is damaged.
        """
        self.series()
        self._insert("INSERT OR IGNORE", series)

    def _insert(self, verb: str, series: Series) -> None:
        values = (*asdict(series.key).values(), series.device, series.version, series.space, series.seed, series.probes)
        self.connection.execute(
            f"{verb} INTO series (backend, precision, batch, threads, device, version, space, seed, probes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    def add_import(self, series: Series, origin: Origin, times: ConvolutionTimes, fit: dict[str, Any]) -> None:
        """Store an imported series with its rows and its predictor; call it within `turn`."""
        added = self._insert_import(series, origin, fit)
        self.connection.executemany(
            "INSERT INTO convolutions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", ((added, *row) for row in times.rows())
        )

    def put_import(self, series: Series, origin: Origin, rows: Iterable[ImportedRow], fit: dict[str, Any]) -> None:
        """Store an imported series of such rows in place of the one of its key, if any; call it within `turn`."""
        held = "SELECT id FROM series WHERE (backend, precision, batch, threads) = (?, ?, ?, ?)"
        for (old,) in self.connection.execute(held, tuple(asdict(series.key).values())).fetchall():
            for table in ("imported_rows", "imports"):
                self.connection.execute(f"DELETE FROM {table} WHERE series = ?", (old,))
            self.connection.execute("DELETE FROM series WHERE id = ?", (old,))
        added = self._insert_import(series, origin, fit)
        self.connection.executemany(
            "INSERT INTO imported_rows VALUES (?, ?, ?, ?, ?)",
            ((added, row.source, row.name, row.nanoseconds, json.dumps(row.content)) for row in rows),
        )

    def _insert_import(self, series: Series, origin: Origin, fit: dict[str, Any]) -> int:
        """Store an imported series without its rows and return its number."""
        for statement in filter(str.strip, _IMPORT_SCHEMA.split(";")):
            self.connection.execute(statement)
        self._insert("INSERT", series)
        added = self.number(series.key)
        self.connection.execute("UPDATE series SET fit = ? WHERE id = ?", (json.dumps(fit), added))
        self.connection.execute("INSERT INTO imports VALUES (?, ?, ?, ?)", (added, *asdict(origin).values()))
        return added

    def origin(self, key: Key) -> Origin | None:
        """Return where a series was imported from, None where it was built."""
        if "imports" not in _tables(self.connection):
            return None
        query = "SELECT form, source, unmeasured FROM imports WHERE series = ?"
        found = self.connection.execute(query, (self.number(key),)).fetchone()
        with self.intact(f"the source of {key}"):
            return None if found is None else Origin(words(found[0]), words(found[1]), whole(found[2]))

    def imported_rows(self, key: Key) -> list[ImportedRow]:
        """Return the rows of an imported series that are no convolutions, in the order they were stored."""
        if "imported_rows" not in _tables(self.connection):
            return []
        query = "SELECT source, name, nanoseconds, content FROM imported_rows WHERE series = ? ORDER BY rowid"
        found = self.connection.execute(query, (self.number(key),))
        with self.intact(f"the rows of {key}"):
            return [
                ImportedRow(words(source), words(name), whole(taken, least=1), dict(mapping(json.loads(content))))
                for source, name, taken, content in found
            ]

    def convolutions(self, key: Key) -> ConvolutionTimes:
        """Return the convolutions of an imported series."""
        query = (
            "SELECT depthwise, batch, inputs, side, outputs, kernel, stride, adds, nanoseconds "
            "FROM convolutions WHERE series = ?"
        )
        found = self.connection.execute(query, (self.number(key),)).fetchall()
        with self.intact(f"the rows of {key}"):
            return ConvolutionTimes.of([tuple(whole(value) for value in row) for row in found])

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the write lock; what is added inside is stored at the end, all or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # a full disk has ended it already
                self.connection.execute("ROLLBACK")
            raise

    def add(self, key: Key, row: Row) -> None:
        """Store one probe; call it within `turn`."""
        values = (text(row.architecture), row.short, json.dumps(row.visits), json.dumps(row.anchor), row.date)
        self.connection.execute(
            "INSERT INTO probes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.number(key), *values, row.load_before, row.load_after, row.stolen_share),
        )

    def put(self, key: Key, row: Row) -> None:
        """Store a probe in place of the one of its architecture; call it within `turn`."""
        self.connection.execute(
            "DELETE FROM probes WHERE series = ? AND architecture = ?", (self.number(key), text(row.architecture))
        )
        self.add(key, row)

    def done(self, key: Key) -> set[str]:
        """Return the architectures of a series that have been measured, as `text` writes them."""
        query = "SELECT architecture FROM probes WHERE series = ?"
        return {found for (found,) in self.connection.execute(query, (self.number(key),))}

    def rows(self, key: Key) -> list[Row]:
        """Return the probes of a series, in an order that does not depend on when they were measured."""
        found = self.connection.execute(
            "SELECT architecture, short, visits, anchor, date, load_before, load_after, stolen_share "
            "FROM probes WHERE series = ? ORDER BY architecture",
            (self.number(key),),
        )
        with self.intact(f"a probe of {key}"):
            return [_row(*row) for row in found]

    def fit(self, key: Key) -> dict[str, Any] | None:
        """Return the fitted predictor of a series as `store_fit` got it, None where there is none yet."""
        (found,) = self.connection.execute("SELECT fit FROM series WHERE id = ?", (self.number(key),)).fetchone()
        if found is None:
            return None
        with self.intact(f"the predictor of {key}"):
            return dict(mapping(json.loads(found)))

    def store_fit(self, key: Key, fit: dict[str, Any]) -> None:
        """Store the fitted predictor of a series."""
        with self.turn():
            values = (json.dumps(fit), self.number(key))
            self.connection.execute("UPDATE series SET fit = ? WHERE id = ?", values)

    def number(self, key: Key) -> int:
        """Return the number by which the file's tables know a series."""
        query = "SELECT id FROM series WHERE (backend, precision, batch, threads) = (?, ?, ?, ?)"
        (found,) = self.connection.execute(query, tuple(asdict(key).values())).fetchone()
        return int(found)


def _series(row: Sequence[Any]) -> Series:
    """Return a stored series. Raises `ValueError` where one of its values is none."""
    backend, precision, batch, threads, device, version, space, seed, probes = row
    key = Key(words(backend), words(precision), whole(batch, least=1), whole(threads, least=1))
    return Series(key, words(device), words(version), words(space), whole(seed), whole(probes))


def _row(
    architecture: str, short: int, visits: str, anchor: str, date: str, before: float, after: float, stolen: float
) -> Row:
    """Return a stored probe. Raises `ValueError` where one of its values is none."""
    datetime.fromisoformat(words(date))
    return Row(
        Architecture.from_dict(json.loads(architecture)),
        bool(whole(short, most=1)),
        [numbers(visit, above=0) for visit in several(json.loads(visits))],
        numbers(json.loads(anchor), above=0),
        date,
        *(number(value) for value in (before, after, stolen)),
    )


def text(architecture: Architecture) -> str:
    """Return an architecture as the one text that stands for it in a table."""
    return json.dumps(architecture.to_dict(), separators=(",", ":"))


@contextmanager
def open_table(path: Path, *, create: bool = False) -> Iterator[TableFile]:
    """Open a table file; with `create` make it where there is none.

    Raises `InputError` where the file is missing, damaged, in use for too long, or no latency table.
    """
    if not create and not path.is_file():
        raise InputError(f"{path}: there is no such latency table; build it: deepmad table build SPACE -o {path}")
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place with -o") from error
    try:
        with closing(sqlite3.connect(path, timeout=TURN_SECONDS, isolation_level=None)) as connection:
            if create and not _tables(connection):
                _make(connection)
            _check(connection, path)
            yield TableFile(connection, path)
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: {_reason(error)}") from error


def _reason(error: sqlite3.DatabaseError) -> str:
    """Return why a file cannot be used, and the way out."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"another process has been writing it for {TURN_SECONDS:.0f} s; wait for it or end it"
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return f"cannot be written ({error}); what was stored before is kept: free some space and run it again"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return f"cannot be opened or written ({error}); choose another place with -o"
    return f"cannot be used as a latency table ({error}); build a new one elsewhere"


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _make(connection: sqlite3.Connection) -> None:
    """Lay out an empty file, all or nothing; another process may be doing the same."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in filter(str.strip, _SCHEMA.split(";")):
        connection.execute(statement)
    if not connection.execute("SELECT * FROM about").fetchall():
        connection.execute("INSERT INTO about VALUES (?)", (FORMAT,))
    connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `InputError` unless the file is a latency table of this version."""
    found = connection.execute("SELECT format FROM about").fetchall() if "about" in _tables(connection) else []
    if found != [(FORMAT,)]:
        what = f"its format is {found[0][0]}" if found else "it is another program's database"
        raise InputError(f"{path}: {what}; this version of deepmad reads {FORMAT}")
