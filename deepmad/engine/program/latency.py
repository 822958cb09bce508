"""What the engine asks of a latency table: whole nanoseconds for every layer that a space can hold."""

from collections.abc import Sequence
from functools import reduce
from typing import Protocol

import numpy as np

from deepmad.search_spaces.layers import Count, Layer, Part, total


class LatencyModel(Protocol):
    """A predictor that adds up: a network's latency is the overhead plus the sum over its layers."""

    @property
    def batch(self) -> int:
        """Images in one batch."""

    @property
    def precision(self) -> str:
        """The precision it was measured in: fp32, fp16, bf16, int8."""

    @property
    def overhead_nanoseconds(self) -> int:
        """Nanoseconds every network takes for one batch, whatever its layers."""

    def nanoseconds(self, layer: Layer) -> Count:
        """Nanoseconds of `layer` for one batch, as an int, or an int64 array where the record holds arrays."""


def latency_nanoseconds(parts: Sequence[Part], table: LatencyModel) -> Count:
    """Return the predicted nanoseconds of a network for one batch: exactly what the integer program adds up."""
    return table.overhead_nanoseconds + total(parts, table.nanoseconds)


def slowest_seconds(parts: Sequence[Part], tables: Sequence[LatencyModel]) -> Count:
    """Return the predicted seconds of a network for one batch on the slowest of the tables' devices."""
    return reduce(np.maximum, [latency_nanoseconds(parts, table) for table in tables]) / 1e9
