"""`deepmad measure`: time networks on back ends, interleaved, and compare them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepmad.cli.options import Batch, Json, Threads, check_ending, ranged, written
from deepmad.cli.output import DEVICE_FAILED, DONE, MISSED, emit_json, out, say, warn, working
from deepmad.cli.render import plain_table
from deepmad.search_spaces.errors import InputError, unknown
from deepmad.search_spaces.files import check_writable, write_text
from deepmad.search_spaces.ranges import check
from deepmad.search_spaces.units import human, quantity

if TYPE_CHECKING:
    from deepmad.cli.measured_rows import Row, Way
    from deepmad.cli.plots import Point
    from deepmad.profilers.measuring.measurements import Failure, Measurement
    from deepmad.profilers.measuring.requests import Request
    from deepmad.profilers.measuring.steps import Tell
    from deepmad.profilers.measuring.timing import Timer


FOLDED = (
    "MACs and params of an ONNX file are without batch normalisation, which its export folds into the convolutions; "
    "those of an architecture are with it"
)


def measure(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Architecture, solution or .onnx files, timm:NAME, torchvision:NAME, or package.module:callable "
            "(which imports that module and RUNS its code).",
        ),
    ],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="What runs the networks (onnxruntime); repeat it to compare. deepmad doctor lists them."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, fp16, bf16 or int8 (fp32); repeat it to compare, for every back end that takes it."),
    ] = None,
    batch: Batch = 1,
    threads: Threads = 1,
    resolution: Annotated[int | None, ranged("resolution", "Side of the input (default: the model's).")] = None,
    seconds: Annotated[str, typer.Option(help="Time to measure each network for, after warming up.")] = "2",
    latency: Annotated[
        str | None, typer.Option(help="A target, e.g. 5ms: told whether each meets it; exit code 1 where one misses.")
    ] = None,
    throughput: Annotated[str | None, typer.Option(help="The same as images a second, e.g. 200/s.")] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(help="Latency table, whose prediction is told beside the measured latency; may be repeated."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Tell predictions of networks that the table hardly knows, too.")
    ] = False,
    output: Annotated[Path | None, written("CSV file in the columns of timm's benchmarks.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of predicted against measured latency: FILE.html, .svg or .png.")
    ] = None,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Time each in a process of its own: one that crashes is told, not fatal.")
    ] = False,
    reference: Annotated[
        bool | None,
        typer.Option(
            "--reference/--no-reference",
            help="Time the reference network beside, which shows whether the machine was steady "
            "(default: with several networks, or from 2 seconds on).",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Time networks, several interleaved, on one or several back ends.

    Example: deepmad measure net.json timm:resnet18 --backend onnxruntime --backend openvino -o times.csv
    """
    from deepmad.cli.measured_rows import csv_text, make_rows, tables_of
    from deepmad.cli.plots import check_plot
    from deepmad.cli.targets import asked_seconds
    from deepmad.profilers.measuring.measurements import measure_all, measure_all_apart
    from deepmad.profilers.measuring.requests import Request
    from deepmad.profilers.measuring.timing import Timer

    timer = Timer(quantity(seconds, "seconds", "--seconds"))
    check("time_limit", timer.seconds, "--seconds")
    target = asked_seconds(latency, throughput, batch)
    ways = combinations(backend or ["onnxruntime"], precision or ["fp32"])
    tables, doubts = tables_of(table or [], ways, batch, threads)
    for doubt in doubts:
        warn(doubt)
    if plot is not None:
        if not table:
            raise InputError(
                "--plot: it draws predictions against what was measured; name a latency table with --table"
            )
        check_plot(plot)
    if output is not None:
        check_ending(output, [".csv"], "CSV")
        check_writable(output, read=[*models, *(table or [])])
    requests = [Request(model, name, batch, kind, threads, resolution) for model in models for name, kind in ways]
    describe = bool(table or output)
    names = [model for model in models for _ in ways]

    def keep(found: "Sequence[Measurement | Failure]") -> None:
        if output is not None:
            with suppress(InputError):  # told at the end
                write_text(output, csv_text(make_rows(names[: len(found)], found, tables, force=force)))

    with working(f"measuring {len(requests)} network(s) on {', '.join(dict.fromkeys(name for name, _ in ways))}") as on:
        if isolated:
            found = _one_by_one(requests, timer, reference, describe, keep, on.tell)
        else:
            how = measure_all_apart if any(model.lower().endswith(".onnx") for model in models) else measure_all
            found = [*how(requests, timer=timer, reference=reference, describe=describe, tell=on.tell)]
    rows = make_rows(names, found, tables, force=force)
    return _deliver(rows, output, plot, json=json) or _judged(rows, target, json=json)


def _one_by_one(
    requests: "Sequence[Request]",
    timer: "Timer",
    reference: bool | None,
    describe: bool,
    keep: "Callable[[Sequence[Measurement | Failure]], None]",
    tell: "Tell",
) -> "list[Measurement | Failure]":
    """Return what `measure_all` finds apart; `keep` gets it after every network, so that nobody waits in vain."""
    from deepmad.profilers.measuring.measurements import measure_all

    beside = True if reference is None and len(requests) > 1 else reference
    found: list[Measurement | Failure] = []
    for request in requests:
        found += measure_all([request], timer=timer, isolated=True, reference=beside, describe=describe, tell=tell)
        keep(found)
    return found


def combinations(backends: Sequence[str], precisions: Sequence[str]) -> "list[Way]":
    """Return every back end with every precision; what a back end does not take is told and left out.

    Raises `InputError` for an unknown back end or precision, and where no combination is left for one.
    """
    from deepmad.profilers.backends import BACKENDS, find_backend

    known = list(dict.fromkeys(kind for found in BACKENDS.values() for kind in found.precisions))
    for precision in precisions:
        if precision not in known:
            raise InputError(f"--precision: {unknown(precision, known)}")
    for name in backends:
        taken = BACKENDS[name].precisions if name in BACKENDS else ()
        find_backend(name, next((kind for kind in precisions if kind in taken), precisions[0]))
    pairs = list(dict.fromkeys((name, kind) for name in backends for kind in precisions))
    ways = [(name, kind) for name, kind in pairs if kind in BACKENDS[name].precisions]
    for precision in precisions:
        if all(kind != precision for _, kind in ways):
            takers = ", ".join(name for name, found in BACKENDS.items() if precision in found.precisions)
            raise InputError(f"--precision: no back end asked for takes {precision}; those that do: {takers}")
    for name, kind in pairs:
        if (name, kind) not in ways:
            warn(f"{name} does not take {kind}, only {', '.join(BACKENDS[name].precisions)}: left out")
    return ways


def _deliver(rows: "Sequence[Row]", output: Path | None, plot: Path | None, *, json: bool) -> int:
    """Print the rows and what is to be said about them, and write the files; return the exit code."""
    from deepmad.cli.measured_rows import csv_text
    from deepmad.cli.plots import draw
    from deepmad.profilers.measuring.measurements import Failure

    if json:
        emit_json([row.to_dict() for row in rows])
    else:
        _print(rows)
    for warning, who in _warnings(rows).items():
        warn(f"{'all' if 1 < len(rows) == len(who) else ', '.join(who)}: {warning}")
    if output is not None:
        write_text(output, csv_text(rows))
    if plot is not None:
        draw(_points(rows), plot)
    return DEVICE_FAILED if any(isinstance(row.found, Failure) for row in rows) else DONE


def _judged(rows: "Sequence[Row]", target: float | None, *, json: bool) -> int:
    """Print whether every network meets the target; return the exit code."""
    from deepmad.cli.targets import misses, verdict
    from deepmad.profilers.measuring.measurements import Measurement

    found = [(row.model, row.found) for row in rows if isinstance(row.found, Measurement)]
    if target is None:
        return DONE
    for model, one in found:
        say_or_print = say if json else out().print
        say_or_print(f"{Path(model).name}, {one.conditions.backend}: {verdict(one, target)}")
    return MISSED if any(misses(one, target) for _, one in found) else DONE


def _warnings(rows: "Sequence[Row]") -> dict[str, list[str]]:
    """Return every warning, and which rows it is about."""
    from deepmad.profilers.measuring.measurements import Failure

    found: dict[str, list[str]] = {}
    for row in rows:
        if isinstance(row.found, Failure):
            asked = row.found.request
            who, told = (asked.backend, asked.precision), [f"failed: {row.found.reason}"]
        else:
            who, told = (row.found.conditions.backend, row.found.conditions.precision), [*row.found.warnings]
            if row.prediction is not None and row.prediction.note is not None:
                told.append(f"prediction: {row.prediction.note}")
        for warning in told:
            found.setdefault(warning, []).append(f"{row.model} ({', '.join(who)})")
    return found


def _points(rows: "Sequence[Row]") -> "list[Point]":
    """Return what is drawn: the rows with a prediction."""
    from deepmad.cli.plots import Point
    from deepmad.profilers.measuring.measurements import Measurement

    found = []
    for row in rows:
        if isinstance(row.found, Measurement) and row.prediction is not None and row.prediction.seconds is not None:
            series = f"{row.found.conditions.backend}, {row.found.conditions.precision}"
            name = Path(row.model).name.removesuffix(".json").removesuffix(".onnx")
            found.append(Point(name, series, row.found.seconds, row.prediction.seconds))
    return found


def _print(rows: "Sequence[Row]") -> None:
    """Print the comparison, and the conditions."""
    from deepmad.cli.measured_rows import cells
    from deepmad.profilers.measuring.measurements import Measurement

    measured = [row.found for row in rows if isinstance(row.found, Measurement)]
    if not measured:
        return
    out().print(plain_table(*cells(rows)))
    out().print()
    if any(row.model.lower().endswith(".onnx") for row in rows):
        out().print(FOLDED)
    told: dict[str, None] = {}
    for one in measured:
        what = one.conditions
        line = (
            f"{what.device}, {what.backend} {what.version}, batch {what.batch}, {what.threads} thread(s), {what.date}"
        )
        told[line] = None
        if one.reference is not None:
            line = (
                f"the reference network on {what.backend}, {what.precision}: {human(one.reference.seconds, 'seconds')}"
            )
            told[f"{line}, its visits within {one.reference.drift - 1:.1%}"] = None
    for line in sorted(told, key=lambda line: line.startswith("the reference")):
        out().print(line)
