"""Latency tables in the form of Once-for-All (github.com/mit-han-lab/once-for-all): YAML, one entry a block.

A key is `KIND-input:HxWxC-output:HxWxC` and, for inverted residuals, `-expand:E-kernel:K-stride:S-idskip:0|1` and
perhaps `-se:0|1`; its value has `mean` milliseconds and perhaps their variance `var`. `expand` multiplies the input
channels; where the key ends in `-hs:0|1`, as in the project's table of MobileNetV3, it is the inner width itself. A
block of expansion 1 has no first 1x1 convolution.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from deepmad.profilers.importing.left_out import LeftOut, check_unit
from deepmad.profilers.prediction.layer_rows import LayerRow
from deepmad.profilers.prediction.quantities import (
    MOST_CHANNELS,
    MOST_KERNEL,
    MOST_SIDE,
    SECONDS_ALLOWED,
    nanoseconds_of,
)
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_yaml
from deepmad.search_spaces.layers import Layer

_SHAPE = r"([0-9]{1,6}(?:x[0-9]{1,6}){0,2})"
_KEY = re.compile(rf"([A-Za-z][A-Za-z0-9_]*)-input:{_SHAPE}-output:{_SHAPE}((?:-[a-z]+:[0-9]{{1,6}})*)")
EXAMPLE = "MBConv-input:28x28x40-output:28x28x40-expand:4-kernel:5-stride:1-idskip:1-se:1"


class Entry(TypedDict):
    """What a key says: sides and channels of input and output, and the numbers after them."""

    side: int
    inputs: int
    out_side: int
    outputs: int
    stride: int
    numbers: dict[str, int]


def read_ofa(path: Path) -> tuple[list[LayerRow], LeftOut]:
    """Return the entries of a table with the layers of their blocks, and those that are left out.

    Raises `InputError` where most keys are not of the form or have no time, and where the times are in seconds.
    """
    document = read_yaml(path)
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path}: holds no times; it must map keys like {EXAMPLE} to a mean in milliseconds")
    rows, left_out = list[LayerRow](), LeftOut(path, "entries")
    for key, value in document.items():
        try:
            rows.append(LayerRow(path.name, str(key), _layers(str(key)), _nanoseconds(value)))
        except InputError as error:
            left_out.add(repr(key)[:200], str(error))
    left_out.check(len(rows))
    check_unit(path, [row.nanoseconds for row in rows], "milliseconds")
    return rows, left_out


def _nanoseconds(value: Any) -> int:
    found = nanoseconds_of(value.get("mean") if isinstance(value, dict) else None, unit=1e-3)
    if found is None:
        raise InputError(
            f"its value is {str(value)[:60]}; it must have a mean in milliseconds, {SECONDS_ALLOWED}; remove the entry"
        )
    return found


def _layers(key: str) -> tuple[Layer, ...]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise InputError(f"is no key of an ofa table; they look like {EXAMPLE}")
    kind, taken, given, rest = match.groups()
    if kind not in _KINDS:
        raise InputError(f"the kind {kind!r} is unknown; it must be one of {', '.join(_KINDS)}")
    numbers = {name: int(number) for name, number in re.findall(r"-([a-z]+):([0-9]+)", rest)}
    side, inputs = _size(taken)
    out_side, outputs = _size(given)
    stride = numbers.get("stride", max(1, math.ceil(side / out_side)))
    entry = Entry(side=side, inputs=inputs, out_side=out_side, outputs=outputs, stride=stride, numbers=numbers)
    layers = _KINDS[kind](entry)
    kernel, widest = max(layer.kernel for layer in layers), max(max(layer.inputs, layer.outputs) for layer in layers)
    if kernel > MOST_KERNEL or widest > MOST_CHANNELS or side > MOST_SIDE:
        raise InputError(
            f"is impossible here; kernels go up to {MOST_KERNEL}, channels to {MOST_CHANNELS}, sides to {MOST_SIDE}; "
            "remove the entry"
        )
    return layers


def _size(shape: str) -> tuple[int, int]:
    """Return side and channels of `HxWxC`, or of `C` alone, which has side 1."""
    numbers = [int(number) for number in shape.split("x")]
    height, width, channels = numbers if len(numbers) == 3 else (1, 1, numbers[-1])
    if len(numbers) == 2 or height != width or 0 in numbers:
        raise InputError(f"{shape} is no square HxWxC of positive numbers; remove the entry")
    return height, channels


def _check_side(entry: Entry) -> None:
    """Raise `InputError` unless the stride takes the input's side to the output's."""
    side, stride, out_side = entry["side"], entry["stride"], entry["out_side"]
    if stride < 1 or out_side != math.ceil(side / stride):
        raise InputError(f"side {side} with stride {stride} does not give side {out_side}; remove the entry")


def _block(entry: Entry) -> tuple[Layer, ...]:
    """Return the layers of an inverted residual."""
    numbers = entry["numbers"]
    missing = [name for name in ("expand", "kernel", "stride", "idskip") if name not in numbers]
    if missing:
        raise InputError(f"does not tell {missing[0]}; keys look like {EXAMPLE}")
    _check_side(entry)
    inputs, outputs, kernel, stride = entry["inputs"], entry["outputs"], numbers["kernel"], entry["stride"]
    width = numbers["expand"] if "hs" in numbers else numbers["expand"] * inputs
    skips = numbers["idskip"] == 1
    if kernel % 2 == 0 or width == 0 or (skips and (stride != 1 or inputs != outputs)):
        raise InputError(
            "is impossible here; kernels are odd, expand is above 0, idskip keeps channels and side; remove the entry"
        )
    out_side = entry["out_side"]
    first = (Layer("main", "conv", inputs, width, entry["side"], activation="relu"),) if width != inputs else ()
    return (
        *first,
        # a stride 2 on an odd side gives half of the next even one
        Layer("main", "conv", width, width, stride * out_side, kernel, stride, depthwise=True, activation="relu"),
        *(_gate(width, out_side) if numbers.get("se") == 1 else ()),
        Layer("main", "conv", width, outputs, out_side, adds=skips),
    )


def _gate(width: int, side: int) -> tuple[Layer, ...]:
    """Return squeeze-excitation as Once-for-All has it: a quarter of the width, to the nearest multiple of 8."""
    quarter = width // 4
    squeezed = max(8, (quarter + 4) // 8 * 8)
    if squeezed < 0.9 * quarter:
        squeezed += 8
    return (
        Layer("gate", "global_pool", width, width, side, norm=False),
        Layer("gate", "conv", width, squeezed, 1, norm=False, bias=True, activation="relu"),
        Layer("gate", "conv", squeezed, width, 1, norm=False, bias=True, activation="sigmoid"),
    )


def _stem(entry: Entry) -> tuple[Layer, ...]:
    """Return the first convolution, 3x3."""
    _check_side(entry)
    side = entry["stride"] * entry["out_side"]
    return (Layer("main", "conv", entry["inputs"], entry["outputs"], side, 3, entry["stride"], activation="relu"),)


def _pointwise(entry: Entry) -> tuple[Layer, ...]:
    """Return a 1x1 convolution, which keeps its side."""
    _check_side({**entry, "stride": 1})
    return (Layer("main", "conv", entry["inputs"], entry["outputs"], entry["side"], activation="relu"),)


def _pool(entry: Entry) -> tuple[Layer, ...]:
    """Return the global pool before the classifier."""
    inputs = entry["inputs"]
    return (Layer("classifier", "global_pool", inputs, inputs, entry["side"], norm=False),)


def _pointwise_and_pool(entry: Entry) -> tuple[Layer, ...]:
    """Return the last 1x1 convolution and the global pool behind it."""
    layers = _pointwise(entry)
    return (*layers, Layer("classifier", "global_pool", entry["outputs"], entry["outputs"], entry["side"], norm=False))


def _classifier(entry: Entry) -> tuple[Layer, ...]:
    """Return the linear map, and the global pool before it where its input is not pooled yet."""
    linear = Layer("classifier", "linear", entry["inputs"], entry["outputs"], 1, norm=False, bias=True)
    return (*(_pool(entry) if entry["side"] > 1 else ()), linear)


_KINDS: dict[str, Callable[[Entry], tuple[Layer, ...]]] = {
    "MBConv": _block,
    "expanded_conv": _block,
    "first_conv": _stem,
    "Conv": _stem,
    "final_expand_layer": _pointwise_and_pool,
    "Conv_1": _pointwise,
    "AvgPool2D": _pool,
    "feature_mix_layer": _pointwise,
    "Conv_2": _pointwise,
    "classifier": _classifier,
    "Logits": _classifier,
}
"""What the entries of each kind hold; those of the project itself, and those of tables measured with its networks."""
