"""Budgets: the limits a network must keep, and what it uses of each, counted from the architecture alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from deepmad.engine.program.black_boxes import BlackBox, black_boxes
from deepmad.engine.program.entropy import rho, scales
from deepmad.engine.program.latency import LatencyModel, slowest_seconds
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Count, Part, peak_activation_elements, total_macs, total_params
from deepmad.search_spaces.ranges import check
from deepmad.search_spaces.spaces import Space

BYTES_PER_ELEMENT = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
FIELDS = {
    "macs": ("macs",),
    "params": ("params",),
    "rho": ("rho",),
    "latency_seconds": ("latency", "throughput"),
    "memory_bytes": ("memory",),
}
"""The fields of a budget behind each limit, by the names that `limits_used` gives them."""


@dataclass(frozen=True)
class Budget:
    """Limits on a network, all inclusive; None is no limit.

    `macs` and `params` are counts, `rho` is max n_i / w_i, `latency` is seconds for one batch, `throughput`
    images a second (a lower limit), `memory` bytes of peak activations for one batch. `extra` holds limits that only
    a function knows: each a `BlackBox`, or a function of the network that returns True (kept), False, or a number
    that must not be above 0. Raises `InputError` for a limit that is no positive finite number, and where two limits
    of `extra` have one name.
    """

    macs: float | None = None
    params: float | None = None
    rho: float | None = None
    latency: float | None = None
    throughput: float | None = None
    memory: float | None = None
    extra: Any = ()  # a Sequence[BlackBox | Callable]; declared so, a budget could not be made from a dict of numbers

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "extra" and value is not None:
                object.__setattr__(self, field.name, check("limit", value, field.name))
        object.__setattr__(self, "extra", black_boxes(self.extra, taken=FIELDS))

    @property
    def black_boxes(self) -> tuple[BlackBox, ...]:
        """The limits that only a function knows."""
        boxes: tuple[BlackBox, ...] = self.extra
        return boxes

    @staticmethod
    def of(space: Space) -> "Budget":
        """Return the limits that come with a space."""
        return Budget(macs=space.limits.macs, params=space.limits.params, rho=space.limits.rho)

    def latency_seconds(self, batch: int) -> float | None:
        """Return the tighter of `latency` and batch / `throughput`, in seconds for one batch."""
        found = [self.latency, batch / self.throughput if self.throughput else None]
        return min((value for value in found if value is not None), default=None)


@dataclass(frozen=True)
class Usage:
    """What a network uses of one limit, in the limit's unit."""

    limit: float
    used: float

    @property
    def kept(self) -> bool:
        """Whether the limit is kept, to the unit."""
        return self.used <= self.limit


def limits_used(
    parts: tuple[Part, ...],
    budget: Budget,
    *,
    batch: int = 1,
    precision: str = "fp32",
    tables: Sequence[LatencyModel] = (),
) -> Iterator[tuple[str, float, Count]]:
    """Yield each limit of `budget` but the extra ones: its name, its value, and what the network of `parts` uses of it.

    The names are those of the solution file: macs, params, rho, latency_seconds (on the slowest of the tables'
    devices), memory_bytes. Where the records hold arrays, one entry a network, the uses are arrays too. Raises
    `InputError` where a latency limit comes without a table.
    """
    if budget.macs is not None:
        yield "macs", budget.macs, total_macs(parts)
    if budget.params is not None:
        yield "params", budget.params, total_params(parts)
    if budget.rho is not None:
        yield "rho", budget.rho, rho(scales(parts))
    latency = budget.latency_seconds(batch)
    if latency is not None:
        if not tables:
            raise InputError("latency: a limit on latency or throughput needs a latency table")
        yield "latency_seconds", latency, slowest_seconds(parts, tables)
    if budget.memory is not None:
        element = batch * BYTES_PER_ELEMENT[precision]
        yield "memory_bytes", budget.memory, peak_activation_elements(parts) * element
