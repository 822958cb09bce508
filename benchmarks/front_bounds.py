"""Fronts with their bounds: how large the area between the two curves is after a given time.

The area between the stair of the networks and the curve of the bounds, from the least cost of a network to the largest,
over the area under the bounds:

    python -m benchmarks.front_bounds
"""

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.conditions import RESULTS, write_results
from deepmad.engine.answers.progress import Progress
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.measures import MEASURES
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.fronts.finding import pareto_front
from deepmad.engine.solvers.fronts.front import Front
from deepmad.engine.solvers.fronts.pictures import bound_line
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.spaces import load_space

SPACES = ("r18", "mbv2", "benchmarks/spaces/seven.yaml")
ASKED = 0.01
"""The area asked for, as a part of that under the bounds."""
SHOWN = 400
"""Networks of a front in the picture, evenly along it."""


def main(
    spaces: Annotated[list[str] | None, typer.Argument(help=f"Presets or files (default: {' '.join(SPACES)}).")] = None,
    against: Annotated[str, typer.Option(help="The cost.")] = "macs",
    bounds: Annotated[int, typer.Option(help="Costs with a bound.")] = 20,
    seconds: Annotated[float, typer.Option(help="Seconds of a front.")] = 180.0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    note: Annotated[str, typer.Option(help="What else there is to say of the machine.")] = "",
) -> None:
    """Find the fronts and write results/front_bounds.csv and .svg."""
    fronts, rows, told = {}, [], {}
    for name in spaces or SPACES:
        space, before = load_space(name), _processor_seconds()
        problem = Problem(space, Budget.of(space))
        within: list[float] = []

        def note_time(progress: Progress, within: list[float] = within) -> None:
            if not within and _area(progress) <= ASKED:
                within.append(progress.seconds)

        settings = Evolution(seconds, seed=seed, workers=workers)
        front = pareto_front(problem, against, settings, bounds=bounds, report=note_time)
        fronts[space.name] = front
        limits = sorted({min(one.limit, front.points[-1].used) for one in front.bounds})
        rows += [_row(space.name, front, limit) for limit in limits]
        told[space.name] = (
            f"area {'unknown' if front.gap is None else f'{front.gap:.3%}'}, "
            f"{len(front.points)} networks, {len(front.bounds)} bounds, {front.seconds:.0f} s, "
            f"{_processor_seconds() - before:.0f} s of processors, "
            f"at most {ASKED:.0%} after {f'{within[0]:.0f} s' if within else 'that time or never'}"
        )
        print(f"{space.name}: {told[space.name]}", flush=True)
    settings_told = f"{seconds:g} s a front, {bounds} bounds, {workers} workers, paper objective"
    notes = told | {"asked": f"{ASKED:.0%}", "settings": settings_told} | ({"note": note} if note else {})
    print(f"written to {write_results('front_bounds', rows, notes)}")
    print(f"written to {_plot(fronts, against)}")


def _area(progress: Progress) -> float:
    """Return the area that a line of progress tells of; infinite where it tells of none."""
    _, _, percent = progress.doing.partition("between the curves ")
    return float(percent.rstrip("%")) / 100 if percent else np.inf


def _row(name: str, front: Front, limit: float) -> dict[str, object]:
    """Return the best network within a limit, and the bound there."""
    best = [point for point in front.points if point.used <= limit][-1]
    bound = min(float(one.over(limit)) for one in front.bounds)
    figures = {"limit": float(f"{limit:.10g}"), "objective": round(best.objective, 3), "bound": round(bound, 3)}
    gap = round(bound / best.objective - 1, 6)
    return {"space": name, front.against: best.used} | figures | {"gap": gap}


def _processor_seconds() -> float:
    """Return the processor seconds of this process and of those that it started and that have ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _plot(fronts: dict[str, Front], against: str) -> Path:
    """Draw each front below its bounds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "front", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(4.2 * len(fronts), 3.6), layout="constrained")
        panels = figure.subplots(1, len(fronts), squeeze=False)[0]
        for panel, (name, front) in zip(panels, fronts.items(), strict=True):
            _draw(panel, front)
            area = "" if front.gap is None else f", area between: {front.gap:.2%}"
            panel.set(xlabel=MEASURES[against].means, title=f"{name}{area}")
        panels[0].set_ylabel("objective")
        panels[0].legend(frameon=False, loc="lower right")
        path = RESULTS / "front_bounds.svg"
        figure.savefig(path, metadata={"Date": None})
    return path


def _draw(panel: Any, front: Front) -> None:
    """Draw a front, thinned out, and its bounds."""
    points: Sequence[int] = np.unique(np.linspace(0, len(front.points) - 1, SHOWN).astype(int)).tolist()
    used, values = ([getattr(front.points[row], name) for row in points] for name in ("used", "objective"))
    panel.plot(used, values, color="#1f77b4", drawstyle="steps-post", label="networks")
    if front.bounds:
        line = bound_line(front.bounds, used[0], used[-1])
        panel.plot(*line, color="#d62728", linewidth=1, label="proven: none above")


if __name__ == "__main__":
    typer.run(main)
