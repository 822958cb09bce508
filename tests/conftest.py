"""Fixtures that several test files use, and the machine that the tests run on."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest

from deepmad.profilers.building.building import PROBE_TIMER, build_table
from deepmad.profilers.measuring.measurements import Measurement, measure_all
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from deepmad.search_spaces.torchvision_operators import import_library
from tests.fresh_machine import move_in
from tests.zoo_parts import build_small

BRIEF = replace(PROBE_TIMER, seconds=0.02, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01)


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a machine on which nothing ever ran; pytest-xdist's workers share it."""
    if not hasattr(config, "workerinput"):
        move_in()


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
    monkeypatch.setattr("deepmad.zoo.solving.cpu_count", lambda: 1)


@pytest.fixture
def brief_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let probes and designed networks be timed briefly and in this process, for tests of what is made of times.

    Processes of their own, which take seconds to import PyTorch, are tested where they are started.
    """

    def here(requests: Sequence[Request], _timer: Timer, **_: object) -> list[Measurement]:
        return measure_all(requests, timer=BRIEF, reference=False)

    monkeypatch.setattr("deepmad.profilers.building.building.build_table", partial(build_table, timer=BRIEF))
    monkeypatch.setattr("deepmad.profilers.measuring.measurements.measure_apart", here)


@pytest.fixture
def brief_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever is timed in this process warm up for milliseconds, where it matters not how steady its times are."""
    defaults = {field.name: field.default for field in fields(Timer)} | {"warmup_seconds": 0.0, "stable": 1.0}
    monkeypatch.setattr(Timer.__init__, "__defaults__", tuple(defaults.values()))
