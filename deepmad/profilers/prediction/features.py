"""What the time of a layer grows with: whole numbers read from its record, for one image.

Processors work on vectors, so channels count in blocks of 16 (one AVX-512 register of fp32): that makes the
stair steps of the measured times. Some libraries pad the output channels only; then the "unpadded" ones count.
Multiply-accumulates cost more on some sides than on others; their cost is free at every side of the space, the base
cost being that of the cheapest one. What a layer reads and writes costs more where it outgrows a cache. Numbers may be
arrays.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import Count, Layer

VECTOR = 16
"""Channels in one block."""
PANEL = 128
"""Input channels that a 1x1 convolution adds up before it writes its output and reads it again."""
SHARES = 16
"""A side between two known ones is split among them in so many shares."""
WORKING_SETS = tuple(2**power for power in range(12, 24))
"""Input and output elements of a layer, for one image, beyond which each may cost more: caches end somewhere between
4096 fp32 numbers (256 KiB at batch 16, 1 MiB at batch 64) and 8 million (32 MiB at batch 1)."""
WEIGHT_SETS = tuple(2**power for power in range(19, 23))
"""Weights of a layer beyond which each may cost more: 2 to 16 MiB in fp32."""

Term = tuple[str, Count]
"""The name of a feature and its value."""


@dataclass(frozen=True)
class Basis:
    """The output sides and the kernels, both rising, whose costs are told apart."""

    sides: tuple[int, ...]
    kernels: tuple[int, ...]

    @staticmethod
    def of(networks: Sequence[Architecture]) -> "Basis":
        """Return the sides and kernels of the convolutions of some networks."""
        return Basis.of_layers(layer for network in networks for part in network.parts() for layer in part.body.layers)

    @staticmethod
    def of_layers(layers: Iterable[Layer], apart: float = 1.0) -> "Basis":
        """Return the kernels of the convolutions among some layers, and their sides, each `apart` times the one below.

        The smallest and the largest side are always among them.
        """
        found = [layer for layer in layers if layer.operation == "conv" and layer.role != "gate"]
        sides = sorted({layer.out_side for layer in found})
        kept = sides[:1]
        for side in sides[1:]:
            if side >= apart * kept[-1] or side == sides[-1]:
                kept.append(side)
        return Basis(tuple(kept), tuple(sorted({int(layer.kernel) for layer in found})))

    def side_shares(self, side: int) -> dict[int, int]:
        """Return how `side` is split among the known sides next to it, in sixteenths.

        Between two of them the split is linear in the logarithm; beyond the ends it is all of the last one.
        """
        above = next((known for known in self.sides if known >= side), self.sides[-1])
        below = next((known for known in reversed(self.sides) if known <= side), self.sides[0])
        if above <= below:  # a known side, or one beyond an end
            return {above if side >= above else below: SHARES}
        share = round(SHARES * math.log(side / below) / math.log(above / below))
        return {below: SHARES - share, above: share}

    def kernel_masks(self, kernel: Count) -> Iterator[tuple[int, Count]]:
        """Yield every known kernel, and 1 where it is the one nearest to `kernel` (the larger of two), else 0."""
        for index, known in enumerate(self.kernels):
            mask: Count = 1
            if index > 0:
                mask = mask * (2 * kernel >= self.kernels[index - 1] + known)
            if index + 1 < len(self.kernels):
                mask = mask * (2 * kernel < known + self.kernels[index + 1])
            yield known, mask


def blocks(channels: Count) -> Count:
    """Return how many vector blocks hold `channels`."""
    return (channels + VECTOR - 1) // VECTOR


def terms(layer: Layer, basis: Basis) -> Iterator[Term]:
    """Yield the features of one layer, all of them non-negative integers.

    A feature is named `GROUP.WHAT` or `GROUP.WHAT@SIDE`, or `WHAT beyond SIZE` or `WHAT outgrowing SIZE`; every group
    has `GROUP.layers`, the number of its layers. With arrays, a feature is 0 for those records of the array that are
    not of its group.
    """
    if layer.operation != "conv":
        group = f"{layer.role} {layer.operation}"
        values = {"layers": 1, "elements": blocks(layer.inputs) * layer.side**2}
        if layer.operation == "linear":
            values = {"layers": 1, "weights": layer.weights, "outputs": layer.outputs}
        yield from _masked(group, 1, values)
        return
    if layer.role == "gate":
        yield from _masked("gate conv", 1, {"layers": 1, "weights": blocks(layer.inputs) * blocks(layer.outputs)})
        return
    yield from _beyond_caches(layer)
    if layer.depthwise:
        for kernel, mask in basis.kernel_masks(layer.kernel):
            yield from _masked(f"depthwise{kernel}/{layer.stride}", mask, _depthwise(layer, basis))
    else:
        narrow = 1 * (layer.inputs < VECTOR)  # an image's channels fill no block: these run in a kernel of their own
        yield from _masked("narrow conv", narrow, _dense(layer, basis, layer.inputs))
        for kernel, mask in basis.kernel_masks(layer.kernel):
            values = _dense(layer, basis, VECTOR * blocks(layer.inputs))
            unpadded = layer.inputs * blocks(layer.outputs) * layer.kernel**2 * layer.out_side**2
            yield from _masked(f"conv{kernel}", mask * (1 - narrow), {**values, "unpadded macs": unpadded})


def _masked(group: str, mask: Count, values: dict[str, Count]) -> Iterator[Term]:
    if np.any(mask):
        for what, value in values.items():
            yield f"{group}.{what}", mask * value


def _beyond_caches(layer: Layer) -> Iterator[Term]:
    """Yield what a convolution reads and writes where it outgrows each size of a cache; these belong to no group.

    Elements count from that size on. Weights are read once for every image, and a cache that they outgrow keeps none
    of them: there all count.
    """
    elements = layer.input_elements + layer.output_elements
    for size in WORKING_SETS:
        yield from _where(f"elements beyond {size}", (elements > size) * (elements - size))
    for size in WEIGHT_SETS:
        yield from _where(f"weights outgrowing {size}", (layer.weights > size) * layer.weights)


def _where(name: str, elements: Count) -> Iterator[Term]:
    if np.any(elements):
        yield name, elements // VECTOR


def _dense(layer: Layer, basis: Basis, inputs: Count) -> dict[str, Count]:
    """Features of a dense convolution whose input channels count as `inputs`."""
    area, window = layer.out_side**2, layer.kernel**2
    outputs = blocks(layer.outputs)
    macs = inputs * outputs * window * area
    read = area + (window > 1) * (layer.side**2 - area)  # a 1x1 with stride skips what it does not need
    return {
        "layers": 1,
        "macs": macs,
        "weights": inputs * outputs * window,
        "inputs": blocks(layer.inputs) * read,
        "outputs": outputs * area,
        "rewrites": outputs * area * ((inputs - 1) // PANEL),
        **_at_sides("macs", macs, layer, basis),
    }


def _depthwise(layer: Layer, basis: Basis) -> dict[str, Count]:
    """Features of a depthwise convolution; its kernel and stride are in its group's name."""
    channels = blocks(layer.inputs)
    outputs = channels * layer.out_side**2
    return {
        "layers": 1,
        "channels": channels,
        "inputs": channels * layer.side**2,
        "outputs": outputs,
        **_at_sides("outputs", outputs, layer, basis),
    }


def _at_sides(what: str, value: Count, layer: Layer, basis: Basis) -> dict[str, Count]:
    shares = basis.side_shares(layer.out_side)
    return {f"{what}@{side}": value * share for side, share in shares.items() if share}
