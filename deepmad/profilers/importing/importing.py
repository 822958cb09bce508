"""Importing other people's measurements: their rows into a table file, with a predictor for every batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepmad.profilers.importing.filling import Tell, predict_from
from deepmad.profilers.importing.ofa_files import read_ofa
from deepmad.profilers.importing.timm_files import NetworkRow, read_timm
from deepmad.profilers.importing.tinynas_files import read_tinynas
from deepmad.profilers.importing.trtexec_files import profile_rows, read_trtexec
from deepmad.profilers.prediction.accuracy import accuracy, conformal_interval, random_fifth
from deepmad.profilers.prediction.convolutions import ConvolutionTimes
from deepmad.profilers.prediction.layer_rows import LayerRow, fit_rows, networks_accuracy, rows_accuracy
from deepmad.profilers.prediction.proxies import MIN_NETWORKS, fit_proxy, held_out_proxy_errors
from deepmad.profilers.prediction.quantities import MOST_BATCH, MOST_THREADS
from deepmad.profilers.prediction.rows import ImportedRow
from deepmad.profilers.tables.table_files import ANY_SPACE, UNKNOWN, Key, Origin, Series, TableFile, open_table
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_writable

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
FEW_LAYERS, TOLD_APART = 2, 0.5
"""A profile in which less than this share of the layers is timed in so few at once tells little."""
MOST_LETTERS = 200
"""Letters of the name of a device or of a back end."""
PROFILES = "trtexec"
"""The form whose files are added to those of other networks, rather than each making tables of its own."""


@dataclass(frozen=True)
class Request:
    """What the user says of a file: the conditions it was measured under. What is None has the form's default."""

    device: str
    precision: str
    backend: str | None
    batch: int | None
    threads: int
    progress: Tell | None = None
    remark: Callable[[str], None] | None = None

    def tell(self, *remarks: str | None) -> None:
        """Pass on what is to be said about the file."""
        for remark in filter(None, remarks):
            if self.remark is not None:
                self.remark(remark)

    def key(self, backend: str, batch: int) -> Key:
        """Return the key of a series of that batch, and of that back end unless the user names another."""
        return Key(self.backend or backend, self.precision, batch, self.threads)


@dataclass(frozen=True)
class Found:
    """A series that a file holds: its rows, how many more have no time, and the document of its predictor."""

    key: Key
    rows: ConvolutionTimes | list[ImportedRow]
    unmeasured: int
    fit: dict[str, Any]


def import_table(
    path: str | Path,
    form: str,
    *,
    device: str,
    precision: str,
    output: str | Path,
    backend: str | None = None,
    batch: int | None = None,
    threads: int = 1,
    model: str | Path | Architecture | None = None,
    progress: Tell | None = None,
    remark: Callable[[str], None] | None = None,
) -> None:
    """Store the rows of someone else's measurements at `path` in the table file `output`, and a predictor a batch.

    `form` is one of `FORMS`. `backend`, `batch` and `threads` are what the file does not tell; of a timm table only
    the networks of that batch are taken. `model`, an architecture or its file, is the network that a trtexec profile
    is of: it is added to the profiles of other networks under the same conditions. A file that is there gets the
    tables added, and is left as it was on any error. `progress` is told the share that is done, `remark` every
    sentence about what was left out.

    Raises `InputError` where a name or number is none, the form, the precision or an option is unknown or does not
    belong to the form, the file at `path` is not of that form, `output` cannot be written, is no table file or holds
    one of these tables.
    """
    if form not in FORMS:
        raise InputError(f"from: {form!r} is unknown; choose from {', '.join(FORMS)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision: {precision!r} is unknown; choose from {', '.join(PRECISIONS)}")
    if form == PROFILES and model is None:
        raise InputError("model: a trtexec profile tells no shapes; give the network's architecture file as model")
    if form != PROFILES and model is not None:
        raise InputError(f"model: a table of form {form} is not of one network; leave it out")
    path, output = Path(path), Path(output)
    request = Request(device, precision, backend, batch, threads, progress, remark)
    _check_request(request)
    if model is not None:
        network = model if isinstance(model, Architecture) else Architecture.load(model)
        seconds, left_out = read_trtexec(path)
        _add_profile(network, seconds, path.name, output, request)
        request.tell(left_out.remark)
    else:
        _add_tables(form, path, output, request)


def _check_request(request: Request) -> None:
    """Raise `InputError` for a name that is none, and for numbers that nothing has."""
    for option, name in (("device", request.device), ("backend", request.backend)):
        if name is not None and not (name.strip() and name.isprintable() and len(name) <= MOST_LETTERS):
            raise InputError(f"{option}: {name[:40]!r} is no name; give one of 1 to {MOST_LETTERS} plain letters")
    for option, number, most in (("batch", request.batch, MOST_BATCH), ("threads", request.threads, MOST_THREADS)):
        if number is not None and not 1 <= number <= most:
            raise InputError(f"{option}: {number} is out of range; it must be 1 to {most}")


def import_profile(
    network: Architecture,
    seconds: Mapping[str, float],
    name: str,
    *,
    device: str,
    precision: str,
    output: str | Path,
    backend: str | None = None,
    batch: int = 1,
    threads: int = 1,
) -> None:
    """Store the seconds of each layer of a network's engine, as `layer_seconds` of back end tensorrt-onnx gives them.

    `name` tells this profile from the others in the table file `output`. Raises `InputError` as `import_table` does.
    """
    request = Request(device, precision, backend, batch, threads)
    _check_request(request)
    _add_profile(network, seconds, name, Path(output), request)


def _add_tables(form: str, path: Path, output: Path, request: Request) -> None:
    """Store all series of a file; none of them may be in the table file."""
    found = READERS[form](path, output, request)
    with open_table(output, create=True) as file, file.turn():
        _check_free(output, file, [one.key for one in found])
        for one in found:
            series = Series(one.key, request.device, UNKNOWN, ANY_SPACE, 0, len(one.rows))
            origin = Origin(form, path.name, one.unmeasured)
            if isinstance(one.rows, ConvolutionTimes):
                file.add_import(series, origin, one.rows, one.fit)
            else:
                file.put_import(series, origin, one.rows, one.fit)


def _check_free(output: Path, file: TableFile, keys: Sequence[Key]) -> None:
    """Raise `InputError` where a file holds one of the tables that are to be imported."""
    held = [series.key for series in file.series() if series.key in keys]
    if held:
        raise InputError(f"{output}: holds {held[0]} already; choose another file with -o")


def _check_before(output: Path, keys: Sequence[Key]) -> None:
    """Refuse a table that is there, or a place for none, before the long part of an import rather than after it."""
    check_writable(output)
    if output.exists():
        with open_table(output) as file:
            _check_free(output, file, keys)


def _tinynas(path: Path, output: Path, request: Request) -> list[Found]:
    """Return a series of convolutions for every batch."""
    if request.batch is not None:
        raise InputError("batch: a tinynas table tells the batch of every row; leave it out")
    times, unmeasured, left_out = read_tinynas(path)
    request.tell(left_out.remark)
    keys = {int(batch): request.key("tensorrt", int(batch)) for batch in np.unique(times.batch)}
    _check_before(output, list(keys.values()))
    try:
        predictions = predict_from(times, request.progress)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return [
        Found(key, times.where(times.batch == batch), unmeasured[batch], predictions[batch].to_dict())
        for batch, key in keys.items()
    ]


def _ofa(path: Path, output: Path, request: Request) -> list[Found]:
    """Return the one series of blocks."""
    key = request.key(UNKNOWN, request.batch or 1)
    rows, left_out = read_ofa(path)
    request.tell(left_out.remark)
    _check_before(output, [key])
    fit = fit_rows(rows).to_dict() | {"held_out": rows_accuracy(rows)}
    return [Found(key, [row.stored() for row in rows], left_out.count, fit)]


def _timm(path: Path, output: Path, request: Request) -> list[Found]:
    """Return a series of networks for every batch that enough networks have, or for the one that is asked for.

    A network is timed at the largest batch that its device holds, so that small batches have few and large networks.
    """
    del output
    names = ("device", "precision", "backend")
    networks = read_timm(path, {name: getattr(request, name) for name in names} | {"threads": str(request.threads)})
    request.tell(*networks.remarks)
    rows, backend = networks.rows, networks.backend or "torch"
    batches = sorted({row.batch for row in rows})
    of_batch = {batch: [row for row in rows if row.batch == batch] for batch in batches}
    asked = batches if request.batch is None else [request.batch]
    found = [batch for batch in asked if len(of_batch.get(batch, [])) >= MIN_NETWORKS]
    if not found:
        counts = ", ".join(f"{len(of_batch[batch])} of batch {batch}" for batch in batches)
        raise InputError(f"{path}: holds networks: {counts}; a proxy needs {MIN_NETWORKS} of one batch")
    others = sum(row.batch not in found for row in rows)
    request.tell(f"{path}: {others} networks are of batches that make no table and left out" if others else None)
    return [
        Found(
            request.key(backend, batch), [_stored_network(row, path.name) for row in of_batch[batch]],
            networks.uncounted[batch], _proxy_document(of_batch[batch]),
        )
        for batch in found
    ]  # fmt: skip


READERS: dict[str, Callable[[Path, Path, Request], list[Found]]] = {"tinynas": _tinynas, "ofa": _ofa, "timm": _timm}
"""For every form of published table, what reads its series."""
FORMS = (*READERS, PROFILES)


def _proxy_document(rows: Sequence[NetworkRow]) -> dict[str, Any]:
    """Return the document of the proxy of some networks, with its accuracy on a fifth that is held out."""
    macs, params, activations = ([getattr(row, name) for row in rows] for name in ("macs", "params", "activations"))
    seconds = [row.nanoseconds / 1e9 for row in rows]
    held_out = random_fifth(len(rows))
    errors = held_out_proxy_errors(macs, params, activations, seconds, held_out)
    found = {"networks": int(held_out.sum()), **accuracy(errors)}
    proxy = replace(fit_proxy(macs, params, activations, seconds), interval=conformal_interval(errors))
    return proxy.to_dict() | {"held_out": found}


def _add_profile(
    network: Architecture, seconds: Mapping[str, float], source: str, output: Path, request: Request
) -> None:
    """Add one network's profile to those in the file, and fit the predictor on all of them."""
    key = request.key("tensorrt-onnx", request.batch or 1)
    rows = profile_rows(network, seconds, source)
    layers = sum(len(row.layers) for row in rows)
    apart = sum(len(row.layers) for row in rows if len(row.layers) <= FEW_LAYERS) / layers
    if apart < TOLD_APART:
        request.tell(
            f"{source}: {apart:.0%} of the network's {layers} layers have an engine layer of their own or share it "
            "with one other; the times of the rest are hardly told apart"
        )
    fit_rows(rows)  # so that a profile which no predictor can be fitted on makes no file
    with open_table(output, create=True) as file, file.turn():
        held = _held_profiles(output, file, key, request.device, source)
        every = held + rows
        fit = fit_rows(every).to_dict() | {"held_out": networks_accuracy(every)}
        sources = ", ".join(dict.fromkeys(row.source for row in every))
        series = Series(key, request.device, UNKNOWN, ANY_SPACE, 0, len(every))
        file.put_import(series, Origin(PROFILES, sources, 0), [row.stored() for row in every], fit)


def _held_profiles(output: Path, file: TableFile, key: Key, device: str, source: str) -> list[LayerRow]:
    """Return the rows of the profiles that a file holds; raise `InputError` where the new one cannot join them."""
    held = next((series for series in file.series() if series.key == key), None)
    if held is None:
        return []
    origin = file.origin(key)
    if origin is None or origin.form != PROFILES:
        _check_free(output, file, [key])
    with file.intact(f"the rows of {key}"):
        rows = [LayerRow.of(row) for row in file.imported_rows(key)]
    if held.device != device:
        raise InputError(f"{output}: its profiles are of {held.device}, not {device}; choose another file with -o")
    if any(row.source == source for row in rows):
        raise InputError(f"{output}: holds a profile {source} already; rename the file, or choose another with -o")
    return rows


def _stored_network(row: NetworkRow, source: str) -> ImportedRow:
    content = {name: value for name, value in asdict(row).items() if name not in ("name", "batch", "nanoseconds")}
    return ImportedRow(source, row.name, row.nanoseconds, content)
