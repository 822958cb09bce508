"""Kills builds of a latency table at random moments, and looks whether anything is lost.

First one builder, then two at once on the same file, each killed with SIGKILL as often as asked and then left
to end. After every kill: every row that was reported stored is in the file, unchanged; SQLite finds no fault;
the plan has only grown at its end. One line a kill goes into results/killed_builds.csv.

    python -m benchmarks.killed_builds --kills 20
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.conditions import write_results
from deepmad.profilers.prediction.rows import Visit
from deepmad.profilers.tables.build_records import BuildRecords
from deepmad.profilers.tables.table_files import Key, open_table, text
from deepmad.profilers.tables.tables import LatencyTable

KEY = Key("onnxruntime", "fp32", 1, 1)
SPACE = """
format: deepmad/space@1
name: tiny
resolution: 32
stem: {out: {min: 8, max: 16}, kernel: 3, stride: 2}
stages:
  - {block: bottleneck, stride: 2, out: {min: 16, max: 64}, width: [8, 16, 24, 32], kernel: [3, 5], depth: [1, 2, 3]}
  - {block: mbconv_se, stride: 1, out: {min: 32, max: 96}, expansion: [3, 6], kernel: 3, depth: {min: 1, max: 2}}
classes: 10
limits: {macs: 10M, params: 300k}
"""
BUILD = """
import json, sys
from deepmad.profilers.building.building import build_table
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.spaces import parse_space

def report(progress):
    for architecture in progress.stored:
        print(json.dumps(architecture), flush=True)

print(json.dumps("begun"), flush=True)
timer = Timer(seconds=float(sys.argv[3]), min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
build_table(parse_space(sys.argv[1], "tiny"), sys.argv[2], networks=60, short=120, timer=timer, progress=report)
"""


def main(
    kills: Annotated[int, typer.Option(help="Kills of each kind of build.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    seconds: Annotated[float, typer.Option(help="Seconds of timing for a whole network.")] = 0.3,
    longest: Annotated[float, typer.Option(help="Most seconds from a builder's start to its kill.")] = 8.0,
) -> None:
    """Kill single builds, then pairs, and write one line a kill."""
    rng = np.random.default_rng(seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for builders in (1, 2):
            path = Path(folder) / f"{builders}.sqlite"
            found = [_killed(path, builders, seconds, longest, rng) for _ in range(kills)]
            found.append(_ended(path, builders, seconds))
            rows += [{"builders": builders, "kill": number, **row} for number, row in enumerate(found, start=1)]
            print(f"{builders} builder(s), {kills} kills: {rows[-1]}")
    print(f"written: {write_results('killed_builds', rows)}")
    lost = sum(int(str(row["lost"])) for row in rows)
    assert lost == 0, f"{lost} rows were reported stored and are lost"


def start(path: Path, seconds: float) -> "subprocess.Popen[str]":
    """Start a builder; its first line says that it has begun, every other one is an architecture it has stored."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, SPACE, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # two builders share the cores
    )


def _killed(path: Path, builders: int, seconds: float, longest: float, rng: np.random.Generator) -> dict[str, object]:
    """Let builders run for a random time each, kill them and look at what is left."""
    before = state(path)
    processes = [start(path, seconds) for _ in range(builders)]
    delays = sorted(map(float, rng.uniform(0, longest, builders)))
    reported = []
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    began = time.monotonic()
    for process, delay in zip(processes, delays, strict=True):
        time.sleep(max(0.0, began + delay - time.monotonic()))
        process.kill()
        reported += process.communicate()[0].splitlines(keepends=True)
    return _row(path, before, [json.loads(line) for line in reported if line.endswith("\n")], delays[-1], "killed")


def _ended(path: Path, builders: int, seconds: float) -> dict[str, object]:
    """Let builders run to their end and look at what they made."""
    before, began = state(path), time.monotonic()
    processes = [start(path, seconds) for _ in range(builders)]
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert all(process.returncode == 0 for process in processes)
    reported = [found for line in lines if (found := json.loads(line)) != "begun"]
    row = _row(path, before, reported, time.monotonic() - began, "ended")
    assert row["measured"] == row["planned"], "a planned probe was not measured"
    assert LatencyTable.load(path).overhead_nanoseconds >= 0
    return row


def state(path: Path) -> tuple[list[str], dict[str, list[Visit]]]:
    """Return the plan of a table file, and the raw times of every row by its architecture."""
    if not path.exists():
        return [], {}
    with closing(sqlite3.connect(path)) as connection:
        ((verdict,),) = connection.execute("PRAGMA integrity_check").fetchall()
    assert verdict == "ok", f"{path}: {verdict}"
    with open_table(path, create=True) as file:
        if not file.series():
            return [], {}
        records = BuildRecords(file, KEY)
        planned = records.planned() if records.settings() is not None else []
        rows = {text(row.architecture): row.visits for row in file.rows(KEY)}
    return [text(item.architecture) for item in planned], rows


def _row(
    path: Path,
    before: tuple[list[str], dict[str, list[Visit]]],
    reported: list[str],
    seconds: float,
    how: str,
) -> dict[str, object]:
    """Return what is told of one kill, having compared the file with what it held and what was reported."""
    plan, rows = state(path)
    assert plan[: len(before[0])] == before[0], "the plan has changed"
    changed = sum(rows.get(architecture, [])[: len(visits)] != visits for architecture, visits in before[1].items())
    return {
        "how": how,
        "seconds": round(seconds, 3),
        "reported": len(reported),
        "planned": len(plan),
        "measured": len(rows),
        "lost": sum(architecture not in rows for architecture in reported) + changed,
        "integrity": "ok",
    }


if __name__ == "__main__":
    typer.run(main)
