"""Layer records: what a network is made of, each layer's own costs beside it.

A record's numbers are integers for one network, or integer arrays of one shape for a whole population
of networks: the same formulas serve both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Count = Any
"""An `int`, or an array of ints (one entry a network) where a population is counted at once."""

Role = Literal["main", "gate", "shortcut", "classifier"]
Operation = Literal["conv", "average_pool", "global_pool", "linear"]


@dataclass(frozen=True)
class Layer:
    """One layer with what belongs to it: its normalisation, bias and activation.

    `side` is the side of its square input in pixels; `role` says where it stands: on the main path, in a
    squeeze-excitation gate, on the shortcut, or as the classifier. Only main-path layers carry entropy.
    `adds` says that the shortcut is added to its output, which back ends do within this layer.
    """

    role: Role
    operation: Operation
    inputs: Count
    outputs: Count
    side: int
    kernel: Count = 1
    stride: int = 1
    depthwise: bool = False
    norm: bool = True
    bias: bool = False
    activation: str | None = None
    adds: bool = False

    @property
    def out_side(self) -> int:
        """The side of the output in pixels."""
        return 1 if self.operation == "global_pool" else self.side // self.stride

    @property
    def fan_in(self) -> Count:
        """Inputs each output sees, w_l = c_in * k^2 / groups: the width of DeepMAD (paper, section 3.1)."""
        return self.kernel**2 if self.depthwise else self.inputs * self.kernel**2

    @property
    def weights(self) -> Count:
        """Weights of the convolution or of the linear map, without bias."""
        return self.fan_in * self.outputs if self.operation in ("conv", "linear") else 0

    @property
    def params(self) -> Count:
        """Trainable parameters: weights, scale and shift of the normalisation, bias."""
        return self.weights + self.outputs * (2 * self.norm + self.bias)

    @property
    def macs(self) -> Count:
        """Multiply-accumulates for one image; normalisation, bias and activation are not counted."""
        return self.weights * self.out_side**2

    @property
    def input_elements(self) -> Count:
        """Elements of the input, for one image."""
        return self.inputs * self.side**2

    @property
    def output_elements(self) -> Count:
        """Elements of the output, for one image."""
        return self.outputs * self.out_side**2


@dataclass(frozen=True)
class Body:
    """The layers of one block in the order they run, and whether its input is added to its output.

    Shortcut layers run on the block's input; a residual body without any adds the input as it is.
    `residual` is a bool, or an array of bools for a population.
    """

    layers: tuple[Layer, ...]
    residual: Count = False

    @property
    def main(self) -> tuple[Layer, ...]:
        """The main-path convolutions, which carry entropy."""
        return tuple(layer for layer in self.layers if layer.role == "main")

    def live_elements(self) -> Iterator[Count]:
        """Elements alive while each main-path layer runs: its input, its output and the held shortcut.

        The shortcut held is the block's input; while the first layer runs it is that layer's own input
        and counts once.
        """
        held = self.residual * self.main[0].input_elements
        for index, layer in enumerate(self.main):
            yield layer.input_elements + layer.output_elements + (held if index else 0)


@dataclass(frozen=True)
class Part:
    """A body as it stands in a network, `repeats` times in a row (an array for a population).

    `stage` is the index of its stage, None for stem, tail and classifier. `ends_scale` says that the
    feature map that enters this part is the last of its side, so that a scale of DeepMAD ends before it.
    """

    name: str
    body: Body
    repeats: Count = 1
    stage: int | None = None
    ends_scale: bool = False


def by_stage(parts: Sequence[Part], stages: int) -> list[list[Part]]:
    """Return the parts of each of a network's stages, those of stem, tail and classifier left out."""
    found: list[list[Part]] = [[] for _ in range(stages)]
    for part in parts:
        if part.stage is not None:
            found[part.stage].append(part)
    return found


def total(parts: Sequence[Part], cost: Callable[[Layer], Count]) -> Count:
    """Return what a cost of layers adds up to over a network's parts."""
    found: Count = 0
    for part in parts:
        for layer in part.body.layers:
            runs = part.body.residual if layer.role == "shortcut" else 1  # within a population some have none
            found = found + part.repeats * runs * cost(layer)
    return found


def total_params(parts: Sequence[Part]) -> Count:
    """Return the trainable parameters of a network."""
    return total(parts, lambda layer: layer.params)


def total_macs(parts: Sequence[Part]) -> Count:
    """Return the multiply-accumulates of a network for one image."""
    return total(parts, lambda layer: layer.macs)


def main_elements(layer: Layer) -> Count:
    """Return the output elements of a layer for one image; 0 off the main path."""
    return layer.output_elements if layer.role == "main" else 0


def peak_activation_elements(parts: Sequence[Part]) -> Count:
    """Peak of the elements alive at once over the main-path layers, for one image."""
    peak: Count = 0
    for part in parts:
        present = np.minimum(part.repeats, 1)
        for live in part.body.live_elements() if part.body.main else ():
            peak = np.maximum(peak, present * live)
    return peak
