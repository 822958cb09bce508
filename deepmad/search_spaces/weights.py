"""Initial weights: drawn from a seed, and written for other tools as safetensors."""

from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.files import write_bytes

if TYPE_CHECKING:
    from torch import nn

    from deepmad.search_spaces.torch_builder import Network


def initialised(architecture: Architecture, seed: int = 0, *, zero_init_last: bool = False) -> "Network":
    """Return the torch module of `architecture` in evaluation mode, random weights drawn from `seed`.

    `zero_init_last` is for networks that are to be trained, see `deepmad.build`. The global random state is restored.
    """
    import torch

    from deepmad.search_spaces.torch_builder import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(architecture, zero_init_last=zero_init_last).eval()


def write_weights(network: Architecture, path: Path, seed: int = 0, *, zero_init_last: bool = False) -> None:
    """Write initial weights of `network` as safetensors, the same ones for the same seed.

    They are the weights of an ONNX file exported with that seed. The keys are those of `deepmad.build`, of the file
    that `write_standalone` writes and of the network under timm. Raises `InputError` where the file cannot be written.
    """
    write_safetensors(initialised(network, seed, zero_init_last=zero_init_last), path)


def write_safetensors(model: "nn.Module", path: Path) -> None:
    """Write the state dict of `model` as safetensors, whole or not at all. Raises `InputError`."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(Path(path), save(tensors, metadata={"format": "pt"}))
