"""The costs of a problem that add up over the layers, each with the limit on its sum."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from deepmad.engine.program.measures import ADDITIVE, Limit
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.layers import Count, Layer

NUMBERS = ("inputs", "outputs", "kernel")
"""The numbers of a record that may be arrays."""
ALWAYS = ("macs", "params")
"""Measures that are counted whether limited or not."""


@dataclass(frozen=True)
class Additive:
    """A cost that adds up: a network's amount is `constant` and what `of_layer` says of each of its layers.

    The amounts are whole numbers. `limit` is the one on the whole amount, in the unit of the layers; None is none.
    `of_device` says that it is one of the latencies, of which the largest is limited.
    """

    name: str
    of_layer: Callable[[Layer], Count]
    limit: Limit | None
    constant: int = 0
    of_device: bool = False

    @property
    def room(self) -> float:
        """What the limit leaves to the layers; infinite where there is no limit."""
        return np.inf if self.limit is None else float(self.limit.value - self.constant)

    @property
    def sign(self) -> int:
        """1 where the limit is one from above or there is none, -1 where it is one from below."""
        return 1 if self.limit is None else self.limit.sign


def additive_costs(problem: Problem) -> tuple[Additive, ...]:
    """Return the costs that solvers have to add up: MACs, parameters, whatever else is limited, then latencies.

    A latency is that of a device, in nanoseconds, one cost a table.
    """
    limits = problem.limits()
    found = [
        Additive(measure.name, measure.of_layer, limits.get(measure.name))
        for measure in ADDITIVE
        if measure.of_layer is not None and (measure.name in ALWAYS or measure.name in limits)
    ]
    nanoseconds = problem.limit_nanoseconds
    for place, table in enumerate(problem.tables):
        limit = None if nanoseconds is None else Limit("latency_seconds", nanoseconds)
        priced = partial(_on_lists, table.nanoseconds)
        found.append(Additive(f"latency_seconds@{place}", priced, limit, table.overhead_nanoseconds, of_device=True))
    return tuple(found)


def _on_lists(cost: Callable[[Layer], Count], layer: Layer) -> Count:
    """Return a cost of a layer whose numbers lie on a grid, asked for as of a plain list of networks."""
    shape = layer_shape(layer)
    numbers = {name: np.broadcast_to(getattr(layer, name), shape).ravel() for name in NUMBERS}
    found = np.asarray(cost(replace(layer, **numbers)))  # type: ignore[arg-type]
    return np.broadcast_to(found, max(1, math.prod(shape))).reshape(shape)


def layer_shape(layer: Layer) -> tuple[int, ...]:
    """Return the shape that the numbers of a layer's record have together."""
    return np.broadcast_shapes(*(np.shape(getattr(layer, name)) for name in NUMBERS))
