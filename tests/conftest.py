"""Fixtures that several test files use, and the machine that the tests run on."""

from pathlib import Path

import pytest

from deepmad.search_spaces.torchvision_operators import import_library
from tests.fresh_machine import move_in
from tests.zoo_parts import build_small


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
    monkeypatch.setattr("deepmad.zoo.solving.usable_cores", lambda: 1)
