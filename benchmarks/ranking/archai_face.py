"""Archai's facial landmarks: 224 MobileNetV2-like networks, trained shortly on 128 pixels.

Published in github.com/microsoft/archai, under `tasks/facial_landmark_detection` as
`search_results_with_full_validation_error.csv`; `search_results.csv` in the folder. A search towards a front of error
and latency chose the networks: they are no random sample. The file tells no MACs and no parameters, so nothing checks
the counts of this reader.
"""

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

from benchmarks.ranking.networks import DataSet, Trained, without_expansion
from deepmad.search_spaces.architectures import Stem, Tail, closing_parts, stem_part
from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Part

FILE = "search_results.csv"
SIDE, STEM, TAIL, OUTPUTS = 128, Stem(32), Tail(1280), 140
_STAGE = re.compile(
    r"(?P<kind>ds|ir)_r(?P<depth>\d+)_k(?P<kernel>\d+)_s(?P<stride>\d+)(?:_e(?P<expansion>\d+))?_c(?P<out>\d+)"
)


def rounded(channels: float) -> int:
    """Return the multiple of 8 nearest to a number of channels, the next one where that loses over 10 %."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def parts_of(config: dict[str, Any]) -> tuple[Part, ...]:
    """Return the layer records of a network as the data set describes it."""
    parts, channels, side = [stem_part(3, SIDE, STEM)], STEM.out, SIDE // STEM.stride
    for index, (text,) in enumerate(config["arch_def"]):
        match = _STAGE.fullmatch(text)
        if match is None:
            raise InputError(f"arch_def: {text!r} is no stage such as ir_r2_k3_s2_e6_c24")
        depth, kernel, stride, out = (int(match[name]) for name in ("depth", "kernel", "stride", "out"))
        expansion = int(match["expansion"] or 1)
        if index:  # the first stage is not scaled
            depth, out = math.ceil(depth * config["depth_multiplier"]), rounded(out * config["channel_multiplier"])
        for place, (first_stride, repeats) in enumerate(((stride, 1), (1, depth - 1))):
            shape = Shape(channels, out, expansion * channels, kernel, first_stride, side)
            body = BLOCKS["mbconv"].body(shape, first=place == 0)
            if expansion == 1:
                body = without_expansion(body)
            parts.append(Part(f"stages.{index}.{place}", body, repeats, index, ends_scale=first_stride == 2))
            channels, side = out, side // first_stride
    return (*parts, *closing_parts(channels, side, TAIL, OUTPUTS))


def read(folder: Path) -> list[Trained]:
    """Return the networks in the folder of the data set."""
    with (folder / FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Trained(
            row["archid"], parts_of(json.loads(row["config"])), -100 * float(row["Partial_training_Validation_Error"])
        )
        for row in rows
    ]


ARCHAI_FACE = DataSet("archai_face", "github.com/microsoft/archai", "% of error, facial landmarks", read)
