"""Zoos of the small space: real solves; measurements are real, or replayed so that two runs agree."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console

from benchmarks.zoo_content import content, timeless
from deepmad.cli.app import run
from deepmad.cli.zoo import Board
from deepmad.engine.answers.solutions import Measured, Solution
from deepmad.profilers.building.probes import random_network
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.tables.table_files import Key
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.weights import initialised
from deepmad.zoo.making import News, make_zoo
from tests.catalogue import EXAMPLES, ROOT, small_space
from tests.zoo_parts import Replay, build_small, spec_of, written

IMPOSSIBLE = "10ns"
RUN = """
import sys, time
from pathlib import Path
from deepmad.zoo.making import make_zoo
from tests.zoo_parts import Replay

spec, folder, table, moment = sys.argv[1:]

def tell(news):
    print(news.line, flush=True)
    if moment in news.line:
        time.sleep(600)  # until it is killed

make_zoo(spec, folder, timing=Replay(Path(table)), tell=tell)
"""


@pytest.fixture(scope="module")
def table(small_tables: Path) -> Path:
    """Return tables for batches of 1 and 2."""
    return small_tables


def never(_key: Key, _network: Architecture | str) -> Measured:
    raise AssertionError("nothing is to be timed")


def test_a_zoo_on_two_devices(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command line: files, figures and the exit code of a zoo with a target that nothing meets."""
    devices = [{"name": name, "table": str(table), "batch": batch} for name, batch in (("one", 1), ("two", 2))]
    targets = [{"relative": 1.3}, {"relative": 2}, IMPOSSIBLE]
    member = tmp_path / "member.json"
    network = random_network(small_space(), np.random.default_rng(0), low=0.25)
    member.write_text(json.dumps(replace(network, name="member").to_dict()), encoding="utf-8")
    references = [
        str(EXAMPLES / "deepmad-r50.json"),
        str(member),
        {"name": "theirs", "device": "two", "throughput": "100/s", "params": "1M", "note": "a figure"},
    ]
    spec = written(tmp_path, spec_of(table, devices=devices, targets=targets, references=references))
    folder = tmp_path / "zoo"
    assert run(["zoo", str(spec), "-o", str(folder), "--json"]) == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document == json.loads((folder / "zoo.json").read_text(encoding="utf-8"))
    assert (document["format"], document["finished"]) == ("deepmad/zoo_results@1", True)
    assert [device["name"] for device in document["devices"]] == ["one", "two"]
    outcomes = [(entry["device"], entry["outcome"]) for entry in document["entries"]]
    assert outcomes == [(name, outcome) for name in ("one", "two") for outcome in ("met", "met", "infeasible")]
    assert "infeasible: deepmad_small_one_fp32_b1_" in captured.err
    for entry in document["entries"]:
        batch = {"one": 1, "two": 2}[entry["device"]]
        (baseline,) = (one for one in document["baselines"] if one["device"] == entry["device"])
        if entry["outcome"] == "met":
            assert entry["target"]["throughput"] == pytest.approx(entry["target"]["relative"] * baseline["throughput"])
            check_network(folder, entry, LatencyTable.load(table, batch=batch))
        else:
            assert "latency 10 ns" in entry["message"]
            assert (entry["objective"], entry["stages"], entry["files"]["onnx"]) == (None, None, None)
            assert Solution.load(folder / entry["files"]["solution"]).status == "infeasible"
    check_references(document, table, member)
    with (folder / "zoo.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["model"] for row in rows] == [one["name"] for one in document["entries"] if one["outcome"] == "met"]
    assert {row["latency_source"] for row in rows} == {"predicted"}


def check_network(folder: Path, entry: dict[str, Any], table: LatencyTable) -> None:
    """Check an entry that was met by its prediction against its files and its table."""
    network = Architecture.load(folder / entry["files"]["architecture"])
    assert network.name == entry["name"]
    assert re.fullmatch(r"[a-z0-9_]+", entry["name"])
    predicted = table.predict(network)
    assert entry["predicted"]["latency_seconds"] == predicted <= entry["target"]["latency_seconds"]
    assert entry["predicted_by_device"][entry["device"]]["latency_seconds"] == predicted
    parts = [entry["stem"], *entry["stages"], entry["classifier"]]
    seconds = entry["overhead_seconds"] + sum(part["latency_seconds"] for part in parts)
    assert seconds == pytest.approx(predicted, rel=1e-9)
    assert [sum(part[key] for part in parts) for key in ("macs", "params")] == [entry["macs"], entry["params"]]
    assert Solution.load(folder / entry["files"]["solution"]).architecture == network
    assert entry["measured"] is None
    images = np.random.default_rng(1).standard_normal((3, 3, 32, 32), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(folder / entry["files"]["onnx"]), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: images})
    with torch.inference_mode():
        expected = initialised(network)(torch.from_numpy(images)).numpy()
    assert np.abs(output - expected).max() <= 1e-4 * max(1.0, float(np.abs(expected).max()))
    card = (folder / entry["files"]["card"]).read_text(encoding="utf-8")
    assert card.startswith(f"# {entry['name']}\n")
    assert "Not measured." in card
    (command,) = re.findall(r"^    (deepmad design .*)$", card, re.MULTILINE)
    assert shlex.split(command)[:2] == ["deepmad", "design"]
    assert f"--latency {entry['target']['latency_seconds']!r}" in command


def check_references(document: dict[str, Any], table: Path, member: Path) -> None:
    """Check what stands beside the zoo: networks by the tables, as far as these know them, and a typed figure."""
    *predicted, figure = document["references"]
    network = Architecture.load(member)
    assert [one["name"] for one in predicted] == ["deepmad-r50", "deepmad-r50", "member", "member"]
    for reference, batch in zip(predicted[2:], (1, 2), strict=True):
        seconds = LatencyTable.load(table, batch=batch).predict(network)
        assert reference["source"] == "predicted"
        assert reference["latency_seconds"] == pytest.approx(seconds, rel=1e-9)
    for reference in predicted[:2]:  # most of its layers are outside of a table for 32 pixels
        assert reference["latency_seconds"] is None
        assert reference["objective"] is None  # its scales are not the space's
        assert "the table's rows" in reference["note"]
    assert (figure["source"], figure["latency_seconds"], figure["params"]) == ("published", 0.02, 1e6)


@pytest.mark.usefixtures("solves_here")
def test_looser_targets_are_worth_no_less(table: Path, tmp_path: Path) -> None:
    """By what neighbours tell each other; and all of it shown as on a terminal."""
    spec = written(tmp_path, spec_of(table, targets={"relative": {"from": 1.05, "to": 2, "count": 5}}))
    board, low = Board(), Board(2)

    def tell(news: News) -> None:
        board.tell(news)
        low.tell(news)

    entries = make_zoo(spec, tmp_path / "zoo", tell=tell)["entries"]
    objectives, bounds = ([entry[key] for entry in entries] for key in ("objective", "bound"))
    assert objectives == sorted(objectives, reverse=True)
    assert bounds == sorted(bounds, reverse=True)
    assert all(bound >= objective for objective, bound in zip(objectives, bounds, strict=True))
    console = Console(file=io.StringIO(), width=200)
    console.print(board.shown())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(entry["name"] in shown and f"{entry['objective']:,.1f}" in shown for entry in entries)
    assert shown.count(" met ") == len(entries)
    assert low.shown().row_count == 2


def measured_spec(table: Path) -> dict[str, Any]:
    """Return a spec whose networks are timed."""
    return spec_of(table, verify={"measure": True, "rounds": 4}, references=[str(EXAMPLES / "deepmad-r50.json")])


@pytest.mark.usefixtures("solves_here")
def test_a_zoo_killed_at_any_moment_goes_on_to_the_same_end(table: Path, tmp_path: Path) -> None:
    """Killed with SIGKILL at its first solve, its first round, its first pass and its first finished network."""
    spec = written(tmp_path, measured_spec(table))
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    unbroken = make_zoo(spec, whole, timing=Replay(table))
    assert {entry["outcome"] for entry in unbroken["entries"]} == {"met"}
    assert any(len(entry["rounds"]) > 1 for entry in unbroken["entries"])
    assert all(entry["judged_by"] == "measured" for entry in unbroken["entries"])
    for moment in (": solved", "round 1: measured", "timed again", ": met: "):
        kill_at(moment, [str(spec), str(folder), str(table)])
        if (folder / "zoo.json").exists():
            assert not json.loads((folder / "zoo.json").read_text(encoding="utf-8"))["finished"]
    timed: list[Architecture] = []
    resumed = make_zoo(spec, folder, timing=counting(Replay(table), timed))
    assert timeless(resumed) == timeless(unbroken)
    assert content(folder) == content(whole)
    designed = [nameless(Architecture.load(whole / entry["files"]["architecture"])) for entry in unbroken["entries"]]
    assert not set(designed) & set(timed)  # what was timed is not timed again
    assert timed  # but the reference is
    again = make_zoo(spec, folder, timing=never)
    assert timeless(again) == timeless(unbroken)


def nameless(network: Architecture) -> Architecture:
    return replace(network, name="")


def kill_at(moment: str, arguments: list[str]) -> None:
    """Start making a zoo in a process of its own, and kill that as soon as it tells of the moment."""
    command = [sys.executable, "-c", RUN, *arguments, moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        seen = any(moment in line for line in process.stdout)
        process.kill()
    assert seen, f"it ended without {moment!r}"


def counting(timing: Replay, timed: list[Architecture]) -> Callable[[Key, Architecture | str], Measured]:
    """Return a timing that notes the networks it times, without their names."""

    def time_one(key: Key, network: Architecture | str) -> Measured:
        assert isinstance(network, Architecture)
        timed.append(nameless(network))
        return timing(key, network)

    return time_one


@pytest.mark.usefixtures("solves_here")
def test_missed_targets_are_kept_with_their_reason(table: Path, tmp_path: Path) -> None:
    """A device twice as slow as its table, and one round: nothing is met, and all is told."""
    verify = {"measure": True, "rounds": 1}
    predicted = make_zoo(written(tmp_path, spec_of(table, targets={"relative": [1.2, 1.5]})), tmp_path / "predicted")
    targets = [entry["target"]["latency_seconds"] for entry in predicted["entries"]]
    folder = tmp_path / "zoo"
    spec = written(tmp_path, spec_of(table, targets=targets, verify=verify))
    document = make_zoo(spec, folder, timing=Replay(table, 2.0))
    assert [entry["outcome"] for entry in document["entries"]] == ["missed", "missed"]
    for entry in document["entries"]:
        assert entry["measured"]["violated"]
        assert entry["measured"]["latency_seconds"] > entry["target"]["latency_seconds"]
        assert "misses" in entry["message"]
        assert (folder / entry["files"]["onnx"]).is_file()
        assert "as measured, it misses that" in (folder / entry["files"]["card"]).read_text(encoding="utf-8")


@pytest.mark.usefixtures("solves_here")
def test_what_met_its_target_is_not_given_up_for_what_misses_it(table: Path, tmp_path: Path) -> None:
    """Faster at the check than in the loop, so that it is designed again; but slower than ever after that.

    The target is a little more than what a network is predicted to take, so that the target binds by any table.
    """
    without = written(tmp_path, spec_of(table, targets={"relative": [1.5]}))
    (first,) = make_zoo(without, tmp_path / "predicted")["entries"]
    target = 1.02 * first["predicted"]["latency_seconds"]
    folder, replay = tmp_path / "zoo", Replay(table)

    def moody(key: Key, network: Architecture | str) -> Measured:
        steps = {path.name.split("-")[0] for path in (folder / ".zoo").glob("*-*.json")}
        share = 1.2 if "again" in steps else 0.9 if "verified" in steps else 0.97
        measured = replay(key, network)
        return scaled(measured, share * target / measured.latency_seconds)

    spec = written(tmp_path, spec_of(table, targets=[target], verify={"measure": True, "rounds": 4}))
    (entry,) = make_zoo(spec, folder, timing=moody)["entries"]
    assert list((folder / ".zoo").glob("checkagain-*.json"))
    assert entry["outcome"] == "met"
    assert entry["measured"]["latency_seconds"] == pytest.approx(0.9 * target)


@pytest.mark.usefixtures("solves_here")
def test_a_time_that_fails_costs_no_network(table: Path, tmp_path: Path) -> None:
    folder, replay, failed = tmp_path / "zoo", Replay(table), list[str]()

    def failing(key: Key, network: Architecture | str) -> Measured:
        if list((folder / ".zoo").glob("verified-*.json")) and not failed:
            failed.append("once")
            raise DeviceError("the device is gone")
        return replay(key, network)

    spec = written(tmp_path, spec_of(table, targets={"relative": [1.5]}, verify={"measure": True, "rounds": 4}))
    (entry,) = make_zoo(spec, folder, timing=failing)["entries"]
    assert failed
    assert entry["outcome"] == "met"


def scaled(measured: Measured, factor: float) -> Measured:
    """Return a measurement of a network that is slower by a factor."""
    seconds = {name: factor * getattr(measured, name) for name in ("latency_seconds", "low", "high")}
    return replace(measured, **seconds, throughput=measured.throughput / factor)


@pytest.mark.usefixtures("solves_here")
def test_what_fails_is_kept_and_tried_again(table: Path, tmp_path: Path) -> None:
    spec, folder = written(tmp_path, measured_spec(table) | {"targets": ["1s"]}), tmp_path / "zoo"

    def broken(_key: Key, _network: Architecture | str) -> Measured:
        raise DeviceError("the device is gone")

    document = make_zoo(spec, folder, timing=broken)
    (entry,) = document["entries"]
    assert (entry["outcome"], entry["status"], entry["message"]) == ("failed", None, "the device is gone")
    assert document["references"][0]["latency_seconds"] is None
    assert "the device is gone" in document["references"][0]["note"]
    (entry,) = make_zoo(spec, folder, timing=Replay(table))["entries"]
    assert entry["outcome"] == "met"


@pytest.mark.usefixtures("solves_here")
def test_an_interrupt_leaves_what_is_finished(table: Path, tmp_path: Path) -> None:
    spec, folder, replay, timed = (
        written(tmp_path, measured_spec(table)),
        tmp_path / "zoo",
        Replay(table),
        list[Architecture](),
    )

    def interrupted(key: Key, network: Architecture | str) -> Measured:
        if (folder / "zoo.json").exists():  # all entries are finished, and the reference is timed
            raise KeyboardInterrupt
        return counting(replay, timed)(key, network)

    with pytest.raises(KeyboardInterrupt):
        make_zoo(spec, folder, timing=interrupted)
    document = json.loads((folder / "zoo.json").read_text(encoding="utf-8"))
    assert not document["finished"]
    assert [entry["outcome"] for entry in document["entries"]] == ["met", "met", "met"]
    assert not document["references"]
    assert timed
    assert (folder / "report.html").is_file()


@pytest.mark.usefixtures("solves_here")
def test_another_spec_or_table_is_refused_in_the_same_folder(table: Path, tmp_path: Path) -> None:
    folder, copy = tmp_path / "zoo", tmp_path / "copy.sqlite"
    copy.write_bytes(table.read_bytes())
    first = spec_of(copy, targets=["1s"])
    make_zoo(written(tmp_path, first), folder)
    with pytest.raises(InputError, match="another spec; choose another folder with -o"):
        make_zoo(written(tmp_path, first | {"targets": ["2s"]}), folder)
    copy.unlink()
    build_small(copy, 1, 2, factor=1.1)
    with pytest.raises(InputError, match="another latency table"):
        make_zoo(written(tmp_path, first), folder)


@pytest.mark.usefixtures("solves_here")
def test_two_runs_in_one_folder_are_refused(table: Path, tmp_path: Path) -> None:
    spec, folder, told = written(tmp_path, spec_of(table, targets=["1s"])), tmp_path / "zoo", list[str]()

    def tell(_news: News) -> None:
        if not told:
            told.append("once")
            with pytest.raises(InputError, match="another process"):
                make_zoo(spec, folder)

    make_zoo(spec, folder, tell=tell)
    assert told


@pytest.mark.usefixtures("brief_times")
def test_a_missing_table_is_measured_and_networks_are_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it on this machine: its table, one design that any network of the space would meet, its time."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    changes = {"targets": ["1s"], "verify": {"measure": True, "rounds": 1, "seconds": "20ms"}}
    spec = written(tmp_path, spec_of(tmp_path, devices=[{"name": "cpu", "build": {"minutes": 0}}], **changes))
    folder = tmp_path / "zoo"
    assert run(["zoo", str(spec), "-o", str(folder)]) == 0
    assert "deepmad_small_cpu_fp32_b1_1000ms" in capsys.readouterr().out
    (entry,) = json.loads((folder / "zoo.json").read_text(encoding="utf-8"))["entries"]
    assert (entry["outcome"], entry["judged_by"]) == ("met", "measured")
    measured = entry["measured"]
    assert 0 < measured["low"] <= measured["latency_seconds"] <= measured["high"] < 1
    assert (measured["backend"], measured["precision"], measured["batch"], measured["threads"]) == (
        "onnxruntime", "fp32", 1, 1,
    )  # fmt: skip
    assert [one["number"] for one in entry["rounds"]] == [1]
    with (folder / "zoo.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["latency_source"] == "measured"
    assert float(row["infer_samples_per_sec"]) == pytest.approx(measured["throughput"], rel=1e-5)
