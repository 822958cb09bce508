"""Tables that people read: an architecture, a solution."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from deepmad.cli.output import as_text
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.engine.answers.corners import Leaving
    from deepmad.engine.answers.limit_uses import LimitUse
    from deepmad.engine.answers.parts import Counting, RowRecord, Sensitivity
    from deepmad.engine.answers.solutions import Solution
    from deepmad.search_spaces.architectures import Architecture

SHOWN_ROWS = 10
"""Rows of block kinds and strides that are shown, the best ones; the solution file holds all that were looked at."""


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> Table:
    """Return a table whose first column is text and whose others are numbers, or all `text`."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(as_text(column), justify="right" if index and not text else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(as_text, row))
    return table


def architecture_report(figures: dict[str, Any], console: Console) -> None:
    """Print the stages of an architecture and its figures, from `engine.answers.summaries`."""
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
    console.print()
    console.print(
        f"{figures['name'] or 'network'}: {human(figures['macs'], 'count')} MACs, "
        f"{human(figures['params'], 'count')} params (backbone {human(figures['backbone_macs'], 'count')}, "
        f"{human(figures['backbone_params'], 'count')}), input {figures['resolution']}, "
        f"{figures['classes']} classes, {human(figures['activations'], 'count')} activations, "
        f"peak activations {human(figures['activation_bytes'], 'bytes')} (fp32)"
    )
    console.print(
        f"entropy {figures['entropy']:,.2f} (scales {entropies}), rho {figures['rho']:.4f}, "
        f"depth variance {figures['depth_variance']:.2f}"
    )
    console.print(
        f"objective: paper {_figure(figures['objective_paper'])}, reference {_figure(figures['objective_reference'])} "
        f"({weights_text(figures['alpha'], figures['beta'])})"
    )


def _figure(value: float) -> str:
    """Return a figure in full, unless a penalty has made it astronomical."""
    return f"{value:,.2f}" if abs(value) < 1e9 else f"{value:.3g}"


def solution_report(solution: "Solution", console: Console) -> None:
    """Print a solution: the network, what it uses of every limit, and how good it is proven to be."""
    from deepmad.engine.answers.summaries import summary

    if solution.architecture is not None:
        architecture_report(summary(solution.architecture), console)
        console.print()
    if solution.limits:
        nearest = ("nearest feasible",) if solution.nearest else ()
        below = any(use.sense == "at least" for use in solution.limits.values())
        title = "at most, or >= at least" if below else "at most"
        console.print(plain_table(("limit", title, "used", "left", *nearest), limit_rows(solution)))
        console.print()
    if solution.black_boxes:
        titles = ("function", "calls", "known before", "failed", "time", "why")
        console.print(plain_table(titles, call_rows(solution)))
        console.print()
    if solution.explanation:
        gains = ("what 10 % looser gains", "looser", "used of the limit", "at least", "at most", "objective")
        console.print(plain_table(gains, explanation_rows(solution)))
        console.print()
    _corner_report(solution, console)
    if solution.rows:
        heads = ("row: block/stride of every stage", "objective", "bound", "found by", "dropped", "time")
        console.print(plain_table(heads, row_rows(solution.rows[:SHOWN_ROWS])))
        console.print()
    if solution.alternatives:
        columns = ("network", "objective", "depths", "outs", "widths", "MACs", "params", "rho", "latency")
        console.print(plain_table(columns, alternative_rows(solution)))
        console.print()
    if solution.predicted is not None or solution.measured is not None:
        console.print(plain_table(("", "latency", "throughput", "95 % interval"), speed_rows(solution)))
        if solution.within_table is not None:
            console.print(f"{solution.within_table:.0%} of the layers lie within what the latency table's rows span")
        console.print()
    if solution.objective is not None:
        bound = "-" if solution.bound is None else f"{solution.bound:,.2f}"
        gap = "-" if solution.gap is None else f"{solution.gap:.2%}"
        by = _counted_by(solution.counting)
        console.print(f"objective {solution.objective:,.2f}{by}, bound {bound}, gap {gap}, {solution.seconds:.1f} s")
    measured = solution.measured.warnings if solution.measured is not None else ()
    for warning in (*(solution.warnings or ()), *(f"measured: {one}" for one in measured)):
        console.print(f"warning: {warning}")
    console.print(f"{solution.status}: {solution.message}")


def _counted_by(counting: "Counting | None") -> str:
    """Return in words by which form and weights an objective is counted; older files do not tell."""
    from deepmad.engine.program.objectives import REFERENCE_BETA

    if counting is None:
        return ""
    beta = REFERENCE_BETA if counting.objective == "reference" else counting.beta
    return f" ({counting.objective}, {weights_text(counting.alpha, beta)})"


def weights_text(alpha: "Sequence[float]", beta: float) -> str:
    """Return the weights of the scales, and of the penalty on depths, as reports tell them."""
    return f"alpha {' '.join(f'{weight:g}' for weight in alpha)}, beta {beta:g}"


def _corner_report(solution: "Solution", console: Console) -> None:
    """Print in which corners of its space the network sits and, where that was asked, what leaving them costs."""
    corners = solution.corners or ()
    if solution.objective is None or not corners:
        return
    for corner in corners:
        console.print(f"corner of the space: {corner.words}")
    console.print()
    if leavings := [one for corner in corners for one in corner.leaving or ()]:
        costs = ("what leaving a corner costs", "at least", "at most", "objective")
        console.print(plain_table(costs, leaving_rows(solution, leavings)))
        console.print()


def limit_rows(solution: "Solution") -> list[list[str]]:
    """Return a row a limit: name, limit, used, left in percent; where limits clash, the nearest feasible one."""
    from deepmad.engine.program.limits import KINDS
    from deepmad.engine.solvers.nearest import rounded_looser

    rows = []
    for name, use in solution.limits.items():
        kind = KINDS.get(name, "number")  # what a function returns has no unit
        used = "-" if use.used is None else human(use.used, kind)
        from_below, sign = (">= ", -1) if use.sense == "at least" else ("", 1)
        left = "-" if use.used is None or use.limit == 0 else f"{sign * (use.limit - use.used) / abs(use.limit):.2%}"
        rows.append([name, from_below + human(use.limit, kind), used, left])
        if solution.nearest:
            near = solution.nearest.get(name)
            rows[-1].append("" if near is None else from_below + human(rounded_looser(near, use.sense), kind))
    return rows


def call_rows(solution: "Solution") -> list[list[str]]:
    """Return a row a limit that is a function: its calls, and why some failed."""
    return [
        [
            name,
            str(record.calls),
            str(record.cached),
            str(record.failed),
            human(record.seconds, "seconds"),
            "; ".join(record.reasons),
        ]
        for name, record in (solution.black_boxes or {}).items()
    ]


def explanation_rows(solution: "Solution") -> list[list[str]]:
    """Return a row a limit, the one whose loosening gains most first: what is gained, in percent and in objective."""
    from deepmad.engine.program.limits import KINDS

    assert solution.objective is not None, "only a network is explained"
    size = abs(solution.objective) or 1.0
    rows = []
    for name, found in sorted((solution.explanation or {}).items(), key=_gain, reverse=True):
        least, most = found.gain
        rows.append([
            name,
            human(found.loosened, KINDS[name]),
            f"{found.share:.2%}",
            f"{least / size:.2%}",
            "?" if most is None else f"{most / size:.2%}",
            f"+{least:,.1f} to {'?' if most is None else f'+{most:,.1f}'}",
        ])  # fmt: skip
    return rows


def leaving_rows(solution: "Solution", leavings: "Sequence[Leaving]") -> list[list[str]]:
    """Return a row a step out of a corner: what it costs, in percent and in objective."""
    size = abs(solution.objective or 0.0) or 1.0
    rows = []
    for one in leavings:
        name = one.inside if one.stage is None else f"stage {one.stage + 1}: {one.inside}"
        if one.impossible:
            rows.append([name, "-", "-", "no network keeps the limits"])
            continue
        shares = ("?" if end is None else f"{end / size:z.2%}" for end in one.cost)
        least, most = ("?" if end is None else f"{-end:+z,.1f}" for end in one.cost)
        rows.append([name, *shares, f"{least} to {most}"])
    return rows


def _gain(item: "tuple[str, Sensitivity]") -> tuple[float, float]:
    least, most = item[1].gain
    return least, math.inf if most is None else most


def row_rows(records: "Sequence[RowRecord]") -> list[list[str]]:
    """Return a line a row of block kinds and strides."""
    from deepmad.search_spaces.rows import Row

    lines = []
    for record in records:
        row = str(Row(record.blocks, record.strides))
        objective = "-" if record.objective is None else f"{record.objective:,.1f}"
        bound = "-" if record.bound is None else f"{record.bound:,.1f}"
        dropped = "yes" if record.dropped else ""
        lines.append([row, objective, bound, record.found_by or "-", dropped, f"{record.seconds:.1f} s"])
    return lines


def alternative_rows(solution: "Solution") -> list[list[str]]:
    """Return a row a network, best first."""
    assert solution.architecture is not None, "alternatives stand beside a network"
    ranked = [(solution.objective, solution.architecture, solution.limits, solution.predicted)]
    ranked += [(one.objective, one.architecture, one.limits, one.predicted) for one in solution.alternatives or ()]
    rows = []
    for rank, (objective, network, limits, predicted) in enumerate(ranked, start=1):
        macs, params, rho = _counts(network, limits)
        rows.append([
            f"#{rank}",
            f"{objective:,.1f}",
            *(" ".join(str(getattr(stage, key)) for stage in network.stages) for key in ("depth", "out", "width")),
            human(macs, "count"),
            human(params, "count"),
            f"{rho:.4f}",
            "-" if predicted is None else human(predicted.latency_seconds, "seconds"),
        ])  # fmt: skip
    return rows


def _counts(network: "Architecture", limits: "Mapping[str, LimitUse]") -> tuple[float, ...]:
    """Return MACs, parameters and rho of a network, from what it uses of its limits as far as these tell."""
    from deepmad.engine.program.measures import amount

    parts = None
    found = []
    for name in ("macs", "params", "rho"):
        used = limits[name].used if name in limits else None
        if used is None:
            parts = network.parts() if parts is None else parts
            used = float(amount(name, parts, batch=1, precision="fp32", tables=()))
        found.append(used)
    return tuple(found)


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
    for device, known in (solution.predicted_by_device or {}).items():
        rows.append([f"  on {device}", human(known.latency_seconds, "seconds"), f"{known.throughput:.2f}/s", ""])
    if measured := solution.measured:
        interval = f"{human(measured.low, 'seconds')} to {human(measured.high, 'seconds')}"
        rows.append(["measured", human(measured.latency_seconds, "seconds"), f"{measured.throughput:.2f}/s", interval])
    return rows
