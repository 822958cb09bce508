"""Every block of the README and of the documents runs, except those that are marked (see `tests/documents.py`).

The blocks of one file run one after the other in a folder with the examples, which those of yaml are written into.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deepmad.search_spaces.spaces import parse_space
from deepmad.zoo.spec import load_spec
from tests.catalogue import EXAMPLES, ROOT
from tests.documents import LANGUAGES, MARKS, Block, blocks, documents

RUN = [path for path in documents() if any(block.mark is None and block.language != "text" for block in blocks(path))]


def run(command: list[str], folder: Path) -> None:
    """Run a command as a user would who has deepmad on the path."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_DATA_HOME": str(folder / "data"),
    }
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"


def write_yaml(block: Block, folder: Path) -> None:
    """Write a file of the documents by the name that the text gives it, after reading it as what it says it is."""
    document = yaml.safe_load(block.code)
    kind = document.get("format", "")
    if kind == "deepmad/space@1":
        name = parse_space(block.code, "the document").name
        (folder / f"{name}.yaml").write_text(block.code, encoding="utf-8")
    elif kind == "deepmad/zoo@1":
        (folder / "spec.yaml").write_text(block.code, encoding="utf-8")
        load_spec(folder / "spec.yaml")


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_blocks_run(path: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    for block in blocks(path):
        if block.mark is not None:
            continue
        if block.language == "yaml":
            write_yaml(block, tmp_path)
        elif block.language == "bash":
            run(["bash", "-euo", "pipefail", "-c", block.code], tmp_path)
        elif block.language == "python":
            (tmp_path / "block.py").write_text(block.code, encoding="utf-8")
            run([sys.executable, "block.py"], tmp_path)


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_blocks_have_a_language_and_a_known_mark(path: Path) -> None:
    for block in blocks(path):
        assert block.language in LANGUAGES, block.code
        assert block.mark is None or block.mark in MARKS, block.mark
    comments = re.findall(r"^<!--.*-->\n(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(line.startswith("```") for line in comments), "a mark stands right before its block"


def test_the_two_commands_are_there() -> None:
    found = [(block.mark, block.code) for block in blocks(ROOT / "README.md") if block.language == "bash"]
    assert any("make design" in code for mark, code in found if mark == "long")
    assert any("make test" in code for mark, code in found if mark == "test command")
    assert sum(mark is None for mark, _ in found) >= 3
