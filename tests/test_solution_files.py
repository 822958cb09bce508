"""Solution and architecture files, changed in one place: read as they stand, or one line; never a traceback."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepmad.cli.app import run
from deepmad.engine.answers.solutions import Solution, SolverInfo, Status, alternatives, found
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.errors import InputError
from tests.catalogue import small_space

VALUES: tuple[Any, ...] = (None, True, "text", "", -1, 1.5, 1e300, 10**30, [], {}, [None], {"a": 1})
STAGES = (Stage("bottleneck", 16, 8, 3, 1, 2), Stage("mbconv", 32, 96, 3, 2, 1))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the document of a solution with two networks."""
    problem = Problem(small_space(), Budget(macs=20e6, params=300e3, rho=1.0))
    first = Architecture(32, Stem(8), STAGES, None, 10)
    second = Architecture(32, Stem(16), STAGES, None, 10)
    solution = found(problem, first, 1e5, gap=0.01, solver=SolverInfo("cpsat", "9", 0, 1), seconds=1.0)
    assert solution.status is Status.FEASIBLE
    told: dict[str, Any] = json.loads(json.dumps(solution.to_dict()))
    return told | {"alternatives": [json.loads(json.dumps(alternatives(problem, [second])[0].to_dict()))]}


def places(part: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value within a document."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part if isinstance(part, list) else ()):
        yield (*path, key)
        yield from places(value, *path, key)


def changed(document: Any, path: tuple[Any, ...], *value: Any) -> Any:
    """Return a document with another value at a path, or none."""
    copied = copy.deepcopy(document)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    if value:
        inner[path[-1]] = value[0]
    else:
        del inner[path[-1]]
    return copied


def test_every_change_is_read_or_told_in_one_line(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "changed.json"
    refused = 0
    for place in places(document):
        for document_now in [changed(document, place), *(changed(document, place, value) for value in VALUES)]:
            path.write_text(json.dumps(document_now), encoding="utf-8")
            for load in (Solution.load, Architecture.load):
                refused += (message := refusal(load, path)) is not None
                assert message is None or (message.startswith(f"{path}: ") and len(message.splitlines()) == 1), message
    assert refused > 1000


def refusal(load: Callable[[Path], object], path: Path) -> str | None:
    """Return why a file is refused; None where it is read."""
    try:
        load(path)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("seconds",), -1, "seconds"),
        (("gap",), -0.5, "gap"),
        (("gap",), "0.1", "gap"),
        (("solver", "seed"), 0.0, "solver.seed"),
        (("solver", "workers"), True, "solver.workers"),
        (("limits", "macs", "used"), "5", "limits.macs.used"),
        (("limits", "macs", "used"), 5, "limits.macs.used: 5, and the network uses"),
        (("alternatives", 0, "limits", "rho", "used"), 0.1, "limits.rho.used: 0.1, and the network uses"),
        (("architecture", "stages", 0, "kernel"), 5, "limits.macs.used: .*, and the network uses"),
        (("objective",), 1e6, "objective: 1000000 is above the bound, 100000"),
        (("objective",), None, "objective: None with a network"),
        (("architecture",), None, "objective: .* without a network"),
        (("status",), "optimum", "status"),
        (("alternatives",), 5, "alternatives: 5 is no list|valid list"),
    ],
)
def test_figures_that_contradict_the_networks_are_told(
    path: tuple[Any, ...], value: Any, words: str, document: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed(document, path, value)), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        Solution.load(file)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "5", "[" * 100_000, '{"format": NaN}', '{"a": 1, "a": 2}'])
@pytest.mark.parametrize("command", ["show", "compare", "export", "measure"])
def test_what_is_no_such_file_is_one_line_and_exit_code_2(
    command: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    more = ["--to", "onnx", "-o", str(tmp_path / "out.onnx")] if command == "export" else []
    assert run([command, str(path), *more]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert str(path) in line
