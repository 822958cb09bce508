"""Fixtures that several test files use."""

import pytest

from benchmarks.prediction import define_torchvision_operators


@pytest.fixture(scope="session")
def torchvision_operators() -> None:
    """Let torchvision's CUDA build, the only one on the registry, be imported beside a CPU build of PyTorch."""
    define_torchvision_operators()
