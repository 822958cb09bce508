"""The files of an entry: what others load, each checked before it counts."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.engine.answers.solutions import Solution
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, first_line
from deepmad.search_spaces.files import write_text
from deepmad.zoo.entries import Entry

if TYPE_CHECKING:
    from deepmad.search_spaces.torch_builder import Network

ENDINGS = {
    "architecture": ".json",
    "solution": ".solution.json",
    "onnx": ".onnx",
    "model": ".py",
    "weights": ".safetensors",
    "card": ".md",
}
"""What follows the entry's name in the name of a file, by the file's kind."""
SEED = 0
"""Seed of the initial weights in all files of a network."""
TOLERANCE = 1e-4
"""How far ONNX Runtime may be from PyTorch, relative to the largest output (at least 1)."""
IMAGES = 2


def file_name(name: str, kind: str) -> str:
    """Return what the file of a kind of the entry called `name` is called."""
    return name + ENDINGS[kind]


def write_solution(folder: Path, entry: Entry, solution: Solution) -> dict[str, str]:
    """Write the solution file of an entry; return its name by its kind."""
    name = file_name(entry.name, "solution")
    solution.save(folder / name)
    return {"solution": name}


def write_architecture(folder: Path, network: Architecture) -> dict[str, str]:
    """Write the architecture file of a network, named as its files; return its name by its kind."""
    name = file_name(network.name, "architecture")
    write_text(folder / name, json.dumps(network.to_dict(), indent=1) + "\n")
    return {"architecture": name}


def write_network(folder: Path, scratch: Path, network: Architecture) -> dict[str, str]:
    """Write what a network, named as its files, is built and run from; return the files' names by their kinds.

    `scratch` is a folder of the same file system for files that are not whole yet. Raises `InputError` where a file
    cannot be written, and `DeviceError` where ONNX Runtime does not give what PyTorch does.
    """
    from deepmad.profilers.onnx_files.export import export_onnx
    from deepmad.search_spaces.standalone import write_standalone
    from deepmad.search_spaces.weights import initialised, write_safetensors

    name = network.name
    files = {kind: file_name(name, kind) for kind in ("onnx", "model", "weights")}
    model = initialised(network, SEED)
    try:
        exported = export_onnx(model, scratch / f".{files['onnx']}")
        check_onnx(exported, model)
    except (DeviceError, InputError):
        raise
    except Exception as error:  # both libraries raise classes of their own
        raise DeviceError(f"{name}: its ONNX file cannot be made or run ({first_line(error)})") from error
    os.replace(exported, folder / files["onnx"])
    write_standalone(network, folder / files["model"])
    write_safetensors(model, folder / files["weights"])
    return files


def remove_others(folder: Path, entry: Entry, files: Mapping[str, str | None]) -> None:
    """Remove the files of an entry that are not among `files`, by their kinds.

    A run that was interrupted wrote them of a network as it was designed, or one whose ONNX file failed its check.
    """
    for kind in ENDINGS:
        if files[kind] is None:
            (folder / file_name(entry.name, kind)).unlink(missing_ok=True)


def check_onnx(path: Path, model: "Network") -> None:
    """Raise `DeviceError` unless ONNX Runtime makes of random images what `model` does, in its evaluation mode."""
    import numpy as np
    import onnxruntime
    import torch

    what = model.architecture
    shape = (IMAGES, what.in_channels, what.resolution, what.resolution)
    images = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: images})
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    error = float(np.abs(output - expected).max()) / max(1.0, float(np.abs(expected).max()))
    if not error <= TOLERANCE:  # not a number included
        raise DeviceError(
            f"{path.name.removeprefix('.')}: ONNX Runtime is {error:.2g} off PyTorch, above {TOLERANCE:g}; "
            "please report it with the architecture file"
        )
