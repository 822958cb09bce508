"""Measures: the quantities of a network that a limit may bound, each named here and nowhere else.

A measure that adds up over the layers needs one entry in `MEASURES` and a field of its name in `Budget`: every solver,
the files and the reports read it from here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from deepmad.engine.program.entropy import rho, scales
from deepmad.engine.program.latency import LatencyModel, slowest_seconds
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Count, Layer, Part, main_elements, peak_activation_elements, total
from deepmad.search_spaces.units import Kind

Sense = Literal["at most", "at least"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
BYTES_PER_ELEMENT: dict[str, int] = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True)
class Measure:
    """A quantity of a network: `kind` says of what sort it is, `means` what it counts.

    `of_layer` is what one layer adds, in whole numbers, where the network's amount is the sum over its layers; None
    where it is not. `fields` are the fields of a budget that limit it, where they do not have its own name.
    """

    name: str
    kind: Kind
    means: str
    of_layer: Callable[[Layer], Count] | None = None
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", self.fields or (self.name,))


_ALL = (
    Measure("macs", "count", "multiply-accumulates an image", attrgetter("macs")),
    Measure("params", "count", "parameters", attrgetter("params")),
    Measure("activations", "count", "output elements of main-path layers an image", main_elements),
    Measure("rho", "number", "depth over the geometric mean width"),
    Measure("latency_seconds", "seconds", "predicted seconds for one batch", fields=("latency", "throughput")),
    Measure("memory_bytes", "bytes", "bytes of peak activations for one batch", fields=("memory",)),
)
MEASURES = {measure.name: measure for measure in _ALL}
"""Every measure by the name that solution files give it, in the order in which limits are told."""
ADDITIVE = tuple(measure for measure in _ALL if measure.of_layer is not None)
"""The measures that add up over the layers, a predicted latency aside: that one hangs on the table."""


@dataclass(frozen=True)
class Limit:
    """A limit on a measure: its name, its value (inclusive) in the measure's unit, and its sense."""

    name: str
    value: float
    sense: Sense = "at most"

    @property
    def sign(self) -> int:
        """1 where less is better, -1 where more is."""
        return 1 if self.sense == "at most" else -1

    def keeps(self, used: Count) -> Count:
        """Return whether `used` keeps the limit, to the unit."""
        return used <= self.value if self.sense == "at most" else used >= self.value

    def overrun(self, used: Count) -> Count:
        """Return by how much `used` overruns the limit as a share of it, below 0 where there is room."""
        return used / self.value - 1 if self.sense == "at most" else 1 - used / self.value


def used_up(used: float, limit: float, sense: Sense) -> float:
    """Return how much of a limit is used up, 1 where all of it: used / limit, or limit / used of one from below."""
    return used / limit if sense == "at most" else limit / used


def amount(name: str, parts: tuple[Part, ...], *, batch: int, precision: str, tables: Sequence[LatencyModel]) -> Count:
    """Return what the network of `parts` uses of a measure; an array where the records hold arrays.

    A latency is that of the slowest of the tables' devices. Raises `InputError` for a latency without a table.
    """
    if (of_layer := MEASURES[name].of_layer) is not None:
        return total(parts, of_layer)
    if name == "rho":
        return rho(scales(parts))
    if name == "latency_seconds":
        if not tables:
            raise InputError("latency: a limit on latency or throughput needs a latency table")
        return slowest_seconds(parts, tables)
    return peak_activation_elements(parts) * batch * BYTES_PER_ELEMENT[precision]
