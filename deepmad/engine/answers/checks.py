"""What a solution file says, compared with what its networks say themselves when they are counted again."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deepmad.engine.answers.limit_uses import LimitUse
from deepmad.engine.answers.parts import Counting
from deepmad.engine.program.entropy import entropy, rho, scales
from deepmad.engine.program.measures import ADDITIVE, BYTES_PER_ELEMENT, Limit
from deepmad.engine.program.objectives import objective_value
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import peak_activation_elements, total

ROUNDING = 1e-9
"""How far, relatively, a number in a file may be from the same one computed anew."""
CHANGED = "the file was changed after it was written; write it anew, or give the architecture a file of its own"


class Latency(Protocol):
    """A prediction or a measurement, as far as it can be checked: seconds for one batch."""

    @property
    def latency_seconds(self) -> float:
        """Seconds."""


class MeasuredLatency(Latency, Protocol):
    """A measurement: it may say whether the limit is violated."""

    @property
    def violated(self) -> bool | None:
        """Whether it is."""


@dataclass(frozen=True)
class Disagreement:
    """A field of a file, what the file says, and what counting again gives."""

    field: str
    told: Any
    counted: Any

    def __str__(self) -> str:
        return f"{self.field}: {_text(self.told)} in the file, and counted again {_text(self.counted)}"


@dataclass(frozen=True)
class Claims:
    """What a file claims of a network: `gap` is the file's, `counted_gap` that of its objective and bound."""

    objective: float
    bound: float | None
    gap: float | None
    counted_gap: float | None
    message: str
    optimal: bool


def figures_disagree(
    network: Architecture,
    limits: Mapping[str, LimitUse],
    objective: float,
    predicted: Latency | None,
    counting: Counting | None,
) -> Iterator[Disagreement]:
    """Yield what a file says of a network's figures that counting it again does not.

    A latency hangs on a table, which is not in the file: only that all of the file tell the same one is looked at.
    """
    counted = count_again(network, counting)
    for name, use in limits.items():
        if use.used is None:
            continue
        known = counted.limits.get(name, use.used)
        if not _close(use.used, known):
            yield Disagreement(f"limits.{name}.used", use.used, known)
        elif name != "latency_seconds" and not Limit(name, use.limit, use.sense).keeps(use.used):
            kept = "at least" if use.sense == "at most" else "at most"
            yield Disagreement(f"limits.{name}.limit", use.limit, f"{kept} {_text(use.used)}, which the network uses")
    if counted.objective is not None and not _close(objective, counted.objective):
        yield Disagreement("objective", objective, counted.objective)
    latency = limits["latency_seconds"].used if "latency_seconds" in limits else None
    if predicted is not None and latency is not None and not _close(predicted.latency_seconds, latency):
        yield Disagreement("predicted.latency_seconds", predicted.latency_seconds, latency)


@dataclass(frozen=True)
class Counted:
    """What counting a network again gives: what it uses of limits, and its objective, as far as they can be counted."""

    limits: Mapping[str, float]
    objective: float | None


def count_again(network: Architecture, counting: Counting | None) -> Counted:
    """Return the figures of a network; a file that does not say how it counts leaves the objective open."""
    parts = network.parts()
    used: dict[str, Any] = {one.name: total(parts, one.of_layer) for one in ADDITIVE if one.of_layer is not None}
    found = scales(parts)
    used["rho"] = rho(found)
    if counting is None:
        return Counted({name: np.asarray(value).item() for name, value in used.items()}, None)
    size = counting.batch * BYTES_PER_ELEMENT[counting.precision]
    used["memory_bytes"] = int(peak_activation_elements(parts)) * size
    objective = math.nan
    if len(counting.alpha) == len(found):
        depths, nats = [stage.depth for stage in network.stages], float(entropy(found, counting.alpha))
        block = network.stages[0].block
        with np.errstate(over="ignore", invalid="ignore"):  # a file may hold any beta
            objective = float(objective_value(counting.objective, nats, depths, block, counting.beta))
    return Counted({name: np.asarray(value).item() for name, value in used.items()}, objective)


def claims_disagree(claims: Claims) -> Iterator[Disagreement]:
    """Yield what a file claims of bound, gap and proof that its objective and bound do not bear."""
    bound = claims.bound
    if bound is not None and claims.objective > bound + ROUNDING * abs(bound):
        yield Disagreement("bound", bound, f"at least {_text(claims.objective)}, the objective")
        return
    gap = claims.counted_gap if claims.counted_gap is not None and math.isfinite(claims.counted_gap) else None
    if (claims.gap is None) != (gap is None) or (gap is not None and abs(gap - (claims.gap or 0.0)) > ROUNDING):
        yield Disagreement("gap", claims.gap, gap)
    if claims.optimal and gap is None:
        yield Disagreement("status", "optimal", "feasible: there is no bound")
    within = re.search(r"proven to be within ([\d.]+)% of the optimum", claims.message)
    if "proven optimal" in claims.message and gap != 0:
        yield Disagreement("message", "proven optimal", "with no bound" if gap is None else f"a gap of {gap:.2%}")
    elif within and (gap is None or f"{gap:.2%}" != f"{within[1]}%"):
        yield Disagreement("message", within[0], "with no bound" if gap is None else f"a gap of {gap:.2%}")


def measured_disagrees(measured: MeasuredLatency | None, limits: Mapping[str, LimitUse]) -> Iterator[Disagreement]:
    """Yield that a measurement does not meet, or miss, the limit as the file says."""
    limit = limits.get("latency_seconds")
    if measured is not None and measured.violated is not None and limit is not None:
        violated = measured.latency_seconds > limit.limit
        if measured.violated != violated:
            yield Disagreement("measured.violated", measured.violated, violated)


def _close(told: float, counted: float) -> bool:
    return math.isclose(told, counted, rel_tol=ROUNDING)


def _text(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float | int) and not isinstance(value, bool) else str(value)
