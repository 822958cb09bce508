"""Counts and runs every network of a finished zoo in all the forms that it was written in, which have to agree.

For each network: the parameters and multiply-accumulates that zoo.json records, and what is counted apart from the
layer records that those come from,

- in the torch module of its architecture file: the elements of its parameters, and half of what PyTorch's counter of
  floating-point operations finds in a forward pass (convolutions and matrix products, as the records count);
- in the ONNX file: the elements of its weights, and the multiply-accumulates by the shapes in its graph. Normalisation
  is folded there: a convolution's weights and one bias stand for its weights and the scale and shift of its
  normalisation, one parameter a channel less. These (`folded_params`) are counted from the torch module's
  normalisations, and ONNX's parameters and they have to be the record's exactly;
- in the file for PyTorch alone (NAME.py), as in the torch module; names and shapes of its weights have to be the torch
  module's, and with the weights in NAME.safetensors its output;
- in timm, by `deepmad.timm.register_zoo` and `timm.create_model`: parameters; and a forward pass of the network for 10
  classes and grey images, and of its feature maps;
- ONNX Runtime's output beside the torch module's with the weights in NAME.safetensors.

With `--only-torch` NAME.py is also run by a Python that has PyTorch and nothing of deepmad. The errors are those of the
largest output, relative to the largest. One line a network goes into results/zoo_networks-DIR.csv, with the columns
that do not agree in `differs`; the exit code is 1 if there is any.

    python -m benchmarks.zoo_networks zoo
"""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.conditions import write_results
from deepmad.profilers.onnx_files.layers import read_onnx_layers
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.files import check_format, read_json
from deepmad.search_spaces.torch_builder import build

Row = dict[str, Any]
IMAGES, SEED = 2, 1
FILE_TOLERANCE, ONNX_TOLERANCE = 1e-5, 1e-4
"""How far the output of NAME.py and that of ONNX Runtime may be from the torch module's."""
OTHER_CLASSES = 10
ONLY_TORCH = """
import importlib.util, json, runpy, sys

if importlib.util.find_spec("deepmad"):
    sys.exit("deepmad")
import torch

file, images, channels, side = sys.argv[1], *map(int, sys.argv[2:])
model = runpy.run_path(file)["network"]().eval()
with torch.inference_mode():
    output = model(torch.zeros(images, channels, side, side))
params = sum(parameter.numel() for parameter in model.parameters())
print(json.dumps({"params": params, "shape": list(output.shape)}))
"""


def main(
    folder: Annotated[Path, typer.Argument(help="A finished zoo.")],
    only_torch: Annotated[
        Path | None, typer.Option(exists=True, help="A Python with PyTorch and nothing of deepmad.")
    ] = None,
) -> None:
    """Check all networks of a zoo, and write one line each."""
    document = read_json(folder / "zoo.json")
    rows = checked(folder, only_torch)
    for row in rows:
        print(f"{row['name']}: {'differs in ' + row['differs'] if row['differs'] else 'agrees'}", flush=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", folder.resolve().name).strip("-")
    differing = sum(bool(row["differs"]) for row in rows)
    notes = {"zoo": f"{document['title'] or name}, made {document['date']}, deepmad {document['deepmad']}"}
    notes |= {"torch": torch.__version__, "networks": f"{len(rows)}, of which {differing} differ"}
    print(f"written to {write_results(f'zoo_networks-{name}', rows, notes)}")
    raise typer.Exit(1 if differing else 0)


def checked(folder: Path, only_torch: Path | None = None) -> list[Row]:
    """Return the line of every network of the zoo in `folder`; `only_torch` is a Python without deepmad."""
    import deepmad.timm

    document = read_json(folder / "zoo.json")
    check_format(document, "zoo_results", str(folder / "zoo.json"))
    if not document["finished"]:
        sys.exit(f"{folder}: the zoo is not finished; go on with it by deepmad zoo")
    entries = [entry for entry in document["entries"] if entry["files"]["architecture"] is not None]
    assert deepmad.timm.register_zoo(folder) == tuple(entry["name"] for entry in entries)
    return [_checked(folder, entry, only_torch) for entry in entries]


def _checked(folder: Path, entry: Mapping[str, Any], only_torch: Path | None) -> Row:
    """Return the line of one network, by its entry in zoo.json."""
    files = {kind: folder / name for kind, name in entry["files"].items() if name is not None}
    network, weights = Architecture.load(files["architecture"]), load_file(files["weights"])
    shape = (IMAGES, network.in_channels, network.resolution, network.resolution)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(SEED))
    model = build(network).eval()
    model.load_state_dict(weights)
    with torch.inference_mode():
        expected = model(images)
    row = {key: entry[key] for key in ("name", "params", "macs")}
    row |= _counted("torch", model, images)
    row |= _in_onnx(files["onnx"], model, images, expected)
    row |= _in_file(files["model"], model, weights, images, expected)
    row |= _in_timm(entry["name"], images)
    if only_torch is not None:
        row |= _apart(only_torch, files["model"], images, expected)
    return row | {"differs": " ".join(differing_columns(row))}


def differing_columns(row: Row) -> list[str]:
    """Return the columns of a line that do not agree with the record, or with the torch module."""
    wanted: Row = {f"{where}_params": row["params"] for where in ("torch", "file", "timm", "only_torch")}
    wanted |= {f"{where}_macs": row["macs"] for where in ("torch", "onnx", "file")}
    wanted |= {"onnx_params": row["params"] - row["folded_params"], "file_weights_fit": True, "timm_variants": True}
    wrong = [column for column, value in wanted.items() if column in row and row[column] != value]
    errors = {"file_error": FILE_TOLERANCE, "onnx_error": ONNX_TOLERANCE}
    # Not a number is no agreement either.
    return wrong + [column for column, most in errors.items() if row[column] is None or not row[column] <= most]


def _counted(where: str, model: nn.Module, images: Tensor) -> Row:
    """Return a module's parameters, and its multiply-accumulates for one image."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(images[:1])
    operations = counter.get_total_flops()
    assert operations % 2 == 0, "a multiplication and an addition each"
    return {f"{where}_params": _params(model), f"{where}_macs": operations // 2}


def _params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _in_onnx(path: Path, model: nn.Module, images: Tensor, expected: Tensor) -> Row:
    """Return what the ONNX file holds, what folding takes away from it, and how far ONNX Runtime is from PyTorch."""
    import onnxruntime

    read = read_onnx_layers(path, images.shape[-1])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return {
        "onnx_params": read.params,
        "folded_params": sum(norm.num_features for norm in norms),
        "onnx_macs": read.macs,
        "onnx_error": _error(torch.from_numpy(output), expected),
    }


def _in_file(path: Path, model: nn.Module, weights: Mapping[str, Tensor], images: Tensor, expected: Tensor) -> Row:
    """Return what the file for PyTorch alone builds, whether the weights fit it, and how far it is from `model`."""
    alone: nn.Module = runpy.run_path(str(path))["network"]().eval()
    fits = _shapes(alone.state_dict()) == _shapes(model.state_dict()) == _shapes(weights)
    error = None
    if fits:
        alone.load_state_dict(weights)
        with torch.inference_mode():
            error = _error(alone(images), expected)
    return {**_counted("file", alone, images), "file_weights_fit": fits, "file_error": error}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _in_timm(name: str, images: Tensor) -> Row:
    """Return the parameters of the network in timm, and whether its variants give what they were asked for."""
    import timm

    other = timm.create_model(name, num_classes=OTHER_CLASSES, in_chans=1).eval()
    taps: Any = timm.create_model(name, features_only=True).eval()
    with torch.inference_mode():
        logits, maps = other(images[:, :1]), taps(images)
    sides = [images.shape[-1] // reduction for reduction in taps.feature_info.reduction()]
    told = [(channels, side, side) for channels, side in zip(taps.feature_info.channels(), sides, strict=True)]
    fine = logits.shape == (IMAGES, OTHER_CLASSES) and [tuple(found.shape[1:]) for found in maps] == told
    return {"timm_params": _params(timm.create_model(name)), "timm_variants": fine}


def _apart(python: Path, path: Path, images: Tensor, expected: Tensor) -> Row:
    """Return the parameters that a Python without deepmad counts; none where the file does not run there.

    Ends this program where there is deepmad after all.
    """
    command = [str(python.absolute()), "-I", "-c", ONLY_TORCH, path.name, *map(str, images.shape[:3])]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    if done.stderr == "deepmad\n":
        sys.exit(f"--only-torch: {python} has deepmad; give a Python of an environment without it")
    if done.returncode != 0:
        print(f"{path.name} does not run by {python}:\n{done.stderr}", file=sys.stderr)
        return {"only_torch_params": None}
    told = json.loads(done.stdout.splitlines()[-1])
    return {"only_torch_params": told["params"] if told["shape"] == list(expected.shape) else None}


def _error(output: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two outputs, relative to the largest output expected."""
    if output.shape != expected.shape:
        return float("inf")
    return float((output - expected).abs().max() / expected.abs().max())


if __name__ == "__main__":
    typer.run(main)
