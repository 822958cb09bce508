"""Latency table files: built, interrupted, shared, damaged; small networks and short times throughout."""

import json
import pickle
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.killed_builds import KEY, SPACE
from deepmad.profilers.building.building import Progress, build_table
from deepmad.profilers.building.probes import random_network
from deepmad.profilers.prediction.prediction import fit_probes
from deepmad.profilers.tables.table_files import open_table, text
from deepmad.profilers.tables.tables import LatencyTable, describe_tables, export_rows, export_table
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.spaces import parse_space
from tests.tiny_tables import Build, build_quickly


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "tiny.sqlite"
    build_quickly(path)
    return path


def test_a_table_predicts_whole_networks_and_single_layers_alike(built: Path) -> None:
    table = LatencyTable.load(built)
    assert (table.batch, table.precision, table.backend, table.threads) == (1, "fp32", "onnxruntime", 1)
    assert table.space == "tiny"
    assert pickle.loads(pickle.dumps(table)) == table
    with open_table(built) as file:
        network = file.rows(KEY)[0].architecture
    layers = sum(
        part.repeats * table.nanoseconds(layer)
        for part in network.parts()
        if part.repeats
        for layer in part.body.layers
    )
    assert table.predict(network) == (table.overhead_nanoseconds + layers) / 1e9


def test_many_networks_get_the_very_predictions_of_each(built: Path) -> None:
    table, rng = LatencyTable.load(built), np.random.default_rng(1)
    networks = [random_network(parse_space(SPACE, "tiny"), rng) for _ in range(40)]
    together = table.predict_all(networks)
    assert together == [table.predict(network) for network in networks]
    assert len(set(together)) > 20
    assert table.predict_all([]) == []


def test_the_stored_fit_is_the_one_of_the_rows(built: Path) -> None:
    with open_table(built) as file:
        assert fit_probes(file.rows(KEY)).to_dict() == file.fit(KEY)
        assert all(len(visit) >= 1 for row in file.rows(KEY) for visit in row.visits)


def test_descriptions_and_exports(built: Path, tmp_path: Path) -> None:
    (description,) = describe_tables(built)
    assert description["finished"]
    assert description["measured"] == description["probes"]
    assert set(description["held_out"]) >= {"within_10_percent", "networks"}
    rows = export_rows(built)
    assert len(rows) == description["probes"]
    conditions = {"device", "backend", "version", "precision", "batch", "threads", "date", "seconds"}
    assert all(conditions <= set(row) for row in rows)
    for row in rows:
        assert row["seconds"] == float(np.median(json.loads(row["times"])))
    export_table(built, "csv", tmp_path / "rows.csv")
    export_table(built, "json", tmp_path / "rows.json")
    assert len(pd.read_csv(tmp_path / "rows.csv")) == len(rows)
    first = json.loads((tmp_path / "rows.json").read_text())[0]
    assert first["backend"] == "onnxruntime"
    assert first["corrected_seconds"] == pytest.approx(rows[0]["corrected_seconds"], rel=1e-9)
    with pytest.raises(InputError, match="csv, json, parquet"):
        export_table(built, "xml", tmp_path / "rows.xml")


def test_an_export_without_room_leaves_the_old_file(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old", encoding="utf-8")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
    command = [sys.executable, "-c", limited + "from deepmad.cli import main; main()", "table", "export", str(built)]
    process = subprocess.run([*command, "--to", "csv", "-o", str(path)], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "the old content is untouched" in process.stderr
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_build_measures_nothing_again(built: Path) -> None:
    before, seen = export_rows(built), list[Progress]()
    build_quickly(built, progress=seen.append)
    assert export_rows(built) == before
    assert seen[-1].done == seen[-1].total


def test_a_killed_build_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "killed.sqlite"
    build = Build(path, 0.05)
    stored = build.told()
    build.kill()
    with open_table(path) as file:
        kept = {text(row.architecture): row.visits for row in file.rows(KEY)}
    assert stored in kept
    assert len(kept) < 38
    with pytest.raises(InputError, match=r"unfinished: \d+ of \d+ probes.*deepmad table build tiny\.yaml"):
        LatencyTable.load(path)
    assert not describe_tables(path)[0]["finished"]
    build_quickly(path)
    with open_table(path) as file:
        rows = {text(row.architecture): row.visits for row in file.rows(KEY)}
    assert all(rows[architecture][: len(visits)] == visits for architecture, visits in kept.items())  # slow: twice
    assert len(rows) == describe_tables(path)[0]["probes"]
    assert LatencyTable.load(path).overhead_nanoseconds >= 0


def test_two_builders_at_once_measure_each_probe_once(tmp_path: Path) -> None:
    path = tmp_path / "shared.sqlite"
    builds = [Build(path, 0.01) for _ in range(2)]
    assert [build.end()[0] for build in builds] == [0, 0]
    rows = export_rows(path)
    assert len({row["architecture"] for row in rows}) == len(rows) == describe_tables(path)[0]["probes"]
    assert LatencyTable.load(path).space == "tiny"


def test_a_file_holds_several_tables(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "several.sqlite"
    path.write_bytes(built.read_bytes())
    build_quickly(path, batch=2, networks=4, short=4)
    build_quickly(path, backend="torch", precision="bf16", networks=4, short=4)
    assert LatencyTable.load(path, batch=2).batch == 2
    assert LatencyTable.load(path, backend="torch").precision == "bf16"
    with pytest.raises(InputError, match=r"several.*batch 1.*batch 2"):
        LatencyTable.load(path)


@pytest.mark.parametrize(
    "wanted",
    [{"batch": 8}, {"backend": "torch"}, {"precision": "bf16"}, {"threads": 4}],
    ids=lambda item: next(iter(item)),
)
def test_another_table_is_refused_with_the_command_that_builds_it(built: Path, wanted: dict[str, object]) -> None:
    ((name, value),) = wanted.items()
    with pytest.raises(InputError, match=f"batch 1, 1 thread.*deepmad table build tiny.yaml .*--{name} {value}"):
        LatencyTable.load(built, **wanted)  # type: ignore[arg-type]


def test_other_probes_do_not_go_into_a_table(built: Path) -> None:
    with pytest.raises(InputError, match="seed 0, not 1"):
        build_quickly(built, seed=1)
    with pytest.raises(InputError, match="space tiny, not other"):
        build_table(parse_space(SPACE.replace("name: tiny", "name: other"), "other"), built, networks=2, short=2)


def damaged(folder: Path, kind: str, good: bytes) -> Path:
    """Return a file that is no usable table."""
    path = folder / "table.sqlite"
    if kind == "text":
        path.write_text("not a database, but long enough to be looked at as if it were one. " * 20)
    elif kind == "half":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "foreign":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE songs (title TEXT)")
        connection.close()
    elif kind == "newer":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE about (format TEXT)")
            connection.execute("INSERT INTO about VALUES ('deepmad/table@9')")
        connection.close()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["missing", "text", "half", "foreign", "newer", "empty", "folder"])
def test_unusable_files_are_told_in_one_line(kind: str, built: Path, tmp_path: Path) -> None:
    path = damaged(tmp_path, kind, built.read_bytes())
    with pytest.raises(InputError, match=r"table\.sqlite") as caught:
        LatencyTable.load(path)
    assert "\n" not in str(caught.value)
    if kind in ("foreign", "newer"):
        with pytest.raises(InputError, match="reads deepmad/table@1"):
            build_quickly(path)


def test_an_interrupted_turn_stores_nothing(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite"
    path.write_bytes(built.read_bytes())
    before = export_rows(path)
    with open_table(path) as file:
        row = file.rows(KEY)[0]

        def interrupted() -> None:
            with file.turn():
                file.add(KEY, replace(row, architecture=replace(row.architecture, name="other")))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
    assert export_rows(path) == before


def test_a_probe_cannot_be_stored_twice(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite"
    path.write_bytes(built.read_bytes())
    with open_table(path) as file:
        row = file.rows(KEY)[0]
        with pytest.raises(sqlite3.IntegrityError), file.turn():
            file.add(KEY, row)
