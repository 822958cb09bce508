"""The verdict on a table, and the doubts that design and measure tell of one."""

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.killed_builds import KEY, SPACE
from deepmad.cli.app import run
from deepmad.cli.table_doubts import doubts_here, elsewhere
from deepmad.cli.tables import Asked, load_tables
from deepmad.profilers.building.probes import at_resolution
from deepmad.profilers.prediction.coverage import Coverage
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.profilers.tables.table_files import open_table
from deepmad.profilers.tables.tables import LatencyTable, describe_tables
from deepmad.profilers.tables.telling import tell
from deepmad.profilers.tables.verdicts import verdict
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer
from deepmad.search_spaces.spaces import parse_space
from tests.test_imported_networks import lines
from tests.tiny_tables import build_quickly, space

GOOD: dict[str, Any] = {
    "finished": True, "measured": 60, "probes": 60, "disturbed": 3, "busy": 5, "load": 1.0, "stolen_share": 0.0,
    "failed": 0, "drift": [0.97, 1.05], "dates": ["2026-01-01T00:00:00+00:00"] * 2,
    "held_out": {"networks": 40, "within_10_percent": 0.95, "mean_absolute_percentage_error": 4.0},
}  # fmt: skip
IMPORTED = {"finished": True, "measured": 60, "source": "a.csv (timm)", "form": "timm", "held_out": GOOD["held_out"]}


def held_out(share: float, error: float = 5.0) -> dict[str, Any]:
    counts = {"networks": 40, "within_10_percent": share, "mean_absolute_percentage_error": error}
    return {"held_out": counts}


@pytest.mark.parametrize(
    ("described", "grade", "reason"),
    [
        (GOOD, "good", "95% of 40 networks held out are predicted within 10 %"),
        (GOOD | held_out(0.85), "fair", "85% of 40 networks"),
        (GOOD | held_out(0.42), "poor", "42% of 40 networks"),
        (GOOD | held_out(0.95, 21.0), "poor", "the mean error is 21 %"),
        (GOOD | {"held_out": None}, "poor", "too little to tell its errors"),
        (GOOD | {"held_out": GOOD["held_out"] | {"networks": 12}}, "fair", "12 networks, 20 are better"),
        (GOOD | {"finished": False, "measured": 30}, "poor", "unfinished, 30 of 60 probes are measured"),
        (GOOD | {"disturbed": 20}, "fair", "20 of 60 probes were disturbed"),
        (GOOD | {"disturbed": 40}, "poor", "40 of 60 probes were disturbed"),
        (GOOD | {"busy": 40, "load": 40.0}, "fair", "other work was running during 40 of 60 probes (load average 40.0"),
        (GOOD | {"busy": 60, "load": 40.0}, "poor", "other work was running during 60 of 60 probes (load average 40.0"),
        (GOOD | {"busy": 60, "load": 40.0, "stolen_share": 0.5}, "poor", "50% stolen"),
        (GOOD | {"failed": 20}, "fair", "20 probes failed"),
        (GOOD | {"drift": [0.9, 1.5]}, "fair", "up to 50% slower"),
        (GOOD | {"dates": ["2026-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"]}, "poor", "dated 2999-01-01"),
        (IMPORTED, "good", "95% of 40 networks"),
        (IMPORTED | held_out(0.3, 25.0), "poor", "the mean error is 25 %"),
        (IMPORTED | {"held_out": None}, "poor", "too little to tell"),
        (IMPORTED | {"held_out": None, "form": "tinynas"}, "fair", "no whole network was measured"),
    ],
)
def test_a_verdict_tells_why(described: dict[str, Any], grade: str, reason: str) -> None:
    found = verdict(described, "deepmad table build r18", Path("t.sqlite"))
    assert found.grade == grade
    assert any(reason in one for one in found.reasons), found.reasons
    assert (found.advice is None) == (grade == "good")


def test_the_advice_is_a_command() -> None:
    again = verdict(GOOD | held_out(0.5), "deepmad table build r18", Path("t.sqlite")).advice or ""
    assert again.endswith("deepmad table build r18 -o OTHER.sqlite")
    further = verdict(GOOD | {"measured": 30} | held_out(0.5), "deepmad table build r18", Path("t.sqlite")).advice or ""
    assert "more --minutes" in further
    assert further.endswith("deepmad table build r18 -o t.sqlite")
    assert "built on the device itself" in (verdict(IMPORTED | held_out(0.1), "", Path("t")).advice or "")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "tiny.sqlite"
    build_quickly(path)
    return path


def changed(built: Path, path: Path, command: str, *values: object) -> Path:
    """Return a copy of a table in which one SQL command has been run."""
    path.write_bytes(built.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(command, values)
        connection.commit()
    return path


def test_probes_that_were_all_disturbed_or_are_of_the_future_are_told(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(built, tmp_path / "a.sqlite", "UPDATE probes SET load_before = 40, stolen_share = 0.5")
    (described,) = describe_tables(path)
    assert described["verdict"] == "poor"
    assert described["busy"] == described["measured"]
    assert run(["table", "show", str(path)]) == 0
    output = capsys.readouterr()
    assert re.search(r"^verdict +poor: ", output.out, re.M)
    assert "load average 40.0, 50% stolen" in " ".join(output.out.split())  # lines are folded
    assert f"warning: {path}: the table is poor: " in output.err
    tomorrow = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="seconds")
    (described,) = describe_tables(changed(built, tmp_path / "b.sqlite", "UPDATE probes SET date = ?", tomorrow))
    assert any("in the future" in reason for reason in described["reasons"])


def test_an_import_with_a_large_error_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "b.csv"
    source.write_text("\n".join(lines({8: 120}, noise=0.7)))
    command = ["table", "import", str(source), "--from", "timm", "--device", "d", "--precision", "fp16", "--json"]
    assert run([*command, "-o", str(tmp_path / "t.sqlite")]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)[0]["verdict"] == "poor"
    assert "the table is poor: " in output.err
    assert "the mean error is " in output.err


def layers(kernel: int = 3, side: int = 16, outputs: int = 64, *, depthwise: bool = False) -> list[Layer]:
    inputs = outputs if depthwise else 32  # 4.7 M multiply-accumulates unless said
    return [Layer("main", "conv", inputs, outputs, side, kernel, depthwise=depthwise)]


@pytest.mark.parametrize(
    ("layer", "lacking"),
    [
        (layers(), None),
        (layers(side=20, outputs=80), None),  # a quarter beyond the rows
        (layers(side=32), "side above 16 in a dense conv"),
        (layers(side=4), "side below 8 in a dense conv"),
        (layers(outputs=128), "outputs above 64 in a dense conv"),
        (layers(kernel=5), "a kernel of 5 in a dense conv (its rows: 1, 3)"),
        (layers(kernel=31, depthwise=True), "a kernel of 31 in a depthwise conv (its rows: 3)"),
        ([Layer("classifier", "linear", 64, 10, 1)], "a classifier linear, of which it has no row"),
        ([Layer("main", "conv", 40, 80, 20, 3)], "more than 4.719 M MACs in a dense conv"),
    ],
)
def test_a_layer_outside_of_the_rows_is_told(layer: list[Layer], lacking: str | None) -> None:
    rows = [*layers(1, 8, 32), *layers(3, 16, 64), *layers(3, 16, 64, depthwise=True)]
    within = Coverage.of(rows).within([*layers(), *layer])
    assert within.share == (1.0 if lacking is None else 0.5)
    assert list(within.lacking) == ([] if lacking is None else [lacking])
    assert within.kernels == (lacking is not None and "kernel" in lacking)
    assert Coverage.from_dict(json.loads(json.dumps(Coverage.of(rows).to_dict()))) == Coverage.of(rows)


def test_a_table_holds_the_layers_of_its_own_space(built: Path) -> None:
    table = LatencyTable.load(built)
    with open_table(built) as file:
        for row in file.rows(KEY):
            within = table.within(NetworkLayers.of(row.architecture).layers)
            assert within is not None
            assert within.share == 1
    assert table.resolution == 32


def far(kernel: int) -> Architecture:
    """Return a network of the tiny space but for the depthwise kernel."""
    stages = (Stage("bottleneck", 32, 16, 3, 2, 2), Stage("mbconv_se", 48, 144, kernel, 2, 1))
    return Architecture(32, Stem(16), stages, classes=10)


def test_a_kernel_beyond_all_rows_is_not_priced_as_the_nearest(built: Path) -> None:
    table = LatencyTable.load(built)
    told = tell(table, NetworkLayers.of(far(3)))
    assert told.seconds == table.predict(far(3))
    assert (told.within, told.notes) == (1.0, ())
    beyond = tell(table, NetworkLayers.of(far(31)))
    assert beyond.seconds is None
    assert beyond.guess
    assert "a kernel of 31 in a depthwise conv" in beyond.notes[0]


def test_the_share_within_the_table_is_told_with_the_network(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(SPACE)
    path = tmp_path / "s.json"
    command = ["--latency", "10ms", "--table", str(built), "--time-limit", "5", "-o", str(path)]
    assert run(["design", str(file), *command]) == 0
    assert "100% of the layers lie within what the latency table's rows span" in capsys.readouterr().out
    assert json.loads(path.read_text())["within_table"] == 1
    assert run(["design", str(file), *command, "--resolution", "64"]) == 0
    output = capsys.readouterr()
    doubt = f"{built}: the table was made for 32 pixels, not 64"
    assert f"warning: {doubt}" in output.err
    assert f"warning: {doubt}" in output.out
    solution = json.loads(path.read_text())
    assert 0.5 <= solution["within_table"] < 1
    assert any(warning.startswith(doubt) for warning in solution["warnings"])  # a poor table is told before it


@pytest.mark.parametrize(
    ("command", "value", "doubt"),
    [
        ("UPDATE probes SET load_before = ?", 40, "other work was running during "),
        ("UPDATE probes SET date = ?", "2999-01-01T00:00:00+00:00", "dated 2999-01-01, which is in the future"),
        ("UPDATE series SET version = ?", "1.14.0", "made by onnxruntime 1.14.0, and this is "),
    ],
)
def test_what_is_doubtful_about_a_table_stands_in_the_result_file(
    command: str, value: object, doubt: str, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE)
    path = tmp_path / "s.json"
    words = ["--latency", "10ms", "--table", str(changed(built, tmp_path / "t.sqlite", command, value))]
    options = ["--workers", "1", "--time-limit", "5", "-o", str(path)]
    assert run(["design", str(tmp_path / "tiny.yaml"), *words, *options]) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ") and doubt in line]
    assert any(doubt in warning for warning in json.loads(path.read_text())["warnings"])


def test_a_table_of_a_far_space_gives_no_answer_unless_forced(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.json"
    command = ["design", "r18", "--throughput", "100/s", "--table", str(built), "--time-limit", "3", "-o", str(path)]
    assert run(command) == 2
    error = capsys.readouterr().err
    assert f"{built}: cannot serve space r18: of one of its networks " in error
    assert "--resolution 224 (--force takes it all the same)" in error
    assert not path.exists()
    assert run([*command, "--force"]) in (0, 1)
    assert f"warning: {built}: the table was made for space tiny, not r18" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "value", "doubt"),
    [
        ("device", "another", "the table is of another, and this is "),
        ("version", "1.14.0", "the table was made by onnxruntime 1.14.0, and this is "),
    ],
)
def test_a_table_of_another_device_or_version_is_told_when_measuring(
    column: str, value: str, doubt: str, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(built, tmp_path / "t.sqlite", f"UPDATE series SET {column} = ?", value)
    found = list(doubts_here(LatencyTable.load(path), measuring=True))
    assert len(found) == 1
    assert found[0].startswith(doubt)
    assert list(doubts_here(LatencyTable.load(path), measuring=False)) == (found if column == "version" else [])
    assert list(doubts_here(LatencyTable.load(built), measuring=True)) == []
    network = tmp_path / "net.json"
    network.write_text(json.dumps(far(3).to_dict()))
    assert run(["measure", str(network), "--table", str(path), "--seconds", "0.01", "--json"]) == 0
    assert doubt in json.loads(capsys.readouterr().out)[0]["prediction_note"]


def test_a_version_that_nobody_knows_is_no_other_one(built: Path) -> None:
    table = LatencyTable.load(built)
    assert list(elsewhere(replace(table, version="unknown"), table.device, "9.9")) == []
    assert list(elsewhere(table, table.device, table.version)) == []


def test_every_side_has_a_default_table_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    from deepmad.profilers.tables.own_tables import default_table

    conditions = {"backend": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 1}
    build_quickly(default_table("tiny", 32, **conditions), networks=4, short=4)  # type: ignore[arg-type]
    assert [*load_tables([], "tiny.yaml", space(), Asked())] == [default_table("tiny", 32, **conditions)]  # type: ignore[arg-type]
    wanted = r"of 64 pixels .* deepmad table build tiny\.yaml .* --resolution 64"
    with pytest.raises(InputError, match=wanted):
        load_tables([], "tiny.yaml", at_resolution(parse_space(SPACE, "tiny"), 64), Asked())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--minutes", "inf"], "--minutes"),
        (["--minutes", "1e9"], "--minutes"),
        (["--seed", str(2**70)], "--seed"),
        (["--resolution", str(2**40)], "--resolution"),
    ],
)
def test_a_build_is_asked_for_possible_numbers(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["table", "build", "r18", "-o", str(tmp_path / "t.sqlite"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "t.sqlite").exists()
