"""The command line: exit codes, one-line errors, JSON on standard output, files."""

import importlib.util
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema
import onnx
import pytest

from deepmad.cli.app import run
from deepmad.cli.schema import schema_of
from deepmad.profilers.backends import BACKENDS
from deepmad.profilers.building.building import build_table
from tests.catalogue import EXAMPLES, GOLDEN, small_space
from tests.tiny_tables import SHORT

pytestmark = pytest.mark.usefixtures("brief_warm_up")
SMALL = str(EXAMPLES / "small.yaml")
QUICK = ["--time-limit", "20", "--workers", "1"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a real, small latency table of this machine for the small space."""
    path = tmp_path_factory.mktemp("tables") / "small.sqlite"
    build_table(small_space(), path, **TINY)
    return path


TINY: dict[str, Any] = {"networks": 12, "short": 12, "timer": SHORT}


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one error line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["design", "r51"], ["r51", "presets: "]),
        (["design", SMALL, "--macs", "-5"], ["--macs", "-5", "positive"]),
        (["design", SMALL, "--macs", "4.13X"], ["--macs", "4.13X", "units: "]),
        (["design", SMALL, "--alpha", "1,2,3"], ["alpha", "3 weights for 2 scales"]),
        (["design", SMALL, "--alpha", "one"], ["--alpha", "one"]),
        (["design", SMALL, "--time-limit", "0"], ["--time-limit", "positive"]),
        (["design", SMALL, "--resolution", "33"], ["resolution", "32 or 36"]),
        (["design", SMALL, "--latency", "5ms"], ["no latency table", "deepmad table build"]),
        (["design", SMALL, "--latency", "5ms", "--table", "/nowhere/t.sqlite"], ["/nowhere/t.sqlite"]),
        (["design", SMALL, "--measure", "--backend", "tpu"], ["tpu", "onnxruntime"]),
        (["design", SMALL, "--measure", "--latency", "5ms", "--backend", "tpu"], ["tpu", "onnxruntime"]),
        (
            [
                "design",
                SMALL,
                "--measure",
                "--throughput",
                "9/s",
                "--backend",
                "torch",
                "--batch",
                "8",
                "--threads",
                "2",
            ],
            ["no latency table", f"table build {SMALL} --backend torch --precision fp32 --batch 8 --threads 2"],
        ),
        (["design", SMALL, "--latncy", "5ms"], ["--latncy", "--latency"]),
        (["design", SMALL, "--objective", "other"], ["--objective", "paper"]),
        (["design"], ["PRESET_OR_SPACE"]),
        (["frobnicate"], ["frobnicate"]),
        (["show", "/nowhere.json"], ["/nowhere.json", "No such file"]),
        (["compare", SMALL], ["space file", "deepmad design", "small.yaml -o solution.json"]),
        (["measure", "/nowhere.onnx"], ["/nowhere.onnx", "no such file"]),
        (["measure", "resnet18"], ["resnet18", "timm:NAME"]),
        (["measure", "nowhere.module:function"], ["nowhere.module"]),
        (["table", "show", "/nowhere.sqlite"], ["/nowhere.sqlite"]),
        (["schema", "zebra"], ["zebra", "architecture"]),
    ],
    ids=" ".join,
)
def test_misuse_is_one_line_and_exit_code_2(
    arguments: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert run(arguments) == 2
    line = told(capsys)
    assert all(word in line for word in words), line


def test_malformed_yaml_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("format: deepmad/space@1\nname: [", encoding="utf-8")
    assert run(["design", str(path)]) == 2
    assert "line 2" in told(capsys)


def test_design_writes_a_solution_that_show_and_export_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "solution.json"
    assert run(["design", SMALL, *QUICK, "--json", "-o", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, schema_of("solution"))
    assert document["status"] == "optimal"
    assert run(["show", str(path)]) == 0
    assert "objective" in capsys.readouterr().out
    assert run(["show", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["macs"] == document["limits"]["macs"]["used"]
    assert figures["objective_paper"] == pytest.approx(document["objective"], rel=1e-9)
    exported = tmp_path / "network.onnx"
    assert run(["export", str(path), "--to", "onnx", "-o", str(exported)]) == 0
    onnx.checker.check_model(str(exported), full_check=True)


def test_infeasible_limits_exit_with_1_and_name_the_clash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.json"
    assert run(["design", SMALL, *QUICK, "--macs", "1k", "-o", str(path)]) == 1
    assert "macs" in told(capsys)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert (document["status"], document["clash"], document["architecture"]) == ("infeasible", ["macs"], None)


def test_none_lifts_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", SMALL, *QUICK, "--macs", "none", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["limits"]) == {"rho", "params"}


def test_a_bare_latency_that_meant_milliseconds_is_warned_about(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["design", SMALL, *QUICK, "--latency", "5", "--table", str(table)]) == 0
    captured = capsys.readouterr()
    assert "warning: --latency 5 is 5 seconds" in captured.err
    assert "5ms" in captured.err


def test_a_table_of_other_conditions_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in (["--batch", "8"], ["--threads", "2"], ["--backend", "torch"], ["--precision", "fp16"]):
        assert run(["design", SMALL, "--throughput", "10/s", "--table", str(table), *option]) == 2
        assert "onnxruntime" in told(capsys)


def test_a_file_that_is_no_table_is_refused_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.sqlite"
    path.write_text("these are my notes, not a database", encoding="utf-8")
    for arguments in (
        ["design", SMALL, "--latency", "5ms", "--table", str(path)],
        ["table", "show", str(path)],
        ["table", "build", SMALL, "-o", str(path)],
    ):
        assert run(arguments) == 2
        assert str(path) in told(capsys)
    assert path.read_text(encoding="utf-8") == "these are my notes, not a database"


@pytest.mark.usefixtures("brief_times")
def test_the_whole_job_on_a_small_space(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Design under a measured target, then measure the exported file: asked, predicted and measured are told."""
    path = tmp_path / "solution.json"
    code = run(
        ["design", SMALL, "--throughput", "100/s", "--table", str(table), "--measure", "--json", "-o", str(path),
         *QUICK, "--rounds", "2"]
    )  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["measured"]["latency_seconds"] <= 0.01
    assert document["limits"]["latency_seconds"]["limit"] == 0.01
    assert document["predicted"]["latency_seconds"] <= 0.01
    assert document["measured"]["latency_seconds"] in [one["measured"] for one in document["rounds"]]
    assert document["rounds"][0]["limit"] == 0.01
    assert document["measured"]["low"] <= document["measured"]["latency_seconds"] <= document["measured"]["high"]
    exported = tmp_path / "network.onnx"
    assert run(["export", str(path), "--to", "onnx", "-o", str(exported)]) == 0
    assert run(["measure", str(path), str(exported), "--seconds", "0.1", "--json"]) == 0
    timed = json.loads(capsys.readouterr().out)
    assert [one["model"] for one in timed] == [str(path), str(exported)]
    assert all(one["backend"] == "onnxruntime" for one in timed)


@pytest.mark.usefixtures("brief_times")
def test_table_build_takes_batches_and_another_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "both.sqlite"
    options = ["--batch", "1", "--batch", "2", "--resolution", "64", "--minutes", "0", "-o", str(path), "--json"]
    assert run(["table", "build", SMALL, *options]) == 0
    printed = capsys.readouterr()
    tables = json.loads(printed.out)
    assert [(table["batch"], table["resolution"], table["finished"]) for table in tables] == [
        (1, 64, True),
        (2, 64, True),
    ]
    assert "probes" in printed.err
    assert "left" in printed.err
    assert run(["table", "build", SMALL, "r18", "-o", str(path)]) == 2
    assert "one file cannot hold 2 spaces" in told(capsys)
    precisions = ["--backend", "torch", "--precision", "fp32", "--precision", "int8"]
    assert run(["table", "build", SMALL, *precisions, "--minutes", "0", "-o", str(tmp_path / "none.sqlite")]) == 2
    assert "does not take 'int8'" in told(capsys)
    assert not (tmp_path / "none.sqlite").exists()  # nothing is measured before


def test_table_show_and_export(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["table", "show", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    for kind in ("csv", "json"):
        path = tmp_path / f"rows.{kind}"
        assert run(["table", "export", str(table), "--to", kind, "-o", str(path)]) == 0
        text = path.read_text(encoding="utf-8")
        assert all(word in text for word in ("device", "onnxruntime", "fp32", "threads", "date"))


@pytest.mark.usefixtures("torchvision_operators")
def test_measure_takes_modules_of_other_libraries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nprint('hello')\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["--backend", "torch", "--seconds", "0.05", "--resolution", "32", "--json"]
    assert run(["measure", "mine:net", "timm:resnet10t", "torchvision:resnet18", *arguments]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_a_crash_costs_one_row_where_measuring_is_isolated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os\nfrom torch import nn\ndef net():\n    return nn.Conv2d(3, 8, 3)\ndef crash():\n    os.abort()\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    arguments = ["--backend", "torch", "--seconds", "0.05", "--resolution", "32", "--isolated", "--json"]
    assert run(["measure", "mine:crash", "mine:net", *arguments]) == 3
    output = capsys.readouterr()
    crashed, measured = json.loads(output.out)
    assert crashed["failed"] == "its process died: killed by SIGABRT"
    assert measured["latency_seconds"] > 0
    assert "SIGABRT" in output.err


@pytest.mark.parametrize(("library", "found"), [("timm", None), ("torchvision", OSError("libcudart.so: no such file"))])
def test_a_library_that_is_missing_or_broken_is_told_with_the_way_out(
    library: str, found: OSError | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python marks a module that is not there, and as one is that needs a file which is not there."""
    if found is None:
        monkeypatch.setitem(sys.modules, library, None)
    else:
        monkeypatch.setattr("deepmad.search_spaces.torchvision_operators.import_torchvision", Mock(side_effect=found))
    assert run(["measure", f"{library}:resnet18"]) == 2
    line = told(capsys)
    assert ("pip install 'deepmad[timm]' 'torch==" if found is None else f"({found}); install the build that") in line


@pytest.mark.usefixtures("torchvision_operators")
@pytest.mark.parametrize("name", ["timm:resnet_none", "torchvision:resnet_none"])
def test_an_unknown_model_of_a_library_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["measure", name]) == 2
    assert name in told(capsys)


def test_compare_puts_networks_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(EXAMPLES / "deepmad-r50.json"), str(EXAMPLES / "deepmad-29m-224.json")]
    assert run(["compare", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["macs"] for one in found] == [GOLDEN[name]["expect"]["macs"] for name in ("r50", "29m-224")]
    assert run(["compare", *files]) == 0
    assert "deepmad-r50" in capsys.readouterr().out


def test_doctor_tells_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    states = {row["name"]: row for row in report["libraries"]}
    assert states["torch"]["works"]
    backends = {row["name"]: row for row in report["backends"]}
    assert set(backends) == set(BACKENDS)
    assert backends["torch"]["state"] == "works: fp32, fp16, bf16"
    for name, row in backends.items():
        assert row["works"] == (BACKENDS[name].availability() is None)


def test_doctor_tells_what_is_missing_and_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    missing = ("ray", "timm")
    monkeypatch.setattr("deepmad.cli.doctor.find_spec", lambda name: None if name in missing else find_spec(name))
    monkeypatch.setattr("deepmad.cli.doctor.operators_load", lambda: False)
    (tmp_path / "openvino").mkdir()
    broken = (
        "print('loading')\nraise OSError('libopenvino.so: no such file')\n"  # only the report is on standard output
    )
    (tmp_path / "openvino/__init__.py").write_text(broken, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    states = {row["name"]: row["state"] for row in report["libraries"]}
    assert states["ray"] == "not installed: pip install 'deepmad[ray]'"
    public = version("torch").partition("+")[0]  # a CPU build's version with +cpu is one of ==2.13.0, too
    assert states["timm"] == f"not installed: pip install 'deepmad[timm]' 'torch=={public}'"
    assert states["torchvision"].startswith(
        f"installed but broken (its operators do not load beside torch {version('torch')})"
    )
    assert f"pip install --force-reinstall --no-deps torchvision=={version('torchvision')}" in states["torchvision"]
    assert "(libopenvino.so: no such file): pip install --force-reinstall --no-deps openvino" in states["openvino"]
    backends = {row["name"]: row for row in report["backends"]}
    assert not backends["openvino"]["works"]
    assert "installed but broken (openvino: libopenvino.so: no such file)" in backends["openvino"]["state"]
    assert run(["doctor"]) == 0
    assert "installed but broken" in capsys.readouterr().out


def test_doctor_tells_that_the_library_for_gpus_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert run(["doctor", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    states = {row["name"]: row["state"] for row in report["libraries"]}
    assert states["nvidia-ml-py"] == "not installed: pip install nvidia-ml-py"
    assert report["gpu"] is None


def test_an_unwritable_output_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["design", SMALL, *QUICK, "-o", "/proc/nowhere/solution.json"]) == 2
    assert "/proc/nowhere" in told(capsys)


def test_help_has_an_example_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [["design"], ["show"], ["compare"], ["measure"], ["export"], ["zoo"], ["doctor"], ["schema"]]
    for command in [*commands, ["table", "build"], ["table", "show"], ["table", "export"]]:
        assert run([*command, "--help"]) == 0
        assert f"Example: deepmad {' '.join(command)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["show", ""], "argument: ''"),
        (["design", SMALL, "-o", ""], "-o: ''"),
        (["design", SMALL, "--latency", " "], "--latency: ' '"),
        (["table", "show", ""], "argument: ''"),
    ],
    ids=str,
)
def test_an_empty_argument_is_no_folder(arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert told(capsys) == f"error: {what} names nothing; give a value"
