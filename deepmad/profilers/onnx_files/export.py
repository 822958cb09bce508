"""ONNX files: an architecture's from its layer records, any other module's through PyTorch."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, first_line
from deepmad.search_spaces.files import write_bytes
from deepmad.search_spaces.weights import initialised

if TYPE_CHECKING:
    from torch import nn

    from deepmad.search_spaces.torch_builder import Network


def onnx_bytes(model: "Architecture | Network", batch: int | None = None) -> bytes:
    """Return the ONNX file of a network of `deepmad.build`, or of an architecture with random weights."""
    from deepmad.profilers.onnx_files.graph import network_model

    network = initialised(model) if isinstance(model, Architecture) else model
    return bytes(network_model(network, batch).SerializeToString())


def export_onnx(
    model: "Architecture | nn.Module",
    path: str | Path,
    batch: int | None = None,
    *,
    in_channels: int = 3,
    resolution: int | None = None,
) -> Path:
    """Write `model` as an ONNX file that takes (batch, in_channels, resolution, resolution); return its path.

    The batch is left open where `batch` is None. Networks of `deepmad.build` are written from their layer
    records with their normalisation folded into the convolutions, an architecture with random weights; they
    say themselves what they take. Other modules go through `torch.onnx.export` and need `resolution`. The
    module is left as it was. Raises `InputError` where it cannot be exported or the file not be written.
    """
    import onnx

    from deepmad.search_spaces.torch_builder import Network

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(model, Architecture) or (type(model) is Network and not model.features_only):
            write_bytes(path, onnx_bytes(model, batch))
        else:
            if isinstance(model, Network):
                in_channels, resolution = model.architecture.in_channels, model.architecture.resolution
            _export_module(model, path, batch, in_channels, resolution)
    except OSError as error:
        raise InputError(f"{path}: cannot write there ({error.strerror}); choose another place with -o") from error
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker raises classes of its own
        what = f"{type(model).__name__}: what PyTorch exported is no valid ONNX file ({first_line(error)})"
        raise InputError(f"{what}; choose the back end torch, which needs none") from error
    return path


def _export_module(
    module: "nn.Module", path: Path, batch: int | None, in_channels: int, resolution: int | None
) -> None:
    """Write any torch module through PyTorch's exporter."""
    import torch

    if resolution is None:
        raise InputError("resolution: this module does not say what it takes; give the side of its input in pixels")
    # An open batch needs an example above 1, which would be taken for a constant of the network.
    images = torch.zeros(2 if batch is None else batch, in_channels, resolution, resolution)
    shapes = ({0: torch.export.Dim("batch")},) if batch is None else None
    training = {name: part.training for name, part in module.named_modules()}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            # Both come from inside the exporter; there is nothing that its caller could do about them.
            warnings.filterwarnings("ignore", category=FutureWarning, message=r".*LeafSpec.*")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(torch|onnxscript|onnx_ir)\b.*")
            program = torch.onnx.export(module.eval(), (images,), dynamo=True, dynamic_shapes=shapes, verbose=False)
    except Exception as error:
        why = first_line(error.__cause__ or error)  # the exporter's own message is about how to mend the module
        raise InputError(f"{type(module).__name__}: PyTorch cannot export it to ONNX ({why})") from error
    finally:
        for name, part in module.named_modules():
            part.training = training[name]
    assert program is not None, "torch.onnx.export with dynamo returns a program"
    program.save(str(path))
