"""Entropy and effectiveness of a network, or of a whole population at once (paper, sections 3.1 to 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepmad.search_spaces.layers import Count, Part


@dataclass(frozen=True)
class Scale:
    """The network read where a feature map's side ends: just before a stride 2, and at its end.

    `depth` is n_i, the main-path convolutions so far; `log_widths` the sum of ln w_l over them;
    `channels` and `side` are c_i and r_i of the feature map there.
    """

    depth: Count
    log_widths: Count
    channels: Count
    side: int

    @property
    def entropy(self) -> Count:
        """H_i = ln(r_i^2 c_i) * sum ln w_l, in nats (paper, equation 8)."""
        return np.log(self.side**2 * self.channels) * self.log_widths

    @property
    def effectiveness(self) -> Count:
        """rho_i = n_i / exp(mean ln w_l): depth over the geometric mean width (paper, equation 6)."""
        return self.depth / np.exp(self.log_widths / self.depth)


def scales(parts: Sequence[Part]) -> tuple[Scale, ...]:
    """Return the scales of a network, first to last."""
    found = []
    depth: Count = 0
    log_widths: Count = 0.0
    channels: Count = 0
    side = 0
    for part in parts:
        if part.ends_scale:
            found.append(Scale(depth, log_widths, channels, side))
        for layer in part.body.main:
            depth = depth + part.repeats
            log_widths = log_widths + part.repeats * np.log(layer.fan_in)
            channels, side = layer.outputs, layer.out_side
    return (*found, Scale(depth, log_widths, channels, side))


def entropy(found: Sequence[Scale], alpha: Sequence[float]) -> Count:
    """Return sum alpha_i H_i over the scales, `alpha` holding one weight a scale."""
    return sum(weight * scale.entropy for weight, scale in zip(alpha, found, strict=True))


def rho(found: Sequence[Scale]) -> Count:
    """Return the largest rho_i over the scales, which the effectiveness limit bounds."""
    largest: Count = 0.0
    for scale in found:
        largest = np.maximum(largest, scale.effectiveness)
    return largest
