"""`deepmad table`: build, import, show and export latency tables."""

from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepmad.cli.endings import keeping
from deepmad.cli.options import Backend, Json, Threads, check_ending, ranged, written
from deepmad.cli.output import Bar, Waits, bar, emit_json, out, say, warn
from deepmad.cli.render import plain_table
from deepmad.profilers.tables.own_tables import default_table
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_writable

if TYPE_CHECKING:
    from deepmad.profilers.building.building import Progress
    from deepmad.profilers.measuring.steps import Once

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
    ranged("batch", "Images in one batch (default: ofa, trtexec 1; timm each of 50 networks)."),
]
Model = Annotated[
    Path | None, typer.Option(help="The network of a trtexec profile: the architecture or solution file exported.")
]


@table.command()
def build(
    spaces: Annotated[
        list[str], typer.Argument(metavar="PRESET_OR_SPACE...", help="Names of presets, or spaces' YAML files.")
    ],
    backend: Backend = "onnxruntime",
    precision: Annotated[list[str], typer.Option(help="fp32, fp16, bf16 or int8; may be repeated.")] = ["fp32"],  # noqa: B006 - typer copies it
    batch: Annotated[list[int], ranged("batch", "Images in one batch; may be repeated.")] = [1],  # noqa: B006 - typer copies it
    threads: Threads = 1,
    resolution: Annotated[
        int | None, ranged("resolution", "Side of the input (default: the space's); MACs scale with its area.")
    ] = None,
    seed: Annotated[int, ranged("seed", "Seed of the probes.")] = 0,
    minutes: Annotated[
        float, ranged("minutes", "Most minutes of measuring for each space, precision and batch.")
    ] = 10.0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Measure again what failed before.")] = False,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Measure in processes of their own: a crash costs one probe.")
    ] = False,
    output: Annotated[Path | None, written("File for all of it (default: this machine's, one each).")] = None,
    json: Json = False,
) -> None:
    """Measure this machine for a space; a second call goes on.

    Example: deepmad table build r18 --batch 1 --batch 8 -o cpu.sqlite
    """
    from deepmad.profilers.backends import find_backend
    from deepmad.profilers.building.building import build_table
    from deepmad.profilers.building.probes import at_resolution
    from deepmad.profilers.measuring.steps import Once
    from deepmad.search_spaces.spaces import load_space

    if output is not None and len(spaces) > 1:
        raise InputError(f"-o: one file cannot hold {len(spaces)} spaces under the same conditions; leave -o out")
    if output is not None:
        check_ending(output, [".sqlite"], "a latency table")
        check_writable(output, read=spaces)
    for one_precision in precision:
        find_backend(backend, one_precision)  # before the first of them is measured for minutes
    members = [load_space(name) for name in spaces]
    members = [space if resolution is None else at_resolution(space, resolution) for space in members]
    paths = dict[Path, None]()
    for space, one_precision, one_batch in product(members, dict.fromkeys(precision), dict.fromkeys(batch)):
        conditions = {"backend": backend, "precision": one_precision, "batch": one_batch, "threads": threads}
        path = output or default_table(space.name, space.resolution, **conditions)
        what = f"measuring for {space.name}, {one_precision}, batch {one_batch}"
        doubts, waits = Once(), Waits()
        with keeping(partial(_kept, path)), bar(what, 1.0) as shown:
            build_table(
                space,
                path,
                **conditions,
                seed=seed,
                time_limit=60 * minutes,
                retry_failed=retry_failed,
                isolated=isolated,
                progress=partial(_show, shown, doubts),
                tell=waits,
            )
        say(f"written to {path}")
        paths[path] = None
    _tell(paths, json=json)


def _kept(path: Path) -> str:
    """Return what a build that ended before its time leaves behind."""
    return f"what was measured is stored in {path}; the same command goes on" if path.exists() else ""


def _show(shown: Bar, doubts: "Once", progress: "Progress") -> None:
    """Show how far a build is, and once what spoils its times."""
    for doubt in doubts.new(progress.doubts):
        warn(doubt)
    parts = [f"{progress.done} of {progress.total} probes", f"{progress.seconds:.0f} s"]
    if progress.failed:
        parts.insert(1, f"{progress.failed} failed")
    if progress.again:
        parts.append(f"{progress.again} slow ones once more")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:.0f} s left")
    if progress.within_10_percent is not None:
        parts.append(f"{progress.within_10_percent:.0%} within 10 %")
    shown.update(progress.done / max(1, progress.total), ", ".join(parts))


@table.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published table, or a profile.")],
    form: Form,
    device: Annotated[str, typer.Option(help="The device it was measured on, e.g. V100.")],
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"], typer.Option(help="The precision it was measured in.")
    ],
    output: Annotated[Path, written("Table file to write, or to add to.")],
    backend: ImportedBackend = None,
    batch: ImportedBatch = None,
    threads: Annotated[int, ranged("threads", "Threads it ran on, of a CPU.")] = 1,
    model: Model = None,
    json: Json = False,
) -> None:
    """Import other people's measurements; all batches of a file go into one table file.

    Example: deepmad table import conv_data.out.fp16 --from tinynas --device V100 --precision fp16 -o v100.sqlite
    """
    from deepmad.profilers.importing.importing import import_table

    remarks: list[str] = []
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
            remark=remarks.append,
        )
    for remark in remarks:
        warn(remark)
    say(f"written to {output}")
    _tell([output], json=json)


@table.command()
def show(file: TableFile, json: Json = False) -> None:
    """Show what a table holds and how well it fits.

    Example: deepmad table show cpu.sqlite
    """
    _tell([file], json=json)


@table.command()
def export(
    file: TableFile,
    to: Annotated[Literal["csv", "parquet", "json"], typer.Option(help="The format.")],
    output: Annotated[Path, written("File to write.")],
) -> None:
    """Export every measurement with its conditions.

    Example: deepmad table export cpu.sqlite --to csv -o cpu.csv
    """
    from deepmad.profilers.tables.tables import export_table

    check_writable(output, read=[file])
    export_table(file, to, output)
    say(f"written to {output}")


def _tell(paths: Iterable[Path], *, json: bool) -> None:
    """Print what the tables in some files hold."""
    from deepmad.profilers.tables.tables import describe_tables
    from deepmad.profilers.tables.verdicts import verdict_sentence

    found = [(path, described) for path in paths for described in describe_tables(path)]
    for path, described in found:
        if described.get("failed"):
            warn(f"{described['failed']} probes failed: {'; '.join(described['failures'])}")
        if described["verdict"] == "poor":
            warn(f"{path}: the table is {verdict_sentence(described)}")
    if json:
        emit_json([described for _, described in found])
        return
    for _, one in found:
        shown = {key: one[key] for key in one if key not in ("reasons", "advice")} | {"verdict": verdict_sentence(one)}
        rows = [[key, _text(_sentence(key, value))] for key, value in shown.items()]
        out().print(plain_table(("", ""), rows, text=True))


def _sentence(key: str, value: object) -> object:
    """Return a list of sentences as one; anything else as it is."""
    return "; ".join(value) or "none" if key in ("failures", "warnings") and isinstance(value, list) else value


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " to ".join(_text(item) for item in value)
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
