"""The problem: which space, which limits, which objective."""

import math
from dataclasses import dataclass, replace

from deepmad.engine.budgets import BYTES_PER_ELEMENT, Budget, Usage, usages
from deepmad.engine.entropy import entropy, scales
from deepmad.engine.latency import LatencyModel, latency_nanoseconds
from deepmad.engine.objectives import ObjectiveName, objective_value
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import Space


@dataclass(frozen=True)
class Problem:
    """Maximise an objective over the networks of a space within a budget.

    `classes` and `resolution` default to the space's. `batch` and `precision` matter to a memory limit
    and are the table's where there is one. Raises `InputError` where the pieces do not fit.
    """

    space: Space
    budget: Budget
    table: LatencyModel | None = None
    objective: ObjectiveName = "paper"
    classes: int | None = None
    resolution: int | None = None
    batch: int = 1
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.objective not in ("paper", "reference"):
            raise InputError(f"objective: {self.objective!r} is unknown; choose paper or reference")
        if self.classes is not None and self.classes < 0:
            raise InputError(f"classes: {self.classes} is negative; 0 is a backbone without classifier")
        space = replace(
            self.space,
            classes=self.space.classes if self.classes is None else self.classes,
            resolution=self.resolution or self.space.resolution,
        )
        object.__setattr__(self, "space", space)
        if self.table is not None:
            object.__setattr__(self, "batch", self.table.batch)
            object.__setattr__(self, "precision", self.table.precision)
        if self.precision not in BYTES_PER_ELEMENT:
            raise InputError(f"precision: {self.precision!r} is unknown; choose from {', '.join(BYTES_PER_ELEMENT)}")
        if self.table is None and self.budget.latency_seconds(self.batch) is not None:
            raise InputError("latency: a limit on latency or throughput needs a latency table")

    @property
    def limit_nanoseconds(self) -> int | None:
        """The latency limit for one batch as whole nanoseconds: the largest that `usages` accepts."""
        limit = self.budget.latency_seconds(self.batch)
        if limit is None:
            return None
        nanoseconds = math.floor(limit * 1e9) + 1
        while nanoseconds / 1e9 > limit:
            nanoseconds -= 1
        return nanoseconds

    @property
    def limit_elements(self) -> int | None:
        """The memory limit as elements of one image's activations."""
        if self.budget.memory is None:
            return None
        return math.floor(self.budget.memory / (self.batch * BYTES_PER_ELEMENT[self.precision]))

    def predicted_seconds(self, network: Architecture) -> float:
        """Return the table's prediction for one batch, in seconds. Raises `InputError` without a table."""
        if self.table is None:
            raise InputError("latency: a prediction needs a latency table")
        return int(latency_nanoseconds(network.parts(), self.table)) / 1e9

    def limits(self) -> dict[str, float]:
        """Return the limits in force under the names of the solution file."""
        named = {
            "macs": self.budget.macs,
            "params": self.budget.params,
            "rho": self.budget.rho,
            "latency_seconds": self.budget.latency_seconds(self.batch),
            "memory_bytes": self.budget.memory,
        }
        return {name: limit for name, limit in named.items() if limit is not None}

    def usages(self, network: Architecture) -> dict[str, Usage]:
        """Return what `network` uses of every limit, recomputed from its layer records."""
        return usages(network, self.budget, batch=self.batch, precision=self.precision, table=self.table)

    def value(self, network: Architecture) -> float:
        """Return the objective of `network`, recomputed from its layer records."""
        total = entropy(scales(network.parts()), self.space.weights)
        depths = [stage.depth for stage in network.stages]
        return float(objective_value(self.objective, total, depths, network.stages[0].block, self.space.beta))

    def broken(self, network: Architecture) -> list[str]:
        """Return, a sentence each, the rules and limits that `network` breaks; empty where it is feasible."""
        limits = [
            f"{name} is {usage.used:.10g}, above {usage.limit:.10g}"
            for name, usage in self.usages(network).items()
            if not usage.kept
        ]
        return self.space.violations(network) + limits
