"""One run of the command line: how long it took, what it told when, and the memory of all its processes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from benchmarks.conditions import environment_of
from benchmarks.memory import tree_bytes

LOOK_SECONDS = 0.1
BUSY = "while True: pass"


@dataclass(frozen=True)
class Course:
    """How a command went: its exit code (None where it had no end in time), and its seconds, told in `spoken`.

    `spoken` holds the seconds at which a line was told, `peak` the most bytes that all processes had together, `error`
    the last line.
    """

    code: int | None
    seconds: float
    spoken: Sequence[float]
    peak: int
    error: str
    solution: dict[str, Any]

    @property
    def first_line(self) -> float | None:
        """Seconds to the first line; None where there was none."""
        return self.spoken[0] if self.spoken else None

    @property
    def longest_silence(self) -> float:
        """The most seconds without a line, from the start to the end."""
        moments = [0.0, *self.spoken, self.seconds]
        return max(after - before for before, after in pairwise(moments))


def run(words: Sequence[str], checkout: Path, solution: Path, patience: float) -> Course:
    """Run `deepmad` of a checkout in a process of its own; one that has no end within `patience` seconds is killed."""
    solution.unlink(missing_ok=True)
    command = [sys.executable, "-m", "deepmad", *words, "-o", str(solution)]
    spoken: list[float] = []
    last: list[str] = [""]
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=solution.parent,
        env=environment_of(checkout),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                spoken.append(time.monotonic() - began)
                last[0] = line.strip() or last[0]

        thread = Thread(target=listen, daemon=True)
        thread.start()
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None and time.monotonic() - began < patience:
            peak = max(peak, tree_bytes(watched))
            time.sleep(LOOK_SECONDS)
        seconds, code = time.monotonic() - began, process.poll()
        if code is None:
            _kill(watched)
        thread.join(timeout=1.0)
    found: dict[str, Any] = {}
    if solution.suffix == ".json" and solution.exists():
        found = json.loads(solution.read_text(encoding="utf-8"))
    return Course(code, seconds, spoken, peak, last[0], found)


def _kill(process: psutil.Process) -> None:
    """Kill a process and all that it started; they have groups of their own."""
    with suppress(psutil.NoSuchProcess):
        for each in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                each.kill()


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep so many processes busy until the block ends."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.send_signal(signal.SIGKILL)
            loop.wait()
