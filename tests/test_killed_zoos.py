"""The benchmark that kills zoos: it replays what was recorded, it kills, and it sees what differs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.killed_zoos import Program, Recorded
from benchmarks.zoo_content import content, differences
from deepmad.engine.answers.solutions import Measured
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.zoo.journal import FOLDER
from deepmad.zoo.making import make_zoo
from tests.catalogue import mixed
from tests.zoo_parts import spec_of, written

pytestmark = pytest.mark.usefixtures("solves_here")
KEY = Key("onnxruntime", "fp32", 1, 1)


class Slowing:
    """A device on which everything takes a second longer every time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, key: Key, _network: Architecture | str) -> Measured:
        """Return what is measured."""
        self.seconds += 1.0
        conditions = ("a device", key.backend, "1", key.precision, key.batch, key.threads, "2026-01-01T00:00:00+00:00")
        return Measured(self.seconds, self.seconds, self.seconds, 1 / self.seconds, None, *conditions)


def test_the_first_time_of_a_network_is_replayed_whatever_its_name(tmp_path: Path) -> None:
    recording = Recorded(tmp_path / "times.jsonl", Slowing())
    named, others = replace(mixed(), name="named"), (replace(mixed(), classes=3), "timm:resnet18")
    assert [recording(KEY, network).latency_seconds for network in (mixed(), named, *others)] == [1, 1, 2, 3]
    assert recording(replace(KEY, batch=2), named).latency_seconds == 4
    replayed = Recorded(tmp_path / "times.jsonl")
    for network in (named, *others):
        assert replayed(KEY, network) == recording(KEY, network)
    with pytest.raises(LookupError, match="no time was recorded"):
        replayed(KEY, replace(mixed(), classes=4))


def test_a_zoo_that_was_killed_ends_as_another_and_differences_are_seen(small_tables: Path, tmp_path: Path) -> None:
    spec, whole, folder = written(tmp_path, spec_of(small_tables, targets=["1s"])), tmp_path / "whole", tmp_path / "cut"
    make_zoo(spec, whole)
    program = Program(spec, tmp_path / "times.jsonl")
    hit = program.kill(folder, 0.0)
    assert hit is not None
    assert (hit.steps, hit.said) == (0, "")
    program.finish(folder)
    assert program.kill(folder, 600.0) is None  # it has nothing left to do
    assert differences(whole, folder) == []
    assert {"zoo.json", "zoo.csv", "report.html"} <= set(content(whole))
    network = next(folder.glob("*.onnx"))
    network.write_bytes(network.read_bytes() + b"0")
    document = json.loads((folder / "zoo.json").read_text(encoding="utf-8"))
    (folder / "zoo.json").write_text(json.dumps(document | {"date": "another"}), encoding="utf-8")
    (folder / "zoo.csv").unlink()
    (folder / FOLDER / "more.json").touch()
    (folder / "more.md").touch()
    assert differences(whole, folder) == [network.name, "more.md", "zoo.csv"]


def test_a_step_that_was_changed_is_told_and_done_again_once_removed(small_tables: Path, tmp_path: Path) -> None:
    spec, folder = written(tmp_path, spec_of(small_tables, targets=["1s"])), tmp_path / "zoo"
    make_zoo(spec, folder)
    steps = sorted((folder / FOLDER).glob("*.json"))
    assert [step.name.split("-")[0] for step in steps] == ["entry", "solved", "spec.json", "tables.json"]
    for step in steps:
        text = step.read_text(encoding="utf-8")
        document = json.loads(text)
        key = next(key for key in document if key != "digest")
        for changed in (text[: len(text) // 2], json.dumps(document | {key: 5})):
            step.write_text(changed, encoding="utf-8")
            with pytest.raises(InputError, match=f"{step}: (damaged|not JSON)"):
                make_zoo(spec, folder)
        step.write_text(text, encoding="utf-8")
    steps[0].unlink()
    assert make_zoo(spec, folder)["finished"]
    assert steps[0].exists()
