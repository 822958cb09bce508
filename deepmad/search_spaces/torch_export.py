"""A network as a program that plain PyTorch loads, without deepmad."""

import io
import warnings
from pathlib import Path

import torch

from deepmad.search_spaces.files import write_bytes
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
    content = io.BytesIO()
    torch.export.save(program, content)  # into memory: where a disk is full, its writer ends the process
    write_bytes(path, content.getbuffer())
    return path
