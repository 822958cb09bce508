"""How time and memory of a proof grow with a space: 4 to 12 stages of 1 to 4 block kinds, from nothing.

Each design runs in a process of its own until its gap is 1 %; told are the seconds to it, imports counted, and the most
memory that all its processes had together.

    python -m benchmarks.growth
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
import yaml

from benchmarks.conditions import RESULTS, write_results
from benchmarks.limits.inputs import KINDS, space
from benchmarks.memory import tree_bytes
from benchmarks.plots import COLOURS

SOLVE = """
import json, sys, time
began = time.monotonic()
import deepmad as dm

path, seconds, workers = json.loads(sys.argv[1])
space = dm.space(path)
problem = dm.Problem(space, dm.Budget.of(space))
close = []

def note(progress):
    if progress.gap is not None and progress.gap <= 0.01 and not close:
        close.append(time.monotonic() - began)

if __name__ == "__main__":
    found = dm.design(problem, dm.CpSat(time_limit=seconds, gap=0.01, workers=workers), report=note)
    print(json.dumps([found.objective, found.bound, found.gap, close[0] if close else None]))
"""
LOOK_SECONDS = 0.1
MEGABYTE = 1e6


def main(
    stages: Annotated[list[int], typer.Option(help="Numbers of stages; repeatable.")] = [4, 6, 8, 10, 12],  # noqa: B006 - typer copies it
    kinds: Annotated[list[int], typer.Option(help="Numbers of block kinds; repeatable.")] = [1, 2, 3, 4],  # noqa: B006
    time_limit: float = 120.0,
    workers: int = 2,
    name: Annotated[str, typer.Option(help="Of the files in results/.")] = "growth",
) -> None:
    """Design a space of every size; write a CSV and a picture."""
    rows = []
    for kind_count in kinds:
        for stage_count in stages:
            rows.append(
                {"stages": stage_count, "kinds": kind_count} | _run(stage_count, kind_count, time_limit, workers)
            )
            print(rows[-1], flush=True)
    path = write_results(name, rows, {"time_limit": time_limit, "workers": workers})
    print(f"written to {path} and {_drawn(rows, name)}")


def _run(stages: int, kinds: int, seconds: float, workers: int) -> dict[str, Any]:
    """Design one space in a new process, watching the memory of it and its children."""
    chosen = space(
        "growth", stages, out=(16, 1024, 8), width=(8, 512, 8), kinds=KINDS[:kinds], kernels=(3, 5), depth=12
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "growth.yaml"
        file.write_text(yaml.safe_dump(chosen), encoding="utf-8")
        command = [sys.executable, "-c", SOLVE, json.dumps([str(file), seconds, workers])]
        peak = 0
        with subprocess.Popen(command, cwd=RESULTS.parent, stdout=subprocess.PIPE, text=True) as running:
            watched = psutil.Process(running.pid)
            while running.poll() is None:
                peak = max(peak, tree_bytes(watched))
                time.sleep(LOOK_SECONDS)
            assert running.stdout is not None
            objective, bound, gap, close = json.loads(running.stdout.read())
    return {
        "objective": objective and round(objective, 2),
        "bound": bound and round(bound, 2),
        "gap_percent": None if gap is None else round(100 * gap, 3),
        "seconds_1_percent": close and round(close, 2),
        "peak_megabytes": round(peak / MEGABYTE),
    }


def _drawn(rows: Sequence[dict[str, Any]], name: str) -> Path:
    """Draw seconds and memory against the number of stages, one line a number of kinds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 3.8), layout="constrained")
    for panel, (what, label) in zip(
        figure.subplots(1, 2),
        {"seconds_1_percent": "seconds to a gap of 1 %", "peak_megabytes": "peak memory, MB"}.items(),
        strict=True,
    ):
        for kinds, colour in zip(sorted({row["kinds"] for row in rows}), COLOURS, strict=False):
            line = [row for row in rows if row["kinds"] == kinds and row[what] is not None]
            places, values = [row["stages"] for row in line], [row[what] for row in line]
            panel.plot(places, values, marker="o", color=colour, label=f"{kinds} block kinds")
        panel.set(xlabel="stages", ylabel=label, ylim=(0, None))
        panel.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path


if __name__ == "__main__":
    typer.run(main)
