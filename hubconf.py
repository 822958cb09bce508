"""Entry points for torch.hub, which is pointed at a checkout of deepmad.

torch.hub.load("path/to/deepmad", "network", "solution.json", source="local", features_only=True)
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepmad.search_spaces.torch_modules import Network

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

    `num_classes` and `in_chans` are the file's unless given. With `num_classes=0` the network returns the pooled
    features (N, C), as in timm; a file of 0 classes alone, a backbone, gives the last feature map (N, C, H, W), as
    `deepmad.build` does. See there for `features_only` and `zero_init_last`. Raises `deepmad.InputError`, a
    `ValueError`, where the file is none.
    """
    from deepmad.search_spaces import torch_modules
    from deepmad.search_spaces.architectures import Architecture
    from deepmad.search_spaces.torch_builder import build, network_spec

    found = Architecture.load(architecture)
    if in_chans is not None:
        found = replace(found, in_channels=in_chans)
    if num_classes:
        found = replace(found, classes=num_classes)
    if num_classes != 0:
        return build(found, features_only=features_only, zero_init_last=zero_init_last)
    with_classifier = network_spec(replace(found, classes=found.classes or 1))
    pooling = torch_modules.adapted(with_classifier, num_classes=0, in_chans=found.in_channels)
    return torch_modules.Network(pooling, features_only=features_only, zero_init_last=zero_init_last)
