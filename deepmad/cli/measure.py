"""`deepmad measure`: time networks on a back end, interleaved."""

from typing import Annotated

import typer

from deepmad.cli.options import Backend, Batch, Json, Precision, Threads
from deepmad.cli.output import emit_json, err, out, warn
from deepmad.cli.render import plain_table
from deepmad.search_spaces.units import human, quantity


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
    json: Json = False,
) -> None:
    """Time networks, several interleaved.

    Example: deepmad measure net.json timm:resnet18 --threads 1
    """
    from deepmad.profilers.measurements import Request, measure_all
    from deepmad.profilers.sources import load_source
    from deepmad.profilers.timing import Timer

    timer = Timer(seconds=quantity(seconds, "seconds", "--seconds"))
    sources = [load_source(model, resolution=resolution) for model in models]
    requests = [
        Request(source.model, backend, batch, precision, threads, source.resolution, source.in_channels)
        for source in sources
    ]
    with err().status(f"timing {len(sources)} network(s) on {backend}"):
        found = measure_all(requests, timer=timer)
    if json:
        emit_json([{"model": name} | one.to_dict() for name, one in zip(models, found, strict=True)])
    else:
        rows = [
            [
                name,
                human(one.seconds, "seconds"),
                f"{human(one.low, 'seconds')} to {human(one.high, 'seconds')}",
                f"{one.throughput:.2f}/s",
                str(len(one.times)),
            ]
            for name, one in zip(models, found, strict=True)
        ]
        out().print(plain_table(("model", "latency (median)", "95 % interval", "throughput", "runs"), rows))
        what = found[0].conditions
        out().print(
            f"\n{what.device}, {what.backend} {what.version}, {what.precision}, batch {what.batch}, "
            f"{what.threads} thread(s), {what.date}",
            markup=False,
        )
    for name, one in zip(models, found, strict=True):
        for warning in one.warnings:
            warn(f"{name}: {warning}")
