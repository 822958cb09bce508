"""Formulations of one problem side by side: objective, bound, gap, time and memory, and their course over time.

`deepmad` is `design`; `product-model` the plain product model in CP-SAT; `minlp` the natural program in SCIP (where
pyscipopt is installed); `search` the evolutionary search alone, which has no bound. Every one runs in a process of
its own under the same limits, time and cores, one after the other. Run: python -m benchmarks.optimality
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.conditions import RESULTS, write_results
from benchmarks.formulations.traces import Trace
from deepmad.cli.render import plain_table
from deepmad.engine.answers.solutions import relative_gap
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.spaces import load_space

FORMULATIONS = ("deepmad", "product-model", "minlp", "search")
PRESETS = ("r18", "r34", "r50")
Point = tuple[float, float | None, float | None]
"""Seconds, best objective and upper bound; None for what is not known yet."""
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Run:
    """One formulation on one preset: the course of best and bound, seconds in all, peak bytes of its processes."""

    preset: str
    formulation: str
    points: list[Point]
    seconds: float
    peak_bytes: int


@app.command()
def compare(
    presets: Annotated[list[str] | None, typer.Argument(help="Residual presets (default: r18 r34 r50).")] = None,
    time_limit: float = 60.0,
    workers: int = 2,
    seed: int = 0,
    gap: Annotated[float, typer.Option(help="Relative gap at which a solve may end.")] = 0.0,
) -> None:
    """Run all formulations and write results/optimality.csv, optimality-traces.csv and optimality.svg."""
    chosen = [name for name in FORMULATIONS if name != "minlp" or find_spec("pyscipopt")]
    runs = [
        _run(preset, name, [str(time_limit), str(workers), str(seed), str(gap)])
        for preset in presets or PRESETS
        for name in chosen
    ]
    rows = [_row(run, workers, seed) for run in runs]
    Console(width=140).print(plain_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    print(f"written to {write_results('optimality', rows)}")
    traces = [
        {
            "preset": run.preset,
            "formulation": run.formulation,
            "seconds": round(seconds, 2),
            "best": best,
            "bound": bound,
        }
        for run in runs
        for seconds, best, bound in run.points
    ]
    print(f"written to {write_results('optimality-traces', traces)}")
    print(f"written to {_plot(runs, time_limit)}")


@app.command(hidden=True)
def one(preset: str, formulation: str, time_limit: float, workers: int, seed: int, gap: float, output: Path) -> None:
    """Run one formulation in this process and write its course."""
    space = load_space(preset)
    problem = Problem(space, Budget.of(space), objective="reference", classes=0)
    trace = Trace(problem)
    _solve(formulation, trace, time_limit, workers, seed, gap)
    document = {"points": trace.points, "seconds": time.monotonic() - trace.start}
    output.write_text(json.dumps(document), encoding="utf-8")


def _solve(formulation: str, trace: Trace, seconds: float, workers: int, seed: int, gap: float) -> None:
    problem = trace.problem
    if formulation == "deepmad":
        from deepmad.engine.answers.progress import Progress
        from deepmad.engine.design import design
        from deepmad.engine.solvers.settings import CpSat

        def note(progress: Progress) -> None:
            trace.points.append((progress.seconds, progress.best, progress.bound))

        design(problem, CpSat(seconds, gap, workers, seed), report=note)
    elif formulation == "search":
        from deepmad.engine.solvers.search import search

        search(problem, seed=seed, seconds=seconds, on_better=lambda network, _: trace.offer(network))
    elif formulation == "minlp":
        from benchmarks.formulations.minlp import solve_minlp
        from benchmarks.formulations.natural import natural_program

        solve_minlp(natural_program(problem), trace, seconds=seconds, seed=seed)
    else:
        from benchmarks.formulations.natural import natural_program
        from benchmarks.formulations.product_model import solve_product_model

        solve_product_model(natural_program(problem), trace, seconds=seconds, workers=workers, seed=seed)


def _run(preset: str, formulation: str, settings: Sequence[str]) -> Run:
    """Run one formulation in a new process, watching the memory of it and its children."""
    import psutil

    from benchmarks.memory import tree_bytes

    with TemporaryDirectory() as folder:
        output = Path(folder) / "course.json"
        command = [sys.executable, "-m", "benchmarks.optimality", "one", preset, formulation, *settings, str(output)]
        peak = 0
        with subprocess.Popen(command, cwd=RESULTS.parent) as running:
            watched = psutil.Process(running.pid)
            while running.poll() is None:
                peak = max(peak, tree_bytes(watched))
                time.sleep(0.25)
        if running.returncode:
            raise SystemExit(f"{formulation} on {preset} ended with exit code {running.returncode}")
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    print(f"{preset} {formulation}: {found['points'][-1] if found['points'] else 'nothing'}", flush=True)
    return Run(preset, formulation, found["points"], found["seconds"], peak)


def _row(run: Run, workers: int, seed: int) -> dict[str, object]:
    best, bound = (run.points[-1][1], run.points[-1][2]) if run.points else (None, None)
    gap = relative_gap(best, bound) if best is not None and bound is not None else None
    return {
        "preset": run.preset,
        "formulation": run.formulation,
        "objective": None if best is None else round(best, 2),
        "bound": None if bound is None else round(bound, 2),
        "gap_percent": None if gap is None else round(100 * gap, 3),
        "seconds": round(run.seconds, 1),
        "seconds_to_1_percent": _seconds_to(run, 0.01),
        "peak_megabytes": round(run.peak_bytes / 1e6),
        "workers": 1 if run.formulation in ("minlp", "search") else workers,
        "seed": seed,
    }


def _seconds_to(run: Run, gap: float) -> float | None:
    """Return when the gap was first reached."""
    for seconds, best, bound in run.points:
        if best is not None and bound is not None and relative_gap(best, bound) <= gap:
            return round(seconds, 1)
    return None


def _thinned(points: list[Point]) -> Iterator[Point]:
    """Yield the points at which best or bound moved by 0.1 % since the last one, and the end."""
    last: Point | None = None
    for place, point in enumerate(points):
        moved = last is None or any(
            (new is None) != (old is None) or (new is not None and old is not None and abs(new - old) > 1e-3 * abs(new))
            for new, old in zip(point[1:], last[1:], strict=True)
        )
        if moved or place == len(points) - 1:
            last = point
            yield point


def _plot(runs: Sequence[Run], time_limit: float) -> Path:
    """Plot best (solid) and bound (dashed) over time, a panel a preset."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "optimality"  # the same picture for the same numbers
    from matplotlib import pyplot

    presets = list(dict.fromkeys(run.preset for run in runs))
    figure, axes = pyplot.subplots(1, len(presets), figsize=(4.5 * len(presets), 3.8), squeeze=False)
    colours = {name: f"C{place}" for place, name in enumerate(FORMULATIONS)}
    for preset, panel in zip(presets, axes[0], strict=True):
        shown = [run for run in runs if run.preset == preset]
        for run in shown:
            for place, style in ((1, "-"), (2, "--")):
                line = [(point[0], point[place]) for point in _thinned(run.points) if point[place] is not None]
                if line:
                    line.append((time_limit, line[-1][1]))
                    label = run.formulation if style == "-" else None
                    panel.step(
                        *zip(*line, strict=True), style, where="post", color=colours[run.formulation], label=label
                    )
        best = max(run.points[-1][1] or 0.0 for run in shown if run.points)
        panel.set(
            title=preset,
            xlabel="seconds",
            xscale="log",
            xlim=(0.1, time_limit),
            yscale="log",
            ylim=(0.8 * best, 3.4 * best),
        )
    axes[0][0].set_ylabel("objective: best (solid), bound (dashed)")
    for panel in axes[0]:
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.yaxis.set_minor_formatter("{x:,.0f}")
        panel.tick_params(axis="y", which="both", labelsize="small")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=len(FORMULATIONS), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    path = RESULTS / "optimality.svg"
    figure.savefig(path, metadata={"Date": None})
    return path


if __name__ == "__main__":
    app()
