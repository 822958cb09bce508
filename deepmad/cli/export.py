"""`deepmad export`: hand a network over to other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepmad.cli.options import Json, check_ending, ranged, written
from deepmad.cli.output import emit_json, say, working
from deepmad.search_spaces.files import check_writable

if TYPE_CHECKING:
    from deepmad.search_spaces.architectures import Architecture

_ENDINGS = {
    "onnx": (".onnx",),
    "torch": (".pt2", ".pt", ".pth"),
    "module": (".py",),
    "timm": (".py",),
    "weights": (".safetensors",),
}
"""How the names of files of each form end, the usual ending first."""
Form = Literal["onnx", "torch", "module", "timm", "weights"]


def export(
    arch: Annotated[Path, typer.Argument(metavar="ARCH", help="An architecture or a solution file.")],
    to: Annotated[
        Form,
        typer.Option(
            help="onnx; torch: a program that plain PyTorch loads (torch.export.load); module: a readable Python file "
            "that needs PyTorch only; timm: a Python file that registers the network with timm once imported; "
            "weights: initial weights for both (safetensors)."
        ),
    ],
    output: Annotated[Path, written("File to write.")],
    seed: Annotated[int, ranged("seed", "Seed of the initial weights (onnx, torch, weights).")] = 0,
    json: Json = False,
) -> None:
    """Export a network, with initial weights where the form holds weights.

    Example: deepmad export r50.json --to onnx -o r50.onnx
    """
    from deepmad.search_spaces.architectures import Architecture, split_rank
    from deepmad.search_spaces.spaces import require_network

    require_network(arch)
    network = Architecture.load(arch)
    check_ending(output, _ENDINGS[to], f"the form {to}")
    check_writable(output, read=[split_rank(arch)[0]])
    with working(f"exporting to {to}"):
        name = write(network, to, output, seed)
    if json:
        told = {"file": str(output), "bytes": output.stat().st_size, "to": to}
        emit_json(told | ({"name": name} if name else {}))
        return
    say(f"written to {output} ({output.stat().st_size:,} bytes)")
    if name:
        say(f"once it is imported: timm.create_model({name!r})")


def write(network: "Architecture", to: Form, output: Path, seed: int) -> str | None:
    """Write `network` to a file of the form `to`; return the name of the model where the form gives it one."""
    from deepmad.search_spaces.standalone import write_standalone, write_timm
    from deepmad.search_spaces.weights import initialised, write_weights

    if to == "timm":
        return write_timm(network, output)
    if to == "module":
        write_standalone(network, output)
    elif to == "weights":
        write_weights(network, output, seed)
    elif to == "onnx":
        from deepmad.profilers.onnx_files.export import export_onnx

        export_onnx(initialised(network, seed), output)
    else:
        from deepmad.search_spaces.torch_export import export_program

        export_program(initialised(network, seed), output)
    return None
