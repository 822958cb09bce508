"""`deepmad measure`: time networks on a back end, interleaved."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deepmad.cli.options import Backend, Batch, Json, Precision, Threads
from deepmad.cli.output import DEVICE_FAILED, DONE, emit_json, err, out, warn
from deepmad.cli.render import plain_table
from deepmad.search_spaces.units import human, quantity

if TYPE_CHECKING:
    from deepmad.profilers.measurements import Measurement


def measure(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Architecture, solution or .onnx files, timm:NAME, torchvision:NAME, or package.module:callable "
            "(which imports that module and RUNS its code).",
        ),
    ],
    backend: Backend = "onnxruntime",
    precision: Precision = "fp32",
    batch: Batch = 1,
    threads: Threads = 1,
    resolution: Annotated[int | None, typer.Option(help="Side of the input (default: the model's).", min=1)] = None,
    seconds: Annotated[str, typer.Option(help="Time to measure each model for, after warming up.")] = "2",
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Time each in a process of its own: one that crashes is told, not fatal.")
    ] = False,
    json: Json = False,
) -> int:
    """Time networks, several interleaved.

    Example: deepmad measure net.json timm:resnet18 --threads 1
    """
    from deepmad.profilers.measurements import Failure, Request, measure_all
    from deepmad.profilers.timing import Timer

    timer = Timer(quantity(seconds, "seconds", "--seconds"))
    requests = [Request(model, backend, batch, precision, threads, resolution) for model in models]
    with err().status(f"timing {len(models)} network(s) on {backend}"):
        found = measure_all(requests, timer=timer, isolated=True) if isolated else [*measure_all(requests, timer=timer)]
    named = list(zip(models, found, strict=True))
    if json:
        emit_json([{"model": name} | one.to_dict() for name, one in named])
    else:
        _print([(name, one) for name, one in named if not isinstance(one, Failure)])
    for name, one in named:
        for warning in (f"failed: {one.reason}",) if isinstance(one, Failure) else one.warnings:
            warn(f"{name}: {warning}")
    return DEVICE_FAILED if any(isinstance(one, Failure) for one in found) else DONE


def _print(named: "Sequence[tuple[str, Measurement]]") -> None:
    """Print the table of what was measured, and the conditions it shares."""
    if not named:
        return
    rows = [
        [
            name,
            human(one.seconds, "seconds"),
            f"{human(one.low, 'seconds')} to {human(one.high, 'seconds')}",
            f"{one.throughput:.2f}/s",
            str(len(one.times)),
        ]
        for name, one in named
    ]
    out().print(plain_table(("model", "latency (median)", "95 % interval", "throughput", "runs"), rows))
    what = named[0][1].conditions
    out().print(
        f"\n{what.device}, {what.backend} {what.version}, {what.precision}, batch {what.batch}, "
        f"{what.threads} thread(s), {what.date}",
        markup=False,
    )
    for name, one in named:
        if one.joules_per_image is not None:
            out().print(f"{name}: {one.joules_per_image:.4g} joules an image", markup=False)
