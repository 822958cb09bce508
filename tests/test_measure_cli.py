"""`deepmad measure`: comparisons, CSV in timm's columns, predictions beside, the plot, and what it refuses."""

import builtins
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from deepmad.cli.app import run
from deepmad.cli.measured_rows import OWN_COLUMNS
from deepmad.cli.plots import Point, draw
from deepmad.profilers.building.building import build_table
from deepmad.profilers.building.probes import random_network
from deepmad.profilers.importing.timm_files import RESULT_COLUMNS
from deepmad.profilers.onnx_files.export import export_onnx
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from tests.catalogue import ROOT, one_block, small_space
from tests.tiny_tables import SHORT

pytestmark = pytest.mark.usefixtures("brief_warm_up")
BRIEF = ["--seconds", "0.02"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a real, small latency table of this machine for the small space."""
    path = tmp_path_factory.mktemp("tables") / "small.sqlite"
    build_table(small_space(), path, networks=8, short=8, timer=SHORT)
    return path


@pytest.fixture(scope="module")
def network() -> Architecture:
    """Return a network of the small space."""
    import numpy as np

    return random_network(small_space(), np.random.default_rng(3))


@pytest.fixture
def files(tmp_path: Path, network: Architecture) -> tuple[str, str]:
    """Return a network as an architecture file and as an ONNX file."""
    path = tmp_path / "net.json"
    path.write_text(json.dumps(network.to_dict()), encoding="utf-8")
    return str(path), str(export_onnx(network, tmp_path / "net.onnx", 1))


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one error line."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


def test_several_back_ends_and_precisions_are_compared(
    files: tuple[str, str], network: Architecture, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = ["--backend", "onnxruntime", "--backend", "torch", "--precision", "fp32", "--precision", "int8"]
    assert run(["measure", *files, *ways[:2], *ways[4:], *BRIEF, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["precision"]) for row in rows] == [
        (model, precision) for model in files for precision in ("fp32", "int8")
    ]
    own = NetworkLayers.of(network)
    assert all((row["macs"], row["activations"]) == (own.macs, own.activations) for row in rows)
    assert rows[0]["ratio"] == 1
    assert all(row["ratio"] == pytest.approx(row["latency_seconds"] / rows[0]["latency_seconds"]) for row in rows)
    assert all(row["drift"] >= 1 and row["relative_to_reference"] > 0 for row in rows)
    assert all(row["predicted_seconds"] is row["memory_bytes"] is row["joules_per_image"] is None for row in rows)
    assert run(["measure", files[0], *ways, *BRIEF]) == 0
    output = capsys.readouterr()
    assert "warning: torch does not take int8, only fp32, fp16, bf16: left out" in output.err
    heading, *lines = output.out.splitlines()
    assert [word for word in ("ratio", "MACs", "params") if word in heading] == ["ratio", "MACs", "params"]
    assert not any(word in heading for word in ("predicted", "memory", "energy"))
    assert [line.split()[1:3] for line in lines[:3]] == [
        ["onnxruntime", "fp32"],
        ["onnxruntime", "int8"],
        ["torch", "fp32"],
    ]
    assert "the reference network on torch, fp32: " in output.out


def test_the_csv_file_has_timms_columns_and_units(
    files: tuple[str, str], network: Architecture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "times.csv"
    path.parent.mkdir()
    path.write_text("old", encoding="utf-8")
    assert run(["measure", files[0], "--batch", "4", *BRIEF, "--json", "-o", str(path)]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        assert tuple(reader.fieldnames or ()) == (*RESULT_COLUMNS, *OWN_COLUMNS)
        (row,) = reader
    own = NetworkLayers.of(network)
    expected = {
        "infer_samples_per_sec": document["throughput"],
        "infer_step_time": 1e3 * document["latency_seconds"],
        "infer_batch_size": 4,
        "infer_img_size": network.resolution,
        "param_count": own.params / 1e6,
        "infer_gmacs": own.macs / 1e9,
        "infer_macts": own.activations / 1e6,
        "latency_seconds": document["latency_seconds"],
        "low_seconds": document["low"],
        "high_seconds": document["high"],
    }
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert (row["model"], row["backend"], row["precision"], row["threads"]) == (files[0], "onnxruntime", "fp32", "1")
    assert (row["device"], row["version"], row["date"]) == tuple(document[key] for key in ("device", "version", "date"))
    assert row["predicted_seconds"] == row["gpu_memory_bytes"] == row["failed"] == ""
    assert [file.name for file in path.parent.iterdir()] == ["times.csv"]


@pytest.mark.usefixtures("torchvision_operators")
def test_timms_models_go_by_timms_names(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    arguments = ["--backend", "torch", "--resolution", "32", *BRIEF]
    assert run(["measure", "timm:test_resnet", *arguments, "-o", str(path)]) == 0
    with path.open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["model"], row["param_count"]) == ("test_resnet", "0.469688")
    assert float(row["infer_gmacs"]) > 0  # exported for that, though only PyTorch ran it


def test_predictions_stand_beside_what_was_measured(
    files: tuple[str, str], table: Path, network: Architecture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(one_block("mbconv").to_dict()), encoding="utf-8")
    ways = ["--precision", "fp32", "--precision", "int8"]
    arguments = ["measure", *files, str(other), *ways, "--table", str(table), *BRIEF]
    assert run([*arguments, "--json", "--plot", str(tmp_path / "plot.html")]) == 0
    output = capsys.readouterr()
    rows = json.loads(output.out)
    seconds = LatencyTable.load(table).predict(network)
    for index in (0, 2):  # the architecture and its ONNX file, on the table's back end
        assert rows[index]["predicted_seconds"] == seconds
        assert rows[index]["prediction_error"] == pytest.approx(seconds / rows[index]["latency_seconds"] - 1)
    assert [rows[index]["predicted_seconds"] for index in (1, 3, 4, 5)] == [None] * 4
    assert "a kernel of 5 in a depthwise conv (its rows: 3)" in rows[4]["prediction_note"]
    assert "warning: " + str(other) + " (onnxruntime, fp32): prediction: " in output.err
    page = (tmp_path / "plot.html").read_text(encoding="utf-8")
    titles = [item for item in page.split("<title>")[1:] if "measured" in item.split("</title>")[0] and "net" in item]
    assert len(titles) == 2
    assert run([*arguments, "--batch", "2"]) == 2
    assert "batch 1" in told(capsys)


POINTS = [Point(f"net{index}", f"series {index % 2}", 0.001 * index, 0.0011 * index) for index in range(1, 9)]


@pytest.mark.parametrize("suffix", [".svg", ".html", ".png"])
def test_the_plot_tells_every_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"plot{suffix}"
    draw(POINTS, path)
    content = path.read_bytes()
    draw(POINTS, path)
    assert path.read_bytes() == content
    if suffix == ".png":
        assert content.startswith(b"\x89PNG")
        return
    picture = content.decode().partition("<svg")
    root = ElementTree.fromstring(f"<svg{picture[2]}")
    told = [item.text for item in root.iter("{http://www.w3.org/2000/svg}title") if item.text]
    assert [text.split(" ", 1)[0] for text in told if text.startswith("net")] == [point.name for point in POINTS]
    assert "measured 1 ms, predicted 1.1 ms (+10.0%)" in " ".join(told)
    with pytest.raises(InputError, match="nothing to plot"):
        draw([], path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "torch", "--backend", "onxruntime"], ["onxruntime", "choose from", "openvino"]),
        (["--precision", "fp32", "--precision", "fp3"], ["fp3", "choose from", "int8"]),
        (["--backend", "torch", "--backend", "onnxruntime", "--precision", "int8"], ["torch", "int8", "fp32"]),
        (["--precision", "fp32", "--precision", "bf16"], ["bf16", "torch"]),
        (["nowhere.json"], ["nowhere.json"]),
        (["--table", "nowhere.sqlite"], ["nowhere.sqlite", "table build"]),
        (["-o", "/proc/none/times.csv"], ["/proc/none/times.csv", "cannot write"]),
        (["-o", "/tmp"], ["/tmp", "cannot write"]),
        (["--plot", "plot.svg"], ["--plot", "--table"]),
        (["--table", "TABLE", "--plot", "plot.pdf"], [".pdf", ".html, .svg, .png"]),
        (["--table", "TABLE", "--plot", "/proc/none/plot.svg"], ["/proc/none/plot.svg", "with --plot"]),
        (["--table", "TABLE", "--threads", "2"], ["TABLE", "1 thread(s)", "none of that is measured"]),
    ],
)
def test_misuse_is_told_in_one_line(
    arguments: list[str], words: list[str], files: tuple[str, str], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["measure", files[0], *(str(table) if item == "TABLE" else item for item in arguments)]) == 2
    line = told(capsys)
    assert all((str(table) if word == "TABLE" else word) in line for word in words), line


def test_a_missing_library_for_plots_is_told(
    files: tuple[str, str], table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    assert run(["measure", files[0], "--table", str(table), "--plot", "plot.png"]) == 2
    assert "pip install 'deepmad[report]'" in told(capsys)


def test_where_measuring_is_isolated_the_others_are_kept(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("import os\ndef crash():\n    os.abort()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run(["measure", "mine:crash", files[0], "nowhere", *BRIEF, "--isolated", "-o", "times.csv"]) == 3
    output = capsys.readouterr()
    assert "warning: mine:crash (onnxruntime, fp32): failed: its process died: killed by SIGABRT" in output.err
    assert "warning: nowhere (onnxruntime, fp32): failed: model: 'nowhere' is no file" in output.err
    assert "net.json" in output.out
    with Path("times.csv").open(encoding="utf-8", newline="") as stream:
        crashed, measured, unknown = csv.DictReader(stream)
    assert "SIGABRT" in crashed["failed"]
    assert (measured["failed"], measured["ratio"]) == ("", "1")
    assert float(measured["drift"]) >= 1
    assert "timm:NAME" in unknown["failed"]


def test_what_was_measured_apart_outlives_a_kill(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import time\ndef endless():\n    time.sleep(600)\n", encoding="utf-8")
    arguments = ["measure", files[0], "mine:endless", *BRIEF, "--isolated", "-o", "times.csv"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "deepmad", *arguments], cwd=tmp_path, env=environment) as process:
        for _ in range(1200):
            if (tmp_path / "times.csv").is_file():
                break
            assert process.poll() is None, "it ended early"
            time.sleep(0.05)
        process.kill()
    with (tmp_path / "times.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["model"], row["failed"]) == (files[0], "")
    assert float(row["drift"]) >= 1  # of several, also apart: the reference network ran
