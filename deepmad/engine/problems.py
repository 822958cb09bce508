"""The problem: which space, which limits, which objective."""

from dataclasses import dataclass, replace

from deepmad.engine.budgets import BYTES_PER_ELEMENT, Budget, Usage, usages
from deepmad.engine.entropy import entropy, scales
from deepmad.engine.latency import LatencyModel
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
