"""What a table file keeps of a build beside the measured rows: plan, failed probes, time, state of machine and GPU.

Tables of the file that older versions do not have, and do not miss.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from deepmad.profilers.prediction.stored import mapping, number, whole, words
from deepmad.profilers.tables.table_files import Key, TableFile, text
from deepmad.search_spaces.architectures import Architecture

_SCHEMA = """
CREATE TABLE IF NOT EXISTS builds (
    series INTEGER PRIMARY KEY REFERENCES series (id),
    resolution INTEGER NOT NULL, networks INTEGER NOT NULL, short INTEGER NOT NULL, anchor TEXT NOT NULL,
    rounds INTEGER NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS plans (
    series INTEGER NOT NULL REFERENCES series (id),
    round INTEGER NOT NULL, position INTEGER NOT NULL, architecture TEXT NOT NULL, short INTEGER NOT NULL,
    UNIQUE (series, architecture)
);
CREATE TABLE IF NOT EXISTS failures (
    series INTEGER NOT NULL REFERENCES series (id),
    architecture TEXT NOT NULL, short INTEGER NOT NULL, reason TEXT NOT NULL, date TEXT NOT NULL,
    UNIQUE (series, architecture)
);
CREATE TABLE IF NOT EXISTS gpu_watches (
    series INTEGER NOT NULL REFERENCES series (id), date TEXT NOT NULL, summary TEXT NOT NULL
);
"""
_LATER_SCHEMA = """
CREATE TABLE IF NOT EXISTS machine_watches (
    series INTEGER NOT NULL REFERENCES series (id), date TEXT NOT NULL, summary TEXT NOT NULL
)
"""
"""What files whose build was begun by an older version lack."""


@dataclass(frozen=True)
class BuildSettings:
    """What a build was asked for: the side of its networks, whole and short probes, and the network they run beside.

    `rounds` says whether rounds of chosen networks follow the first set.
    """

    resolution: int
    networks: int
    short: int
    anchor: Architecture
    rounds: bool = True


@dataclass(frozen=True)
class Planned:
    """A probe that is to be measured, and the round that chose it; round 0 is the first set."""

    architecture: Architecture
    short: bool
    round: int


@dataclass(frozen=True)
class FailedProbe:
    """A probe without a time, and why."""

    architecture: Architecture
    short: bool
    reason: str
    date: str


class BuildRecords:
    """The records of one series' build; what adds to them is called within `TableFile.turn`."""

    def __init__(self, file: TableFile, key: Key) -> None:
        self._file, self._connection, self._series = file, file.connection, file.number(key)

    def settings(self) -> BuildSettings | None:
        """Return what the build was asked for, None where it has no records: an older version measured it."""
        if not self._has("builds"):
            return None
        found = self._select("SELECT resolution, networks, short, anchor, rounds FROM builds WHERE series = ?")
        if not found:
            return None
        resolution, networks, short, anchor, rounds = found[0]
        with self._intact():
            counts = whole(resolution, least=1), whole(networks), whole(short)
            return BuildSettings(*counts, _architecture(anchor), bool(whole(rounds, most=1)))

    def begin(self, settings: BuildSettings) -> None:
        """Make room for the records where the file has none, and store what the build is asked for."""
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._connection.execute(statement)
        values = (settings.resolution, settings.networks, settings.short, text(settings.anchor), settings.rounds)
        self._connection.execute("INSERT INTO builds VALUES (?, ?, ?, ?, ?, ?, 0)", (self._series, *values))

    def planned(self) -> list[Planned]:
        """Return the plan so far, in the order in which it is measured."""
        found = self._select("SELECT architecture, short, round FROM plans WHERE series = ? ORDER BY round, position")
        with self._intact():
            return [Planned(_architecture(row[0]), bool(whole(row[1], most=1)), whole(row[2])) for row in found]

    def add_plan(self, planned: Sequence[Planned]) -> None:
        """Store what one round measures, in this order."""
        self._connection.executemany(
            "INSERT INTO plans VALUES (?, ?, ?, ?, ?)",
            ((self._series, item.round, position, text(item.architecture), item.short)
             for position, item in enumerate(planned)),
        )  # fmt: skip

    def failures(self) -> list[FailedProbe]:
        """Return the probes that failed, in the order of their architectures."""
        found = self._select(
            "SELECT architecture, short, reason, date FROM failures WHERE series = ? ORDER BY architecture"
        )
        with self._intact():
            return [
                FailedProbe(_architecture(row[0]), bool(whole(row[1], most=1)), words(row[2]), words(row[3]))
                for row in found
            ]

    def add_failure(self, failed: FailedProbe) -> None:
        """Store that a probe failed; it is not measured again."""
        values = (text(failed.architecture), failed.short, failed.reason, failed.date)
        self._connection.execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?)", (self._series, *values))

    def forget_failures(self) -> None:
        """Let the failed probes be measured again."""
        self._connection.execute("DELETE FROM failures WHERE series = ?", (self._series,))

    def seconds(self) -> float:
        """Return the seconds that went into planning and measuring so far."""
        with self._intact():
            return number(self._select("SELECT seconds FROM builds WHERE series = ?")[0][0])

    def add_seconds(self, seconds: float) -> None:
        """Add to the seconds used."""
        self._connection.execute("UPDATE builds SET seconds = seconds + ? WHERE series = ?", (seconds, self._series))

    def gpu_summaries(self) -> list[dict[str, Any]]:
        """Return what the GPU did during each chunk, oldest first; nothing for a series of a CPU."""
        with self._intact():
            found = self._select("SELECT summary FROM gpu_watches WHERE series = ?")
            return [dict(mapping(json.loads(row[0]))) for row in found]

    def add_gpu_summary(self, date: str, summary: dict[str, Any]) -> None:
        """Store what the GPU did during a chunk."""
        self._connection.execute("INSERT INTO gpu_watches VALUES (?, ?, ?)", (self._series, date, json.dumps(summary)))

    def machine_summaries(self) -> list[dict[str, Any]]:
        """Return what the machine did during each chunk, oldest first; nothing where an older version measured."""
        if not self._has("machine_watches"):
            return []
        with self._intact():
            found = self._select("SELECT summary FROM machine_watches WHERE series = ?")
            return [dict(mapping(json.loads(row[0]))) for row in found]

    def add_machine_summary(self, date: str, summary: dict[str, Any]) -> None:
        """Store what the machine did during a chunk."""
        self._connection.execute(_LATER_SCHEMA)
        values = (self._series, date, json.dumps(summary))
        self._connection.execute("INSERT INTO machine_watches VALUES (?, ?, ?)", values)

    def _has(self, table: str) -> bool:
        found = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        return found is not None

    def _intact(self) -> AbstractContextManager[None]:
        return self._file.intact("the records of its build")

    def _select(self, query: str) -> list[Any]:
        return self._connection.execute(query, (self._series,)).fetchall()


def _architecture(stored: str) -> Architecture:
    return Architecture.from_dict(json.loads(stored))
