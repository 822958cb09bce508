"""Fixtures that several test files use, and the machine that the tests run on."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest

from deepmad.profilers.building.building import build_table
from deepmad.profilers.measuring.measurements import Measurement, measure_all
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.torchvision_operators import import_library
from tests.fresh_machine import move_in
from tests.tiny_tables import SHORT
from tests.zoo_parts import build_small

LONGEST = (
    "test_many_machines.py",
    "test_endings.py",
    "test_report_browser.py",
    "test_readme.py",
    "test_table_builds.py",
    "test_tasks.py",
    "test_rows.py",
    "test_zoo.py",
    "test_exactness.py",
    "test_prediction.py",
    "test_bounds.py",
    "test_backends.py",
    "test_gpu_results.py",
    "test_clusters.py",
    "test_imported_tables.py",
    "test_timm.py",
    "test_tables.py",
    "test_measure_cli.py",
)
"""The files that take longest come first: else one of pytest-xdist's workers would be alone with one in the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a machine on which nothing ever ran; pytest-xdist's workers share it."""
    if not hasattr(config, "workerinput"):
        move_in()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files come first, the others in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def torchvision_operators() -> None:
    """Let torchvision's CUDA build, the only one on the registry, be imported beside a CPU build of PyTorch."""
    import_library("torchvision")


@pytest.fixture(scope="session")
def small_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return latency tables for the small space, for batches of 1 and 2."""
    return build_small(tmp_path_factory.mktemp("tables") / "small.sqlite", 1, 2)


@pytest.fixture
def solves_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a zoo's solves run one by one in this process, where new ones have nothing to show but what they cost."""
    monkeypatch.setattr("deepmad.zoo.solving.usable_cores", lambda: 1)


@pytest.fixture
def brief_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let probes and designed networks be timed briefly and in this process, for tests of what is made of times.

    Processes of their own, which take seconds to import PyTorch, are tested where they are started.
    """

    def here(requests: Sequence[Request], _timer: Timer, **_: object) -> list[Measurement]:
        return measure_all(requests, timer=SHORT, reference=False)

    monkeypatch.setattr("deepmad.profilers.building.building.build_table", partial(build_table, timer=SHORT))
    monkeypatch.setattr("deepmad.profilers.measuring.measurements.measure_apart", here)


@pytest.fixture
def brief_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever is timed in this process warm up for milliseconds, where it matters not how steady its times are."""
    defaults = {field.name: field.default for field in fields(Timer)} | {"warmup_seconds": 0.0, "stable": 1.0}
    monkeypatch.setattr(Timer.__init__, "__defaults__", tuple(defaults.values()))
