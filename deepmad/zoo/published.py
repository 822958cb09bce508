"""What others published about the accuracy of networks that a zoo is often held to."""

from functools import cache
from pathlib import Path
from typing import Any

from deepmad.search_spaces.files import read_yaml

SOURCE = Path(__file__).parent / "published_top1.yaml"


def published_top1(name: str) -> dict[str, Any] | None:
    """Return the top-1 accuracy on ImageNet-1k in per cent (`value`) of a network, and its `source`.

    `name` is what a zoo calls a reference: `timm:NAME`, `torchvision:NAME`, or an architecture file without its ending.
    None where no figure is known. It is that of trained weights at 224 pixels, which need not be those that were timed.
    """
    return _figures().get(name.removesuffix(" (published)"))


@cache
def _figures() -> dict[str, dict[str, Any]]:
    """Return all figures by the name of their network."""
    found: dict[str, dict[str, Any]] = {}
    for group in read_yaml(SOURCE)["groups"]:
        found |= {name: {"value": value, "source": group["source"]} for name, value in group["top1"].items()}
    return found
