"""The pycls model zoo: 36 ImageNet networks of one recipe, from RegNetX-200MF to EfficientNet-B5.

Published in github.com/facebookresearch/pycls; the folder holds its table of baselines as `pycls_dds_baselines.csv`.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.ranking.networks import (
    DataSet,
    Trained,
    entered_at,
    even,
    with_gate,
    with_group_width,
    without_expansion,
)
from deepmad.search_spaces.architectures import Stem, Tail, closing_parts, stem_part
from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.layers import Body, Part

FILE = "pycls_dds_baselines.csv"
CLASSES = 1000
SQUEEZE = 0.25
"""Channels inside a gate over the channels that enter the block."""


def read(folder: Path) -> list[Trained]:
    """Return the networks in the folder of the data set."""
    with (folder / FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Trained(
            row["model"],
            _BUILDERS[row["type"]](row),
            100 - float(row["top1_err"]),
            residual=row["type"] != "effnet",
            told={
                "macs_and_biases": (int(row["flops"]), 0),
                "params": (int(row["params"]), 0),
                "outputs": (int(row["acts"]) - _pooled(row), 0),
            },
        )
        for row in rows
    ]


def _pooled(row: Mapping[str, str]) -> int:
    """Return the elements that a network's pooling behind the stem puts out, which pycls counts as activations."""
    return int(float(row["anynet.stem_w"])) * (int(row["im_size"]) // 4) ** 2 if row["type"] == "anynet" else 0


def _efficientnet(row: Mapping[str, str]) -> tuple[Part, ...]:
    """Return the layer records of an EfficientNet."""
    resolution, stem = int(row["im_size"]), Stem(int(float(row["en.stem_w"])))
    names = ("depths", "widths", "exp_ratios", "kernels", "strides")
    parts, channels, side = [stem_part(3, even(resolution, 2), stem)], stem.out, -(-resolution // 2)
    for index, (depth, out, ratio, kernel, stride) in enumerate(
        zip(*(json.loads(row[f"en.{name}"]) for name in names), strict=True)
    ):
        for place, (opening, repeats) in enumerate(((stride, 1), (1, depth - 1))):
            shape = Shape(channels, out, ratio * channels, kernel, opening, even(side, opening))
            body = with_gate(BLOCKS["mbconv"].body(shape, first=place == 0), int(SQUEEZE * channels))
            body = without_expansion(body) if ratio == 1 else entered_at(body, side)
            parts.append(Part(f"stages.{index}.{place}", body, repeats, index, ends_scale=opening == 2))
            channels, side = out, -(-side // opening)
    return (*parts, *closing_parts(channels, side, Tail(int(float(row["en.head_w"]))), CLASSES))


def _residual(
    row: Mapping[str, str], stem: Stem, pool: int, stages: list[tuple[int, int, int, int, int]], *, gated: bool = False
) -> tuple[Part, ...]:
    """Return the layer records of a residual network.

    `stages` holds depth, channels, inner width, channels a group and stride of each; `pool` is the stride of a pooling
    behind the stem, before which a scale ends.
    """
    resolution = int(row["im_size"])
    parts, channels, side = [stem_part(3, resolution, stem)], stem.out, resolution // stem.stride // pool
    for index, (depth, out, width, group, stride) in enumerate(stages):
        for place, (opening, repeats) in enumerate(((stride, 1), (1, depth - 1))):
            shape = Shape(channels, out, width, 3, opening, side)
            body: Body = with_group_width(BLOCKS["bottleneck"].body(shape, first=place == 0), group)
            if gated:
                body = with_gate(body, round(SQUEEZE * channels))
            ends = place == 0 and (opening == 2 or (index == 0 and pool == 2))
            parts.append(Part(f"stages.{index}.{place}", body, repeats, index, ends))
            channels, side = out, side // opening
    return (*parts, *closing_parts(channels, side, None, CLASSES))


def _anynet(row: Mapping[str, str]) -> tuple[Part, ...]:
    """Return the layer records of a ResNet or ResNeXt."""
    names = ("depths", "widths", "bot_muls", "group_ws", "strides")
    columns = zip(*(json.loads(row[f"anynet.{name}"]) for name in names), strict=True)
    stages = [(depth, out, round(out * ratio), group, stride) for depth, out, ratio, group, stride in columns]
    return _residual(row, Stem(int(float(row["anynet.stem_w"])), 7), 2, stages)


def _regnet(row: Mapping[str, str]) -> tuple[Part, ...]:
    """Return the layer records of a RegNet, its stages from the four numbers of its design space (arXiv 2003.13678)."""
    depth, initial, slope, step, group = (
        float(row[f"regnet.{name}"]) for name in ("depth", "w0", "wa", "wm", "group_w")
    )
    exact = initial + slope * np.arange(depth)
    powers = np.round(np.log(exact / initial) / np.log(step))
    widths = (np.round(initial * step**powers / 8) * 8).astype(int)
    stages = []
    for width in np.unique(widths).tolist():
        a_group = min(int(group), width)
        out = round(width / a_group) * a_group
        stages.append((int((widths == width).sum()), out, out, a_group, 2))
    return _residual(row, Stem(32), 1, stages, gated=row["regnet.se_on"] == "True")


_BUILDERS = {"effnet": _efficientnet, "anynet": _anynet, "regnet": _regnet}

PYCLS_ZOO = DataSet("pycls_zoo", "github.com/facebookresearch/pycls", "% of top-1 accuracy, ImageNet", read)
