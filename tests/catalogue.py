"""Networks and spaces that several tests use; a new block kind needs one line here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
from deepmad.search_spaces.layers import Count, Layer
from deepmad.search_spaces.spaces import Space, load_space

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
GOLDEN: dict[str, dict[str, Any]] = json.loads((ROOT / "tests/golden/published.json").read_text(encoding="utf-8"))

BLOCK_STAGES = {
    "bottleneck": Stage("bottleneck", 32, 16, 5, 3, 2),
    "basic": Stage("basic", 24, 16, 3, 2, 2),
    "mbconv": Stage("mbconv", 16, 48, 5, 2, 2),
    "mbconv_se": Stage("mbconv_se", 24, 72, 3, 2, 1),
}


def published(name: str) -> Architecture:
    """Return one of the authors' published structures."""
    return Architecture.from_dict(GOLDEN[name]["architecture"])


def one_block(kind: str) -> Architecture:
    """Return a small network of one block kind, with tail and classifier."""
    return Architecture(32, Stem(16), (BLOCK_STAGES[kind],), Tail(40), 10, name=kind)


def mixed() -> Architecture:
    """Return a small network of all block kinds."""
    return Architecture(64, Stem(16), tuple(BLOCK_STAGES.values())[::-1], None, 7, name="mixed")


def small_space() -> Space:
    """Return the example space: two stages, two block kinds in the second."""
    return load_space(EXAMPLES / "small.yaml")


@dataclass(frozen=True)
class StairTable:
    """A latency model that adds up and has stairs: channels count in groups, every layer has a price."""

    batch: int = 1
    precision: str = "fp32"
    overhead_nanoseconds: int = 20_000
    group: int = 16
    layer_nanoseconds: int = 2_000
    macs_per_nanosecond: int = 50

    def nanoseconds(self, layer: Layer) -> Count:
        """Return a price a layer and one a padded multiply-accumulate, in whole nanoseconds."""
        inputs = 1 if layer.depthwise else -(-layer.inputs // self.group) * self.group
        padded = inputs * (-(-layer.outputs // self.group) * self.group) * layer.kernel**2 * layer.out_side**2
        return self.layer_nanoseconds + padded // self.macs_per_nanosecond
