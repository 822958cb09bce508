"""Latency tables: a device's predictor with the conditions it holds for, and export of what was measured.

The predictor of a built table is fitted on measured networks (`prediction`). An imported one's is read off a grid of
measured convolutions (`grids`), fitted on blocks or engine layers (`layer_rows`), or a proxy fitted on whole networks
(`proxies`). Nothing else tells them apart.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmad.profilers.measuring.steps import Once
from deepmad.profilers.prediction.accuracy import MIN_HELD_OUT, accuracy, held_out_document
from deepmad.profilers.prediction.convolutions import ConvolutionTimes
from deepmad.profilers.prediction.coverage import Within
from deepmad.profilers.prediction.grids import GridPrediction
from deepmad.profilers.prediction.prediction import (
    Prediction,
    Predictor,
    all_network_nanoseconds,
    busy,
    disturbed,
    held_out_errors,
    network_nanoseconds,
    probe_seconds,
    usual_level,
)
from deepmad.profilers.prediction.proxies import ProxyPrediction
from deepmad.profilers.prediction.stored import words
from deepmad.profilers.tables.build_records import BuildRecords
from deepmad.profilers.tables.shown import errors_picture
from deepmad.profilers.tables.table_files import Key, Origin, Series, TableFile, open_table
from deepmad.profilers.tables.verdicts import verdict
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.csv_files import cell
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import write_bytes
from deepmad.search_spaces.layers import Count, Layer
from deepmad.search_spaces.notebooks import Picture, frame
from deepmad.search_spaces.spaces import presets

if TYPE_CHECKING:
    from pandas import DataFrame

EXPORTS = ("csv", "json", "parquet")


@dataclass(frozen=True)
class LatencyTable:
    """The predictor of one device under one set of conditions; `space` is "any" where it was imported.

    A network's latency for one batch is `overhead_nanoseconds` plus `nanoseconds` of each of its layers.
    """

    device: str
    backend: str
    version: str
    precision: str
    batch: int
    threads: int
    space: str
    prediction: Predictor
    resolution: int | None = None
    """The side of the networks that it was built from; None where it was imported or does not tell."""
    path: Path | None = field(default=None, compare=False)
    """The file that it was read from."""

    def __repr__(self) -> str:
        side = "" if self.resolution is None else f", input {self.resolution}"
        return f"<LatencyTable of {self.device}: space {self.space}{side}, {self.key}>"

    @property
    def frame(self) -> "DataFrame":
        """Every measurement behind the table, in the columns of `export_rows`. Raises `InputError`."""
        with open_table(self._file()) as file:
            return frame(_exported(file, next(series for series in file.series() if series.key == self.key)))

    def plot(self) -> Picture:
        """Return a picture of predicted against measured latency of networks held out. Raises `InputError`."""
        return errors_picture(self._file(), self.key)

    def _file(self) -> Path:
        if self.path is None:
            raise InputError("the table was not read from a file; LatencyTable.load(FILE) reads one")
        return self.path

    @staticmethod
    def load(
        path: str | Path,
        *,
        batch: int | None = None,
        backend: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
    ) -> "LatencyTable":
        """Return the table in a file; what is None may be left out where the file leaves no choice.

        Raises `InputError` where the file is missing, damaged, no latency table or unfinished, or holds
        none or several that fit.
        """
        path = Path(path)
        wanted = {"backend": backend, "precision": precision, "batch": batch, "threads": threads}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        with open_table(path) as file:
            series = _choose(path, file, wanted)
            fit = file.fit(series.key)
            if fit is None:
                command = f"{_build_command(series.space, series.key)} --seed {series.seed} -o {path}"
                raise InputError(
                    f"{path}: unfinished: {len(file.done(series.key))} of {series.probes} probes of {series.key} "
                    f"are measured; go on with: {command}"
                )
            with file.intact(f"the predictor of {series.key}"):
                predictor = _predictor(fit)
            settings = BuildRecords(file, series.key).settings()
        return LatencyTable(
            series.device, series.key.backend, series.version, series.key.precision, series.key.batch,
            series.key.threads, series.space, predictor,
            settings.resolution if settings is not None else None, path,
        )  # fmt: skip

    @property
    def key(self) -> Key:
        """Which series of its file it is."""
        return Key(self.backend, self.precision, self.batch, self.threads)

    @property
    def overhead_nanoseconds(self) -> int:
        """Nanoseconds every network takes for one batch, whatever its layers."""
        return self.prediction.overhead_nanoseconds

    def within(self, layers: Iterable[Layer]) -> Within | None:
        """Return how many of a network's layers lie within what the table's rows span; None where nobody knows."""
        return None if self.prediction.covers is None else self.prediction.covers.within(layers)

    def nanoseconds(self, layer: Layer) -> Count:
        """Return the nanoseconds of `layer` for one batch: an int, or an int64 array for a record of arrays.

        Raises `InputError` for a kind of layer that was never measured.
        """
        return self.prediction.nanoseconds(layer)

    def predict(self, network: Architecture) -> float:
        """Return the predicted seconds of a network for one batch. Raises `InputError` as `nanoseconds` does."""
        return network_nanoseconds(self.prediction, network) / 1e9

    def predict_all(self, networks: Sequence[Architecture]) -> list[float]:
        """Return `predict` of every network, the very same numbers, much faster than one by one.

        Raises `InputError` as `nanoseconds` does.
        """
        return [nanoseconds / 1e9 for nanoseconds in all_network_nanoseconds(self.prediction, networks)]

    def interval(self, network: Architecture) -> tuple[float, float] | None:
        """Return between which seconds the latency of a network lies with 95 %, by the errors on networks held out.

        None where the table does not know its errors: it was imported without networks' latencies, or holds fewer than
        39 of those that were not fitted.
        Raises `InputError` as `nanoseconds` does.
        """
        if self.prediction.interval is None:
            return None
        low, high = self.prediction.interval
        return low * self.predict(network), high * self.predict(network)


_PREDICTORS: dict[str | None, Callable[[dict[str, Any]], Predictor]] = {
    None: Prediction.from_dict,
    "grid": GridPrediction.from_dict,
    "proxy": ProxyPrediction.from_dict,
}
"""For every kind of predictor what reads its document."""


def _predictor(fit: dict[str, Any]) -> Predictor:
    """Return the predictor of a stored document. Raises `ValueError` or `KeyError` where it is none."""
    return _PREDICTORS[fit.get("kind")](fit)


def _choose(path: Path, file: TableFile, wanted: dict[str, Any]) -> Series:
    """Return the one series that has what is wanted."""
    held = file.series()
    found = [series for series in held if wanted.items() <= asdict(series.key).items()]
    if len(found) == 1:
        return found[0]
    what = "; ".join(str(series.key) for series in held) or "nothing yet"
    if found:
        raise InputError(f"{path}: holds several tables: {what}; say which with batch, backend, precision or threads")
    asked = ", ".join(f"{name} {value}" for name, value in wanted.items()) or "any"
    if held and all(file.origin(series.key) for series in held):
        raise InputError(
            f"{path}: holds {what}, not {asked}; it was imported, so ask for one of these or import another"
        )
    standard: dict[str, Any] = {"backend": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 1}
    command = _build_command(held[0].space if held else "SPACE", Key(**(standard | wanted)))
    raise InputError(f"{path}: holds {what}, not {asked}; build it: {command} -o {path}")


def _build_command(space: str, key: Key, resolution: int | None = None) -> str:
    side = f" --resolution {resolution}" if resolution is not None else ""
    named = space if space in presets() else f"{space}.yaml"  # as its file is probably called
    return f"deepmad table build {named} {key.options()}{side}"


def describe_tables(path: str | Path) -> list[dict[str, Any]]:
    """Return a dictionary on every table in a file: its verdict, its conditions, how complete and how accurate it is.

    `verdict` is good, fair or poor, `reasons` say why, `advice` what to do. `drift` is the range of the anchor's times
    relative to its usual one while the table was built (its 5 % and 95 % quantile): how unquiet the machine was; probes
    that were `disturbed` count little. `busy` counts those beside which other work was running; `load` and
    `stolen_share` are the medians of all. `held_out` tells how well whole networks are predicted from the other probes;
    null where there are too few. `failures` are the reasons of the probes that `failed`, `warnings` what spoiled the
    times of its chunks, and `machine` how the processor was set, where the system shows it. An imported table says what
    was measured of how many rows, and from which `source`; its `held_out` is that of the rows or networks which its
    predictor was fitted on, null for a grid, which has them all. What nobody wrote down, its dates, is null. Raises
    `InputError` as `LatencyTable.load` does.
    """
    with open_table(Path(path)) as file:
        return [_judged(file, series) for series in file.series()]


def describe_table(path: str | Path, key: Key) -> dict[str, Any]:
    """Return what `describe_tables` tells of one table in a file, which must be there. Raises `InputError` likewise."""
    with open_table(Path(path)) as file:
        return _judged(file, next(series for series in file.series() if series.key == key))


def _judged(file: TableFile, series: Series) -> dict[str, Any]:
    """Return the description of a table with its verdict first."""
    described = _description(file, series)
    command = _build_command(series.space, series.key, described.get("resolution"))
    found = verdict(described, f"{command} --seed {series.seed}", file.path)
    return {"verdict": found.grade, "reasons": list(found.reasons), "advice": found.advice} | described


def _description(file: TableFile, series: Series) -> dict[str, Any]:
    origin = file.origin(series.key)
    if origin is None:
        return _built_description(file, series)
    rows = file.imported_rows(series.key)
    with file.intact(f"the accuracy of {series.key}"):
        fit = file.fit(series.key) if rows else None
        held_out = held_out_document(fit["held_out"]) if fit else None
    return asdict(series.key) | {
        "device": series.device,
        "version": series.version,
        "source": f"{origin.source} ({origin.form})",
        "form": origin.form,
        "measured": len(rows) or len(file.convolutions(series.key)),
        "unmeasured": origin.unmeasured,
        "finished": True,
        "dates": None,
        "held_out": held_out,
    }


def _built_description(file: TableFile, series: Series) -> dict[str, Any]:
    rows = file.rows(series.key)
    described = (
        asdict(series.key) | asdict(series) | {"measured": len(rows), "drift": None, "disturbed": 0, "held_out": None}
    )
    del described["key"]
    described["finished"] = file.fit(series.key) is not None
    described |= _build_description(file, series.key, finished=described["finished"])
    whole = sum(not row.short for row in rows)
    if rows:
        levels = np.array([level for row in rows for level in row.anchor])
        described["drift"] = [float(value) for value in np.quantile(levels, [0.05, 0.95]) / usual_level(rows)]
        described["disturbed"] = sum(disturbed(rows))
        described["busy"] = sum(busy(row, series.key.threads) for row in rows)
        described["load"] = float(np.median([max(row.load_before, row.load_after) for row in rows]))
        described["stolen_share"] = float(np.median([row.stolen_share for row in rows]))
        described["dates"] = [min(row.date for row in rows), max(row.date for row in rows)]
    if whole >= MIN_HELD_OUT:
        described["held_out"] = {"networks": whole, **accuracy(held_out_errors(rows))}
    return described


def _build_description(file: TableFile, key: Key, *, finished: bool) -> dict[str, Any]:
    """Return what the build's records tell; nothing where an older version measured the table."""
    records = BuildRecords(file, key)
    settings = records.settings()
    if settings is None:
        return {}
    planned, failures = records.planned(), records.failures()
    to_come = 0 if finished or not settings.rounds else settings.networks - sum(not item.short for item in planned)
    found = {
        "probes": len(planned) + to_come,
        "resolution": settings.resolution,
        "build_seconds": records.seconds(),
        "failed": len(failures),
        "failures": sorted({failed.reason for failed in failures}),
    }
    summaries = records.gpu_summaries()
    if summaries:
        with file.intact("what its GPU did"):
            found["gpu"] = {name: summaries[0][name] for name in ("name", "driver")}
    machine = records.machine_summaries()
    if summaries or machine:
        with file.intact("what its machine did"):
            told = {words(warning) for summary in (*summaries, *machine) for warning in summary["warnings"]}
            found["warnings"] = [*Once().new(sorted(told))]
            shown = {words(summary["settings"]) for summary in machine} - {""}
            found |= {"machine": "; ".join(sorted(shown))} if shown else {}
    return found


def export_rows(path: str | Path) -> list[dict[str, Any]]:
    """Return every measured probe of a table file with its conditions, one dictionary each.

    `seconds` is the median of the raw `times`, `corrected_seconds` what the fit uses: the drift of the
    machine divided out; both for one batch. An imported table gives its rows instead: convolutions, layers that were
    timed as one (`layers`, a JSON list of layer records), or networks with their counts for one image. Raises
    `InputError` as `LatencyTable.load` does.
    """
    with open_table(Path(path)) as file:
        return [row for series in file.series() for row in _exported(file, series)]


def _exported_import(file: TableFile, series: Series, origin: Origin) -> list[dict[str, Any]]:
    shared = asdict(series.key) | {"device": series.device, "version": series.version}
    return [
        {
            **shared,
            "source": row.source,
            "date": None,
            "seconds": row.nanoseconds / 1e9,
            "name": row.name,
            **{name: json.dumps(value) if isinstance(value, list) else value for name, value in row.content.items()},
        }
        for row in file.imported_rows(series.key)
    ] or _exported_convolutions(file, series, origin)


def _exported_convolutions(file: TableFile, series: Series, origin: Origin) -> list[dict[str, Any]]:
    shared = asdict(series.key) | {"device": series.device, "version": series.version, "source": origin.source}
    names = [column.name for column in fields(ConvolutionTimes)]
    found = [dict(zip(names, row, strict=True)) for row in file.convolutions(series.key).rows()]
    return [{**shared, "date": None, "seconds": row.pop("nanoseconds") / 1e9, **row} for row in found]


def _exported(file: TableFile, series: Series) -> list[dict[str, Any]]:
    origin = file.origin(series.key)
    if origin is not None:
        return _exported_import(file, series, origin)
    rows = file.rows(series.key)
    if not rows:
        return []
    shared = {name: value for name, value in asdict(series).items() if name not in ("key", "probes")}
    return [
        {
            **asdict(series.key),
            **shared,
            "date": row.date,
            "short": row.short,
            "load_before": row.load_before,
            "load_after": row.load_after,
            "stolen_share": row.stolen_share,
            "seconds": float(np.median(np.concatenate(row.visits))),
            "corrected_seconds": float(corrected),
            "architecture": json.dumps(row.architecture.to_dict()),
            "times": json.dumps([seconds for visit in row.visits for seconds in visit]),
        }
        for row, corrected in zip(rows, probe_seconds(rows), strict=True)
    ]


def export_table(path: str | Path, to: str, output: str | Path) -> None:
    """Write every measured probe of a table file as csv, json or parquet, whole or not at all.

    The columns are those of `export_rows`. Raises `InputError` for another format, a missing library, or a file that
    cannot be written.
    """
    if to not in EXPORTS:
        raise InputError(f"to: {to!r} is unknown; choose from {', '.join(EXPORTS)}")
    exported = frame(export_rows(path))
    if to == "csv":
        content = exported.map(cell).to_csv(index=False).encode()
    elif to == "json":
        content = exported.to_json(orient="records", indent=1, double_precision=15).encode()
    else:
        try:
            content = exported.to_parquet(index=False)
        except ImportError as error:
            raise InputError("to: parquet needs pyarrow; pip install 'deepmad[parquet]'") from error
    write_bytes(Path(output), content)
