"""What a solution tells beside its network: what limits cost, how functions were called, rows, how it was counted."""

from dataclasses import asdict, dataclass
from typing import Any

from deepmad.engine.answers.fields import Flag, Number, Whole
from deepmad.engine.program.measures import Precision
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.search_spaces.architectures import Architecture, GivenStride


@dataclass(frozen=True)
class Counting:
    """How the figures of a solution's networks are counted, so that they can be counted again.

    `alpha` are the weights of the scales, `beta` that of the penalty on depths; a limit on memory is for `batch` images
    in `precision`.
    """

    objective: ObjectiveName
    alpha: tuple[Number, ...]
    beta: Number
    batch: Whole
    precision: Precision


@dataclass(frozen=True)
class Sensitivity:
    """What a limit costs: the problem solved again with that limit alone at `loosened`, in the limit's unit.

    `share` is used / limit (limit / used of a limit from below). `objective` and `bound` are those of the loosened
    problem, `gain` the interval that holds what loosening would gain in objective: at least what was found, at most
    what its bound allows (None where there is no bound).
    """

    used: Number
    limit: Number
    share: Number
    loosened: Number
    objective: Number
    bound: Number | None
    gain: tuple[Number, Number | None]


@dataclass(frozen=True)
class CallRecord:
    """What became of a black-box limit's function: how often it was called, and how often known results served.

    `failed` calls raised, did not end in time, or returned no finite number: `reasons` are a few of theirs, each
    once. `seconds` is the time of all calls.
    """

    calls: Whole
    cached: Whole
    failed: Whole
    reasons: tuple[str, ...]
    seconds: Number


@dataclass(frozen=True)
class RowRecord:
    """What is known of a row: one block kind and one stride a stage.

    `objective` is that of the best network met there, `found_by` what met it: "evolution", "cpsat", or "start" where it
    was given; both are None where none was met. No network of the row is better than `bound` (None: not known), which
    may just be the objective of a network of another row, below which nothing was looked at. `dropped`: the bound
    leaves nothing above the network delivered but the gap asked for. `seconds` were spent on the row alone.
    """

    blocks: tuple[str, ...]
    strides: tuple[GivenStride, ...]
    found_by: str | None
    objective: Number | None
    bound: Number | None
    dropped: Flag
    seconds: Number


@dataclass(frozen=True)
class RowCounts:
    """How many rows were dropped by their bounds, are open, and were not looked at; the delivered one is none of them.

    A row that was not looked at still has the bound of all rows together.
    """

    total: Whole
    dropped: Whole
    open: Whole
    not_looked_at: Whole


@dataclass(frozen=True)
class Round:
    """A round of the measured loop: the limit that the program was given, the network measured, what came of it.

    `limit`, `predicted`, `measured` and the ends `low`, `high` of its 95 % interval are seconds for one batch. A
    prediction above the limit is that of the network of least predicted latency, measured because none keeps the
    limit. `violated`: the measurement is above the target asked for. `left_out` are measurements beside which the
    machine drifted, and which do not count. All but the limit are None in a round that
    measured nothing.
    """

    number: Whole
    limit: Number
    predicted: Number | None = None
    measured: Number | None = None
    low: Number | None = None
    high: Number | None = None
    objective: Number | None = None
    violated: Flag | None = None
    architecture: Architecture | None = None
    left_out: Whole | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document of a solution file's round."""
        return asdict(self) | {"architecture": self.architecture.to_dict() if self.architecture else None}
