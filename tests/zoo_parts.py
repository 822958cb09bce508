"""Specs of small zoos, a quick table for them, and measurements that repeat themselves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deepmad.engine.solutions import Measured
from deepmad.profilers.building import build_table
from deepmad.profilers.table_files import Key
from deepmad.profilers.tables import LatencyTable
from deepmad.profilers.timing import Timer
from deepmad.search_spaces.architectures import Architecture
from tests.catalogue import EXAMPLES, small_space

SMALL = str(EXAMPLES / "small.yaml")
SOLVER = {"deterministic_limit": 2.0, "workers": 1, "gap": 0.0}


def build_small(path: Path, *batches: int) -> Path:
    """Measure quick tables of this machine for the small space into one file; return it."""
    for batch in batches:
        build_table(
            small_space(), path, batch=batch, networks=12, short=12, timer=Timer(seconds=0.01, warmup_seconds=0.0)
        )
    return path


def spec_of(table: Path, **changes: Any) -> dict[str, Any]:
    """Return a spec of the small space on one device that is not timed."""
    return {
        "format": "deepmad/zoo@1",
        "spaces": [SMALL],
        "devices": [{"name": "cpu", "table": str(table), "batch": 1}],
        "targets": {"relative": [1.2, 1.5, 2]},
        "solver": SOLVER,
        "verify": {"measure": False},
        **changes,
    }


def written(folder: Path, spec: dict[str, Any]) -> Path:
    """Write a spec in a folder; return its path."""
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Replay:
    """Measurements of a device that is `factor` times slower than its table, and slower still for some networks."""

    table: Path
    factor: float = 1.0

    def __call__(self, key: Key, network: Architecture | str) -> Measured:
        """Return what is measured: the same every time."""
        assert isinstance(network, Architecture)
        odd = sum(stage.depth for stage in network.stages) % 2
        seconds = LatencyTable.load(self.table, batch=key.batch).predict(network) * self.factor * (1.15 if odd else 1.0)
        low, high, throughput = 0.99 * seconds, 1.01 * seconds, key.batch / seconds
        conditions = ("replay", key.backend, "1", key.precision, key.batch, key.threads, "2026-01-01T00:00:00+00:00")
        return Measured(seconds, low, high, throughput, None, *conditions)
