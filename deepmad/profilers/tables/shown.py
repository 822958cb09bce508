"""How a notebook shows a latency table: a picture of its errors on networks that it did not see."""

from pathlib import Path

import numpy as np

from deepmad.profilers.prediction.accuracy import MIN_HELD_OUT, accuracy
from deepmad.profilers.prediction.prediction import held_out_errors, probe_seconds
from deepmad.profilers.tables.table_files import Key, open_table
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.notebooks import Picture, empty_figure

BAND = 0.1
"""The errors that the picture marks."""


def errors_picture(path: Path, key: Key) -> Picture:
    """Return a picture of predicted against measured latency of whole networks, each predicted from other probes.

    Raises `InputError` where the table holds too few networks, or was imported, and `ImportError` without matplotlib.
    """
    with open_table(path) as file:
        rows = file.rows(key)
    whole = np.array([not row.short for row in rows], dtype=bool)
    if whole.sum() < MIN_HELD_OUT:
        raise InputError(
            f"{path}: {int(whole.sum())} measured networks are too few for a picture; it takes {MIN_HELD_OUT}"
        )
    errors = held_out_errors(rows)
    measured = 1e3 * probe_seconds(rows)[whole]
    predicted = measured * (1 + errors)
    low, high = 0.9 * min(measured.min(), predicted.min()), 1.1 * max(measured.max(), predicted.max())
    ends = np.array([low, high])
    told = accuracy(errors)
    figure = empty_figure(5, 5)
    panel = figure.subplots()
    panel.fill_between(ends, (1 - BAND) * ends, (1 + BAND) * ends, color="#9aa7b1", alpha=0.3, label="within ±10 %")
    panel.plot(ends, ends, color="#444444", linewidth=1)
    panel.scatter(measured, predicted, s=18, zorder=3)
    panel.set(
        xlim=(low, high),
        ylim=(low, high),
        xlabel="measured latency of a batch, ms",
        ylabel="predicted from other probes, ms",
        title=f"{told['within_10_percent']:.0%} of {len(errors)} networks within ±10 %",
    )
    panel.legend(frameon=False)
    return Picture(figure)
