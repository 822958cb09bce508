"""The table of a ranking in Markdown, as it stands in docs/evidence.md."""

from collections.abc import Mapping, Sequence

Rows = Sequence[Mapping[str, object]]
EMPTY = "–"


def markdown_table(rows: Rows, scope: str = "all") -> str:
    """Return Spearman's correlation by score and data set: overall, then at equal MACs with its interval."""
    shown = [row for row in rows if row["scope"] == scope]
    sets = list(dict.fromkeys(f"{row['data_set']}" for row in shown))
    scores = [score for score in dict.fromkeys(f"{row['score']}" for row in shown) if score != "random"]
    counts = {name: next(row["networks"] for row in shown if row["data_set"] == name) for name in sets}
    lines = [
        f"| score | {' | '.join(f'{name}, {counts[name]}' for name in sets)} |",
        f"|---|{'---|' * len(sets)}",
    ]
    for score in scores:
        found = {row["data_set"]: _cell(row) for row in shown if row["score"] == score}
        lines.append(f"| {score} | {' | '.join(found.get(name, EMPTY) for name in sets)} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, object]) -> str:
    overall, equal, low, high = (
        EMPTY if row[name] == "" else f"{float(str(row[name])):.2f}".replace("-", "−")
        for name in ("spearman", "spearman_equal_macs", "spearman_equal_macs_low", "spearman_equal_macs_high")
    )
    interval = "" if EMPTY in (low, high) else f" [{low}, {high}]"
    return f"{overall} / {equal}{interval}"
