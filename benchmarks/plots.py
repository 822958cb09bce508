"""Plots of results, as SVG files beside their CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conditions import RESULTS

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def plot_predictions(stem: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw predicted against measured latency, the table's above and the proxy's below, one column a batch."""
    from matplotlib.figure import Figure

    batches = sorted({row["batch"] for row in rows})
    spaces = list(dict.fromkeys(row["space"] for row in rows))
    figure = Figure(figsize=(4.6 * len(batches), 8.6), layout="constrained")
    panels = figure.subplots(2, len(batches), squeeze=False)
    predictors = {"predicted_ms": "latency table", "proxy_ms": "MACs, params, activations"}
    for line, (what, label) in enumerate(predictors.items()):
        for column, batch in enumerate(batches):
            panel, here = panels[line][column], [row for row in rows if row["batch"] == batch]
            ends = np.array(
                [min(row["measured_ms"] for row in here) * 0.8, max(row["measured_ms"] for row in here) * 1.25]
            )
            panel.fill_between(ends, 0.9 * ends, 1.1 * ends, color="#dddddd", label="±10 %")
            panel.plot(ends, ends, color="#666666", linewidth=0.8)
            for space, colour in zip(spaces, COLOURS, strict=False):
                of = [row for row in here if row["space"] == space]
                times, found = [row["measured_ms"] for row in of], [row[what] for row in of]
                panel.scatter(times, found, s=14, color=colour, label=space, linewidths=0)
            panel.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title=f"{label}, batch {batch}")
            panel.set(xlabel="measured, ms for one batch", ylabel="predicted, ms")
    panels[0][0].legend(frameon=False)
    figure.suptitle(f"{rows[0]['device']}, {rows[0]['backend']} {rows[0]['version']}, {rows[0]['precision']}")
    path = RESULTS / f"{stem}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
