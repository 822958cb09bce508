"""Solution and architecture files, changed in one place: read as they stand, or one line; never a traceback."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepmad.cli.app import run
from deepmad.engine.answers.solutions import Measured, Solution, SolverInfo, Status, alternatives, found
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.errors import InputError
from tests.catalogue import StairTable, small_space

VALUES: tuple[Any, ...] = (None, True, "text", "", -1, 1.5, 1e300, 10**30, [], {}, [None], {"a": 1})
STAGES = (Stage("bottleneck", 16, 8, 3, 1, 2), Stage("mbconv", 32, 96, 3, 2, 1))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the document of a solution with two networks."""
    budget = Budget(macs=20e6, params=300e3, rho=1.0, latency=1.0, memory=1e9)
    problem = Problem(small_space(), budget, StairTable())
    first = Architecture(32, Stem(8), STAGES, None, 10)
    second = Architecture(32, Stem(16), STAGES, None, 10)
    solution = found(problem, first, 1e5, gap=0.01, solver=SolverInfo("cpsat", "9", 0, 1), seconds=1.0)
    assert solution.status is Status.FEASIBLE
    times = (0.5, 0.4, 0.6, 2.0, False)
    solution = replace(solution, measured=Measured(*times, "cpu", "onnxruntime", "1", "fp32", 1, 1, "2026-01-01"))
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
        (("limits", "macs", "used"), 5, "limits.macs.used: 5 in the file, and counted again "),
        (("alternatives", 0, "limits", "rho", "used"), 0.1, "alternatives.0.limits.rho.used: 0.1 in the file, and"),
        (("architecture", "stages", 0, "kernel"), 5, "limits.macs.used: .* in the file, and counted again"),
        (("architecture", "stages", 0, "depth"), 3, "limits.macs.used: .* in the file, and counted again"),
        (("objective",), 1e6, "objective: 1000000 in the file, and counted again 1933"),
        (("objective",), 1900.0, "objective: 1900 in the file, and counted again 1933"),
        (("counting", "beta"), 9.0, "objective: 1933.* in the file, and counted again"),
        (("bound",), 1900.0, "bound: 1900 in the file, and counted again at least 1933"),
        (("bound",), 2000.0, "gap: 50.7.* in the file, and counted again 0.03"),
        (("bound",), None, "gap: 50.7.* in the file, and counted again None"),
        (("gap",), 0.0, "gap: 0 in the file, and counted again 50.7"),
        (("message",), "the network is proven optimal", "message: proven optimal in the file, .* a gap of 5072.62%"),
        (("message",), "it is proven to be within 1.00% of the optimum", "message: proven to be within 1.00% of .* 50"),
        (("limits", "macs", "limit"), 5.0, "limits.macs.limit: 5 in the file, and counted again at least"),
        (("limits", "memory_bytes", "used"), 5, "limits.memory_bytes.used: 5 in the file, and counted again"),
        (("predicted", "latency_seconds"), 1e-4, "predicted.latency_seconds: 0.0001 in the file, and counted again"),
        (("measured", "violated"), True, "measured.violated: True in the file, and counted again False"),
        (("objective",), None, "objective: None with a network"),
        (("architecture",), None, "objective: .* without a network"),
        (("status",), "optimum", "status"),
        (("alternatives",), 5, "alternatives: 5 is no list|alternatives must be a list"),
    ],
)
def test_figures_that_contradict_the_networks_are_told(
    path: tuple[Any, ...], value: Any, words: str, document: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed(document, path, value)), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        Solution.load(file)


def test_a_file_without_counting_is_read(document: dict[str, Any], tmp_path: Path) -> None:
    """Older ones have none: their objective may be any."""
    path = tmp_path / "older.json"
    path.write_text(json.dumps(changed(document, ("counting",)) | {"objective": 1900.0, "gap": 1e5 / 1900 - 1}))
    assert Solution.load(path).counting is None


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("architecture", "stages", 1, "depth"), 3, "limits.macs.used"),
        (("objective",), 1e5, "objective"),
        (("bound",), 1933.0, "bound"),
    ],
)
def test_what_was_changed_by_hand_is_counted_again_and_nothing_of_it_proven(
    path: tuple[Any, ...],
    value: Any,
    field: str,
    document: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proven = document | {"status": "optimal", "message": "the network is proven optimal", "gap": 0.0}
    proven |= {"bound": document["objective"], "alternatives": None}
    file = tmp_path / "proven.json"
    file.write_text(json.dumps(proven), encoding="utf-8")
    assert run(["show", str(file)]) == 0
    assert "optimal: the network is proven optimal" in capsys.readouterr().out
    file.write_text(json.dumps(changed(proven, path, value)), encoding="utf-8")
    for command in ("show", "compare"):
        assert run([command, str(file)]) == 2
        output = capsys.readouterr()
        assert "optimal" not in output.out
        assert f"warning: {file}: {field}: " in output.err
    assert run(["show", str(file), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    solution, (first, *_) = told["solution"], told["changed"]
    assert (first["field"], solution["status"], solution["bound"], solution["gap"]) == (field, "unknown", None, None)
    assert solution["limits"]["macs"]["used"] == told["macs"]
    assert solution["objective"] == pytest.approx(told["objective_paper"])


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
