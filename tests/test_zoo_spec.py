"""Specs of zoos: what they ask for, what is refused with the path of its key, and the plan."""

import json
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deepmad.cli.app import run
from deepmad.cli.schema import schema_of
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import read_yaml
from deepmad.zoo.cards import command
from deepmad.zoo.entries import entries_of
from deepmad.zoo.families import Family, load_family, needs
from deepmad.zoo.plan import plan_zoo
from deepmad.zoo.spec import load_spec
from tests.catalogue import EXAMPLES
from tests.zoo_parts import SMALL, spec_of, written

ZOOS = ("cpu", "v100", "devices")
FIGURE = {"name": "theirs", "device": "cpu", "throughput": "100/s"}


@pytest.fixture(scope="module")
def table(small_tables: Path) -> Path:
    """Return tables for batches of 1 and 2."""
    return small_tables


def open_families(path: Path) -> list[Family]:
    """Return the families of a spec."""
    file = load_spec(path)
    return [load_family(need, file.spec) for need in needs(file)]


@pytest.mark.parametrize("name", ZOOS)
def test_the_examples_are_read_and_fit_the_schema(name: str) -> None:
    path = EXAMPLES / f"{name}.yaml"
    jsonschema.validate(read_yaml(path), schema_of("zoo"))
    spec = load_spec(path).spec
    assert spec.relative
    files = [reference.model for reference in spec.references if reference.model and reference.model.endswith(".json")]
    assert files
    assert all((EXAMPLES / name).is_file() for name in files)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "deepmad/zoo@2"}, ["format", "deepmad/zoo@1"]),
        ({"target": ["5ms"]}, ["target", "unexpected"]),
        ({"spaces": []}, ["spaces"]),
        ({"spaces": ["r51"]}, ["r51", "presets: "]),
        ({"spaces": [SMALL, SMALL]}, ["spaces", "small"]),
        ({"devices": []}, ["devices"]),
        ({"devices": [{"name": "My CPU"}]}, ["devices[0].name", "My CPU"]),
        ({"devices": [{"name": "cpu", "batch": "2"}]}, ["devices[0].batch"]),
        ({"devices": [{"name": "cpu", "tables": "x"}]}, ["devices[0].tables"]),
        ({"devices": [{"name": "a", "table": "x"}, {"name": "a", "table": "y"}]}, ["devices", "called a"]),
        ({"devices": [{"name": "cpu", "table": "nowhere.sqlite"}]}, ["nowhere.sqlite", "table build"]),
        ({"devices": [{"name": "cpu", "threads": 3}]}, ["cpu", "build: {minutes", "table build", "--threads 3"]),
        ({"devices": [{"name": "cpu", "build": {}, "backend": "tpu"}]}, ["tpu", "onnxruntime"]),
        ({"targets": []}, ["targets"]),
        ({"targets": ["5 parsecs"]}, ["targets[0]", "5 parsecs", "units: "]),
        ({"targets": ["5ms", "-3/s"]}, ["targets[1]", "-3/s"]),
        ({"targets": [{"latency": "5ms", "throughput": "1/s"}]}, ["targets[0]", "one of"]),
        ({"targets": {"absolute": [1]}}, ["targets", "relative"]),
        ({"targets": {"relative": {"from": 2, "to": 1, "count": 3}}}, ["targets", "from <= to"]),
        ({"targets": {"relative": {"from": 1, "to": 2}}}, ["targets", "count"]),
        ({"targets": {"latency": {"from": "1ms", "to": "2m", "count": 2}}}, ["targets", "latency: to", "ms"]),
        ({"references": ["package.module:callable"]}, ["references", "timm:NAME"]),
        ({"targets": {"relative": [1, -2]}}, ["targets[1].relative"]),
        ({"limits": {"macs": "4X"}}, ["limits.macs", "4X"]),
        ({"limits": {"mac": "4M"}}, ["limits.mac"]),
        ({"solver": {"gap": -1}}, ["solver.gap"]),
        ({"solver": {"objective": "other"}}, ["solver.objective", "paper"]),
        ({"solver": {"alpha": "unifrom"}}, ["solver.alpha", "unifrom", "uniform or last"]),
        ({"solver": {"alpha": [1, -8]}}, ["solver.alpha", "weight 2", "-8"]),
        ({"solver": {"alpha": []}}, ["solver.alpha", "uniform or last"]),
        ({"solver": {"alpha": [1, 1, 8]}}, ["alpha", "3 weights for 2 scales"]),
        ({"solver": {"time_limit": "soon"}}, ["solver.time_limit", "soon"]),
        ({"solver": {"multiple": 12}}, ["multiple", "12"]),
        ({"verify": {"measure": "perhaps"}}, ["verify.measure"]),
        ({"solver": {"seed": 2**70}}, ["solver.seed", "2147483647"]),
        ({"solver": {"seed": True}}, ["solver.seed"]),
        ({"solver": {"gap": "0.1"}}, ["solver.gap"]),
        ({"solver": {"workers": 100_000}}, ["solver.workers", "1024"]),
        ({"solver": {"resolution": 2**40}}, ["solver.resolution", "65536"]),
        ({"solver": {"objective": "papr"}}, ["solver.objective", "papr", "did you mean paper?"]),
        ({"solver": {"time_limit": "1e30"}}, ["solver.time_limit", "1e+30"]),
        ({"solvr": {}}, ["solvr", "did you mean solver?"]),
        ({"devices": [{"name": "cpu", "build": {"minutes": 1e300}}]}, ["devices[0].build.minutes", "10000"]),
        ({"devices": [{"name": "cpu", "build": {"minutes": True}}]}, ["devices[0].build.minutes"]),
        ({"targets": ["1e300"]}, ["targets[0]", "latency", "1e+300"]),
        ({"targets": {"relative": [True]}}, ["targets[0].relative"]),
        ({"limits": {"macs": 1.5}}, ["limits.macs", "no whole number"]),
        ({"limits": {"rho": True}}, ["limits.rho"]),
        ({"references": [{"name": "x"}]}, ["references[0]", "model"]),
        ({"references": [FIGURE | {"device": "gpu"}]}, ["references[0].device", "gpu", "cpu"]),
        ({"references": [FIGURE | {"model": "timm:resnet18"}]}, ["references[0]", "theirs"]),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_with_its_key(
    changes: dict[str, Any], words: list[str], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = written(tmp_path, spec_of(table, **changes))
    with pytest.raises(InputError) as told:
        open_families(path)
    message = str(told.value)
    assert all(word.lower() in message.lower() for word in words), message
    assert "\n" not in message


def test_spaces_and_devices_that_have_one_name_together_are_refused(table: Path, tmp_path: Path) -> None:
    text = (EXAMPLES / "small.yaml").read_text(encoding="utf-8")
    (tmp_path / "other.yaml").write_text(text.replace("name: small", "name: small_x"), encoding="utf-8")
    devices = [{"name": name, "table": str(table), "batch": batch} for name, batch in (("cpu", 1), ("x_cpu", 2))]
    path = written(tmp_path, spec_of(table, spaces=[SMALL, "other.yaml"], devices=devices))
    with pytest.raises(InputError, match="called small_x_cpu"):
        open_families(path)


def test_the_command_line_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, spec_of(tmp_path / "nowhere.sqlite"))
    assert run(["zoo", str(path), "-o", str(tmp_path / "zoo")]) == 2
    assert "nowhere.sqlite" in capsys.readouterr().err
    assert run(["zoo", str(path)]) == 2
    assert "-o" in capsys.readouterr().err


def test_targets_in_any_form_are_entries_from_the_loosest_on(table: Path, tmp_path: Path) -> None:
    asked = ["2ms", "1000/s", {"relative": 2}, "2.00004ms"]
    file = load_spec(written(tmp_path, spec_of(table, targets=asked)))
    families = open_families(file.path)
    entries = entries_of(file.spec, families, {families[0].name: 125.0})
    assert [entry.seconds for entry in entries] == [0.004, 0.002, 0.001]
    assert [entry.name.removeprefix("deepmad_small_cpu_fp32_b1_") for entry in entries] == ["4ms", "2ms", "1ms"]
    assert [entry.place for entry in entries] == [0, 1, 2]
    assert [entry.problem(file.spec).budget.latency for entry in entries] == [0.004, 0.002, 0.001]


def test_a_range_of_multiples_has_even_factors(table: Path, tmp_path: Path) -> None:
    times = written(tmp_path, spec_of(table, targets={"latency": {"from": "10ms", "to": "40ms", "count": 3}}))
    assert [target.latency for target in load_spec(times).spec.targets] == [0.01, 0.02, 0.04]
    path = written(tmp_path, spec_of(table, targets={"relative": {"from": 1.1, "to": 4, "count": 6}}))
    factors = [target.relative for target in load_spec(path).spec.targets]
    assert (factors[0], factors[-1], len(factors)) == (1.1, 4.0, 6)
    ratios = [later / former for former, later in pairwise(factors) if former and later]
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-3)


def test_limits_are_the_space_s_unless_the_spec_says_so(table: Path, tmp_path: Path) -> None:
    def budget(**limits: Any) -> dict[str, float]:
        file = load_spec(written(tmp_path, spec_of(table, limits=limits)))
        (family,) = open_families(file.path)
        return {name: limit.value for name, limit in family.problem(file.spec).limits().items()}

    assert budget() == {"macs": 20e6, "params": 300e3, "rho": 0.3}
    asked = budget(macs="10M", params="none", rho="space", memory="64kB")
    assert asked == {"macs": 10e6, "rho": 0.3, "memory_bytes": 64e3}
    text = (EXAMPLES / "small.yaml").read_text(encoding="utf-8").replace("rho: 0.3", "rho: 0.2")
    (tmp_path / "tight.yaml").write_text(text, encoding="utf-8")
    for rho, limit in (("space", 0.2), ("auto", 0.3)):
        file = load_spec(written(tmp_path, spec_of(table, spaces=["tight.yaml"], limits={"rho": rho})))
        (family,) = open_families(file.path)
        assert family.problem(file.spec).limits()["rho"].value == limit


@pytest.mark.parametrize(("alpha", "weights", "words"), [("uniform", (1, 1), "uniform"), ([2, 3], (2, 3), "2.0,3.0")])
def test_weights_are_those_of_the_spec(
    alpha: Any, weights: tuple[float, ...], words: str, table: Path, tmp_path: Path
) -> None:
    document = spec_of(table, targets=["2ms"], solver={"alpha": alpha}, limits={"rho": "auto"})
    jsonschema.validate(document, schema_of("zoo"))
    file = load_spec(written(tmp_path, document))
    families = open_families(file.path)
    assert families[0].problem(file.spec).space.weights == weights
    (entry,) = entries_of(file.spec, families, {})
    again = command(entry, file.spec)
    assert f"--alpha {words} " in again
    assert "--rho auto " in again


def test_the_plan_is_told_and_nothing_is_written(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    devices = [{"name": "mine", "build": {"minutes": 2}}, {"name": "theirs", "table": str(table), "batch": 2}]
    solver = {"time_limit": "30s", "workers": 1}
    changes = {"devices": devices, "solver": solver, "verify": {"measure": True}, "references": ["timm:resnet18"]}
    path = written(tmp_path, spec_of(table, **changes))
    before = sorted(tmp_path.rglob("*"))
    assert run(["zoo", str(path), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [entry["device"] for entry in plan["entries"]] == ["mine"] * 3 + ["theirs"] * 3
    told = " ".join(step["what"] for step in plan["steps"])
    for word in ("latency table", "without a target", "design 6 networks, 4 and then 2", "one at a time", "reference"):
        assert word in told
    assert plan["total"]["most"] == sum(step["most"] for step in plan["steps"])
    assert plan["total"]["least"] < plan["total"]["most"]
    assert "guesses" in plan["note"]
    assert run(["zoo", str(path), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "1.5 x" in told
    assert "guesses" in told
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": [{"name": "cpu", "table": "small.sqlite", "batch": 3}]}, ["small.sqlite", "batch"]),
        ({"devices": [{"name": "cpu", "table": "small.sqlite"}]}, ["small.sqlite", "batch"]),
        ({"devices": [{"name": "cpu", "table": "broken.sqlite"}]}, ["broken.sqlite", "latency table"]),
        ({"devices": [{"name": "cpu", "table": "nowhere.sqlite"}]}, ["nowhere.sqlite", "there is no such"]),
        ({"references": ["nowhere.json"]}, ["nowhere.json"]),
        ({"references": ["timm:resnet18", "timm:resnt18"]}, ["timm:resnt18", "did you mean resnet18"]),
        ({"references": ["torchvision:mobilnet_v2"]}, ["torchvision:mobilnet_v2", "did you mean mobilenet_v2"]),
        ({"references": ["solution.json#7"]}, ["solution.json"]),
    ],
    ids=str,
)
def test_what_a_run_would_refuse_the_plan_refuses(
    changes: dict[str, Any], words: list[str], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.sqlite").write_bytes(table.read_bytes())
    (tmp_path / "broken.sqlite").write_bytes(b"SQLite format 3\0" + bytes(200))
    assert run(["zoo", str(written(tmp_path, spec_of(table, **changes))), "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


def test_a_deterministic_limit_has_no_estimate(table: Path, tmp_path: Path) -> None:
    assert plan_zoo(written(tmp_path, spec_of(table))).total.most is None


def test_networks_cannot_be_timed_on_a_device_elsewhere(table: Path, tmp_path: Path) -> None:
    """The table's back end is one that this machine cannot have."""
    elsewhere = tmp_path / "elsewhere.sqlite"
    elsewhere.write_bytes(table.read_bytes())
    with sqlite3.connect(elsewhere) as connection:
        connection.execute("UPDATE series SET backend = 'tpu'")
    connection.close()
    devices = [{"name": "far", "table": str(elsewhere), "batch": 1, "measure": True}]
    path = written(tmp_path, spec_of(table, devices=devices))
    with pytest.raises(InputError, match=r"far: networks cannot be timed on it here .*measure: false"):
        open_families(path)
