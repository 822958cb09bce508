"""What zoo.json tells of an entry, of a device and of the design without a target."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deepmad.engine.answers.limit_uses import LimitUse
from deepmad.engine.answers.solutions import Measured, Solution, Status
from deepmad.engine.answers.summaries import summary
from deepmad.engine.measured_loop import ENOUGH
from deepmad.engine.program.entropy import entropy, scales
from deepmad.engine.program.latency import latency_nanoseconds
from deepmad.engine.program.measures import BYTES_PER_ELEMENT
from deepmad.profilers.tables.tables import LatencyTable, describe_table
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Part, by_stage, peak_activation_elements, total_macs, total_params
from deepmad.search_spaces.spaces import Space
from deepmad.zoo.entries import Entry
from deepmad.zoo.families import Family
from deepmad.zoo.files import ENDINGS

Record = dict[str, Any]
BINDING = 0.98
"""A limit binds from this share on; a measured latency from the share on that the measured loop does not improve on."""
MET, MISSED, INFEASIBLE, FAILED = "met", "missed", "infeasible", "failed"
OF_NETWORK = (
    "macs", "params", "backbone_macs", "backbone_params", "activation_bytes", "entropy", "scale_entropies", "rho",
    "depth_variance", "stem", "stages", "tail", "classifier", "overhead_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """The design without a target for one family, measured where its device is."""

    family: Family
    solution: Solution
    measured: Measured | None

    @property
    def network(self) -> Architecture:
        """Its network."""
        assert self.solution.architecture is not None, "a family without one has no baseline"
        return self.solution.architecture

    @property
    def latency_seconds(self) -> float:
        """Seconds for one batch, measured where that was done, else predicted."""
        return self.measured.latency_seconds if self.measured else self.family.table.predict(self.network)

    @property
    def throughput(self) -> float:
        """Images a second, of which relative targets are multiples."""
        return self.family.table.batch / self.latency_seconds

    def record(self) -> Record:
        """Return its document."""
        figures, solution = summary(self.network), self.solution
        return {
            "space": self.family.space.name,
            "device": self.family.device.name,
            "throughput": self.throughput,
            "source": "measured" if self.measured else "predicted",
            "latency_seconds": self.latency_seconds,
            **{key: getattr(solution, key) for key in ("objective", "bound", "gap")},
            **{key: figures[key] for key in ("macs", "params")},
            "message": solution.message,
            "architecture": self.network.to_dict(),
        }


def networkless_record(family: Family, relative: int, found: Solution | str) -> Record:
    """Return the document of a space on a device that has no network even without a target.

    Its `relative` targets are multiples of nothing, and thus no entries. `found` is the design without a network, or
    why it failed.
    """
    outcome, message = (FAILED, found) if isinstance(found, str) else (outcome_of(found), found.message)
    return {
        "space": family.space.name,
        "device": family.device.name,
        "targets": relative,
        "outcome": outcome,
        "message": message,
    }


def device_record(families: list[Family]) -> Record:
    """Return the document of a device, from its families."""
    first = families[0].table
    return {
        "name": families[0].device.name,
        **{key: getattr(first, key) for key in ("device", "backend", "version", "precision", "batch", "threads")},
        "table": ", ".join(dict.fromkeys(family.need.device.table or family.need.path.name for family in families)),
        "table_space": ", ".join(dict.fromkeys(family.table.space for family in families)),
        "interval": list(first.prediction.interval) if first.prediction.interval else None,
        "measured": families[0].measured,
        "verdicts": {family.space.name: _verdict(family) for family in families},
    }


def _verdict(family: Family) -> Record:
    """Return how far a family's table can be trusted, and why no further."""
    described = describe_table(family.need.path, family.table.key)
    return {key: described[key] for key in ("verdict", "reasons", "advice")}


def failed_record(entry: Entry, reason: str) -> Record:
    """Return the document of an entry whose solve or verification raised, or was lost."""
    return _record(entry, None, FAILED, reason)


def entry_record(entry: Entry, solution: Solution, tables: dict[str, LatencyTable], files: dict[str, str]) -> Record:
    """Return the document of a finished entry: `tables` are those of all devices, `files` what was written."""
    record = _record(entry, solution, outcome_of(solution), solution.message)
    record["files"] = {kind: files.get(kind) for kind in ENDINGS}
    network = solution.architecture
    if network is None:
        return record
    predicted = solution.predicted
    assert predicted is not None, "there is a table"
    interval = entry.family.table.interval(network)
    low, high = interval or (None, None)
    return record | {
        "judged_by": "measured" if solution.measured else "predicted",
        "predicted": asdict(predicted) | {"low": low, "high": high},
        "predicted_by_device": {name: _predicted(table, network) for name, table in tables.items()},
        **network_record(network, entry.family.table, entry.family.space),
    }


def outcome_of(solution: Solution) -> str:
    """Return what became of an entry's target."""
    if solution.architecture is None:
        return INFEASIBLE if solution.status is Status.INFEASIBLE else FAILED
    return MISSED if solution.measured is not None and solution.measured.violated else MET


def _record(entry: Entry, solution: Solution | None, outcome: str, message: str) -> Record:
    """Return the document of an entry with what its network is left out."""
    space = entry.family.space
    measured = solution.measured if solution else None
    limits = solution.limits if solution else {}
    return {
        "name": entry.name,
        "outcome": outcome,
        "judged_by": None,
        "space": space.name,
        "device": entry.family.device.name,
        **asdict(entry.family.key),
        "resolution": space.resolution,
        "classes": space.classes,
        "target": {
            "latency_seconds": entry.seconds,
            "throughput": entry.throughput,
            "relative": entry.target.relative,
        },
        "limits": {name: use.to_dict() | {"share": use.share} for name, use in limits.items()},
        "binding": [name for name, use in limits.items() if _binds(name, use, measured)],
        "status": str(solution.status) if solution else None,
        "message": message,
        **{key: getattr(solution, key, None) for key in ("objective", "bound", "gap")},
        "predicted": None,
        "predicted_by_device": None,
        "measured": asdict(measured) if measured else None,
        **dict.fromkeys(OF_NETWORK),
        "solve_seconds": solution.seconds if solution else None,
        "rounds": [one.to_dict() for one in solution.rounds] if solution and solution.rounds else None,
        "files": dict.fromkeys(ENDINGS),
    }


def _binds(name: str, use: LimitUse, measured: Measured | None) -> bool:
    """Whether a limit is used up, as far as a limit ever is."""
    if name == "latency_seconds" and measured is not None:
        return measured.latency_seconds >= ENOUGH * use.limit
    return use.share is not None and use.share >= BINDING


def _predicted(table: LatencyTable, network: Architecture) -> Record | None:
    """Return what a table predicts; None where it holds no price for a layer."""
    try:
        seconds = table.predict(network)
    except InputError:
        return None
    return {"latency_seconds": seconds, "throughput": table.batch / seconds}


def network_record(network: Architecture, table: LatencyTable, space: Space) -> Record:
    """Return the figures of a network of `space`, with the predicted seconds of each of its parts for one batch."""
    figures, parts = summary(network), network.parts()
    each = scales(parts)
    bytes_per_element = BYTES_PER_ELEMENT[table.precision]

    def seconds(chosen: Sequence[Part]) -> Record:
        nanoseconds = int(latency_nanoseconds(chosen, table)) - table.overhead_nanoseconds
        return {"latency_seconds": nanoseconds / 1e9}

    def costs(part: Part) -> Record:
        counted = {"macs": int(total_macs((part,))), "params": int(total_params((part,)))}
        return counted | seconds([part])

    def side(part: Part) -> Record:
        return {"side": int(part.body.main[-1].out_side)}

    named = {part.name: part for part in parts}
    stages = [
        stage | seconds(members)
        for stage, members in zip(figures["stages"], by_stage(parts, len(network.stages)), strict=True)
    ]
    tail, classifier = named.get("tail"), named.get("classifier")
    found = {key: figures[key] for key in OF_NETWORK if key in figures}
    return found | {
        "entropy": float(entropy(each, space.weights_for(len(each)))),  # as in the objective
        "activation_bytes": int(peak_activation_elements(parts)) * table.batch * bytes_per_element,
        "stem": figures["stem"] | side(named["stem"]) | costs(named["stem"]),
        "stages": stages,
        "tail": figures["tail"] | side(tail) | costs(tail) if tail else None,
        "classifier": costs(classifier) if classifier else None,
        "overhead_seconds": table.overhead_nanoseconds / 1e9,
    }
