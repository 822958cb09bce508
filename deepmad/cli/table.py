"""`deepmad table`: build, show and export latency tables."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deepmad.cli.options import Backend, Batch, Json, Precision, Threads
from deepmad.cli.output import bar, emit_json, out, say
from deepmad.cli.render import plain_table
from deepmad.cli.tables import default_table
from deepmad.search_spaces.files import write_text

table = typer.Typer(help="Build, show and export latency tables.", rich_markup_mode=None)

TableFile = Annotated[Path, typer.Argument(metavar="FILE", help="A table that deepmad built.")]


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
    from deepmad.profilers.building import build_table
    from deepmad.search_spaces.spaces import load_space

    chosen = load_space(space)
    conditions = {"backend": backend, "precision": precision, "batch": batch, "threads": threads}
    path = output or default_table(chosen.name, **conditions)  # type: ignore[arg-type]
    with bar(f"measuring for {chosen.name}", 1.0) as shown:
        built = build_table(
            chosen,
            path,
            backend=backend,
            precision=precision,
            batch=batch,
            threads=threads,
            seed=seed,
            progress=lambda done, total, note: shown.update(done / total, f"{done} of {total} probes, {note}"),
        )
    if json:
        emit_json({"file": str(path)} | built.describe())
    else:
        say(f"written to {path}")
        _print(built.describe())


@table.command()
def show(file: TableFile, json: Json = False) -> None:
    """Show what a table holds and how well it fits.

    Example: deepmad table show cpu.sqlite
    """
    from deepmad.profilers.tables import describe_table

    found = describe_table(file)
    if json:
        emit_json(found)
        return
    for one in found:
        _print(one)


@table.command()
def export(
    file: TableFile,
    to: Annotated[Literal["csv", "parquet", "json"], typer.Option(help="The format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
) -> None:
    """Export every measurement with its conditions.

    Example: deepmad table export cpu.sqlite --to csv -o cpu.csv
    """
    from deepmad.profilers.tables import export_rows
    from deepmad.search_spaces.errors import InputError

    rows = export_rows(file)
    import pandas as pd

    frame = pd.DataFrame(rows)
    if to == "parquet":
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(output)
        except ImportError as error:
            raise InputError("parquet needs pyarrow: pip install 'deepmad[parquet]'") from error
    else:
        write_text(output, frame.to_csv(index=False) if to == "csv" else frame.to_json(orient="records", indent=1))
    say(f"{len(rows)} measurements written to {output}")


def _print(description: dict[str, object]) -> None:
    out().print(plain_table(("", ""), [[str(key), str(value)] for key, value in description.items()]))
