"""The largest meaningful value of every quantity: options, settings and Python's values, each in one line."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepmad as dm
from deepmad.cli.app import run
from deepmad.search_spaces.ranges import RANGES, check
from tests.catalogue import EXAMPLES, mixed, small_space

SMALL = str(EXAMPLES / "small.yaml")
DESIGN = ["design", SMALL, "--time-limit", "5", "--workers", "1"]
HUGE = "9" * 5000


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command line that is misuse; return its one line."""
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert len(line) < 400
    return line


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--seed", "2147483648", ["2147483648", "0 to 2147483647"]),
        ("--seed", "-1", ["-1", "0 to 2147483647"]),
        ("--seed", "1_0", ["1_0", "no whole number"]),
        ("--seed", "1.5", ["1.5", "no whole number"]),
        ("--seed", HUGE, ["999", "no whole number"]),
        ("--workers", "100000", ["100000", "1 to 1024"]),
        ("--classes", str(2**63), [str(2**63), "0 to 10000000"]),
        ("--resolution", str(2**40), [str(2**40), "1 to 65536"]),
        ("--resolution", "0", ["'0'", "1 to 65536"]),
        ("--alpha", "nan,1", ["nan,1", "list of numbers"]),
        ("--alpha", "inf,8", ["inf,8", "list of numbers"]),
        ("--alpha", "1_0,8", ["1_0,8", "list of numbers"]),
        ("--alpha", "1e308,1e308", ["1e+308", "0 to 1e+06"]),
        ("--alpha", "-1,8", ["-1", "0 to 1e+06"]),
        ("--alpha", "0,0", ["0, 0", "1e-06 or more"]),
        ("--beta", "inf", ["inf", "no number"]),
        ("--beta", "1e400", ["1e400", "0 to 1e+06"]),
        ("--beta", "nan", ["nan", "no number"]),
        ("--gap", "1e400", ["1e400", "0 to 1000", "one percent"]),
        ("--gap", "-0.1", ["-0.1", "0 to 1000"]),
        ("--deterministic-limit", "1e400", ["1e400", "above 0 to 1e+06"]),
        ("--deterministic-limit", "0", ["'0'", "above 0"]),
        ("--time-limit", "1e30", ["1e+30", "eleven days"]),
        ("--macs", "1.5", ["1.5", "whole number", "1.5G"]),
        ("--macs", "1e300", ["--macs", "1e+300", "none lifts"]),
        ("--params", "1e300", ["--params", "1e+300", "none lifts"]),
        ("--memory", "0.5", ["0.5", "whole number", "0.5MB"]),
        ("--rho", "1e300", ["--rho", "1e+300", "none lifts"]),
        ("--latency", "1e300", ["--latency", "1e+300", "seconds"]),
        ("--throughput", "1e-300", ["--throughput", "1e-300", "images a second"]),
        ("--batch", "65537", ["65537", "1 to 65536"]),
        ("--threads", "1025", ["1025", "1 to 1024"]),
        ("--rounds", "101", ["101", "1 to 100"]),
        ("--top", "1000000", ["1000000", "1 to 1000"]),
        ("--islands", "0", ["'0'", "1 to 1024"]),
        ("--population", "7", ["'7'", "8 to 100000"]),
        ("--generations", "1e3", ["1e3", "no whole number"]),
        ("--multiple", "1000000000", ["1000000000", "8 to 1024"]),
        ("--backend", "onnxruntme", ["onnxruntme", "did you mean onnxruntime", "choose from"]),
        ("--backend", "foo", ["foo", "choose from onnxruntime"]),
        ("--precision", "fp31", ["fp31", "did you mean fp32", "choose from"]),
        ("--objective", "papr", ["papr", "did you mean paper?"]),
        ("--solver", "evolutoin", ["evolutoin", "did you mean evolution?"]),
        ("--front", "mac", ["mac", "did you mean macs?"]),
        ("--on", "rya", ["rya", "did you mean ray?", "ray://HOST:PORT"]),
        ("-o", "", ["-o", "''", "names nothing"]),
        ("-o", "/", ["/", "cannot write there"]),
        ("--checkpoint", " ", ["--checkpoint", "names nothing"]),
        ("--table", "a\0b", ["NUL"]),
    ],
)  # fmt: skip
def test_an_option_out_of_its_range_is_misuse(
    option: str, value: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = told(capsys, *DESIGN, option, value)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["zoo", "spec.yaml", "-o", ""], ["-o", "names nothing"]),
        (["export", "net.json", "--to", "onx", "-o", "net.onnx"], ["onx", "did you mean onnx?"]),
        (["measure", "net.json", "--seconds", "1e30"], ["--seconds", "1e+30"]),
        (["measure", "net.json", "--precision", "fp31"], ["fp31", "did you mean fp32"]),
        (["schema", "spase"], ["spase", "did you mean space?"]),
        (["desgin", "r18"], ["desgin", "design"]),
        (["design", "x" * 300 + ".yaml"], ["File name too long"]),
        (["show", "net.json#" + "9" * 200], ["cannot read it"]),
    ],
)
def test_other_commands_tell_it_too(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = told(capsys, *arguments)
    assert all(word in line for word in words), line


def test_a_file_that_no_system_takes_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", "x" * 3000]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("CpSat", {"seed": 2**31}, "seed: 2147483648 is out of range"),
        ("CpSat", {"seed": True}, "seed: True is no whole number"),
        ("CpSat", {"seed": None}, "seed: None is no whole number"),
        ("CpSat", {"gap": math.nan}, "gap: nan is out of range"),
        ("CpSat", {"time_limit": "60"}, "time_limit: '60' is no number"),
        ("CpSat", {"time_limit": None}, "time_limit: None is no number"),
        ("CpSat", {"workers": 10**5}, "workers: 100000 is out of range"),
        ("CpSat", {"deterministic_limit": math.inf}, "deterministic_limit: inf is out of range"),
        ("Auto", {"time_limit": "60"}, "time_limit: '60' is no number"),
        ("Auto", {"on": 5}, "on: 5 is no place"),
        ("Rows", {"gap": -1}, "gap: -1 is out of range"),
        ("Rows", {"on": "rya"}, "on: 'rya' is no place to run"),
        ("Rows", {"evolution": 5}, "evolution: 5 is no Evolution"),
        ("Evolution", {"islands": 1.0}, "islands: 1.0 is no whole number"),
        ("Evolution", {"checkpoint": 5}, "checkpoint: 5 is no path"),
        ("Budget", {"macs": "many"}, "macs: 'many'"),
        ("Budget", {"rho": True}, "rho: True is no number"),
        ("Budget", {"params": 10**400}, "params: 1000"),
    ],
)
def test_values_of_python_are_told_by_name(kind: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(dm.InputError, match=words):
        getattr(dm, kind)(**options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": "r18"}, "space: 'r18' is no Space; deepmad.space"),
        ({"budget": 5}, "budget: 5 is no Budget"),
        ({"objective": "papr"}, r"objective: 'papr' is unknown \(did you mean paper\?\)"),
        ({"classes": 2**63}, "classes: .* is out of range"),
        ({"classes": "10"}, "classes: '10' is no whole number"),
        ({"resolution": 0}, "resolution: 0 is out of range"),
        ({"resolution": 2**40}, "resolution: .* is out of range"),
        ({"batch": 0}, "batch: 0 is out of range"),
        ({"precision": [1]}, r"precision: \[1\] is unknown"),
    ],
)
def test_a_problem_tells_what_it_cannot_be_made_of(change: dict[str, Any], words: str) -> None:
    with pytest.raises(dm.InputError, match=words):
        dm.Problem(**{"space": small_space(), "budget": dm.Budget(), **change})


def test_a_design_tells_what_is_no_problem_or_solver() -> None:
    with pytest.raises(dm.InputError, match="problem: 5 is no Problem"):
        dm.design(5)  # type: ignore[arg-type]
    with pytest.raises(dm.InputError, match="solver: 'auto' is none; choose Auto"):
        dm.design(dm.Problem(small_space(), dm.Budget()), "auto")  # type: ignore[arg-type]


def test_numbers_of_numpy_become_those_of_files() -> None:
    settings, budget = dm.CpSat(seed=np.int64(3), gap=np.float32(0.5)), dm.Budget(macs=np.float32(4e6))  # type: ignore[arg-type]
    assert json.dumps([settings.seed, settings.gap, budget.macs]) == "[3, 0.5, 4000000.0]"


@pytest.mark.parametrize("quantity", RANGES)
def test_both_ends_of_a_range_are_what_they_say(quantity: str) -> None:
    known = RANGES[quantity]
    check(quantity, known.most)
    if not known.above:
        check(quantity, known.least)
    for outside in (known.most * 2 + 1, math.nan, *([known.least] if known.above else [known.least - 1])):
        with pytest.raises(dm.InputError, match=quantity):
            check(quantity, outside)


def test_depths_that_leave_nothing_of_the_entropy_are_no_problem() -> None:
    text = Path(SMALL).read_text(encoding="utf-8")
    path_text = text.replace("depth: {min: 1, max: 3}", "depth: 1").replace(
        "depth: {min: 1, max: 4}", "depth: [2, 200]"
    )
    from deepmad.search_spaces.spaces import parse_space

    dm.Problem(parse_space(path_text, "my.yaml"), dm.Budget())
    uneven = parse_space(path_text.replace("[2, 200]", "200"), "my.yaml")
    with pytest.raises(dm.InputError, match="penalty on uneven depths is inf at least"):
        dm.Problem(uneven, dm.Budget())
    dm.Problem(uneven, dm.Budget(), objective="reference")


def test_a_network_larger_than_the_memory_is_not_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = mixed().to_dict()
    document["tail"] = {"out": 1_000_000, "kernel": 31}
    document["classes"] = 10_000_000
    path = tmp_path / "huge.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert run(["show", str(path)]) == 0
    capsys.readouterr()
    for form in ("onnx", "weights"):
        line = told(capsys, "export", str(path), "--to", form, "-o", str(tmp_path / "huge"))
        assert "parameters need" in line
        assert "this machine has" in line
    assert not (tmp_path / "huge").exists()
