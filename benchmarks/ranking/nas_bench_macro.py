"""NAS-Bench-Macro: 6,561 inverted-residual networks, each trained three times on CIFAR-10.

Published by Su et al. (arXiv 2103.11922) as `nas-bench-macro_cifar10.json` in github.com/xiusu/NAS-Bench-Macro.
A key holds one digit a block: 0 nothing (a 1x1 convolution where it opens a stage), 1 kernel 3 and expansion 3, 2
kernel 5 and expansion 6.
"""

from pathlib import Path
from typing import Any

from benchmarks.ranking.networks import DataSet, Trained
from deepmad.search_spaces.architectures import Stem, Tail, closing_parts, stem_part
from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.files import read_json
from deepmad.search_spaces.layers import Body, Layer, Part

FILE = "nas-bench-macro_cifar10.json"
SIDE, CLASSES, STEM, TAIL = 32, 10, Stem(32, 3, 1), Tail(1280)
STAGES = ((64, 2), (128, 3), (256, 3))
"""Channels and blocks of every stage; the first block of each has stride 2."""
EXPANSIONS = {"1": (3, 3), "2": (5, 6)}
"""Kernel and expansion of a block by its digit."""


def parts_of(key: str) -> tuple[Part, ...]:
    """Return the layer records of the network of a key of eight digits."""
    parts, channels, side, digits = [stem_part(3, SIDE, STEM)], STEM.out, SIDE, iter(key)
    for index, (out, blocks) in enumerate(STAGES):
        for place in range(blocks):
            digit, stride = next(digits), 1 if place else 2
            name, opens = f"stages.{index}.{place}", place == 0
            if digit in EXPANSIONS:
                kernel, expansion = EXPANSIONS[digit]
                shape = Shape(channels, out, expansion * channels, kernel, stride, side)
                parts.append(Part(name, BLOCKS["mbconv"].body(shape, first=opens), 1, index, opens))
            elif opens:
                body = Body((Layer("main", "conv", channels, out, side, 1, stride, activation="relu"),))
                parts.append(Part(name, body, 1, index, opens))
            channels, side = out, side // stride
    return (*parts, *closing_parts(channels, side, TAIL, CLASSES))


def read(folder: Path) -> list[Trained]:
    """Return the networks in the folder of the data set."""
    document: dict[str, Any] = read_json(folder / FILE)
    return [
        Trained(
            key,
            parts_of(key),
            float(entry["mean_acc"]),
            trainings=tuple(map(float, entry["test_acc"])),
            told={"macs": (entry["flops"], 0), "params": (entry["params"], 0)},
        )
        for key, entry in sorted(document.items())
    ]


NAS_BENCH_MACRO = DataSet("nas_bench_macro", "arXiv 2103.11922", "% of accuracy, CIFAR-10", read)
