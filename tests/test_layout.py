"""The house's rules that a machine can hold: import arrows, floors, no circles, quick imports, short files, links."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

from tests.catalogue import ROOT

PACKAGE = ROOT / "deepmad"
MODULES = sorted(PACKAGE.rglob("*.py"))
AT_ROOT = ("search_spaces", "engine", "profilers")
MAY_IMPORT = {
    "tasks": {"tasks", "search_spaces"},
    "search_spaces": {"search_spaces", "version"},
    "engine": {"engine", "search_spaces", "tasks", "version"},
    "profilers": {"profilers", "search_spaces", "tasks", "version"},
    "zoo": {"zoo", "engine", "profilers", "search_spaces", "tasks", "version"},
}
FLOORS = {
    "engine": (
        {"measured_loop", "explanation"},
        {"design"},
        {"solvers.blackbox", "solvers.auto"},
        {"solvers.exact", "solvers.rows", "solvers.fronts"},
        {"solvers.nearest", "solvers.crew", "solvers.alternatives"},
        {"solvers.cpsat", "solvers.evolution"},
        {"solvers.search"},
        {"solvers.bounds", "solvers.population"},
        {"solvers.settings"},
        {"costs"},
        {"answers"},
        {"program"},
    ),
    "profilers": (
        {"building", "importing"},
        {"tables"},
        {"measuring"},
        {"backends"},
        {"onnx_files"},
        {"prediction"},
        {"errors", "settings"},
    ),
}
"""The rooms of a part, folders or files, floor by floor from the top; a room sees those on the floors below it."""


def module_name(path: Path) -> str:
    """Return the name by which a file of the package is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_name(path): path for path in MODULES}


@cache
def imported_modules(path: Path) -> set[str]:
    """Return the modules of deepmad that a file imports anywhere, functions and type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in NAMES else node.module or "" for name in parts]
        found |= {name for name in names if name.split(".")[0] == "deepmad"}
    return found


def floor_and_room(part: str, name: str) -> tuple[int, str]:
    """Return the floor of a module, 0 at the top, and its room; the entrance of rooms lies below all, and is empty."""
    inside = name.removeprefix(f"deepmad.{part}.")
    for floor, rooms in enumerate(FLOORS[part]):
        for room in rooms:
            if inside == room or inside.startswith(f"{room}."):
                return floor, room
    assert NAMES[name].name == "__init__.py", f"{name} stands on no floor"
    return len(FLOORS[part]), ""


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_only_point_downwards(part: str) -> None:
    for path in (PACKAGE / part).rglob("*.py"):
        assert {f"{name}.".split(".")[1] for name in imported_modules(path)} <= MAY_IMPORT[part], path


@pytest.mark.parametrize("part", FLOORS)
def test_inside_a_part_too(part: str) -> None:
    for path in (PACKAGE / part).rglob("*.py"):
        floor, room = floor_and_room(part, module_name(path))
        for name in imported_modules(path):
            if name.startswith(f"deepmad.{part}."):
                below, other = floor_and_room(part, name)
                assert other == room or below > floor, f"{path} imports {name}, which is not below it"


def test_no_files_import_each_other_in_a_circle() -> None:
    arrows = {name: imported_modules(path) for name, path in NAMES.items()}
    assert set(chain.from_iterable(arrows.values())) <= set(arrows)
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


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
