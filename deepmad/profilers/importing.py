"""Importing a published table: its rows into a table file, with a predictor for every batch."""

from pathlib import Path

import numpy as np

from deepmad.profilers.filling import Tell, predict_from
from deepmad.profilers.table_files import ANY_SPACE, UNKNOWN, Key, Origin, Series, open_table
from deepmad.profilers.tinynas_files import read_tinynas
from deepmad.search_spaces.errors import InputError

READERS = {"tinynas": (read_tinynas, "tensorrt")}
"""For every form of file: what reads it, and the back end whose times it holds."""
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


def import_table(
    path: str | Path, form: str, *, device: str, precision: str, output: str | Path, progress: Tell | None = None
) -> None:
    """Store the convolutions of a published table at `path` in the table file `output`, and a predictor a batch.

    `form` is a key of `READERS`. A file that is there gets the tables added, and is left as it was on any error.
    `progress` is told the share that is done. Raises `InputError` where the form or the precision is unknown, the
    file at `path` is not of that form, `output` is no table file or holds one of these tables, or scikit-learn is
    not installed.
    """
    if form not in READERS:
        raise InputError(f"from: {form!r} is unknown; choose from {', '.join(READERS)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision: {precision!r} is unknown; choose from {', '.join(PRECISIONS)}")
    path, output = Path(path), Path(output)
    reader, backend = READERS[form]
    times, unmeasured = reader(path)
    keys = {int(batch): Key(backend, precision, int(batch), 1) for batch in np.unique(times.batch)}
    if output.exists():
        _check_free(output, list(keys.values()))
    predictions = predict_from(times, progress)
    with open_table(output, create=True) as file, file.turn():
        for batch, key in keys.items():
            rows = times.where(times.batch == batch)
            series = Series(key, device, UNKNOWN, ANY_SPACE, 0, len(rows))
            file.add_import(series, Origin(form, path.name, unmeasured[batch]), rows, predictions[batch].to_dict())


def _check_free(output: Path, keys: list[Key]) -> None:
    """Raise `InputError` where a file holds one of the tables that are to be imported."""
    with open_table(output) as file:
        held = [series.key for series in file.series() if series.key in keys]
    if held:
        raise InputError(f"{output}: holds {held[0]} already; choose another file with -o")
