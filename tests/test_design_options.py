"""`deepmad design` with --top, --explain, --multiple and several tables, and what it says where limits clash."""

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deepmad.cli.app import run
from deepmad.cli.schema import schema_of
from deepmad.profilers.building.building import build_table
from tests.catalogue import EXAMPLES, small_space
from tests.tiny_tables import SHORT

SMALL = str(EXAMPLES / "small.yaml")
QUICK = ["--time-limit", "30", "--workers", "1"]
TINY: dict[str, Any] = {"networks": 12, "short": 12, "timer": SHORT}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return real, small latency tables of this machine: ONNX Runtime, PyTorch, and batch 2."""
    folder = tmp_path_factory.mktemp("tables")
    kinds: dict[str, dict[str, Any]] = {
        "onnxruntime": {},
        "torch": {"backend": "torch"},
        "batch 2": {"batch": 2},
    }
    for name, conditions in kinds.items():
        build_table(small_space(), folder / f"{name}.sqlite", **TINY, **conditions)
    return {name: str(folder / f"{name}.sqlite") for name in kinds}


def designed(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> dict[str, Any]:
    """Run a design of the small space; return its document, which keeps the schema."""
    assert run(["design", SMALL, *QUICK, "--json", *options]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, schema_of("solution"))
    return document


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one error line."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_top_and_explain_land_in_file_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "solution.json"
    document = designed(capsys, "--top", "3", "--gap", "0.2", "--explain", "-o", str(path))
    assert document == json.loads(path.read_text(encoding="utf-8"))
    objectives = [document["objective"], *(other["objective"] for other in document["alternatives"])]
    assert len(objectives) == 3
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[-1] >= 0.8 * objectives[0]
    assert set(document["explanation"]) == {"macs", "params", "rho"}
    for found in document["explanation"].values():
        assert found["loosened"] == pytest.approx(1.1 * found["limit"])
        assert 0 <= found["gain"][0] <= found["gain"][1]
    assert run(["show", str(path)]) == 0
    report = capsys.readouterr().out
    assert "10 % looser" in report
    assert "#3" in report
    assert run(["show", f"{path}#3", "--json"]) == 0
    third = json.loads(capsys.readouterr().out)
    assert third["objective_paper"] == pytest.approx(objectives[2], rel=1e-9)
    assert third["macs"] == document["alternatives"][1]["limits"]["macs"]["used"]
    assert run(["compare", str(path), f"{path}#2", "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert [one["objective_paper"] for one in both] == pytest.approx(objectives[:2], rel=1e-9)
    exported = tmp_path / "third.onnx"
    assert run(["export", f"{path}#3", "--to", "onnx", "-o", str(exported)]) == 0
    assert run(["measure", f"{path}#3", "--seconds", "0.05"]) == 0
    capsys.readouterr()
    assert run(["show", f"{path}#4"]) == 2
    assert "the file holds 3 networks" in error(capsys)


def test_without_them_their_keys_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    document = designed(capsys)
    assert {key: document[key] for key in ("alternatives", "explanation", "predicted_by_device", "nearest")} == {
        "alternatives": None, "explanation": None, "predicted_by_device": None, "nearest": None,
    }  # fmt: skip


def test_what_an_objective_counts_by_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "solution.json")
    document = designed(capsys, "--alpha", "uniform", "--beta", "5", "--rho", "auto", "-o", path)
    assert document["counting"] | {"batch": 1} == {
        "objective": "paper", "alpha": [1, 1], "beta": 5, "batch": 1, "precision": "fp32",
    }  # fmt: skip
    assert document["limits"]["rho"]["limit"] == 0.3
    assert run(["show", path]) == 0
    report = capsys.readouterr().out
    assert f"objective {document['objective']:,.2f} (paper, alpha 1 1, beta 5), bound " in report
    assert "(alpha 1 8, beta 10)" in report  # the figures of any architecture are DeepMAD's
    assert run(["compare", path, path]) == 0
    assert capsys.readouterr().out.count("alpha 1 8, beta 10") == 2


@pytest.mark.parametrize("multiple", [16, 32])
def test_multiple_makes_every_width_one(multiple: int, capsys: pytest.CaptureFixture[str]) -> None:
    network = designed(capsys, "--multiple", str(multiple))["architecture"]
    widths = [network["stem"]["out"], *(stage[key] for stage in network["stages"] for key in ("out", "width"))]
    assert all(width % multiple == 0 for width in widths)


def test_a_multiple_that_no_width_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", SMALL, "--multiple", "48"]) == 2
    assert "stages[0].width holds no multiple of 48; the largest that works is 32" in error(capsys)
    assert run(["design", SMALL, "--multiple", "12"]) == 2
    assert "12 is no positive multiple of 8" in error(capsys)


def test_nearest_is_told_in_file_report_and_error(capsys: pytest.CaptureFixture[str]) -> None:
    document = designed(capsys, "--macs", "3M", "--rho", "0.12", code=1)
    assert document["clash"] == ["macs", "rho"]
    assert set(document["nearest"]) == {"macs", "rho"}
    for name in ("macs", "rho"):
        options = {"macs": "3M", "rho": "0.12"} | {name: repr(document["nearest"][name])}
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        assert designed(capsys, *arguments)["limits"][name]["used"] <= document["nearest"][name]
    assert run(["design", SMALL, *QUICK, "--macs", "3M", "--rho", "0.12"]) == 1
    captured = capsys.readouterr()
    assert "nearest feasible" in captured.out
    assert "together; feasible from macs" in captured.err
    assert "rho as asked, proven nearest" in captured.err


def test_the_limit_holds_on_every_table(tables: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--table", tables["onnxruntime"], "--table", tables["torch"]]
    free = designed(capsys, *both)["predicted"]["latency_seconds"]  # which one network keeps by any table
    document = designed(capsys, "--latency", repr(free), *both)
    devices = document["predicted_by_device"]
    assert len(devices) == 2
    assert {"onnxruntime" in name for name in devices} == {True, False}
    slowest = max(device["latency_seconds"] for device in devices.values())
    assert document["predicted"]["latency_seconds"] == slowest == document["limits"]["latency_seconds"]["used"]
    assert slowest <= free
    assert run(["design", SMALL, *QUICK, "--latency", repr(free), *both]) == 0
    report = capsys.readouterr().out
    assert all(f"on {name}" in report for name in devices)


def test_a_file_of_one_table_needs_no_conditions(tables: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    document = designed(capsys, "--throughput", "10/s", "--table", tables["batch 2"])
    assert document["limits"]["latency_seconds"]["limit"] == pytest.approx(0.2)
    seconds = document["predicted"]["latency_seconds"]
    assert document["predicted"]["throughput"] == pytest.approx(2 / seconds)
    assert designed(capsys, "--table", tables["torch"])["predicted"] is not None


def test_tables_that_do_not_go_together(tables: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", SMALL, "--table", tables["torch"], "--table", tables["batch 2"]]) == 2
    line = error(capsys)
    assert "for batch 1" in line
    assert "for batch 2" in line
    both = ["--table", tables["onnxruntime"], "--table", tables["torch"]]
    assert run(["design", SMALL, "--latency", "2ms", "--measure", *both]) == 2
    assert "only this machine can be measured" in error(capsys)


def test_of_several_tables_in_a_file_the_defaults_choose(
    tables: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "both.sqlite"
    for batch in (1, 2):
        build_table(small_space(), both, **TINY, batch=batch)
    for options, batch in (([], 1), (["--batch", "2"], 2)):
        found = designed(capsys, "--table", str(both), "--latency", "1s", *options)["predicted"]
        assert found["throughput"] * found["latency_seconds"] == pytest.approx(batch)
    found = designed(capsys, "--table", tables["batch 2"], "--latency", "1s")["predicted"]
    assert found["throughput"] * found["latency_seconds"] == pytest.approx(2)


def test_a_network_whose_file_cannot_be_written_is_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepmad.cli.design.check_writable", lambda *_, **__: None)  # it becomes so during the solve
    (tmp_path / "file").touch()
    document = designed(capsys, "-o", str(tmp_path / "file" / "solution.json"), code=2)
    assert document["architecture"] is not None


def test_a_file_that_cannot_be_written_is_told_before_the_solve(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert run(["design", SMALL, "--time-limit", "1000000", "-o", str(tmp_path / "file" / "solution.json")]) == 2
    assert "cannot write there" in error(capsys)


@pytest.mark.parametrize("options", [[], ["--solver", "evolution"], ["--solver", "rows"], ["--front", "macs"]])
def test_without_ray_every_solver_that_would_use_it_says_how_to_get_it(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python marks a module that is not there
    assert run(["design", SMALL, "--on", "ray", *options]) == 2
    assert error(capsys).endswith("Ray, which is not installed: pip install 'deepmad[ray]'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--solver", "cpsat", "--on", "ray"], "--on ray: --solver cpsat is one program on one machine"),
        (["--on", "moon"], "'moon' is no place to run; choose local, ray or ray://HOST:PORT"),
        (["--solver", "rows", "--on", "moon"], "'moon' is no place to run; choose local, ray or ray://HOST:PORT"),
    ],
)
def test_a_place_that_is_none_is_told(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", SMALL, *options]) == 2
    assert words in error(capsys)
