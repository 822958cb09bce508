"""`deepmad export`: hand a network over to other tools."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from deepmad.cli.options import Json
from deepmad.cli.output import emit_json, err, say


def export(
    arch: Annotated[Path, typer.Argument(metavar="ARCH", help="An architecture or a solution file.")],
    to: Annotated[
        Literal["onnx", "torch"],
        typer.Option(help="onnx, or torch: a program that plain PyTorch loads (torch.export.load)."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the initial weights.", min=0)] = 0,
    json: Json = False,
) -> None:
    """Export a network with initial weights.

    Example: deepmad export r50.json --to onnx -o r50.onnx
    """
    from deepmad.profilers.onnx_export import export_onnx, initialised
    from deepmad.search_spaces.architectures import Architecture
    from deepmad.search_spaces.torch_export import export_program

    network = Architecture.load(arch)
    with err().status(f"exporting to {to}"):
        (export_onnx if to == "onnx" else export_program)(initialised(network, seed), output)
    if json:
        emit_json({"file": str(output), "bytes": output.stat().st_size, "to": to})
    else:
        say(f"written to {output} ({output.stat().st_size:,} bytes)")
