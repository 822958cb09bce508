"""An editable install is found from anywhere, from the folder above a clone named deepmad too."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deepmad.version import __version__
from tests.catalogue import ROOT

BUILD = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
LOOK = "import site, sys; site.addsitedir(sys.argv[1]); import deepmad; print(deepmad.__version__)"


def run(command: list[str], folder: Path) -> str:
    """Run Python, where nothing else of this project is on the path, and return what it prints."""
    called = [sys.executable, "-c", *command]
    done = subprocess.run(called, check=True, capture_output=True, text=True, cwd=folder, env={"PATH": ""}, timeout=120)
    return done.stdout


def test_the_package_is_found_above_a_clone_of_its_name(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    clone, wheels, installed = tmp_path / "deepmad", tmp_path / "wheels", tmp_path / "installed"
    (clone / "deepmad").mkdir(parents=True)
    wheels.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "deepmad/__init__.py", "deepmad/version.py"):
        shutil.copy(ROOT / name, clone / name)
    run([BUILD, str(wheels)], clone)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(installed)
    assert run([LOOK, str(installed)], tmp_path).strip() == __version__
