"""Running command lines in another process, so that a crash, a hang or a loss of memory costs one case."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Any

MOST_BYTES = 12 * 2**30
"""Of address space; libraries map a good deal that they never touch."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What became of a command line: its exit code (None where it hung or died, as `end` says) and what it printed."""

    code: int | None
    end: str
    out: str
    err: str
    seconds: float


class Worker:
    """A process that runs one command line after the other, in the folder told, for `limit` seconds at the most."""

    def __init__(self, home: Path, limit: float) -> None:
        self.home, self.limit = home, limit
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, folder: Path, arguments: list[str], *, apart: bool = False) -> Ran:
        """Run a command line in a folder; `apart` runs it as a user would, in a process of its own."""
        out, err = self.home / "out", self.home / "err"
        out.write_bytes(b"")
        err.write_bytes(b"")
        began = time.monotonic()
        if apart:
            code, end = self._run_apart(folder, arguments, out, err)
        else:
            code, end = self._ask(folder, arguments, out, err)
        seconds = time.monotonic() - began
        printed, told = (path.read_text(encoding="utf-8", errors="backslashreplace") for path in (out, err))
        return Ran(code, end, printed, told, seconds)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def _run_apart(self, folder: Path, arguments: list[str], out: Path, err: Path) -> tuple[int | None, str]:
        command = [sys.executable, "-m", "deepmad", *arguments]
        with out.open("wb") as output, err.open("wb") as errors:
            process = subprocess.Popen(
                command, cwd=folder, stdout=output, stderr=errors, env=self._environment(), start_new_session=True
            )
            try:
                return process.wait(self.limit), "ended"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None, "hangs"

    def _ask(self, folder: Path, arguments: list[str], out: Path, err: Path) -> tuple[int | None, str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from benchmarks.bad_inputs.runner import serve; serve()"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,
            )
            self._process.stdout.readline()  # type: ignore[union-attr]
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        asked = {"folder": str(folder), "arguments": arguments, "out": str(out), "err": str(err)}
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select([process.stdout], [], [], self.limit)
        line = process.stdout.readline() if ready else b""
        if line:
            code, end = json.loads(line)
            return code, end
        died = process.poll() if ready else None
        if ready and died is None:
            died = process.wait()
        self.close()
        return None, "hangs" if died is None else f"died of {-died}" if died < 0 else f"left with {died}"

    def _environment(self) -> dict[str, str]:
        """Return an environment in which nothing of the user's is read or written."""
        places = {name: str(self.home / name) for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME")}
        return os.environ | places | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def serve() -> None:
    """Run the command lines that come on standard input: what a worker's process does."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told = os.fdopen(os.dup(1), "wb")
    from deepmad.cli.app import run

    told.write(b"begun\n")
    told.flush()
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        os.chdir(asked["folder"])
        for stream, name in ((1, "out"), (2, "err")):
            file = os.open(asked[name], os.O_WRONLY | os.O_APPEND)
            os.dup2(file, stream)
            os.close(file)
        answer: tuple[int | None, str]
        try:
            answer = run(asked["arguments"]), "ended"
        except BaseException:  # noqa: BLE001 - whatever it is, it is what a user would see
            traceback.print_exc()
            answer = 1, "traceback"
        with suppress(Exception):
            sys.stdout.flush()
        with suppress(Exception):
            sys.stderr.flush()
        told.write(json.dumps(answer).encode() + b"\n")
        told.flush()
