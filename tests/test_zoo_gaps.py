"""Zoos with gaps: interrupted ones, spaces without any network, machines without git, odd texts."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.zoo_content import content, timeless
from deepmad.cli.app import run
from deepmad.engine.answers.solutions import Measured, Solution
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.zoo.cards import card
from deepmad.zoo.entries import entries_of
from deepmad.zoo.families import load_family, needs
from deepmad.zoo.making import make_zoo
from deepmad.zoo.results import _commit
from deepmad.zoo.spec import load_spec
from tests.catalogue import EXAMPLES
from tests.zoo_parts import SMALL, Replay, spec_of, written

pytestmark = pytest.mark.usefixtures("solves_here")


@pytest.fixture(scope="module")
def table(small_tables: Path) -> Path:
    """Return real tables of this machine for batches of 1 and 2."""
    return small_tables


def document_in(folder: Path) -> Any:
    """Return the document of the zoo in a folder."""
    return json.loads((folder / "zoo.json").read_text(encoding="utf-8"))


def test_an_interrupt_while_networks_are_timed_leaves_them_as_designed(table: Path, tmp_path: Path) -> None:
    """The first as measured by its loop, the others as predicted; nothing of that once something else came of them."""
    spec, folder, replay = tmp_path / "spec.yaml", tmp_path / "zoo", Replay(table)
    written(tmp_path, spec_of(table, verify={"measure": True, "rounds": 4}))

    def interrupted(key: Key, network: Architecture | str) -> Measured:
        if list((folder / ".zoo").glob("verified-*.json")):
            raise KeyboardInterrupt
        return replay(key, network)

    def broken(_key: Key, _network: Architecture | str) -> Measured:
        raise DeviceError("the device is gone")

    with pytest.raises(KeyboardInterrupt):
        make_zoo(spec, folder, timing=interrupted)
    document = document_in(folder)
    assert not document["finished"]
    assert [entry["judged_by"] for entry in document["entries"]] == ["measured", "predicted", "predicted"]
    for entry in document["entries"]:
        files = entry["files"]
        network = Architecture.load(folder / files["architecture"])
        assert network.name == entry["name"]
        assert Solution.load(folder / files["solution"]).architecture == network
        assert (folder / files["card"]).is_file()
        assert (files["onnx"], files["model"], files["weights"]) == (None, None, None)
    assert "not verified" in (folder / "report.html").read_text(encoding="utf-8")
    assert {entry["outcome"] for entry in make_zoo(spec, folder, timing=broken)["entries"]} == {"failed"}
    assert not list(folder.glob("deepmad_*"))
    resumed, unbroken = make_zoo(spec, folder, timing=replay), make_zoo(spec, tmp_path / "whole", timing=replay)
    assert timeless(resumed) == timeless(unbroken)
    assert content(folder) == content(tmp_path / "whole")


def space_without_network(folder: Path) -> str:
    """Write a space whose limits no network keeps; return its file."""
    text = (EXAMPLES / "small.yaml").read_text(encoding="utf-8")
    path = folder / "none.yaml"
    path.write_text(text.replace("name: small", "name: none").replace("params: 300k", "params: 10"), encoding="utf-8")
    return str(path)


def test_a_space_without_any_network_leaves_the_others(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [{"relative": 1.5}, "1s"]
    spec = written(tmp_path, spec_of(table, spaces=[space_without_network(tmp_path), SMALL], targets=targets))
    folder = tmp_path / "zoo"
    assert run(["zoo", str(spec), "-o", str(folder)]) == 1
    assert "infeasible: none on cpu: no network even without a target" in capsys.readouterr().err
    document = document_in(folder)
    assert document["finished"]
    outcomes = [(entry["space"], entry["outcome"]) for entry in document["entries"]]
    assert outcomes == [("none", "infeasible"), ("small", "met"), ("small", "met")]
    assert [baseline["space"] for baseline in document["baselines"]] == ["small"]
    (one,) = document["without_network"]
    assert (one["space"], one["device"], one["outcome"], one["targets"]) == ("none", "cpu", "infeasible", 1)
    assert "params" in one["message"]
    assert "so none for 1 target relative to one" in (folder / "report.html").read_text(encoding="utf-8")
    assert timeless(make_zoo(spec, folder)) == timeless(document)


def test_a_zoo_without_any_network_is_told(table: Path, tmp_path: Path) -> None:
    spec, folder = written(tmp_path, spec_of(table, spaces=[space_without_network(tmp_path)])), tmp_path / "zoo"
    assert run(["zoo", str(spec), "-o", str(folder)]) == 1
    document = document_in(folder)
    assert (document["finished"], document["entries"]) == (True, [])
    assert [one["targets"] for one in document["without_network"]] == [3]
    assert "No network has been designed" in (folder / "report.html").read_text(encoding="utf-8")
    assert len((folder / "zoo.csv").read_text(encoding="utf-8").splitlines()) == 1


def test_a_table_that_does_not_serve_binds_no_folder_to_its_spec(table: Path, tmp_path: Path) -> None:
    folder, devices = tmp_path / "zoo", [{"name": "cpu", "table": str(table), "batch": 3}]
    with pytest.raises(InputError, match="batch"):
        make_zoo(written(tmp_path, spec_of(table, targets=["1s"], devices=devices)), folder)
    assert make_zoo(written(tmp_path, spec_of(table, targets=["1s"])), folder)["finished"]


def test_a_card_writes_large_numbers_in_full_and_texts_of_users_as_they_are(table: Path, tmp_path: Path) -> None:
    text = (EXAMPLES / "small.yaml").read_text(encoding="utf-8").replace("alpha: [1, 8]", "alpha: [1, 2]")
    (tmp_path / "small.yaml").write_text(text, encoding="utf-8")
    spec = written(tmp_path, spec_of(table, spaces=["small.yaml"], targets=["1s"]))
    (record,) = make_zoo(spec, tmp_path / "zoo")["entries"]
    penalty = 10 * math.exp(record["depth_variance"])
    assert record["objective"] == pytest.approx(record["entropy"] - penalty)  # both by the space's own weights
    file = load_spec(spec)
    (entry,) = entries_of(file.spec, [load_family(need, file.spec) for need in needs(file)], {})
    odd = {"space": "a *new*\n<space>", "predicted": record["predicted"] | {"throughput": 19916.2}}
    text = card(entry, record | odd, file.spec)
    assert r"of space a \*new\* \<space\> designed" in text
    assert "| 19,916/s |" in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith(("| stem |", "| classifier |"))]
    assert [row[0].strip() for row in rows] == ["stem", "classifier"]
    assert all(cost.strip() for row in rows for cost in row[-2:])


def test_a_zoo_needs_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _commit.__wrapped__() is None
