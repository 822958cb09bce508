"""A small space and quick builds of its latency table, here and in a process of their own."""

from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.killed_builds import SPACE
from deepmad.profilers.building.building import PROBE_TIMER, Progress, build_table
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.spaces import Space, parse_space

QUICK = Timer(seconds=0.004, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
SHORT = replace(PROBE_TIMER, seconds=0.02, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01)
"""As often as a user's probes are timed, for a fraction of their time."""
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "onnxruntime", "tests.tiny_tables"])
KINDS = 5
"""Kinds of short probe that the space asks for."""
BUILD = """
import sys
from deepmad.profilers.building.building import build_table
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.spaces import parse_space

def report(progress):
    for architecture in progress.stored:
        print(architecture, flush=True)

timer = Timer(seconds=float(sys.argv[3]), min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
build_table(parse_space(sys.argv[1], "tiny"), sys.argv[2], networks=20, short=20, timer=timer, progress=report)
"""


def space() -> Space:
    """Return the small space."""
    return parse_space(SPACE, "tiny")


def build_quickly(path: Path, **changes: object) -> None:
    """Build a table of 20 whole networks and 20 short ones."""
    build_table(space(), path, **({"networks": 20, "short": 20, "timer": QUICK} | changes))  # type: ignore[arg-type]


class Build:
    """Such a build in a process of its own that tells every architecture once it is stored.

    The process is forked from one that has imported PyTorch, and nothing else: it begins at once.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._told, theirs = PROCESSES.Pipe(duplex=False)
        self._process = PROCESSES.Process(target=_build, args=(path, seconds, theirs))
        self._process.start()
        theirs.close()

    def told(self) -> str | None:
        """Return the next architecture, None where there is no other."""
        try:
            return str(self._told.recv())
        except (EOFError, OSError):  # the last one may be cut off
            return None

    def kill(self) -> list[str]:
        """Kill it; return the architectures that it had told by then."""
        self._process.kill()
        return self.end()[1]

    def end(self) -> tuple[int | None, list[str]]:
        """Wait for its end; return its exit code and the architectures told since."""
        rest = list(iter(self.told, None))
        self._process.join()
        self._told.close()
        return self._process.exitcode, rest


def _build(path: Path, seconds: float, told: "Connection") -> None:
    """Build the table, and tell."""

    def report(progress: Progress) -> None:
        for architecture in progress.stored:
            told.send(architecture)

    build_quickly(path, timer=replace(QUICK, seconds=seconds), progress=report)
