"""References: networks of others beside the zoo, timed where a device is at hand, predicted by its table elsewhere."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepmad.engine.answers.solutions import Measured
from deepmad.engine.program.problems import Problem
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.sources import check_listed, load_source
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.profilers.tables.telling import tell
from deepmad.search_spaces.architectures import Architecture, split_rank
from deepmad.search_spaces.errors import InputError, first_line
from deepmad.zoo.families import Family
from deepmad.zoo.spec import Reference, Spec, SpecFile

PREDICTED, PUBLISHED, MEASURED = "predicted", "published", "measured"


@dataclass(frozen=True)
class Known:
    """A reference at hand: what `deepmad measure` takes for it, and what it is made of."""

    model: Architecture | str
    layers: NetworkLayers


def check_references(file: SpecFile) -> None:
    """Raise `InputError` for a reference that is no network, or that its library does not have.

    That is found before any long work is done.
    """
    for reference in file.spec.references:
        if reference.model is not None and _is_file(reference.model):
            known(file, reference)
        elif reference.model is not None:
            check_listed(reference.model)


def _is_file(model: str) -> bool:
    """Whether a reference is an architecture or solution file: FILE#3 is a solution's third network."""
    return split_rank(model)[0].suffix == ".json"


def known(file: SpecFile, reference: Reference) -> Known:
    """Return a reference that is at hand. Raises `InputError` where there is no such model, or it cannot be read."""
    assert reference.model is not None, "figures are typed, and not loaded"
    if _is_file(reference.model):
        network = Architecture.load(file.place(reference.model))
        return Known(network, NetworkLayers.of(network))
    try:
        return _of_library(reference.model)
    except InputError:
        raise
    except Exception as error:  # a model of others, and PyTorch's exporter, may raise anything
        raise InputError(f"reference {reference.model}: cannot be taken apart ({first_line(error)})") from error


def _of_library(name: str) -> Known:
    """Return a network of timm or torchvision, read off its ONNX graph. Raises `InputError` where there is none."""
    from deepmad.profilers.onnx_files.export import export_onnx
    from deepmad.profilers.onnx_files.layers import read_onnx_layers

    source = load_source(name)
    module, side = source.model, source.resolution
    if isinstance(module, Architecture | Path) or side is None:
        raise InputError(
            f"reference {name}: give an architecture or solution file (.json), timm:NAME or torchvision:NAME"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(module, Path(folder) / "model.onnx", 1, in_channels=source.in_channels or 3, resolution=side)
        layers = read_onnx_layers(path, side)
    params = sum(weight.numel() for weight in module.parameters())
    return Known(name, replace(layers, params=params))


def figure_record(reference: Reference, batch: int) -> dict[str, Any]:
    """Return the document of a published figure; `batch` is that of its device."""
    seconds = batch / reference.throughput if reference.throughput is not None else reference.latency
    assert seconds is not None, "a figure has one of the two"
    return _record(reference, str(reference.device), seconds, batch, PUBLISHED) | {
        "macs": reference.macs,
        "params": reference.params,
        "note": reference.note,
    }


def reference_record(
    reference: Reference, found: Known, family: Family, spec: Spec, timed: Callable[[Architecture | str], Measured]
) -> dict[str, Any]:
    """Return the document of a reference on a device: timed there where networks are, else predicted by its table.

    Where neither can be had the note says why.
    """
    batch, device, notes = family.table.batch, family.device.name, [reference.note, found.layers.counts_note]
    seconds, source, interval = None, PREDICTED, None
    try:
        if family.measured:
            measured, source = timed(found.model), MEASURED
            seconds, interval = measured.latency_seconds, (measured.low, measured.high)
        else:
            told = tell(family.table, found.layers)
            seconds = told.seconds
            notes += told.notes
    except (DeviceError, InputError) as error:
        notes.append(str(error))
    low, high = interval or (None, None)
    return _record(reference, device, seconds, batch, source) | {
        "low": low,
        "high": high,
        "objective": _objective(found.model, family.problem(spec)),
        "macs": found.layers.macs,
        "params": found.layers.params,
        "note": "; ".join(filter(None, notes)) or None,
    }


def unavailable_record(reference: Reference, family: Family, why: str) -> dict[str, Any]:
    """Return the document of a reference that could not be had on a device."""
    return _record(reference, family.device.name, None, family.table.batch, PREDICTED) | {"note": why}


def _record(reference: Reference, device: str, seconds: float | None, batch: int, source: str) -> dict[str, Any]:
    return {
        "name": reference.name,
        "device": device,
        "latency_seconds": seconds,
        "low": None,
        "high": None,
        "throughput": None if seconds is None else batch / seconds,
        "objective": None,
        "macs": None,
        "params": None,
        "source": source,
        "note": None,
    }


def _objective(model: Architecture | str, problem: Problem) -> float | None:
    """Return the zoo's objective of a network.

    None for one of other libraries, one with other scales than the space, and where its penalty is infinite.
    """
    if not isinstance(model, Architecture):
        return None
    scales = 1 + sum(stage.stride == 2 for stage in model.stages)
    if problem.space.alpha is not None and len(problem.space.alpha) != scales:
        return None
    value = problem.value(model)
    return value if math.isfinite(value) else None
