"""Solutions: what a solver found, how good it is proven to be, and the file that tells it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ConfigDict, TypeAdapter

from deepmad.engine.answers.checks import (
    CHANGED,
    Claims,
    Disagreement,
    claims_disagree,
    count_again,
    figures_disagree,
    measured_disagrees,
)
from deepmad.engine.answers.claims import require_bound
from deepmad.engine.answers.corners import Corner, corners
from deepmad.engine.answers.fields import Flag, Number, Positive, Whole
from deepmad.engine.answers.limit_uses import LimitUse, limits_document, unused, uses
from deepmad.engine.answers.parts import CallRecord, Counting, Round, RowCounts, RowRecord, Sensitivity
from deepmad.engine.answers.shown import network_picture, network_words, stages_frame
from deepmad.engine.program.budgets import Usage
from deepmad.engine.program.entropy import scales
from deepmad.engine.program.measures import Precision
from deepmad.engine.program.problems import Problem
from deepmad.engine.program.recounts import Recount, recounted
from deepmad.search_spaces.architectures import Architecture, numbered, split_rank
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_format, read_json, validated, write_text
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from pandas import DataFrame

    from deepmad.search_spaces.notebooks import Picture

GAP_IS_ZERO = 1e-6
"""Relative gap below which objective and bound count as equal."""

NOTHING_YET, WAY_OUT = "interrupted before a network was found", "give more time or loosen a limit"
"""What a solution without a network says of an interrupt, and of the way out."""
DIFFERENT_STAGES = 2
"""Stages in which a network and its alternatives have to differ, in any of their fields."""


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
    seed: Whole
    workers: Whole


@dataclass(frozen=True)
class Predicted:
    """The latency table's prediction: seconds for one batch, images a second."""

    latency_seconds: Positive
    throughput: Positive


@dataclass(frozen=True)
class Measured:
    """A measurement of the delivered network: median seconds for one batch with its 95 % interval.

    Where another network took turns with it, the seconds are those at that one's usual speed, and `clock_seconds` is
    the median that the clock showed; else `clock_seconds` is None, and the seconds are the clock's. `warnings` are
    sentences on what makes the number doubtful. `reference_seconds` are those of the reference network beside it, where
    that was timed.
    """

    latency_seconds: Positive
    low: Positive
    high: Positive
    throughput: Positive
    violated: Flag | None
    device: str
    backend: str
    version: str
    precision: str
    batch: Whole
    threads: Whole
    date: str
    clock_seconds: Number | None = None
    warnings: tuple[str, ...] = ()
    reference_seconds: Number | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", tuple(self.warnings))  # files give a list


@dataclass(frozen=True)
class Alternative:
    """Another network within the gap asked for, with the figures of a solution."""

    objective: Number
    architecture: Architecture
    limits: dict[str, LimitUse]
    predicted: Predicted | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document of a solution file's alternative."""
        return asdict(self) | {"architecture": self.architecture.to_dict(), "limits": limits_document(self.limits)}


@dataclass(frozen=True)
class Solution:
    """The answer to a problem.

    `objective` and `bound` are in the units of the objective (nats, less the penalty on depths); `gap` is
    (bound - objective) / |objective|, and 0 below 1e-6. `clash` names limits that cannot be met together.
    `nearest` holds, for each of them, the nearest value that would make the problem feasible, the other limits
    kept. `predicted` is that of the slowest device, `predicted_by_device` all of them where there are several.
    `rounds` are those of the measured loop. Bound and gap then belong to the program of the round that found the
    network; from the second round on its latency limit is the target, corrected by the measurement before.
    `alternatives` are other networks within the gap, best first; `explanation` says what each limit costs;
    `black_boxes` how the functions behind limits were called. `rows` tells of rows of block kinds and strides, best
    first, where the solver decided between them, `row_counts` of all. `within_table` is the share of the network's
    layers that lies within what the rows of the latency table span; `warnings` are sentences on what is doubtful.
    `counting` says how the figures are counted, `corners` where the network sits at an end of what its space offers.
    What does not apply is None.
    """

    status: Status
    message: str
    solver: SolverInfo
    seconds: Positive
    architecture: Architecture | None = None
    objective: Number | None = None
    bound: Number | None = None
    gap: Positive | None = None
    limits: dict[str, LimitUse] = field(default_factory=dict)
    clash: tuple[str, ...] | None = None
    nearest: dict[str, Number] | None = None
    predicted: Predicted | None = None
    measured: Measured | None = None
    predicted_by_device: dict[str, Predicted] | None = None
    alternatives: tuple[Alternative, ...] | None = None
    explanation: dict[str, Sensitivity] | None = None
    rounds: tuple[Round, ...] | None = None
    rows: tuple[RowRecord, ...] | None = None
    row_counts: RowCounts | None = None
    black_boxes: dict[str, CallRecord] | None = None
    within_table: float | None = None
    warnings: tuple[str, ...] | None = None
    counting: Counting | None = None
    corners: tuple[Corner, ...] | None = None

    def __repr__(self) -> str:
        if self.architecture is None:
            return f"<Solution {self.status}: {self.message}>"
        told = [f"objective {self.objective:,.1f}", "no bound" if self.gap is None else f"gap {self.gap:.2%}"]
        told += network_words(self.architecture)
        for word, known in (("predicted", self.predicted), ("measured", self.measured)):
            told += [] if known is None else [f"{word} {human(known.latency_seconds, 'seconds')}"]
        told += [f"{len(self.warnings)} warning(s)"] if self.warnings else []
        return f"<Solution {self.status}: {', '.join(told)}>"

    @property
    def stages(self) -> "DataFrame":
        """The network's stages as a pandas frame: settings, side in pixels, MACs, parameters. Raises `InputError`."""
        return stages_frame(self.architecture)

    def plot(self) -> "Picture":
        """Return a picture of the stages' costs and of the limits used. Raises `InputError` without a network."""
        return network_picture(self.architecture, self.limits)

    def to_dict(self) -> dict[str, Any]:
        """Return the solution file's document."""
        document = asdict(self) | {"status": str(self.status), "limits": limits_document(self.limits)}
        document["architecture"] = self.architecture.to_dict() if self.architecture else None
        if self.alternatives is not None:
            document["alternatives"] = [other.to_dict() for other in self.alternatives]
        if self.rounds is not None:
            document["rounds"] = [one.to_dict() for one in self.rounds]
        return {"format": "deepmad/solution@1"} | document

    def save(self, path: str | Path) -> None:
        """Write the solution file, whole or not at all. Raises `InputError`."""
        write_text(Path(path), json.dumps(self.to_dict(), indent=1) + "\n")

    @staticmethod
    def load(path: str | Path, *, changed: bool = False) -> "Solution":
        """Return the solution in a file; FILE#3 is that of its third network. Raises `InputError` naming the key.

        One that was changed by hand, so that its figures are not its networks', is read only where `changed` allows it.
        """
        file, rank = split_rank(path)
        document = read_json(file)
        solution = Solution.from_dict(document, str(file), changed=changed)
        if solution.architecture is not None or rank > 1:
            numbered(document, rank, str(path))
        return solution.ranked(rank)

    @staticmethod
    def from_dict(document: Any, source: str = "solution", *, changed: bool = False) -> "Solution":
        """Return the solution of a document; raises `InputError` naming `source` and the key, as `load` does."""
        check_format(document, "solution", source)
        fields = {key: value for key, value in document.items() if key != "format"}
        for name in ("alternatives", "rounds"):
            if isinstance(parts := document.get(name), list):
                fields[name] = [_with_network(part, source) for part in parts]
        solution = validated(ADAPTER, _with_network(fields, source), source)
        if (solution.objective is not None) != (solution.architecture is not None):
            named = "with" if solution.architecture is not None else "without"
            raise InputError(f"{source}: objective: {solution.objective} {named} a network; {CHANGED}")
        if not changed and (wrong := solution.disagreements()):
            raise InputError(f"{source}: {wrong[0]}; {CHANGED}")
        return solution

    def disagreements(self) -> list[Disagreement]:
        """Return the figures that are not those of the networks, counted again, and claims that they do not bear."""
        if self.architecture is None or self.objective is None:
            return []
        gap = None if self.bound is None else relative_gap(self.objective, self.bound)
        own = Claims(self.objective, self.bound, self.gap, gap, self.message, self.status is Status.OPTIMAL)
        found = [*figures_disagree(self.architecture, self.limits, self.objective, self.predicted, self.counting)]
        found += [*claims_disagree(own), *measured_disagrees(self.measured, self.limits)]
        for rank, other in enumerate(self.alternatives or ()):
            figures = (other.architecture, other.limits, other.objective, other.predicted, self.counting)
            found += [replace(one, field=f"alternatives.{rank}.{one.field}") for one in figures_disagree(*figures)]
        return found

    def counted_again(self) -> "Solution":
        """Return the solution of a file that was changed: the figures as its network gives them, and nothing proven."""
        if self.architecture is None:
            return self
        counted = count_again(self.architecture, self.counting)
        limits = {name: replace(use, used=counted.limits.get(name, use.used)) for name, use in self.limits.items()}
        return replace(
            self,
            status=Status.UNKNOWN,
            message=f"nothing is proven: {CHANGED}",
            objective=self.objective if counted.objective is None else counted.objective,
            bound=None,
            gap=None,
            limits=limits,
            explanation=None,
            rows=None,
            row_counts=None,
            corners=None,
        )

    def ranked(self, rank: int) -> "Solution":
        """Return the solution around its network number `rank`, 1 for the best one."""
        if rank == 1:
            return self
        others = self.alternatives or ()
        other, count = others[rank - 2], len(others) + 1
        gap = relative_gap(other.objective, self.bound) if self.bound is not None else None
        return replace(
            self,
            message=f"network {rank} of {count} within the gap asked for",
            architecture=other.architecture,
            objective=other.objective,
            gap=gap,
            limits=other.limits,
            predicted=other.predicted,
            measured=None,
            predicted_by_device=None,
            alternatives=None,
            explanation=None,
            rounds=None,
            rows=None,
            row_counts=None,
            within_table=None,
            corners=None,
        )


Solution.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
ADAPTER: TypeAdapter[Solution] = TypeAdapter(Solution)


def relative_gap(objective: float, bound: float) -> float:
    """Return (bound - objective) / |objective|, 0 below 1e-6 and infinite without a bound or at objective 0."""
    if bound - objective <= GAP_IS_ZERO * abs(objective):
        return 0.0
    return (bound - objective) / abs(objective) if objective and math.isfinite(bound) else math.inf


def found(
    problem: Problem,
    network: Architecture,
    bound: float,
    *,
    gap: float,
    solver: SolverInfo,
    seconds: float,
    called: Mapping[str, float] | None = None,
) -> Solution:
    """Return the solution around a network, every figure recomputed from its layer records.

    `gap` is the relative gap asked for, `called` what the functions of black-box limits returned for the network. A
    network that breaks a limit is a bug of the solver: it is refused by an assertion, not delivered. Raises
    `ContradictionError` for one above the bound.
    """
    usages = problem.usages(network, called)
    broken = problem.broken_at(network, usages)
    assert not broken, f"the solver returned a network that is not feasible: {broken}"
    objective = problem.value(network)
    require_bound(problem, solver.name, bound, network, objective)
    reached = relative_gap(objective, bound)
    network = replace(network, name=network.name or _name(problem, network, usages))
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
        limits=uses(usages),
        predicted=predict(problem, network, usages),
        counting=_counting(problem, network),
        corners=corners(problem.space, network, usages, problem.objective),
    )


def without_network(
    problem: Problem, message: str, solver: SolverInfo, seconds: float, bound: float = math.inf
) -> Solution:
    """Return the solution where no network was found and none is proven impossible."""
    known = bound if math.isfinite(bound) else None
    return Solution(Status.UNKNOWN, message, solver, seconds, bound=known, limits=unused(problem))


def alternatives(problem: Problem, networks: Sequence[Architecture]) -> tuple[Alternative, ...]:
    """Return the alternatives around feasible networks, every figure recomputed from their layer records at once."""
    return tuple(map(partial(_alternative, problem), networks, recounted(problem, networks)))


def _alternative(problem: Problem, network: Architecture, counted: Recount) -> Alternative:
    assert not counted.broken, f"an alternative is not feasible: {counted.broken}"
    return Alternative(
        counted.value,
        replace(network, name=_name(problem, network, counted.usages)),
        uses(counted.usages),
        predict(problem, network, counted.usages),
    )


def _with_network(document: Any, source: str) -> Any:
    """Return a part of the document with its architecture read, where it has one."""
    if not isinstance(document, dict) or document.get("architecture") is None:
        return document
    return document | {"architecture": Architecture.from_dict(document["architecture"], source)}


def _name(problem: Problem, network: Architecture, known: Mapping[str, Usage]) -> str:
    """Return a name that tells the space and the size, like r50-4.13G-25.6M; `known` are usages of the network."""
    counts = {"macs": total_macs, "params": total_params}
    parts = () if counts.keys() <= known.keys() else network.parts()
    macs, params = (human(known[name].used if name in known else of(parts), "count") for name, of in counts.items())
    return f"{problem.space.name}-{macs}-{params}".replace(" ", "")


def _counting(problem: Problem, network: Architecture) -> Counting:
    """Return how the problem counts a network."""
    alpha = problem.space.weights_for(len(scales(network.parts())))
    return Counting(problem.objective, alpha, problem.space.beta, problem.batch, cast("Precision", problem.precision))


def predict(problem: Problem, network: Architecture, known: Mapping[str, Usage] | None = None) -> Predicted | None:
    """Return what the problem's table predicts for a network; None without a table. `known` are usages of it."""
    if not problem.tables:
        return None
    limited = (known or {}).get("latency_seconds")
    seconds = problem.predicted_seconds(network) if limited is None else limited.used
    return Predicted(seconds, problem.batch / seconds)
