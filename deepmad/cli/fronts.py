"""What `deepmad design --front` does: the networks that trade the objective for one cost, as CSV and picture."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.cli.endings import told
from deepmad.cli.output import DONE, MISSED, Bar, bar, emit_json, out, say, warn
from deepmad.cli.render import plain_table
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from rich.table import Table

    from deepmad.engine.answers.progress import Progress
    from deepmad.engine.program.problems import Problem
    from deepmad.engine.solvers.fronts.front import Front
    from deepmad.engine.solvers.settings import Evolution, Solver

SHOWN = 12
"""Networks of a front that are printed, evenly along it."""
PICTURE_SECONDS = 1.0
"""Seconds of work that it takes to load what draws a front, and to draw it, about."""


def deliver_front(
    problem: "Problem", settings: "Solver", cost: str, bounds: int, output: Path | None, json: bool
) -> int:
    """Find a front with so many bounds, write it as CSV with an SVG picture beside it, print it; return the exit code.

    Raises `InputError` where the file is no .csv.
    """
    from deepmad.engine.solvers.fronts.finding import COSTS, FrontInterrupted, FrontOutOfMemoryError, pareto_front
    from deepmad.engine.solvers.settings import Evolution

    assert isinstance(settings, Evolution), "no other solver finds fronts"
    if output is not None and output.suffix != ".csv":
        raise InputError(f"-o: {output} ends in {output.suffix or 'nothing'}; a front is written as .csv")
    against = next(name for name in COSTS if name.startswith(cost))
    try:
        with bar("looking for a front", settings.time_limit or 0.0) as shown:
            shown.update(0.0, "starting")
            front = pareto_front(problem, against, settings, bounds=bounds, report=partial(_report, shown))
    except (FrontInterrupted, FrontOutOfMemoryError) as stop:
        _tell(stop.front, output, json)
        raise told(stop, _kept(stop.front, settings, output)) from stop
    return _tell(front, output, json)


def _kept(front: "Front", settings: "Evolution", output: Path | None) -> str:
    """Return what a search for a front that ended before its time leaves behind."""
    place = "above" if output is None or not front.points else f"in {output}"
    kept = f"the {len(front.points)} networks by then are {place}"
    if settings.checkpoint is not None and settings.checkpoint.exists():
        return f"{kept}; the same command goes on from {settings.checkpoint}"
    return kept


def _report(shown: Bar, progress: "Progress") -> None:
    if progress.warning is not None:
        warn(progress.warning)
    best = "none yet" if progress.best is None else f"{progress.best:,.1f}"
    shown.update(progress.seconds, f"{progress.doing}: highest objective {best}, {progress.seconds:.1f} s")


def _tell(front: "Front", output: Path | None, json: bool) -> int:
    """Write and print a front; return the exit code. Raises `InputError` where it cannot be written."""
    if not front.points:
        say("error: no network was found that keeps every limit; give more time or loosen a limit")
    try:
        if front.points and output is not None:
            front.to_csv(output)
            _draw(front, output.with_suffix(".svg"))
    finally:  # networks found are told even where their file cannot be written
        if json:
            emit_json(front.to_dict())
        elif front.points:
            out().print(_table(front))
    if front.points and output is not None and not json:
        say(f"{len(front.points)} networks written to {output}")
    if front.bounds:
        _tell_gap(front)
    return DONE if front.points else MISSED


def _tell_gap(front: "Front") -> None:
    """Say how near the front is to its bounds."""
    if front.gap is None:
        say("no bound is proven for a part of the front")
    else:
        say(f"area between networks and bounds: {front.gap:.2%} of that under the bounds")


def _draw(front: "Front", path: Path) -> None:
    """Draw a front; without the library for it there is a warning and no picture."""
    try:
        front.plot(path)
    except InputError as error:
        warn(str(error))


def _table(front: "Front") -> "Table":
    """Return some of the networks as a table, evenly along the front."""
    from deepmad.engine.program.limits import KINDS

    count = len(front.points)
    places = sorted({round(place * (count - 1) / (SHOWN - 1)) for place in range(SHOWN)})
    rows = [
        [
            f"{point.objective:,.1f}",
            "-" if point.bound is None else f"{point.bound:,.1f}",
            human(point.used, KINDS[front.against]),
            " ".join(str(stage.depth) for stage in point.architecture.stages),
            " ".join(str(stage.out) for stage in point.architecture.stages),
        ]
        for point in (front.points[place] for place in places)
    ]
    return plain_table(["objective", "bound", front.against, "depths", "outs"], rows)
