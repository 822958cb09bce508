"""Entry points for torch.hub, which is pointed at a checkout of deepmad.

torch.hub.load("path/to/deepmad", "network", "solution.json", source="local", features_only=True)
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepmad.search_spaces.torch_builder import Network

dependencies = ["torch", "numpy", "pydantic", "yaml"]


def network(
    architecture: str | Path,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: bool = False,
    zero_init_last: bool = False,
) -> "Network":
    """Return the network in an architecture or solution file (FILE#3: its third) with random weights.

    `num_classes` (0: the last feature map) and `in_chans` are the file's unless given. See `deepmad.build` for
    `features_only` and `zero_init_last`. Raises `deepmad.InputError`, a `ValueError`, where the file is none.
    """
    from deepmad.search_spaces.architectures import Architecture
    from deepmad.search_spaces.torch_builder import build

    found = Architecture.load(architecture)
    if num_classes is not None:
        found = replace(found, classes=num_classes)
    if in_chans is not None:
        found = replace(found, in_channels=in_chans)
    return build(found, features_only=features_only, zero_init_last=zero_init_last)
