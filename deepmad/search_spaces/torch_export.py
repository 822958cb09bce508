"""A network as a program that plain PyTorch loads, without deepmad."""

import contextlib
import os
import tempfile
import warnings
from pathlib import Path

import torch

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.torch_builder import Network


def export_program(network: Network, path: str | Path) -> Path:
    """Write `network` as an exported program, its batch left open; return the path.

    `torch.export.load(path).module()` gives the network back, in evaluation mode, with images (N, C, H, W)
    in and logits (N, classes) out. The file is written whole or not at all. Raises `InputError` where it
    cannot be written.
    """
    path = Path(path)
    architecture = network.architecture
    image = torch.zeros(2, architecture.in_channels, architecture.resolution, architecture.resolution)
    with warnings.catch_warnings():
        # torch's own tracing warns about its own deprecated names
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\..*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        program = torch.export.export(network.eval(), (image,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".pt2")
        os.close(descriptor)
        try:
            torch.export.save(program, temporary)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot write there ({error}); choose another place with -o") from error
    return path
