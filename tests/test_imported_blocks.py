"""Tables of Once-for-All: small hand-made files whose times a made-up device took, every kind of entry in them."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from deepmad.cli.app import run
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.profilers.importing.importing import import_table
from deepmad.profilers.importing.ofa_files import read_ofa
from deepmad.profilers.prediction.layer_rows import fit_rows
from deepmad.profilers.tables.tables import EXPORTS, LatencyTable, describe_tables, export_rows, export_table
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer
from deepmad.search_spaces.spaces import parse_space

BLOCK = "MBConv-input:8x8x16-output:8x8x16-expand:3-kernel:3-stride:1-idskip:1-se:0"
SPACE = """
format: deepmad/space@1
name: blocks
resolution: 32
stem: {out: 16, kernel: 3, stride: 2}
stages:
  - block: mbconv
    stride: 2
    out: {min: 16, max: 32}
    width: {min: 48, max: 96}
    kernel: [3, 5]
    depth: {min: 1, max: 2}
  - block: mbconv_se
    stride: 1
    out: {min: 24, max: 40}
    width: {min: 72, max: 160}
    kernel: 3
    depth: {min: 1, max: 2}
tail: null
classes: 10
limits: {params: 100k}
"""


def keys() -> list[str]:
    """Return the keys of a table with every kind of entry, sides even and odd."""
    found = [f"first_conv-input:{2 * side}x{2 * side}x3-output:{side}x{side}x16" for side in (16, 32, 48)]
    for side in (8, 12, 15, 16, 24, 32):
        for width in (16, 24, 32):
            for kernel in (3, 5):
                for expand in (1, 3, 6):
                    size, half = f"{side}x{side}x{width}", (side + 1) // 2
                    inner, gate = f"expand:{expand}-kernel:{kernel}", int(width == 24)
                    found.append(f"MBConv-input:{size}-output:{size}-{inner}-stride:1-idskip:1-se:{gate}")
                    smaller = f"{half}x{half}x{width + 8}"
                    found.append(f"MBConv-input:{size}-output:{smaller}-{inner}-stride:2-idskip:0-se:0")
    last = ["final_expand_layer-input:8x8x32-output:8x8x192", "feature_mix_layer-input:1x1x192-output:1x1x256"]
    return [*found, *last, "classifier-input:256-output:10"]


def milliseconds(layer: Layer) -> float:
    """Return the time of a layer on a made-up device: a start, the arithmetic, and the elements that are moved."""
    return float(0.01 + layer.macs / 4e8 + (layer.input_elements + layer.output_elements) / 1e7)


def written(path: Path, means: dict[str, object]) -> Path:
    path.write_text(yaml.safe_dump({key: {"mean": mean, "var": 0.0} for key, mean in means.items()}))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "lut.yaml"
    rows = read_ofa(written(path, dict.fromkeys(keys(), 1.0)))[0]
    return written(path, {row.name: sum(milliseconds(layer) for layer in row.layers) for row in rows})


@pytest.fixture(scope="module")
def imported(source: Path) -> Path:
    path = source.parent / "imported.sqlite"
    import_table(source, "ofa", device="made up", precision="fp32", output=path)
    return path


@pytest.mark.parametrize(
    ("key", "layers"),
    [
        (
            "MBConv-input:15x15x24-output:8x8x40-expand:4-kernel:5-stride:2-idskip:0-se:1",
            [
                Layer("main", "conv", 24, 96, 15, activation="relu"),
                Layer("main", "conv", 96, 96, 16, 5, 2, depthwise=True, activation="relu"),
                Layer("gate", "global_pool", 96, 96, 8, norm=False),
                Layer("gate", "conv", 96, 24, 1, norm=False, bias=True, activation="relu"),
                Layer("gate", "conv", 24, 96, 1, norm=False, bias=True, activation="sigmoid"),
                Layer("main", "conv", 96, 40, 8),
            ],
        ),
        (
            "MBConv-input:8x8x16-output:8x8x16-expand:1-kernel:3-stride:1-idskip:1-se:0",
            [
                Layer("main", "conv", 16, 16, 8, 3, depthwise=True, activation="relu"),
                Layer("main", "conv", 16, 16, 8, adds=True),
            ],
        ),
        (
            "expanded_conv-input:8x8x16-output:8x8x24-expand:40-kernel:3-stride:1-idskip:0-se:0-hs:1",
            [
                Layer("main", "conv", 16, 40, 8, activation="relu"),
                Layer("main", "conv", 40, 40, 8, 3, depthwise=True, activation="relu"),
                Layer("main", "conv", 40, 24, 8),
            ],
        ),
        ("first_conv-input:100x100x3-output:50x50x16", [Layer("main", "conv", 3, 16, 100, 3, 2, activation="relu")]),
        (
            "final_expand_layer-input:7x7x160-output:7x7x960",
            [
                Layer("main", "conv", 160, 960, 7, activation="relu"),
                Layer("classifier", "global_pool", 960, 960, 7, norm=False),
            ],
        ),
        ("Conv_1-input:7x7x160-output:7x7x960", [Layer("main", "conv", 160, 960, 7, activation="relu")]),
        ("AvgPool2D-input:7x7x960-output:1x1x960", [Layer("classifier", "global_pool", 960, 960, 7, norm=False)]),
        ("feature_mix_layer-input:1x1x96-output:1x1x128", [Layer("main", "conv", 96, 128, 1, activation="relu")]),
        ("classifier-input:1280-output:10", [Layer("classifier", "linear", 1280, 10, 1, norm=False, bias=True)]),
        (
            "Logits-input:7x7x32-output:10",
            [
                Layer("classifier", "global_pool", 32, 32, 7, norm=False),
                Layer("classifier", "linear", 32, 10, 1, norm=False, bias=True),
            ],
        ),
    ],
)
def test_a_key_tells_the_layers_of_its_block(key: str, layers: list[Layer], tmp_path: Path) -> None:
    ((row,), _) = read_ofa(written(tmp_path / "one.yaml", {key: 0.5}))
    assert list(row.layers) == layers
    assert (row.name, row.nanoseconds, row.source) == (key, 500_000, "one.yaml")


def test_single_layers_are_priced_from_the_times_of_blocks(source: Path, imported: Path) -> None:
    table = LatencyTable.load(imported)
    assert (table.device, table.backend, table.batch, table.threads) == ("made up", "unknown", 1, 1)
    assert table.overhead_nanoseconds == 0  # rows are blocks: none says what a whole network costs
    for row in read_ofa(source)[0]:
        assert sum(table.nanoseconds(layer) for layer in row.layers) == pytest.approx(row.nanoseconds, rel=0.2)
    layer = Layer("main", "conv", 48, 96, 16)
    assert table.nanoseconds(layer) == pytest.approx(1e6 * milliseconds(layer), rel=0.5)
    widths = np.arange(16, 200, 8)
    priced = table.nanoseconds(Layer("main", "conv", 48, widths, 16))
    assert priced.tolist() == [table.nanoseconds(Layer("main", "conv", 48, width, 16)) for width in widths.tolist()]


def test_a_pool_without_rows_is_priced_as_another_and_a_convolution_is_refused(imported: Path, source: Path) -> None:
    table = LatencyTable.load(imported)
    pool = Layer("shortcut", "average_pool", 32, 32, 16, 2, 2, norm=False)
    assert table.nanoseconds(pool) == table.nanoseconds(Layer("gate", "global_pool", 32, 32, 16, norm=False)) > 0
    with pytest.raises(InputError, match="no time of a conv3 layer"):
        table.nanoseconds(Layer("main", "conv", 32, 32, 16, 3))
    ungated = [row for row in read_ofa(source)[0] if all(layer.operation == "conv" for layer in row.layers)]
    with pytest.raises(InputError, match="no time of a shortcut average_pool layer"):
        fit_rows([row for row in ungated if all(layer.role == "main" for layer in row.layers)]).nanoseconds(pool)


def test_the_program_adds_up_the_very_nanoseconds_of_the_table(imported: Path) -> None:
    space, table = parse_space(SPACE, "blocks"), LatencyTable.load(imported)
    free = design(Problem(space, Budget(params=1e5), table), CpSat(time_limit=5, workers=1))
    assert free.predicted is not None
    limit = 0.7 * free.predicted.latency_seconds
    solution = design(Problem(space, Budget(params=1e5, latency=limit), table), CpSat(time_limit=20, workers=1))
    assert solution.architecture is not None
    assert solution.predicted is not None
    assert solution.predicted.latency_seconds == table.predict(solution.architecture) <= limit


def test_show_tells_source_and_accuracy_and_rows_their_layers(imported: Path, source: Path) -> None:
    (described,) = describe_tables(imported)
    assert described["source"] == "lut.yaml (ofa)"
    assert described["measured"] == len(keys())
    assert described["version"] == "unknown"
    assert described["dates"] is None
    assert described["held_out"]["rows"] == len(keys()) // 5
    assert described["held_out"]["within_10_percent"] > 0.9
    rows = export_rows(imported)
    by_name = {row.name: row for row in read_ofa(source)[0]}
    assert {row["name"]: round(1e9 * row["seconds"]) for row in rows} == {
        name: row.nanoseconds for name, row in by_name.items()
    }
    for row in rows:
        assert [Layer(**layer) for layer in json.loads(row["layers"])] == list(by_name[row["name"]].layers)
        assert (row["device"], row["backend"], row["precision"], row["batch"], row["threads"]) == (
            "made up", "unknown", "fp32", 1, 1,
        )  # fmt: skip
        assert (row["version"], row["date"]) == ("unknown", None)


@pytest.mark.parametrize("to", EXPORTS)
def test_rows_are_exported_in_every_format(to: str, imported: Path, tmp_path: Path) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    export_table(imported, to, tmp_path / "rows")
    read: dict[str, Callable[[Path], pd.DataFrame]] = {
        "csv": pd.read_csv,
        "json": pd.read_json,
        "parquet": pd.read_parquet,
    }
    frame = read[to](tmp_path / "rows")
    assert frame["name"].tolist() == [row["name"] for row in export_rows(imported)]
    assert {"device", "backend", "precision", "batch", "threads", "version", "source", "date", "layers"} <= set(frame)


@pytest.mark.parametrize(
    ("key", "mean", "message"),
    [
        ("Dilated-input:8x8x8-output:8x8x8", 1.0, "kind 'Dilated' is unknown; it must be one of MBConv"),
        ("MBConv input 8", 1.0, "is no key of an ofa table; they look like MBConv-input"),
        (BLOCK.replace("-kernel:3", ""), 1.0, "does not tell kernel"),
        (BLOCK.replace("kernel:3", "kernel:4"), 1.0, "is impossible here; kernels are odd"),
        (BLOCK.replace("expand:3", "expand:0"), 1.0, "is impossible here"),
        (BLOCK.replace("output:8x8x16", "output:8x8x24"), 1.0, "idskip keeps channels"),
        (BLOCK.replace("stride:1", "stride:2"), 1.0, "side 8 with stride 2 does not give side 8"),
        (BLOCK.replace("input:8x8", "input:8x9"), 1.0, "8x9x16 is no square HxWxC"),
        ("Conv_1-input:8x8x16-output:4x4x16", 1.0, "does not give side 4"),
        (BLOCK, 0.0, "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, "fast", "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, float("nan"), "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, None, "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, 1e300, "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, 10**400, "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, 1e-9, "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, "1_0", "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK, True, "must have a mean in milliseconds, between 1 ns and 60 s"),
        (BLOCK.replace("kernel:3", "kernel:99999"), 1.0, "kernels go up to 255"),
    ],
)
def test_a_bad_entry_is_left_out_and_a_file_of_such_is_refused(
    key: str, mean: object, message: str, imported: Path, tmp_path: Path
) -> None:
    rows, left_out = read_ofa(written(tmp_path / "one.yaml", {"classifier-input:8-output:8": 0.1, key: mean}))
    assert (len(rows), left_out.count) == (1, 1)
    assert re.search(
        f"1 of its entries left out, the first at {re.escape(repr(key))}: .*{message}", left_out.remark or ""
    )
    path, held = written(tmp_path / "bad.yaml", {key: mean}), tmp_path / "t.sqlite"
    held.write_bytes(imported.read_bytes())
    for output in (held, tmp_path / "new.sqlite"):
        with pytest.raises(InputError, match=message) as caught:
            import_table(path, "ofa", device="d", precision="fp16", output=output)
        assert str(caught.value).startswith(f"{path}: {key!r}: ")
    assert held.read_bytes() == imported.read_bytes()
    assert not (tmp_path / "new.sqlite").exists()


def test_times_in_seconds_are_refused(source: Path, tmp_path: Path) -> None:
    means = {key: value["mean"] for key, value in yaml.safe_load(source.read_text()).items()}
    path = written(tmp_path / "seconds.yaml", {key: mean / 1e3 for key, mean in means.items()})
    with pytest.raises(InputError, match=r"seconds\.yaml: half of its times are below .* milliseconds, not seconds"):
        import_table(path, "ofa", device="d", precision="fp32", output=tmp_path / "t.sqlite")


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "not YAML"), ("", "holds no times"), ("- 1", "holds no times"), ("{}", "holds no times")],
)
def test_a_file_of_another_form_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "lut.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        import_table(tmp_path / "lut.yaml", "ofa", device="d", precision="fp32", output=tmp_path / "t.sqlite")
    pools = written(tmp_path / "pools.yaml", {"classifier-input:8-output:8": 0.1})
    with pytest.raises(InputError, match="no time of a convolution"):
        import_table(pools, "ofa", device="d", precision="fp32", output=tmp_path / "t.sqlite")
    assert not (tmp_path / "t.sqlite").exists()


def test_the_command_takes_what_the_file_does_not_tell(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "t.sqlite"
    command = [
        "table",
        "import",
        str(source),
        "--from",
        "ofa",
        "--device",
        "d",
        "--precision",
        "fp32",
        "-o",
        str(output),
    ]
    assert run([*command, "--batch", "4", "--threads", "2", "--backend", "torch", "--json"]) == 0
    (described,) = json.loads(capsys.readouterr().out)
    assert (described["backend"], described["batch"], described["threads"]) == ("torch", 4, 2)
    assert run([*command, "--batch", "4", "--threads", "2", "--backend", "torch"]) == 2
    assert "holds torch, fp32, batch 4, 2 thread(s) already" in capsys.readouterr().err
    assert run([*command, "--model", "net.json"]) == 2
    assert "a table of form ofa is not of one network" in capsys.readouterr().err
    assert run(command) == 0
    assert len(describe_tables(output)) == 2


@pytest.mark.skipif("DEEPMAD_OFA" not in os.environ, reason="DEEPMAD_OFA names no published table")
def test_the_published_blocks_are_predicted_from_the_others(tmp_path: Path) -> None:
    path = Path(os.environ["DEEPMAD_OFA"])
    import_table(path, "ofa", device="i7-8700K", precision="fp32", output=tmp_path / "t.sqlite")
    (described,) = describe_tables(tmp_path / "t.sqlite")
    assert described["measured"] == len(yaml.load(path.read_text(), yaml.CSafeLoader))
    assert described["held_out"]["within_10_percent"] > 0.92
