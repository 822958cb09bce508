"""Time to the proof in two checkouts, in turns on the same machine: presets, and spaces from files.

Each checkout designs each problem from nothing in a process of its own, the whole time counted, one after the other, so
that both meet the same machine. Told are the seconds to a gap of 1 % and to a gap of 0, and their ratios.

    python -m benchmarks.certificate BEFORE AFTER --paper --spaces FOLDER
    python -m benchmarks.certificate BEFORE AFTER --names r50 --throughput 5255 --table v100.sqlite --batch 64

A latency table has to be one that both checkouts read.
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean, median
from typing import Annotated, Any

import typer

from benchmarks.conditions import environment_of, write_results
from benchmarks.presets import RESIDUAL
from deepmad.search_spaces.spaces import presets

SOLVE = """
import json, sys, time
began = time.monotonic()
import deepmad as dm

name, objective, classes, throughput, table, batch, seconds, workers = json.loads(sys.argv[1])
space = dm.space(name)
budget, table = dm.Budget.of(space), table and dm.LatencyTable.load(table, batch=batch)
if throughput:
    budget = dm.Budget(budget.macs, budget.params, budget.rho, throughput=throughput)
problem = dm.Problem(space, budget, table, objective=objective, classes=classes)
close = []

def note(progress):
    if progress.gap is not None and progress.gap <= 0.01 and not close:
        close.append(time.monotonic() - began)

if __name__ == "__main__":
    found = dm.design(problem, dm.CpSat(time_limit=seconds, gap=0.0, workers=workers), report=note)
    took = time.monotonic() - began
    print(json.dumps([found.objective, found.bound, found.gap, took, close[0] if close else None]))
"""
"""What both checkouts run, by names that both have. The clock starts before anything is imported."""
CLOSED = 1e-9
"""Gap up to which a proof counts as closed."""


def main(
    before: Annotated[Path, typer.Argument(help="A checkout.")],
    after: Annotated[Path, typer.Argument(help="Another checkout.")],
    names: Annotated[list[str] | None, typer.Option(help="Presets (default: all).")] = None,
    spaces: Annotated[Path | None, typer.Option(help="A folder of space files, for the paper objective.")] = None,
    paper: Annotated[bool, typer.Option(help="The mobile presets for the paper objective too.")] = False,
    throughput: Annotated[float | None, typer.Option(help="Images a second that the networks must reach.")] = None,
    table: Annotated[Path | None, typer.Option(help="The latency table that tells it.")] = None,
    batch: Annotated[int | None, typer.Option(help="The table's batch.")] = None,
    time_limit: float = 60.0,
    workers: int = 2,
    runs: int = 1,
    name: Annotated[str, typer.Option(help="Of the file in results/.")] = "certificate",
) -> None:
    rows = []
    limit = [throughput, table and str(table.resolve()), batch]
    problems = list(_presets(list(presets()) if names is None else names, paper=paper))
    if spaces is not None:
        problems += [(str(path.resolve()), "paper", None) for path in sorted(spaces.glob("*.yaml"))]
    for problem in problems:
        found: dict[Path, list[list[Any]]] = {before: [], after: []}
        for run in range(runs):
            for checkout in (before, after) if run % 2 == 0 else (after, before):
                found[checkout].append(_solved(checkout, [*problem, *limit, time_limit, workers]))
        rows.append(_row(problem, found[before], found[after], time_limit))
        print(rows[-1], flush=True)
    for name_of in ("ratio_closed", "ratio_1_percent"):
        ratios = [float(row[name_of]) for row in rows if row[name_of] is not None]
        if ratios:
            print(f"{name_of}: geometric mean {geometric_mean(ratios):.3f}, largest {max(ratios):.3f} of {len(ratios)}")
    notes = {"time_limit": time_limit, "workers": workers, "runs": runs}
    notes |= {"throughput": throughput} if throughput else {}
    path = write_results(name, rows, notes)
    print(f"written to {path}")


def _presets(names: list[str], *, paper: bool) -> Iterator[tuple[str, str, int | None]]:
    for name in names:
        yield name, "reference", 0 if name in RESIDUAL else 1000
        if paper and name not in RESIDUAL:
            yield name, "paper", 1000


def _solved(checkout: Path, problem: list[Any]) -> list[Any]:
    """Return objective, bound, gap, seconds and seconds to 1 %, as a checkout finds them."""
    command = [sys.executable, "-c", SOLVE, json.dumps(problem)]
    done = subprocess.run(
        command, env=environment_of(checkout), capture_output=True, text=True, check=False, cwd=checkout
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {problem[0]}: {done.stderr[-2000:]}")
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(
    problem: tuple[str, str, int | None], before: list[list[Any]], after: list[list[Any]], limit: float
) -> dict[str, Any]:
    row: dict[str, Any] = {"space": Path(problem[0]).stem, "objective_name": problem[1]}
    for name, runs in (("before", before), ("after", after)):
        objective, bound, gap, *_ = runs[-1]
        row[f"objective_{name}"] = objective and round(objective, 2)
        row[f"bound_{name}"] = bound if bound is None or math.isinf(bound) else round(bound, 2)
        row[f"gap_percent_{name}"] = None if gap is None else round(100 * gap, 4)
        row[f"seconds_{name}"] = round(median(run[3] for run in runs), 2)
        close = [limit if run[4] is None else run[4] for run in runs]
        row[f"seconds_1_percent_{name}"] = round(median(close), 2)
    closed = row["gap_percent_after"] is not None and row["gap_percent_after"] <= 100 * CLOSED
    row["ratio_closed"] = round(row["seconds_after"] / row["seconds_before"], 3) if closed else None
    row["ratio_1_percent"] = round(row["seconds_1_percent_after"] / row["seconds_1_percent_before"], 3)
    return row


if __name__ == "__main__":
    typer.run(main)
