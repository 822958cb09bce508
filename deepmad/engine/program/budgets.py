"""Budgets: the limits a network must keep, and what it uses of each, counted from the architecture alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from deepmad.engine.program.black_boxes import BlackBox, black_boxes
from deepmad.engine.program.latency import LatencyModel
from deepmad.engine.program.measures import ADDITIVE, MEASURES, Limit, Sense, amount
from deepmad.engine.program.objectives import RESIDUAL_BLOCKS
from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.layers import Count, Part
from deepmad.search_spaces.ranges import check
from deepmad.search_spaces.spaces import Space
from deepmad.search_spaces.units import AtLeast, bound, quantity

_KINDS = {field: measure.kind for measure in MEASURES.values() for field in measure.fields}

RESIDUAL_RHO, MOBILE_RHO = 0.3, 0.5
"""The limits on rho of DeepMAD's residual and of its mobile family, as in the presets."""


def usual_rho(space: Space) -> float:
    """Return the usual limit on rho by the block kinds of a space: the lower one where both families are offered."""
    residual = any(kind in RESIDUAL_BLOCKS for stage in space.stages for kind in stage.block)
    return RESIDUAL_RHO if residual else MOBILE_RHO


@dataclass(frozen=True)
class Budget:
    """Limits on a network, all inclusive; None is no limit.

    Example: `Budget(latency="8ms", macs="1.8G", params=11e6)`. Texts have units as on the command line; a number is in
    SI units, so 0.008 is 8 ms.

    `macs`, `params` and `activations` (output elements of main-path layers for one image) are counts, each from above
    or, as `AtLeast`, from below. `rho` is max n_i / w_i, `latency` is seconds for one batch, `throughput` images a
    second (a lower limit), `memory` bytes of peak activations for one batch. `extra` holds limits that only
    a function knows: each a `BlackBox`, or a function of the network that returns True (kept), False, or a number
    that must not be above 0. Raises `InputError` for a limit that is no positive finite number, or from below where
    none may be, and where two limits of `extra` have one name.
    """

    macs: float | AtLeast | None = None
    params: float | AtLeast | None = None
    rho: float | None = None
    latency: float | None = None
    throughput: float | None = None
    memory: float | None = None
    activations: float | AtLeast | None = None
    extra: Any = ()  # a Sequence[BlackBox | Callable]; declared so, a budget could not be made from a dict of numbers

    def __post_init__(self) -> None:
        sums = ", ".join(measure.name for measure in ADDITIVE)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                value = _read(field.name, value)
                object.__setattr__(self, field.name, value)
            if isinstance(value, AtLeast):
                if field.name not in sums.split(", "):
                    raise InputError(f"{field.name}: {value} is a limit from below, as only {sums} may have")
                object.__setattr__(self, field.name, AtLeast(check("limit", value.value, field.name)))
            elif field.name != "extra" and value is not None:
                object.__setattr__(self, field.name, check("limit", value, field.name))
        object.__setattr__(self, "extra", black_boxes(self.extra, taken=MEASURES))

    @property
    def black_boxes(self) -> tuple[BlackBox, ...]:
        """The limits that only a function knows."""
        boxes: tuple[BlackBox, ...] = self.extra
        return boxes

    @staticmethod
    def of(space: Space) -> "Budget":
        """Return the limits that come with a space."""
        own = space.limits
        return Budget(macs=own.macs, params=own.params, rho=own.rho, activations=own.activations)

    def latency_seconds(self, batch: int) -> float | None:
        """Return the tighter of `latency` and batch / `throughput`, in seconds for one batch."""
        found = [self.latency, batch / self.throughput if self.throughput else None]
        return min((value for value in found if value is not None), default=None)

    def limits(self, batch: int) -> dict[str, Limit]:
        """Return the limits in force by the names of their measures, the extra ones left out."""
        found = {}
        for name, measure in MEASURES.items():
            seconds = name == "latency_seconds"
            value = self.latency_seconds(batch) if seconds else getattr(self, measure.fields[0])
            if isinstance(value, AtLeast):
                found[name] = Limit(name, value.value, "at least")
            elif value is not None:
                found[name] = Limit(name, value)
        return found


def _read(name: str, text: str) -> float | AtLeast | None:
    """Return a limit that is written with its unit, None for `none`. Raises `InputError`."""
    if text.strip().lower() == "none":
        return None
    if name in {measure.name for measure in ADDITIVE}:
        return bound(text, name)
    kind = "per second" if name == "throughput" else _KINDS.get(name)
    if kind is None:
        raise InputError(f"{name}: {shown(text)} is a text; give functions of a network, or BlackBox")
    return quantity(text, kind, name)


@dataclass(frozen=True)
class Usage:
    """What a network uses of one limit, in the limit's unit."""

    limit: float
    used: float
    sense: Sense = "at most"

    @property
    def kept(self) -> bool:
        """Whether the limit is kept, to the unit."""
        return bool(Limit("", self.limit, self.sense).keeps(self.used))


def limits_used(
    parts: tuple[Part, ...],
    budget: Budget,
    *,
    batch: int = 1,
    precision: str = "fp32",
    tables: Sequence[LatencyModel] = (),
) -> Iterator[tuple[Limit, Count]]:
    """Yield each limit of `budget` but the extra ones, and what the network of `parts` uses of it.

    A latency is that of the slowest of the tables' devices. Where the records hold arrays, one entry a network, the
    uses are arrays too. Raises `InputError` where a latency limit comes without a table.
    """
    for name, limit in budget.limits(batch).items():
        yield limit, amount(name, parts, batch=batch, precision=precision, tables=tables)
