"""Options that several commands share, and how their values are read."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.json_documents import MOST_DIGITS
from deepmad.search_spaces.ranges import RANGES, check, fault_of
from deepmad.search_spaces.units import AtLeast, Kind, bound, number, quantity

if TYPE_CHECKING:
    from deepmad.search_spaces.spaces import AlphaWord

_ENDINGS: dict[str, str | None] = {
    ".onnx": "onnx",
    ".pt2": "torch",
    ".py": "module",
    ".safetensors": "weights",
    ".csv": None,
    ".json": None,
    ".pt": None,
    ".pth": None,
    ".sqlite": None,
    ".svg": None,
    ".yaml": None,
    ".yml": None,
}
"""Endings of files, and the form by which `deepmad export` writes one."""


def ranged(of: str, help: str, *names: str) -> Any:
    """Return the option for a number of the quantity `of`, called `names`; other values are refused with its range."""
    return typer.Option(*names, help=help, parser=_reader(of), metavar="INTEGER" if RANGES[of].whole else "NUMBER")


def _reader(of: str) -> Callable[[Any], Any]:
    """Return what reads an option's text as a number of a quantity."""

    def read(given: Any) -> Any:
        value = _number(given, whole=RANGES[of].whole) if isinstance(given, str) else given
        if (fault := fault_of(of, value)) is not None:
            raise typer.BadParameter(f"{shown(given)} {fault}")
        return value

    return read


def _number(text: str, *, whole: bool) -> Any:
    """Return a text's number; the text itself where it is none, which no range holds."""
    if whole:
        return int(text) if re.fullmatch(rf"\s*[-+]?[0-9]{{1,{MOST_DIGITS}}}\s*", text) else text
    found = number(text)
    return text if found is None else found


def written(help: str, *names: str) -> Any:
    """Return the option for a file or folder to be written."""
    return typer.Option(*(names or ("-o", "--output")), help=help, parser=_path, metavar="PATH")


def check_ending(path: Path, taken: Sequence[str], what: str) -> None:
    """Raise `InputError` where a file's name ends as files of another form do than the one that is written.

    `taken` are the endings of that form, the usual one first, and `what` is what is written.
    """
    ending = path.suffix.lower()
    if ending not in _ENDINGS or ending in taken:
        return
    own = path.with_suffix(taken[0])
    way_out = f"name it {own.name}"
    if taken[0] == ".json" and (form := _ENDINGS[ending]) is not None:
        way_out += f", then: deepmad export {own} --to {form} -o {path}"
    raise InputError(f"-o {path}: {what} is written there, which is no {ending} file; {way_out}")


def _path(given: Any) -> Path:
    """Return a path that names something."""
    if not str(given).strip():
        raise typer.BadParameter(f"{shown(str(given))} names no file; give a name")
    return Path(given)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Backend = Annotated[str, typer.Option(help="What runs the network; deepmad doctor lists them.")]
Precision = Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8, where the back end takes it.")]
Batch = Annotated[int, ranged("batch", "Images in one batch.")]
Threads = Annotated[int, ranged("threads", "Threads of the back end on a CPU.")]

TableBackend = Annotated[
    str | None, typer.Option(help="What runs the network (default: the table's, else onnxruntime).")
]
TablePrecision = Annotated[str | None, typer.Option(help="fp32, fp16, bf16 or int8 (default: the table's, else fp32).")]
TableBatch = Annotated[int | None, ranged("batch", "Images in one batch (default: the table's, else 1).")]
TableThreads = Annotated[
    int | None, ranged("threads", "Threads of the back end on a CPU (default: the table's, else 1).")
]


def limit(text: str | None, kind: Kind, name: str, default: float | None = None) -> float | None:
    """Return a limit's value in SI units: the default where it is left out, None for `none`. Raises `InputError`."""
    if text is None:
        return default
    if text.lower() == "none":
        return None
    value = quantity(text, kind, f"--{name}")
    check(name, value, f"--{name}")
    return value


def either_limit(text: str | None, name: str, default: float | AtLeast | None) -> float | AtLeast | None:
    """Return a limit on a count as `limit` does; `>=6M` is one from below. Raises `InputError`."""
    if text is None:
        return default
    return None if text.lower() == "none" else bound(text, name, f"--{name}")


def weights(text: str | None, name: str) -> "tuple[float, ...] | AlphaWord | None":
    """Return a comma-separated list of weights, or the word for them. Raises `InputError`."""
    from deepmad.search_spaces.spaces import ALPHA_WORDS

    if text is None:
        return None
    for word in ALPHA_WORDS:
        if text == word:
            return word
    found = [number(item) for item in text.split(",")]
    if None in found:
        raise InputError(f"--{name}: {shown(text)} is no list of numbers like 1,1,1,1,8, nor uniform or last")
    return tuple(one for one in found if one is not None)
