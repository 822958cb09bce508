"""What `deepmad measure` makes of its measurements: a row each, as a table, as JSON, and in timm's CSV columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.profilers.importing.timm_files import RESULT_COLUMNS
from deepmad.profilers.measuring.measurements import Failure, Measurement
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.search_spaces import csv_files
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.profilers.tables.tables import LatencyTable

Way = tuple[str, str]
"""A back end and a precision."""
OWN_COLUMNS = (
    "backend", "precision", "threads", "device", "version", "date", "latency_seconds", "low_seconds", "high_seconds",
    "ratio", "predicted_seconds", "prediction_error", "prediction_note", "within_table", "gpu_memory_bytes",
    "joules_per_image", "relative_to_reference", "drift", "counts_note", "input_width", "warnings", "failed",
)  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """What a table predicts for a network in seconds a batch, or None, and what is to be said about it.

    `within` is the share of the network's layers within what the table's rows span; None where nobody knows.
    """

    seconds: float | None
    note: str | None
    within: float | None = None


@dataclass(frozen=True)
class Row:
    """One network under one back end and precision; `ratio` is its latency over that of the first row."""

    model: str
    found: Measurement | Failure
    ratio: float | None
    prediction: Prediction | None

    @property
    def error(self) -> float | None:
        """The prediction's error, (predicted - measured) / measured."""
        if self.prediction is None or self.prediction.seconds is None or isinstance(self.found, Failure):
            return None
        return self.prediction.seconds / self.found.seconds - 1

    def to_dict(self) -> dict[str, Any]:
        """Return the row's JSON document."""
        document = {"model": self.model} | self.found.to_dict()
        if isinstance(self.found, Failure):
            return document
        return document | {
            "ratio": self.ratio,
            "predicted_seconds": self.prediction.seconds if self.prediction else None,
            "prediction_error": self.error,
            "prediction_note": self.prediction.note if self.prediction else None,
            "within_table": self.prediction.within if self.prediction else None,
        }


def make_rows(
    names: Sequence[str],
    found: Sequence[Measurement | Failure],
    tables: "dict[Way, LatencyTable]",
    *,
    force: bool = False,
) -> list[Row]:
    """Return a row a measurement, each with what the table of its back end and precision predicts.

    `force` tells predictions that are mostly guesses too.
    """
    first = next((one.seconds for one in found if isinstance(one, Measurement)), None)
    rows = []
    for name, one in zip(names, found, strict=True):
        if isinstance(one, Failure) or first is None:
            rows.append(Row(name, one, None, None))
            continue
        table = tables.get((one.conditions.backend, one.conditions.precision))
        prediction = None if table is None else predicted(table, one, force=force)
        rows.append(Row(name, one, one.seconds / first, prediction))
    return rows


def predicted(table: "LatencyTable", measured: Measurement, *, force: bool = False) -> Prediction:
    """Return what a table predicts for a network that was measured, or why it predicts nothing; see `tell`."""
    from deepmad.cli.table_doubts import FORCE, elsewhere
    from deepmad.profilers.tables.telling import tell

    if measured.network is None:
        return Prediction(None, "what the network is made of is not known")
    told = tell(table, measured.network, force=force)
    if told.seconds is None:
        return Prediction(None, "; ".join((*told.notes, *([FORCE] if told.guess else []))), told.within)
    here = measured.conditions
    notes = [*elsewhere(table, here.device, here.version), *told.notes]
    if table.resolution not in (None, here.resolution):
        notes.append(f"the table was made for {table.resolution} pixels, not {here.resolution}")
    return Prediction(told.seconds, "; ".join(notes) or None, told.within)


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and cells of the comparison; a column that nothing is known for is left out."""
    measured = [(row, row.found) for row in rows if isinstance(row.found, Measurement)]
    folderless = {row.model: Path(row.model).name for row, _ in measured}
    distinct = len({*folderless.values()}) == len(folderless)
    columns: dict[str, list[str]] = {
        "model": [folderless[row.model] if distinct else row.model for row, _ in measured],
        "back end": [one.conditions.backend for _, one in measured],
        "precision": [one.conditions.precision for _, one in measured],
        "latency": [human(one.seconds, "seconds") for _, one in measured],
        "95 % interval": [f"{human(one.low, 'seconds')} to {human(one.high, 'seconds')}" for _, one in measured],
        "throughput": [f"{one.throughput:.2f}/s" for _, one in measured],
        "ratio": [f"{row.ratio or 1:.3f}" for row, _ in measured],
        "memory": [_shown(one.memory_bytes, "bytes") for _, one in measured],
        "energy/image": [_shown(one.joules_per_image, "joules") for _, one in measured],
        "MACs": [_counted(one.network.macs, one.network) if one.network else "-" for _, one in measured],
        "params": [_counted(one.network.params, one.network) if one.network else "-" for _, one in measured],
        "predicted": [_shown(row.prediction.seconds if row.prediction else None, "seconds") for row, _ in measured],
        "in table": [_percent(row.prediction.within if row.prediction else None) for row, _ in measured],
        "error": ["-" if row.error is None else f"{row.error:+.1%}" for row, _ in measured],
    }
    shown = {name: column for name, column in columns.items() if any(cell != "-" for cell in column)}
    return list(shown), [list(row) for row in zip(*shown.values(), strict=True)]


def _shown(value: float | None, kind: Any) -> str:
    return "-" if value is None else human(value, kind)


def _counted(value: int, network: NetworkLayers) -> str:
    """Return a count of a network, marked where it leaves something out."""
    return f"{'at least ' if network.uncounted else ''}{human(value, 'count')}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def csv_text(rows: Sequence[Row]) -> str:
    """Return the rows as CSV: timm's benchmark columns, then this project's; what is not known is empty."""
    return csv_files.csv_text((*RESULT_COLUMNS, *OWN_COLUMNS), map(_csv_row, rows))


def _csv_row(row: Row) -> dict[str, Any]:
    one = row.found
    name = row.model.removeprefix("timm:")  # as timm's own files call it
    if isinstance(one, Failure):
        asked = one.request
        return {
            "model": name,
            "infer_batch_size": asked.batch,
            "backend": asked.backend,
            "precision": asked.precision,
            "threads": asked.threads,
            "failed": one.reason,
        }
    what, network = one.conditions, one.network
    values = {
        "model": name,
        "infer_img_size": what.resolution,
        "infer_samples_per_sec": one.throughput,
        "infer_step_time": 1e3 * one.seconds,
        "infer_batch_size": what.batch,
        "param_count": network and network.params / 1e6,
        "infer_gmacs": network and network.macs / 1e9,
        "infer_macts": network and network.activations / 1e6,
        **{name: getattr(what, name) for name in ("backend", "precision", "threads", "device", "version", "date")},
        "latency_seconds": one.seconds,
        "low_seconds": one.low,
        "high_seconds": one.high,
        "ratio": row.ratio,
        "predicted_seconds": row.prediction and row.prediction.seconds,
        "prediction_error": row.error,
        "prediction_note": row.prediction and row.prediction.note,
        "within_table": row.prediction and row.prediction.within,
        "gpu_memory_bytes": one.memory_bytes,
        "joules_per_image": one.joules_per_image,
        "relative_to_reference": one.relative_to_reference,
        "drift": one.reference and one.reference.drift,
        "counts_note": network and network.counts_note,
        "input_width": what.width,
        "warnings": "; ".join(one.warnings),
    }
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}


def tables_of(
    paths: Sequence[Path], ways: Sequence[Way], batch: int, threads: int
) -> "tuple[dict[Way, LatencyTable], list[str]]":
    """Return, for every back end and precision, the first table among `paths` of these conditions, if there is one.

    And what is doubtful about these tables. Raises `InputError` where a file is no latency table, or holds none for any
    of them.
    """
    from deepmad.cli.table_doubts import doubts_of
    from deepmad.profilers.tables.table_files import Key, open_table
    from deepmad.profilers.tables.tables import LatencyTable

    held: list[tuple[Path, Key]] = []
    for path in paths:
        with open_table(path) as file:
            held += [(path, series.key) for series in file.series()]
    found, doubts = {}, list[str]()
    for backend, precision in ways:
        key = Key(backend, precision, batch, threads)
        holder = next((path for path, known in held if known == key), None)
        if holder is not None:
            way = (backend, precision)
            found[way] = LatencyTable.load(holder, backend=backend, precision=precision, batch=batch, threads=threads)
            doubts += doubts_of(holder, found[way])
    wanted = {Key(*way, batch, threads) for way in ways}
    for path in paths:
        keys = [key for known, key in held if known == path]
        if wanted.isdisjoint(keys):
            what = "; ".join(map(str, keys)) or "nothing yet"
            raise InputError(f"--table: {path} holds {what}, and none of that is measured; change the conditions asked")
    return found, doubts
