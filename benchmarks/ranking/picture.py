"""The picture of a ranking: Spearman's correlation by score and data set, overall and at equal MACs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.conditions import RESULTS
from benchmarks.plots import COLOURS

Rows = Sequence[Mapping[str, Any]]
PANELS = {"spearman": "all networks", "spearman_equal_macs": "at equal MACs"}
SPREAD = 0.6
"""Part of a score's line over which its data sets are spread."""


def plot(rows: Rows, path: Path = RESULTS / "ranking.svg") -> Path:
    """Draw every score's correlation with its interval, a colour for each data set; return the file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = [row for row in rows if row["scope"] == "all" and row["spearman"] != ""]
    scores = list(dict.fromkeys(row["score"] for row in shown))
    sets = list(dict.fromkeys(row["data_set"] for row in shown))
    with mpl.rc_context({"svg.hashsalt": "ranking", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9, 0.45 * len(scores) + 1.6), layout="constrained")
        panels = figure.subplots(1, len(PANELS), sharey=True)
        for panel, (column, title) in zip(panels, PANELS.items(), strict=True):
            for place, (name, colour) in enumerate(zip(sets, COLOURS, strict=False)):
                here = [row for row in shown if row["data_set"] == name and row[column] != ""]
                shift = SPREAD * (place / max(1, len(sets) - 1) - 0.5)
                heights = [scores.index(row["score"]) + shift for row in here]
                panel.scatter([row[column] for row in here], heights, s=16, color=colour, label=name, zorder=3)
                for row, height in zip(here, heights, strict=True):
                    ends = [row[f"{column}_{end}"] for end in ("low", "high")]
                    if "" not in ends:
                        panel.plot(ends, [height, height], color=colour, linewidth=1.2)
            panel.axvline(0, color="#666666", linewidth=0.8)
            panel.set(title=title, xlabel="Spearman's correlation with accuracy", xlim=(-1.02, 1.02))
            panel.grid(axis="x", color="#e0e0e0", linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks(range(len(scores)), scores)
        panels[0].invert_yaxis()
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sets), frameon=False
        )
        figure.savefig(path, metadata={"Date": None})
    return path
