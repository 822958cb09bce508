"""`deepmad design --limit module:function<=VALUE`: what it takes, what it refuses, what it tells."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deepmad.cli.app import run
from deepmad.cli.limits import function_limits
from deepmad.cli.schema import schema_of
from deepmad.engine.solvers.blackbox import solving
from deepmad.tasks import Tasks, open_tasks
from tests.catalogue import EXAMPLES

SMALL = str(EXAMPLES / "small.yaml")

MODULE = """
from deepmad import Architecture

LIMIT = 5

def depths(network: Architecture) -> float:
    return sum(stage.depth for stage in network.stages)

def nothing(network):
    raise RuntimeError("never again")

def hang(network):
    import time
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a module of functions; another name a test, since modules stay imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"functions_{tmp_path.name}.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


def module_in(folder: Path) -> str:
    """Return the name of the module of functions."""
    (path,) = folder.glob("functions_*.py")
    return path.stem


def test_the_command_line_takes_functions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = f"{module_in(folder)}:depths"
    options = ["--deterministic-limit", "1", "--workers", "1", "--limit-seconds", "20s", "-o", "solution.json"]
    assert run(["design", SMALL, "--limit", f"{limit}<=4", *options]) == 0
    report = capsys.readouterr().out
    assert "known before" in report
    assert "since CP-SAT cannot express" in report or "keeps that too" in report
    document = json.loads((folder / "solution.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema_of("solution"))
    assert document["limits"][limit]["limit"] == 4.0
    assert document["limits"][limit]["used"] == sum(stage["depth"] for stage in document["architecture"]["stages"])
    assert document["black_boxes"][limit]["calls"] >= 1
    assert run(["show", "solution.json"]) == 0
    assert limit in capsys.readouterr().out


def test_the_command_line_tells_why_every_call_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = f"{module_in(folder)}:nothing"
    options = ["--deterministic-limit", "0.2", "--workers", "1", "--json"]
    assert run(["design", SMALL, "--limit", f"{limit}<=4", *options]) == 1
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert "never again" in line
    document = json.loads(captured.out)
    jsonschema.validate(document, schema_of("solution"))
    assert document["status"] == "unknown"
    assert document["black_boxes"][limit]["failed"] == document["black_boxes"][limit]["calls"] >= 1


def test_what_a_function_prints_stays_off_standard_output(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "print('imported')\ndef chatty(network):\n    print('called', flush=True)\n    return 1.0\n"
    (folder / f"chatty_{folder.name}.py").write_text(text, encoding="utf-8")
    limit = f"chatty_{folder.name}:chatty"
    options = ["--deterministic-limit", "0.2", "--workers", "1", "--json"]
    assert run(["design", SMALL, "--limit", f"{limit}<=4", *options]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["black_boxes"][limit]["calls"] >= 1
    assert {"imported", "called"} <= set(captured.err.splitlines())


def test_an_interrupt_while_the_workers_are_ended_loses_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupted_at_the_end(**settings: Any) -> Iterator[Tasks]:
        with open_tasks(**settings) as tasks:
            yield tasks
        raise KeyboardInterrupt

    monkeypatch.setattr(solving, "open_tasks", interrupted_at_the_end)
    limit = f"{module_in(folder)}:depths"
    options = ["--deterministic-limit", "1", "--workers", "1", "--json"]
    assert run(["design", SMALL, "--limit", f"{limit}<=6", *options]) == 130
    document = json.loads(capsys.readouterr().out)
    assert document["limits"][limit]["used"] <= 6


def test_a_call_that_takes_all_the_time_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--time-limit", "8", "--workers", "1"]
    assert run(["design", SMALL, "--limit", f"{module_in(folder)}:hang<=4", *options]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "1 call(s) had not ended by then (--limit-seconds" in line


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("{module}:depths<5", ["--limit", "has no <=", "in quotes"]),
        ("{module}:depths", ["--limit", "has no <="]),
        ("{module}:depths<=", ["--limit", "''"]),
        ("{module}:depths<=5 apples", ["--limit", "5 apples", "units: "]),
        ("{module}:depths<=1e999", ["--limit", "1e999"]),
        ("{module}:depth<=5", ["--limit", "there is no depth", "depths, nothing"]),
        ("{module}:LIMIT<=5", ["--limit", "it is int, not a function"]),
        ("{module}<=5", ["--limit", "names no function", "package.module:function"]),
        ("no_such_module:depths<=5", ["--limit", "no_such_module", "cannot import it"]),
        ("broken_module:depths<=5", ["--limit", "importing it raised SyntaxError"]),
        ("ending_module:depths<=5", ["--limit", "importing it raised SystemExit: 3"]),
        (":depths<=5", ["--limit", "names no function"]),
    ],
)
def test_a_mistyped_limit_is_one_line_and_exit_code_2(
    limit: str, words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken_module.py").write_text("def depths(:", encoding="utf-8")
    (folder / "ending_module.py").write_text("import sys\nsys.exit(3)", encoding="utf-8")
    assert run(["design", SMALL, "--limit", limit.format(module=module_in(folder))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit-seconds", "0"], ["--limit-seconds", "out of range"]),
        (["--solver", "cpsat"], ["CP-SAT cannot express", "choose auto"]),
        (["--top", "3"], ["--top", "leave one of them out"]),
        (["--explain"], ["--explain", "leave one of them out"]),
        (["--front", "macs"], ["front", "leave one of them out"]),
        (["--solver", "evolution", "--checkpoint", "c.json"], ["checkpoint", "leave it out"]),
    ],
)
def test_what_does_not_go_with_a_function_is_refused(
    options: list[str], words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["design", SMALL, "--limit", f"{module_in(folder)}:depths<=4", *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert all(word in line for word in words), line


def test_a_limit_has_any_unit_and_may_be_negative(folder: Path) -> None:
    name = f"{module_in(folder)}:depths"
    for value, limit in {"5ms": 5e-3, "64MB": 64e6, "4.13G": 4.13e9, "-0.7": -0.7, "0": 0.0, "2000/s": 2000.0}.items():
        (box,) = function_limits([f"{name} <= {value}"], "90s")
        assert box.limit == pytest.approx(limit)
        assert (box.name, box.seconds, box.takes) == (name, 90.0, "architecture")
