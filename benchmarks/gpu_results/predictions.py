"""A table's predictions of networks that it does not hold, beside the noise floor: numbers and a scatter plot."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.conditions import write_csv
from benchmarks.drawn import draw, rows_of
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.state import Clock, Parts
from benchmarks.gpu_results.steps import Step
from benchmarks.gpu_results.tables import table_path
from deepmad.cli.plots import Point
from deepmad.cli.plots import draw as draw_plot
from deepmad.profilers.measuring.measurements import measure_all
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.prediction.accuracy import accuracy
from deepmad.profilers.tables.table_files import open_table
from deepmad.profilers.tables.tables import LatencyTable
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
    draw_plot(_points(parts.rows, step.name), options.output / f"{step.name}.svg")


def _points(rows: Sequence[dict[str, Any]], series: str) -> list[Point]:
    """Return what is drawn: every network's prediction over the mean of its two measurements."""
    return [
        Point(f"network {index}", series, (row["first_seconds"] + row["second_seconds"]) / 2, row["predicted_seconds"])
        for index, row in enumerate(rows)
    ]


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
    told = accuracy(errors)
    return (
        f"within 10 % {told['within_10_percent']:.1%}, within 5 % {told['within_5_percent']:.1%}, "
        f"MAPE {told['mean_absolute_percentage_error']:.2f} %, bias {100 * np.mean(errors):+.2f} %, n {len(errors)}"
    )
