"""Options that several commands share, and how their values are read."""

from typing import Annotated

import typer

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import AtLeast, Kind, bound, quantity

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Backend = Annotated[str, typer.Option(help="What runs the network; deepmad doctor lists them.")]
Precision = Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8, where the back end takes it.")]
Batch = Annotated[int, typer.Option(help="Images in one batch.", min=1, max=65536)]
Threads = Annotated[int, typer.Option(help="Threads of the back end on a CPU.", min=1, max=1024)]

TableBackend = Annotated[
    str | None, typer.Option(help="What runs the network (default: the table's, else onnxruntime).")
]
TablePrecision = Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8 (default: the table's, else fp32).")]
TableBatch = Annotated[
    int | None, typer.Option(help="Images in one batch (default: the table's, else 1).", min=1, max=65536)
]
TableThreads = Annotated[
    int | None, typer.Option(help="Threads of the back end on a CPU (default: the table's, else 1).", min=1, max=1024)
]


def limit(text: str | None, kind: Kind, name: str, default: float | None = None) -> float | None:
    """Return a limit's value in SI units: the default where it is left out, None for `none`."""
    if text is None:
        return default
    return None if text.lower() == "none" else quantity(text, kind, f"--{name}")


def either_limit(text: str | None, name: str, default: float | AtLeast | None) -> float | AtLeast | None:
    """Return a limit on a count as `limit` does; `>=6M` is one from below."""
    if text is None:
        return default
    return None if text.lower() == "none" else bound(text, "count", f"--{name}")


def numbers(text: str | None, name: str) -> tuple[float, ...] | None:
    """Return a comma-separated list of numbers. Raises `InputError`."""
    if text is None:
        return None
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError as error:
        raise InputError(f"--{name}: {text!r} is no list of numbers like 1,1,1,1,8") from error
