"""The journal of a zoo: every finished step in a file of its own, so that a run that was killed goes on."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from deepmad.engine.answers.solutions import Measured, Solution
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_writable
from deepmad.search_spaces.seals import read_sealed, write_sealed

FOLDER = ".zoo"


class Journal:
    """The finished steps of the zoo in `folder`; one process at a time.

    A file is there as a whole or not at all. Raises `InputError` where the folder cannot be written, or another process
    makes the zoo in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        check_writable(self.folder / "lock")
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise InputError(f"{folder}: another process is at it; wait for it, or choose another -o") from error
        for unfinished in self.folder.glob(".*"):
            unfinished.unlink()  # what a killed run was writing; those in the zoo's own folder go with the next file

    def close(self) -> None:
        """Let another process have the zoo."""
        os.close(self._lock)

    def path(self, step: str) -> Path:
        """Return the file of a step."""
        return self.folder / f"{step}.json"

    def check(self, step: str, document: dict[str, Any], what: str) -> None:
        """Note what all steps rest on, or raise `InputError` where the zoo in the folder rests on something else."""
        content = json.loads(json.dumps(document))
        if (held := self.get(step)) is None:
            self.put(step, content)
        elif held != content:
            raise InputError(
                f"{self.folder.parent}: it holds a zoo of another {what}; choose another folder with -o, or remove it"
            )

    def get(self, step: str) -> Any:
        """Return the document of a step, None where it is not finished. Raises `InputError` where it is damaged."""
        path = self.path(step)
        return read_sealed(path, "remove the file to do its step again") if path.exists() else None

    def put(self, step: str, document: dict[str, Any]) -> None:
        """Store the document of a finished step."""
        write_sealed(self.path(step), document)

    def solution(self, step: str) -> Solution | None:
        """Return the solution that a step ended with, None where it is not finished."""
        document = self.get(step)
        return None if document is None else Solution.from_dict(document, str(self.path(step)))

    def measured(self, step: str) -> Measured | None:
        """Return the measurement that a step ended with, None where it is not finished."""
        document = self.get(step)
        return None if document is None else Measured(**document)
