"""Tables that people read: an architecture, a solution."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.engine.solutions import Solution


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> Table:
    """Return a table whose first column is text and whose others are numbers, or all `text`."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index and not text else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # no markup: 'deepmad[timm]' stays as it is
    return table


def architecture_report(figures: dict[str, Any], console: Console) -> None:
    """Print the stages of an architecture and its figures, from `engine.summaries.summary`."""
    stem, tail = figures["stem"], figures["tail"]
    rows = [["stem", str(stem["out"]), "-", str(stem["kernel"]), "1", str(stem["stride"]), "", "", ""]]
    rows += [
        [stage["block"], *(str(stage[key]) for key in ("out", "width", "kernel", "depth", "stride", "side")),
         human(stage["macs"], "count"), human(stage["params"], "count")]
        for stage in figures["stages"]
    ]  # fmt: skip
    if tail:
        rows.append(["tail", str(tail["out"]), "-", str(tail["kernel"]), "1", "1", "", "", ""])
    columns = ("stage", "out", "width", "kernel", "depth", "stride", "side", "MACs", "params")
    console.print(plain_table(columns, rows))
    entropies = ", ".join(f"{value:,.1f}" for value in figures["scale_entropies"])
    console.print(
        f"\n{figures['name'] or 'network'}: {human(figures['macs'], 'count')} MACs, "
        f"{human(figures['params'], 'count')} params (backbone {human(figures['backbone_macs'], 'count')}, "
        f"{human(figures['backbone_params'], 'count')}), input {figures['resolution']}, "
        f"{figures['classes']} classes, peak activations {human(figures['activation_bytes'], 'bytes')} (fp32)\n"
        f"entropy {figures['entropy']:,.2f} (scales {entropies}), rho {figures['rho']:.4f}, "
        f"depth variance {figures['depth_variance']:.2f}\n"
        f"objective: paper {_figure(figures['objective_paper'])}, "
        f"reference {_figure(figures['objective_reference'])}",
        markup=False,
    )


def _figure(value: float) -> str:
    """Return a figure in full, unless a penalty has made it astronomical."""
    return f"{value:,.2f}" if abs(value) < 1e9 else f"{value:.3g}"


def solution_report(solution: "Solution", console: Console) -> None:
    """Print a solution: the network, what it uses of every limit, and how good it is proven to be."""
    from deepmad.engine.summaries import summary

    if solution.architecture is not None:
        architecture_report(summary(solution.architecture), console)
        console.print()
    if solution.limits:
        console.print(plain_table(("limit", "at most", "used", "left"), limit_rows(solution)))
        console.print()
    if solution.predicted is not None or solution.measured is not None:
        console.print(plain_table(("", "latency", "throughput", "95 % interval"), speed_rows(solution)))
        console.print()
    if solution.objective is not None:
        bound = "-" if solution.bound is None else f"{solution.bound:,.2f}"
        gap = "-" if solution.gap is None else f"{solution.gap:.2%}"
        console.print(f"objective {solution.objective:,.2f}, bound {bound}, gap {gap}, {solution.seconds:.1f} s")
    console.print(f"{solution.status}: {solution.message}", markup=False)


def limit_rows(solution: "Solution") -> list[list[str]]:
    """Return a row a limit: name, limit, used, left in percent."""
    from deepmad.engine.limits import KINDS

    rows = []
    for name, use in solution.limits.items():
        kind = KINDS[name]
        used = "-" if use.used is None else human(use.used, kind)
        left = "-" if use.used is None else f"{1 - use.used / use.limit:.2%}"
        rows.append([name, human(use.limit, kind), used, left])
    return rows


def speed_rows(solution: "Solution") -> list[list[str]]:
    """Return the rows asked, predicted and measured, as far as they are known."""
    rows = []
    batch = solution.measured.batch if solution.measured else None
    asked = solution.limits.get("latency_seconds")
    if predicted := solution.predicted:
        batch = round(predicted.throughput * predicted.latency_seconds)
    if asked is not None and batch is not None:
        rows.append(["asked", f"<= {human(asked.limit, 'seconds')}", f">= {batch / asked.limit:.2f}/s", ""])
    if predicted:
        rows.append(["predicted", human(predicted.latency_seconds, "seconds"), f"{predicted.throughput:.2f}/s", ""])
    if measured := solution.measured:
        interval = f"{human(measured.low, 'seconds')} to {human(measured.high, 'seconds')}"
        rows.append(["measured", human(measured.latency_seconds, "seconds"), f"{measured.throughput:.2f}/s", interval])
    return rows
