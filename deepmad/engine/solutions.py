"""Solutions: what a solver found, how good it is proven to be, and the file that tells it."""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from deepmad.engine.problems import Problem
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.files import check_format, read_json, validated, write_text
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.search_spaces.units import human

GAP_IS_ZERO = 1e-6
"""Relative gap below which objective and bound count as equal."""


class Status(StrEnum):
    """How a solve ended."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class SolverInfo:
    """Which solver answered, with what makes the run repeatable."""

    name: str
    version: str
    seed: int
    workers: int


@dataclass(frozen=True)
class LimitUse:
    """A limit and what the network uses of it; null where there is no network."""

    limit: float
    used: float | None


@dataclass(frozen=True)
class Predicted:
    """The latency table's prediction: seconds for one batch, images a second."""

    latency_seconds: float
    throughput: float


@dataclass(frozen=True)
class Measured:
    """A measurement of the delivered network: median seconds for one batch with its 95 % interval."""

    latency_seconds: float
    low: float
    high: float
    throughput: float
    violated: bool | None
    device: str
    backend: str
    version: str
    precision: str
    batch: int
    threads: int
    date: str


@dataclass(frozen=True)
class Solution:
    """The answer to a problem.

    `objective` and `bound` are in the units of the objective (nats, less the penalty on depths); `gap` is
    (bound - objective) / |objective|, and 0 below 1e-6. `clash` names limits that cannot be met together.
    What does not apply is None.
    """

    status: Status
    message: str
    solver: SolverInfo
    seconds: float
    architecture: Architecture | None = None
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None
    limits: dict[str, LimitUse] = field(default_factory=dict)
    clash: tuple[str, ...] | None = None
    nearest: dict[str, float] | None = None
    predicted: Predicted | None = None
    measured: Measured | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the solution file's document."""
        document = asdict(self) | {"status": str(self.status)}
        document["architecture"] = self.architecture.to_dict() if self.architecture else None
        return {"format": "deepmad/solution@1"} | document

    def save(self, path: str | Path) -> None:
        """Write the solution file, whole or not at all. Raises `InputError`."""
        write_text(Path(path), json.dumps(self.to_dict(), indent=1) + "\n")

    @staticmethod
    def load(path: str | Path) -> "Solution":
        """Return the solution in a file. Raises `InputError` naming the offending key."""
        document = read_json(Path(path))
        check_format(document, "solution", str(path))
        fields = {key: value for key, value in document.items() if key not in ("format", "architecture")}
        network = document.get("architecture")
        solution = validated(ADAPTER, fields, str(path))
        return replace(solution, architecture=Architecture.from_dict(network, str(path)) if network else None)


Solution.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
ADAPTER: TypeAdapter[Solution] = TypeAdapter(Solution)


def relative_gap(objective: float, bound: float) -> float:
    """Return (bound - objective) / |objective|, 0 below 1e-6 and infinite without a bound or at objective 0."""
    if bound - objective <= GAP_IS_ZERO * abs(objective):
        return 0.0
    return (bound - objective) / abs(objective) if objective and math.isfinite(bound) else math.inf


def found(
    problem: Problem, network: Architecture, bound: float, *, gap: float, solver: SolverInfo, seconds: float
) -> Solution:
    """Return the solution around a network, every figure recomputed from its layer records.

    `gap` is the relative gap asked for. A network that breaks a limit is a bug of the solver: it is
    refused by an assertion, not delivered.
    """
    broken = problem.broken(network)
    assert not broken, f"the solver returned a network that is not feasible: {broken}"
    objective = problem.value(network)
    reached = relative_gap(objective, bound)
    network = replace(network, name=network.name or _name(problem, network))
    if reached <= gap:
        proof = "proven optimal" if reached == 0 else f"proven to be within {reached:.2%} of the optimum"
        status, message = Status.OPTIMAL, f"the network is {proof}"
    else:
        distance = f"at most {reached:.2%} below the optimum" if math.isfinite(reached) else "with no bound yet"
        status, message = Status.FEASIBLE, f"the network keeps every limit, {distance} (asked: {gap:.2%})"
    return Solution(
        status,
        message,
        solver,
        seconds,
        architecture=network,
        objective=objective,
        bound=max(bound, objective) if math.isfinite(bound) else None,
        gap=reached if math.isfinite(reached) else None,
        limits={name: LimitUse(use.limit, use.used) for name, use in problem.usages(network).items()},
        predicted=predict(problem, network),
    )


def _name(problem: Problem, network: Architecture) -> str:
    """Return a name that tells the space and the size, like r50-4.13G-25.6M."""
    parts = network.parts()
    macs, params = human(total_macs(parts), "count"), human(total_params(parts), "count")
    return f"{problem.space.name}-{macs}-{params}".replace(" ", "")


def predict(problem: Problem, network: Architecture) -> Predicted | None:
    """Return what the problem's table predicts for a network; None without a table."""
    if not problem.tables:
        return None
    seconds = problem.predicted_seconds(network)
    return Predicted(seconds, problem.batch / seconds)
