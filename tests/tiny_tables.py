"""A small space and quick builds of its latency table, here and in a process of their own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.killed_builds import SPACE
from deepmad.profilers.building.building import PROBE_TIMER, build_table
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.spaces import Space, parse_space

QUICK = Timer(seconds=0.004, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
SHORT = replace(PROBE_TIMER, seconds=0.02, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01)
"""As often as a user's probes are timed, for a fraction of their time."""
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


def start_build(path: Path, seconds: float) -> "subprocess.Popen[str]":
    """Start such a build in a process that prints every architecture once it is stored."""
    command = [sys.executable, "-c", BUILD, SPACE, str(path), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
