"""What a run has done so far, in files: every piece of it, killed or not, leaves the next one where to go on."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepmad.search_spaces.files import read_json, write_text

FOLDER = ".progress"
MAX_STARTS = 3
"""A step that was started so often and never ended is given up: it hangs, or takes the machine down."""


@dataclass
class Record:
    """One step so far: seconds spent on it, starts since it last ended in order, and how it ended."""

    seconds: float = 0.0
    starts: int = 0
    status: str = "open"
    reason: str = ""


@dataclass
class State:
    """The records of all steps, kept in a file that is replaced after every change."""

    path: Path
    records: dict[str, Record] = field(default_factory=dict)

    @staticmethod
    def load(output: Path) -> "State":
        """Return the state that an earlier piece left in the folder, or a new one."""
        path = output / FOLDER / "state.json"
        held = read_json(path) if path.is_file() else {}
        return State(path, {name: Record(**record) for name, record in held.items()})

    @property
    def seconds(self) -> float:
        """Seconds that all pieces spent on steps."""
        return sum(record.seconds for record in self.records.values())

    def of(self, name: str) -> Record:
        """Return the record of a step, a new one where it was never begun."""
        return self.records.setdefault(name, Record())

    def begin(self, name: str) -> bool:
        """Note that a step starts; return False, and give it up, where it was started too often."""
        record = self.of(name)
        if record.starts >= MAX_STARTS:
            self.end(name, "failed", f"it was started {MAX_STARTS} times and never ended")
            return False
        record.starts += 1
        self._save()
        return True

    def pause(self, name: str, seconds: float, *, in_order: bool = True) -> None:
        """Note that a step goes on in the next piece; one that was killed keeps its starts."""
        record = self.of(name)
        record.seconds += seconds
        record.starts = 0 if in_order else record.starts
        self._save()

    def end(self, name: str, status: str, reason: str = "", seconds: float = 0.0) -> None:
        """Note how a step ended: done or failed."""
        record = self.of(name)
        record.status, record.reason = status, reason
        record.seconds += seconds
        self._save()

    def _save(self) -> None:
        write_text(self.path, json.dumps({name: asdict(record) for name, record in self.records.items()}, indent=1))


class Parts:
    """Rows that a step has finished, kept in a file until all of them are there."""

    def __init__(self, output: Path, name: str) -> None:
        self._path = output / FOLDER / f"{name}.json"
        self.rows: list[dict[str, Any]] = read_json(self._path) if self._path.is_file() else []

    def add(self, *rows: Mapping[str, object]) -> None:
        """Keep some more rows."""
        self.rows.extend(map(dict, rows))
        write_text(self._path, json.dumps(self.rows))


class PieceOver(Exception):  # noqa: N818 - no error: the step goes on in the next piece
    """The piece has no time for another unit of work."""


@dataclass
class Clock:
    """When the piece ends and when the step should, in seconds since the epoch; a step's longest unit so far."""

    piece_ends: float
    step_ends: float
    longest: float = 0.0
    last: float = field(default_factory=time.time)

    def tick(self) -> None:
        """Say that a unit of work is done and kept. Raises `PieceOver` where another one would be cut off."""
        now = time.time()
        self.longest, self.last = max(self.longest, now - self.last), now
        if now + self.longest > self.piece_ends:
            raise PieceOver

    def allows_more(self) -> bool:
        """Return whether the step's time allows another unit."""
        return time.time() + self.longest <= self.step_ends
