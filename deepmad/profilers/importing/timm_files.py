"""Benchmark tables of timm (github.com/huggingface/pytorch-image-models, results/benchmark-infer-*.csv).

One line is a whole network: its name, the side of its input, images a second at a batch of its own, millions of
parameters, and billions of multiply-accumulates and millions of activations for one image. `deepmad measure -o` writes
the same columns and more: the conditions, by which the rows that are asked for are chosen.
"""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepmad.profilers.importing.left_out import LeftOut, agreeing
from deepmad.profilers.prediction.quantities import (
    MOST_BATCH,
    MOST_SIDE,
    NANOSECONDS_IN_SECOND,
    SECONDS_ALLOWED,
    nanoseconds_of,
)
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_text

COLUMNS = {
    "infer_img_size": 1.0,
    "infer_samples_per_sec": 1.0,
    "infer_batch_size": 1.0,
    "param_count": 1e6,
    "infer_gmacs": 1e9,
    "infer_macts": 1e6,
}
"""The columns that are read besides `model`, and what their numbers are to be multiplied with."""
COUNTS = ("param_count", "infer_gmacs", "infer_macts")
"""What timm leaves empty where it could not count."""
WHOLE = {"infer_img_size": MOST_SIDE, "infer_batch_size": MOST_BATCH}
"""The columns of whole numbers, and the largest that each can hold."""
MOST_COUNT = 1e15
"""No network has more parameters, multiply-accumulates or activations."""
RESULT_COLUMNS = (
    "model", "infer_img_size", "infer_samples_per_sec", "infer_step_time", "infer_batch_size", "param_count",
    "infer_gmacs", "infer_macts",
)  # fmt: skip
"""The columns that are written: step time in milliseconds a batch, parameters and activations in millions."""
FAILED = "failed"
"""The column that tells why a network has no time."""
_PLAIN = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_DECIMAL_COMMA = re.compile(r"[-+]?(?:0,[0-9]+|[0-9.]*,(?![0-9]{3}$)[0-9]*)")
_MARKS_SWAPPED = str.maketrans(",.", ".,")

Line = Mapping[str, str]


@dataclass(frozen=True)
class NetworkRow:
    """A network with its counts for one image, and its nanoseconds for one batch."""

    name: str
    resolution: int
    batch: int
    macs: float
    params: float
    activations: float
    nanoseconds: int


@dataclass(frozen=True)
class Networks:
    """The networks of a table, each once, with the back end that its rows tell, or None.

    `uncounted` is for every batch how many networks lack a count, `remarks` what else was left out, in sentences.
    """

    rows: list[NetworkRow]
    uncounted: Counter[int]
    backend: str | None = None
    remarks: tuple[str, ...] = ()


def read_timm(path: Path, asked: Mapping[str, str | None] | None = None) -> Networks:
    """Return the networks of a table that were measured under the conditions `asked` for.

    `asked` may have `device`, `backend`, `precision` and `threads`; each counts where the file has such a column. Rows
    that cannot be used are left out. Raises `InputError` for a missing column or one given twice, where no row has the
    conditions, where most rows cannot be used, and where times of one network contradict each other.
    """
    try:
        lines = list(_lines(path, left_out := LeftOut(path, "rows")))
    except csv.Error as error:
        raise InputError(f"{path}: is no CSV file ({error}); name a benchmark-infer table of timm") from error
    chosen, backend = _chosen(path, lines, asked or {})
    others = len(lines) - len(chosen)
    decimal_comma = _has_decimal_comma(chosen)
    rows, uncounted = [], Counter[int]()
    for where, line in chosen:
        row = _row(line, where, left_out, decimal_comma)
        if isinstance(row, NetworkRow):
            rows.append(row)
        elif row is not None:
            uncounted[row] += 1
    left_out.check(len(rows) + uncounted.total())
    if not rows:
        raise InputError(f"{path}: holds no network with its counts; name a benchmark-infer table of timm")
    told = [f"{path}: {others} of its rows are of other conditions and left out"] if others else []
    told += [left_out.remark] if left_out.remark else []
    return Networks(_once(path, rows), uncounted, backend, tuple(told))


def _lines(path: Path, left_out: LeftOut) -> Iterator[tuple[str, Line]]:
    """Yield where each line of a table stands, and its cells by column; separated by commas, semicolons or tabs."""
    text = read_text(path).removeprefix("\ufeff")
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}: line {number}: has a zero byte, so it is no CSV file; write it again")
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    missing = [name for name in ("model", *COLUMNS) if name not in names]
    if missing:
        raise InputError(f"{path}: line 1: has no column {missing[0]}; it needs model, {', '.join(COLUMNS)}")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path}: line 1: has column {twice!r} twice; remove one of them")
    for line in reader:
        where = f"line {reader.line_num}"
        if None in line:  # cells beyond the header
            left_out.add(where, f"has more cells than the header; quote numbers that hold {separator!r}")
        elif any(line.values()):
            yield where, {name: (cell or "").strip() for name, cell in line.items()}


def _chosen(
    path: Path, lines: Sequence[tuple[str, Line]], asked: Mapping[str, str | None]
) -> tuple[list[tuple[str, Line]], str | None]:
    """Return the lines of the conditions asked for, and the back end that they tell."""
    chosen = list(lines)
    for name in ("device", "precision", "threads", "backend"):  # what is asked for without a choice comes first
        held = list(dict.fromkeys(line[name] for _, line in chosen if line.get(name)))
        wanted = asked.get(name)
        if wanted is None and len(held) > 1 and name in asked:
            raise InputError(f"{path}: its rows are of {name} {', '.join(held)}; choose one with --{name}")
        if not held or wanted is None:
            continue
        if wanted not in held:
            raise InputError(f"{path}: its rows are of {name} {', '.join(held)}, not {wanted}; mend --{name}")
        chosen = [(where, line) for where, line in chosen if line.get(name, wanted) in ("", wanted)]
    backends = {line["backend"] for _, line in chosen if line.get("backend")}
    return chosen, backends.pop() if len(backends) == 1 else None


def _has_decimal_comma(lines: Sequence[tuple[str, Line]]) -> bool:
    """Return whether a comma is the decimal mark of a file: in some number it cannot part thousands."""
    return any(_DECIMAL_COMMA.fullmatch(line[name]) for _, line in lines for name in COLUMNS)


def _row(line: Line, where: str, left_out: LeftOut, decimal_comma: bool) -> NetworkRow | int | None:
    """Return a line's network, or its batch where a count is missing; None for a line that is left out."""
    if line.get(FAILED):
        left_out.add(where, f"{line['model'][:60]} failed")
        return None
    uncounted = [name for name in COUNTS if not line[name]]
    numbers = {name: _number(line[name], decimal_comma) for name in COLUMNS if name not in uncounted}
    for name, number in numbers.items():
        most = WHOLE.get(name, MOST_COUNT)
        if number is None or not 0 < number * COLUMNS[name] <= most or (name in WHOLE and number % 1):
            wanted = f"a positive integer up to {most}" if name in WHOLE else "a number above 0"
            left_out.add(where, f"{name} is {line[name][:40]!r}; it must be {wanted}")
            return None
    known = {name: number * COLUMNS[name] for name, number in numbers.items() if number is not None}
    batch = round(known["infer_batch_size"])
    if uncounted:
        return batch
    # images a second are given to more digits than the time of a step
    nanoseconds = nanoseconds_of(batch / known["infer_samples_per_sec"])
    if nanoseconds is None:
        told = f"infer_samples_per_sec is {line['infer_samples_per_sec'][:40]!r} at batch {batch}"
        left_out.add(where, f"{told}; a batch takes {SECONDS_ALLOWED}")
        return None
    step = _number(line.get("infer_step_time", ""), decimal_comma)
    if step is not None and not agreeing([nanoseconds, max(1, round(min(step, 1e9) * 1e6))]):
        left_out.add(where, f"{batch} images at infer_samples_per_sec do not take infer_step_time {step:g} ms")
        return None
    return NetworkRow(
        line["model"], round(known["infer_img_size"]), batch,
        known["infer_gmacs"], known["param_count"], known["infer_macts"], nanoseconds,
    )  # fmt: skip


def _number(text: str, decimal_comma: bool) -> float | None:
    """Return the number in a cell, thousands parted or not; None where there is none."""
    if decimal_comma:
        text = text.translate(_MARKS_SWAPPED)
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    return float(text) if _PLAIN.fullmatch(text) else None


def _once(path: Path, rows: Sequence[NetworkRow]) -> list[NetworkRow]:
    """Return every network once: repeated measurements count as their middle."""
    found: dict[tuple[str, int, int], list[NetworkRow]] = defaultdict(list)
    for row in rows:
        found[row.name, row.resolution, row.batch].append(row)
    for (name, _, batch), same in found.items():
        times = [row.nanoseconds for row in same]
        if not agreeing(times):
            low, high = (one / NANOSECONDS_IN_SECOND * 1e3 for one in (min(times), max(times)))
            raise InputError(
                f"{path}: holds {name[:60]!r} at batch {batch} with {low:.4g} and with {high:.4g} ms; "
                "remove the wrong row"
            )
    return [
        replace(same[0], nanoseconds=round(float(np.median([row.nanoseconds for row in same]))))
        for same in found.values()
    ]
