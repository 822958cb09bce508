"""A table's predictions of networks that it does not hold, beside the noise floor: numbers and a scatter plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conditions import write_csv
from benchmarks.drawn import draw, rows_of
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.state import Clock, Parts
from benchmarks.gpu_results.steps import Step
from benchmarks.gpu_results.tables import table_path
from deepmad.profilers.measurements import Request, measure_all
from deepmad.profilers.table_files import open_table
from deepmad.profilers.tables import LatencyTable
from deepmad.profilers.timing import Timer
from deepmad.search_spaces.spaces import load_space

GROUP = 8
"""Networks that are on the device at once, and timed in turns: forty with their buffers may not fit its memory."""
SEED = 1
"""Of the draw; the tables' probes have another."""


def test(options: Options, step: Step, clock: Clock) -> None:
    """Predict networks drawn at random and time all of them twice, as many groups as the time allows."""
    assert step.key is not None
    path, parts = table_path(options, step.needs[0]), Parts(options.output, step.name)
    with open_table(path) as file:
        held = file.done(step.key)
    networks = draw(load_space(options.space), held, options.networks, SEED)
    table, timer = LatencyTable.load(path), Timer(seconds=options.seconds, max_warmup_seconds=1.0)
    while len(parts.rows) < len(networks) and (not parts.rows or clock.allows_more()):
        group = networks[len(parts.rows) :][:GROUP]
        requests = [Request(network, **vars(step.key)) for network in group]
        first, second = (measure_all(requests, timer=timer) for _ in range(2))
        parts.add(*rows_of(group, [table.predict(network) for network in group], first, second))
        if len(parts.rows) < len(networks):
            clock.tick()
    write_csv(options.output / f"{step.name}.csv", parts.rows, _summary(parts.rows))
    plot(parts.rows, options.output / f"{step.name}.svg", step.name)


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the accuracy of the predictions and the noise floor in words."""
    predicted, first, second = (
        np.array([row[f"{name}_seconds"] for row in rows]) for name in ("predicted", "first", "second")
    )
    return {
        "predicted against first measurement": _line(predicted, first),
        "predicted against second measurement": _line(predicted, second),
        "noise floor, first against second": _line(first, second),
    }


def _line(found: "np.ndarray[Any, Any]", true: "np.ndarray[Any, Any]") -> str:
    errors = found / true - 1
    return (
        f"within 10 % {np.mean(abs(errors) <= 0.1):.1%}, within 5 % {np.mean(abs(errors) <= 0.05):.1%}, "
        f"MAPE {100 * np.mean(abs(errors)):.2f} %, bias {100 * np.mean(errors):+.2f} %, n {len(errors)}"
    )


def plot(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Draw predicted over measured milliseconds, with the band of ten percent, as an SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    measured = [1e3 * (row["first_seconds"] + row["second_seconds"]) / 2 for row in rows]
    predicted = [1e3 * row["predicted_seconds"] for row in rows]
    with mpl.rc_context({"svg.hashsalt": "deepmad"}):  # the same rows give the same file
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.add_subplot()
        ends = np.array([0.9 * min(*measured, *predicted), 1.1 * max(*measured, *predicted)])
        axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color="0.9", label="±10 %")
        axes.plot(ends, ends, color="0.6", linewidth=1)
        axes.scatter(measured, predicted, s=14)
        axes.set(xlabel="measured (ms)", ylabel="predicted (ms)", title=title, xlim=ends, ylim=ends)
        axes.legend(loc="upper left")
        figure.savefig(path, format="svg", metadata={"Date": None})
