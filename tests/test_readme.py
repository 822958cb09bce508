"""Every command block of the README runs, except those marked as long or as the test command itself.

A block is marked by an HTML comment on the line before it: `<!-- long -->` or `<!-- test command -->`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.catalogue import EXAMPLES, ROOT

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[a-z ]+) -->\n)?```(?P<kind>\w+)\n(?P<code>.*?)```", re.DOTALL)
_MARKS = {None, "long", "test command", "output"}


def blocks(kind: str) -> list[tuple[str | None, str]]:
    """Return the README's blocks of one language, each with its mark."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [(found["mark"], found["code"]) for found in _BLOCK.finditer(text) if found["kind"] == kind]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the examples, in which the blocks run one after the other."""
    path = tmp_path_factory.mktemp("readme")
    shutil.copytree(EXAMPLES, path / "examples")
    return path


def run(command: list[str], folder: Path) -> None:
    """Run a command as a user would who has deepmad on the path."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_DATA_HOME": str(folder / "data"),
    }
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_marks_are_known_and_the_two_commands_are_there() -> None:
    found = blocks("bash")
    assert {mark for mark, _ in found} <= _MARKS
    assert any("make design" in code for mark, code in found if mark == "long")
    assert any("make test" in code for mark, code in found if mark == "test command")
    assert sum(mark is None for mark, _ in found) >= 3


@pytest.mark.parametrize("code", [code for mark, code in blocks("bash") if mark is None])
def test_command_blocks_run(code: str, folder: Path) -> None:
    run(["bash", "-euo", "pipefail", "-c", code], folder)


@pytest.mark.parametrize("code", [code for mark, code in blocks("python") if mark is None])
def test_python_blocks_run(code: str, folder: Path) -> None:
    script = folder / "block.py"
    script.write_text(code, encoding="utf-8")
    run([sys.executable, str(script)], folder)
