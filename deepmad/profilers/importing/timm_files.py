"""Benchmark tables of timm (github.com/huggingface/pytorch-image-models, results/benchmark-infer-*.csv).

One line is a whole network: its name, the side of its input, images a second at a batch of its own, millions of
parameters, and billions of multiply-accumulates and millions of activations for one image.
"""

import csv
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
RESULT_COLUMNS = (
    "model", "infer_img_size", "infer_samples_per_sec", "infer_step_time", "infer_batch_size", "param_count",
    "infer_gmacs", "infer_macts",
)  # fmt: skip
"""The columns that are written: step time in milliseconds a batch, parameters and activations in millions."""
_NANOSECONDS_IN_SECOND = 10**9


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


def read_timm(path: Path) -> tuple[list[NetworkRow], Counter[int]]:
    """Return the networks of a table, and for every batch how many lack a count and were left out.

    Raises `InputError` with the missing column, or with the number of the first line that is not of the form.
    """
    try:
        return _read(path)
    except csv.Error as error:
        raise InputError(f"{path}: is no CSV file ({error}); name a benchmark-infer table of timm") from error


def _read(path: Path) -> tuple[list[NetworkRow], Counter[int]]:
    reader = csv.DictReader(read_text(path).splitlines())
    missing = [name for name in ("model", *COLUMNS) if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: line 1: has no column {missing[0]}; it needs model, {', '.join(COLUMNS)}")
    rows, left_out = [], Counter[int]()
    for line in reader:
        where = f"{path}: line {reader.line_num}"
        uncounted = [name for name in COUNTS if not (line[name] or "").strip()]
        numbers = {name: _number(line, name, where) for name in COLUMNS if name not in uncounted}
        if uncounted:
            left_out[round(numbers["infer_batch_size"])] += 1
            continue
        rows.append(_row(line["model"], numbers))
    if not rows:
        raise InputError(f"{path}: holds no network with its counts; name a benchmark-infer table of timm")
    return rows, left_out


def _row(name: str, numbers: Mapping[str, float]) -> NetworkRow:
    batch = round(numbers["infer_batch_size"])
    return NetworkRow(
        name,
        round(numbers["infer_img_size"]),
        batch,
        numbers["infer_gmacs"],
        numbers["param_count"],
        numbers["infer_macts"],
        # images a second are given to more digits than the time of a step
        max(1, round(batch / numbers["infer_samples_per_sec"] * _NANOSECONDS_IN_SECOND)),
    )


def _number(line: Mapping[str, str | None], name: str, where: str) -> float:
    """Return the number in a column, in its plain unit."""
    try:
        number = float(line[name] or "")
    except ValueError:
        number = math.nan
    whole = name in ("infer_img_size", "infer_batch_size")
    if not (0 < number < math.inf) or (whole and number % 1):
        wanted = "a positive integer" if whole else "a number above 0"
        raise InputError(f"{where}: {name} is {(line[name] or '')[:40]!r}; it must be {wanted}")
    return number * COLUMNS[name]
