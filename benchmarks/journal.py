"""What a benchmark has done so far, in the cache folder, so that a run that was cut off goes on."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

from benchmarks.conditions import RESULTS

Found = TypeVar("Found")
CODE = ("deepmad", "benchmarks")
"""The folders whose uncommitted changes make a run another one; results and documents do not."""


class Journal:
    """The finished pieces of one run: a line of JSON each, in a file named after benchmark, code and options."""

    def __init__(self, benchmark: str, *options: object) -> None:
        digest = hashlib.sha256(repr((_code(), options)).encode()).hexdigest()[:16]
        folder = Path(platformdirs.user_cache_dir("deepmad", appauthor=False)) / "benchmarks"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{benchmark}-{digest}.jsonl"
        self.done: dict[str, str] = {}
        if self.path.is_file():
            whole = [
                line for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"
            ]
            self.done = dict(json.loads(line) for line in whole)
            self.path.write_text("".join(whole), encoding="utf-8")

    def once(self, name: str, find: Callable[[], Found]) -> Found:
        """Return what `find` returned under this name in this run or the one cut off; it is something JSON holds."""
        if name not in self.done:
            self.done[name] = json.dumps(find())
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, self.done[name]]) + "\n")
        found: Found = json.loads(self.done[name])
        return found

    def close(self) -> None:
        """Forget the run; it is finished, and the next one begins anew."""
        self.path.unlink(missing_ok=True)


def _code() -> str:
    """Return the commit and what the code differs from it by."""
    root = RESULTS.parent
    commands = (["git", "rev-parse", "HEAD"], ["git", "diff", "HEAD", "--", *CODE])
    return "".join(
        subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout for command in commands
    )
