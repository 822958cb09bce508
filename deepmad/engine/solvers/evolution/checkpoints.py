"""Checkpoints: where an evolution stands, in one JSON file that is always whole."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.islands import Island, Record
from deepmad.engine.solvers.evolution.judging import Verdicts
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.files import check_format, read_json
from deepmad.search_spaces.seals import unsealed, write_sealed
from deepmad.version import __version__

FORMAT = "evolution"
COURSE = ("seed", "population", "islands", "migration_every")
"""The settings that an evolution's course depends on; another limit in time or generations does not change it."""
SAMPLE, DIGITS = 64, 9
"""Networks that tell one problem from another by what they are worth, to that many digits."""


@dataclass(frozen=True)
class Checkpoint:
    """Where an evolution stands between two epochs.

    `seconds` are those used so far, over all runs; `log` has a line for each island and epoch.
    """

    islands: tuple[Island, ...]
    verdicts: Verdicts
    seconds: float = 0.0
    best: Architecture | None = None
    log: tuple[Record, ...] = field(default=())

    @property
    def generation(self) -> int:
        """Generations of every island so far."""
        return self.islands[0].generation

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write the checkpoint, whole or not at all. Raises `InputError`."""
        verdicts = [None if math.isinf(one) else one for one in self.verdicts.excess.tolist()]
        document = {
            "format": f"deepmad/{FORMAT}@1",
            "identity": identity,
            "seconds": self.seconds,
            "best": None if self.best is None else self.best.to_dict(),
            "islands": [island.to_dict() for island in self.islands],
            "verdicts": {"genomes": self.verdicts.genomes.tolist(), "excess": verdicts},
            "log": list(self.log),
        }
        write_sealed(path, document)

    @staticmethod
    def load(path: Path, identity: dict[str, Any], genes: int) -> "Checkpoint":
        """Return the checkpoint in a file. Raises `InputError` where it is damaged or of another evolution."""
        document = read_json(path)
        check_format(document, FORMAT, str(path))
        _check_identity(document.get("identity"), identity, path)
        document = unsealed(document, path, "delete it to begin anew")
        excess = [math.inf if one is None else one for one in document["verdicts"]["excess"]]
        genomes = np.array(document["verdicts"]["genomes"], dtype=np.intp).reshape(-1, genes)
        return Checkpoint(
            tuple(Island.from_dict(one, genes) for one in document["islands"]),
            Verdicts(genomes, np.array(excess, dtype=float)),
            document["seconds"],
            Architecture.from_dict(document["best"], str(path)) if document["best"] else None,
            tuple(document["log"]),
        )


def _check_identity(found: Any, wanted: dict[str, Any], path: Path) -> None:
    """Raise `InputError` that names the first thing in which two evolutions differ."""
    held = found if isinstance(found, dict) else {}
    for name, value in wanted.items():
        if held.get(name) != value:
            told = "" if name == "problem" else f" ({shown(held.get(name))}, now {value})"
            raise InputError(f"{path}: a checkpoint of another {name}{told}; delete it, or name another file")


def identity(problem: Problem, solver: Evolution, evaluator: Evaluator, against: str | None) -> dict[str, Any]:
    """Return what has to be the same for an evolution to go on from a checkpoint, as a JSON document.

    `against` is the cost that a front looks at. Latency tables are told apart by what they say of some networks.
    """
    settings = asdict(solver)
    told = {"version": __version__, "against": against, "problem": _digest(problem, evaluator)}
    return told | {name: settings[name] for name in COURSE}


def _digest(problem: Problem, evaluator: Evaluator) -> str:
    """Return a fingerprint of a problem: its space and limits, and what a fixed sample of networks is worth."""
    sizes = evaluator.coding.sizes
    found = evaluator.evaluate(np.random.default_rng(0).integers(0, sizes, (SAMPLE, len(sizes))))
    columns: Sequence[Any] = [found.values, *found.used.values()]
    worth = [[f"{number:.{DIGITS}g}" for number in column] for column in columns]
    text = json.dumps([problem.space.identity, repr(problem.limits()), worth])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
