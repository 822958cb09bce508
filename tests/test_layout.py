"""The house's rules that a machine can hold: import arrows, quick imports, short files, links."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.catalogue import ROOT

PACKAGE = ROOT / "deepmad"
MODULES = sorted(PACKAGE.rglob("*.py"))
AT_ROOT = ("search_spaces", "engine", "profilers")
MAY_IMPORT = {
    "tasks": {"tasks", "search_spaces"},
    "search_spaces": {"search_spaces"},
    "engine": {"engine", "search_spaces", "tasks"},
    "profilers": {"profilers", "search_spaces", "tasks"},
    "zoo": {"zoo", "engine", "profilers", "search_spaces", "tasks"},
}


def imported_modules(path: Path) -> set[str]:
    """Return the modules of deepmad that a file imports anywhere, functions and type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        found |= {name for name in names if name.startswith("deepmad.")}
    return found


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_only_point_downwards(part: str) -> None:
    for path in (PACKAGE / part).rglob("*.py"):
        assert {name.split(".")[1] for name in imported_modules(path)} <= MAY_IMPORT[part], path


def test_tasks_know_nothing_of_networks() -> None:
    for path in (PACKAGE / "tasks").rglob("*.py"):
        others = {name for name in imported_modules(path) if not name.startswith("deepmad.tasks")}
        assert others <= {"deepmad.search_spaces.errors"}, path


def test_files_stay_short() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 400, path


def test_the_parts_stand_at_the_root() -> None:
    for part in AT_ROOT:
        link = ROOT / part
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.resolve() == (PACKAGE / part).resolve()


def test_importing_deepmad_loads_nothing_heavy() -> None:
    code = (
        "import sys, deepmad; heavy = {'torch', 'ortools', 'deap', 'pandas', 'onnxruntime', 'onnx', 'numpy', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import deepmad

    for name in deepmad.__all__:
        assert getattr(deepmad, name) is not None
