"""Specs of small zoos, a table for them, and measurements that repeat themselves.

No outcome of a zoo that they make depends on what a machine happens to measure.
"""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from deepmad.engine.answers.solutions import Measured
from deepmad.engine.program.latency import latency_nanoseconds
from deepmad.profilers.backends import BACKENDS, Backend, Settings
from deepmad.profilers.building.building import build_table
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.tables.table_files import Key
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from tests.catalogue import EXAMPLES, StairTable, small_space
from tests.stand_ins import StandIn

SMALL = str(EXAMPLES / "small.yaml")
SOLVER = {"deterministic_limit": 2.0, "workers": 1, "gap": 0.0}


class Clockwork(StandIn):
    """A back end whose networks take what their layers and their arithmetic do, `factor` times as long.

    They tell their time themselves, as a GPU does, so that no machine's own speed is in it.
    """

    def __init__(self, inner: Backend, factor: float = 1.0) -> None:
        super().__init__(inner)
        self.factor = factor

    def prepare(self, model: Any, settings: Settings) -> Any:
        assert isinstance(model, Architecture)
        prices = StairTable(group=1, macs_per_nanosecond=50 // settings.batch)
        seconds = self.factor * float(latency_nanoseconds(model.parts(), prices)) / 1e9
        return SimpleNamespace(run=lambda: seconds, close=lambda: None)


def build_small(path: Path, *batches: int, factor: float = 1.0) -> Path:
    """Build tables of the small space into one file, by the times of `Clockwork`; return it."""
    timer = Timer(seconds=1e-6, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.0, visits=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, "onnxruntime", Clockwork(BACKENDS["onnxruntime"], factor))
        for batch in batches:
            build_table(small_space(), path, batch=batch, networks=12, short=12, timer=timer)
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
