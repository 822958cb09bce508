"""`deepmad table`: build, import, show and export latency tables."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from deepmad.cli.options import Backend, Batch, Json, Precision, Threads
from deepmad.cli.output import bar, emit_json, out, say
from deepmad.cli.render import plain_table
from deepmad.cli.tables import default_table

table = typer.Typer(help="Build, import, show and export latency tables.", rich_markup_mode=None)

TableFile = Annotated[Path, typer.Argument(metavar="FILE", help="A table that deepmad built or imported.")]

Form = Annotated[
    Literal["tinynas", "ofa", "timm", "trtexec"],
    typer.Option(
        "--from",
        help="The file's form: tinynas (convolutions), ofa (blocks, YAML), timm (whole networks, CSV), "
        "trtexec (a profile that --exportProfile wrote; needs --model).",
    ),
]
ImportedBackend = Annotated[
    str | None,
    typer.Option(help="What ran it (default: tinynas tensorrt, timm torch, trtexec tensorrt-onnx, ofa unknown)."),
]
ImportedBatch = Annotated[
    int | None,
    typer.Option(help="Images in one batch (default: ofa, trtexec 1; timm each of 50 networks).", min=1, max=65536),
]
Model = Annotated[
    Path | None, typer.Option(help="The network of a trtexec profile: the architecture or solution file exported.")
]


@table.command()
def build(
    space: Annotated[str, typer.Argument(metavar="PRESET_OR_SPACE", help="A preset's name or a space's YAML file.")],
    backend: Backend = "onnxruntime",
    precision: Precision = "fp32",
    batch: Batch = 1,
    threads: Threads = 1,
    seed: Annotated[int, typer.Option(help="Seed of the probes.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File (default: this machine's).")] = None,
    json: Json = False,
) -> None:
    """Measure this machine for a space; a second call goes on.

    Example: deepmad table build r18 -o cpu.sqlite
    """
    from deepmad.profilers.building import Progress, build_table
    from deepmad.search_spaces.spaces import load_space

    chosen = load_space(space)
    conditions = {"backend": backend, "precision": precision, "batch": batch, "threads": threads}
    path = output or default_table(chosen.name, **conditions)  # type: ignore[arg-type]
    with bar(f"measuring for {chosen.name}", 1.0) as shown:
        began = time.monotonic()

        def tell(progress: Progress) -> None:
            passed = time.monotonic() - began
            shown.update(progress.done / progress.total, f"{progress.done} of {progress.total} probes, {passed:.0f} s")

        build_table(
            chosen,
            path,
            backend=backend,
            precision=precision,
            batch=batch,
            threads=threads,
            seed=seed,
            progress=tell,
        )
    say(f"written to {path}")
    _tell(path, json=json)


@table.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published table, or a profile.")],
    form: Form,
    device: Annotated[str, typer.Option(help="The device it was measured on, e.g. V100.")],
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"], typer.Option(help="The precision it was measured in.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Table file to write, or to add to.")],
    backend: ImportedBackend = None,
    batch: ImportedBatch = None,
    threads: Annotated[int, typer.Option(help="Threads it ran on, of a CPU.", min=1, max=1024)] = 1,
    model: Model = None,
    json: Json = False,
) -> None:
    """Import other people's measurements; all batches of a file go into one table file.

    Example: deepmad table import conv_data.out.fp16 --from tinynas --device V100 --precision fp16 -o v100.sqlite
    """
    from deepmad.profilers.importing import import_table

    with bar("importing", 1.0) as shown:
        import_table(
            file,
            form,
            device=device,
            precision=precision,
            output=output,
            backend=backend,
            batch=batch,
            threads=threads,
            model=model,
            progress=lambda share: shown.update(share, f"{share:.0%}"),
        )
    say(f"written to {output}")
    _tell(output, json=json)


@table.command()
def show(file: TableFile, json: Json = False) -> None:
    """Show what a table holds and how well it fits.

    Example: deepmad table show cpu.sqlite
    """
    _tell(file, json=json)


@table.command()
def export(
    file: TableFile,
    to: Annotated[Literal["csv", "parquet", "json"], typer.Option(help="The format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
) -> None:
    """Export every measurement with its conditions.

    Example: deepmad table export cpu.sqlite --to csv -o cpu.csv
    """
    from deepmad.profilers.tables import export_table

    export_table(file, to, output)
    say(f"written to {output}")


def _tell(path: Path, *, json: bool) -> None:
    """Print what the tables in a file hold."""
    from deepmad.profilers.tables import describe_tables

    found = describe_tables(path)
    if json:
        emit_json(found)
        return
    for one in found:
        out().print(plain_table(("", ""), [[key, _text(value)] for key, value in one.items()], text=True))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " to ".join(_text(item) for item in value)
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
