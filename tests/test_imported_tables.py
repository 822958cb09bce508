"""Imported tables: synthetic files in the published form, small grids with holes in them."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.tinynas_import import draws, predicted
from deepmad.cli.app import run
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.profilers.building.probes import random_network
from deepmad.profilers.importing.filling import TWINS, predict_from
from deepmad.profilers.importing.importing import import_table
from deepmad.profilers.importing.tinynas_files import read_tinynas
from deepmad.profilers.prediction.accuracy import accuracy
from deepmad.profilers.prediction.boosting import corrected, shifted, steps
from deepmad.profilers.prediction.kriging import krige
from deepmad.profilers.tables.tables import LatencyTable, describe_tables, export_rows, export_table
from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer
from deepmad.search_spaces.spaces import load_space, presets
from tests.catalogue import small_space

BATCHES, WIDTHS, SIDES = (1, 8), (8, 16, 32, 64, 128), (4, 8, 16, 32)
GOOD_LINE = "{Regular,1,16,8,8,16,3,1,0} 0.05"


def milliseconds(
    kind: str, batch: int, inputs: int, side: int, outputs: int, kernel: int, stride: int, adds: int
) -> float:
    """Return the time of one batch on a made-up device: a start, the arithmetic, and the elements moved."""
    area = batch * (side // stride) ** 2
    macs = area * outputs * kernel**2 * (1 if kind == "Depthwise" else inputs)
    moved = batch * inputs * side**2 + (1 + adds) * area * outputs
    return 0.01 + macs / 2e9 + moved / 4e8


def lines(share: float = 0.85) -> list[str]:
    """Return the lines of a table of which that share is measured."""
    regular = [
        ("Regular", batch, inputs, side, outputs, kernel, stride, adds)
        for batch in BATCHES
        for outputs in WIDTHS
        for inputs in [3, *(width for width in WIDTHS if outputs / 4 <= width <= 4 * outputs)]
        for side in SIDES
        for kernel in (1, 3, 5)
        for stride in (1, 2)
        for adds in (0, 1)
    ]
    depthwise = [("Depthwise", *row[1:2], row[4], *row[3:7], 0) for row in regular if row[2] == row[4] and not row[7]]
    measured = np.random.default_rng(0).random(len(regular) + len(depthwise)) < share
    return [
        f"{{{kind},{batch},{inputs},{side},{side},{outputs},{kernel},{stride},{adds}}} "
        + (f"{milliseconds(kind, batch, inputs, side, outputs, kernel, stride, adds):.6g}" if known else "-1")
        for (kind, batch, inputs, side, outputs, kernel, stride, adds), known in zip(
            regular + depthwise, measured, strict=True
        )
    ]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "times.out"
    path.write_text("\n".join(lines()) + "\n")
    return path


@pytest.fixture(scope="module")
def imported(source: Path) -> Path:
    path = source.parent / "imported.sqlite"
    import_table(source, "tinynas", device="made up", precision="fp16", output=path)
    return path


@pytest.fixture(scope="module")
def table(imported: Path) -> LatencyTable:
    return LatencyTable.load(imported, batch=8, precision="fp16")


def conv(inputs: object, outputs: object, side: int = 16, kernel: object = 3, **changes: object) -> Layer:
    return replace(Layer("main", "conv", inputs, outputs, side, kernel), **changes)  # type: ignore[arg-type]


def test_rows_are_hit_exactly_and_holes_are_filled_well(source: Path) -> None:
    times, unmeasured, _ = read_tinynas(source)
    assert len(times) + unmeasured.total() == len(lines())
    predictions = predict_from(times)
    assert (predicted(predictions, times) == times.nanoseconds).all()
    everything, _, _ = read_tinynas(written(source.parent / "all.out", lines(share=1.0)))
    errors = predicted(predictions, everything) / everything.nanoseconds - 1
    assert np.count_nonzero(errors) > 100  # the holes
    assert accuracy(errors[errors != 0])["within_10_percent"] > 0.95


def test_a_table_is_loaded_with_what_the_user_knows(table: LatencyTable, imported: Path, source: Path) -> None:
    assert (table.device, table.backend, table.batch, table.threads) == ("made up", "tensorrt", 8, 1)
    assert table.overhead_nanoseconds == 0
    times, _, _ = read_tinynas(source)
    layer = conv(np.arange(8, 200, 8), 64)
    known = table.nanoseconds(layer)
    assert (predict_from(times)[8].nanoseconds(layer) == known).all()
    assert (pickle.loads(pickle.dumps(table)).nanoseconds(layer) == known).all()
    with pytest.raises(InputError, match=r"several.*batch 1.*batch 8"):
        LatencyTable.load(imported)
    with pytest.raises(InputError, match=r"batch 1, .*batch 8, .*not batch 2; it was imported"):
        LatencyTable.load(imported, batch=2)


@pytest.mark.parametrize("layer", [conv(16, 16), conv(128, 32, 32, 5, stride=2, adds=True), conv(3, 16, 32, stride=2)])
def test_a_fused_addition_and_an_image_have_rows_of_their_own(table: LatencyTable, source: Path, layer: Layer) -> None:
    key = (layer.inputs, layer.side, layer.side, layer.outputs, layer.kernel, layer.stride, int(layer.adds))
    line = next(row for row in lines(share=1.0) if row.startswith(f"{{Regular,8,{','.join(map(str, key))}}}"))
    assert line in source.read_text().splitlines()
    assert table.nanoseconds(layer) == round(1e6 * float(line.split()[1]))


@pytest.mark.parametrize("depthwise", [False, True])
def test_between_rows_a_time_lies_between_theirs(table: LatencyTable, depthwise: bool) -> None:
    def time(width: int, side: int) -> int:
        return int(table.nanoseconds(conv(width, width, side, depthwise=depthwise)))

    for width in range(16, 128, 8):
        known = [time(value, 16) for value in WIDTHS if width / 2 < value < 2 * width or value == width]
        assert min(known) <= time(width, 16) <= max(known)
    for side in range(8, 32, 2):
        known = [time(32, value) for value in SIDES if side / 2 < value < 2 * side]
        assert min(known) <= time(32, side) <= max(known)


def test_arrays_and_numbers_get_the_same(table: LatencyTable) -> None:
    rng = np.random.default_rng(1)
    inputs, outputs = rng.integers(1, 2049, size=(2, 300))
    kernels = rng.choice([1, 3, 5, 7], 300)
    for changes in ({}, {"stride": 2}, {"adds": True}, {"depthwise": True}, {"operation": "average_pool"}):
        layer = conv(inputs, outputs, 14, kernels, **changes)
        found = table.nanoseconds(layer)
        assert found.dtype == np.int64
        alone = [
            table.nanoseconds(replace(layer, inputs=a, outputs=b, kernel=k))
            for a, b, k in zip(inputs.tolist(), outputs.tolist(), kernels.tolist(), strict=True)
        ]
        assert all(type(value) is int for value in alone)
        assert found.tolist() == alone
        assert table.nanoseconds(replace(layer, inputs=64)).tolist() == [
            table.nanoseconds(replace(layer, inputs=64, outputs=b, kernel=k))
            for b, k in zip(outputs.tolist(), kernels.tolist(), strict=True)
        ]


def test_beyond_the_rows_times_grow_with_the_work(table: LatencyTable, source: Path) -> None:
    times, _, _ = read_tinynas(source)
    fastest = times.nanoseconds[times.batch == 8].min()
    for layer in (conv(1024, 8), conv(8, 1024), conv(2048, 2048, 224), conv(1, 1, 1, 1), conv(64, 64, 7, 9)):
        assert table.nanoseconds(layer) >= fastest
    assert table.nanoseconds(conv(1024, 64)) > 1.5 * table.nanoseconds(conv(512, 64))
    assert table.nanoseconds(conv(64, 64, 224)) > 3 * table.nanoseconds(conv(64, 64, 112))
    expected = 1e6 * milliseconds("Regular", 8, 640, 16, 64, 3, 1, 0)
    assert table.nanoseconds(conv(640, 64)) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_has_a_price_on_every_side_of_the_presets(table: LatencyTable, block: str) -> None:
    for preset in presets():
        space = load_space(preset)
        side = space.resolution // space.stem.stride
        for stage in space.stages:
            shape = Shape(
                np.array([32, 40, 480]), 480, np.array([48, 1440, 2880]), stage.kernel[-1], stage.stride, side
            )
            for layer in BLOCKS[block].body(shape, first=True).layers:
                assert (np.asarray(table.nanoseconds(layer)) > 0).all(), layer
            side //= stage.stride


def test_the_program_adds_up_the_very_nanoseconds_of_the_table(table: LatencyTable) -> None:
    space = small_space()
    free = design(Problem(space, Budget(params=3e5), table), CpSat(time_limit=5, workers=1))
    assert free.predicted is not None
    limit = 0.7 * free.predicted.latency_seconds
    solution = design(Problem(space, Budget(params=3e5, latency=limit), table), CpSat(time_limit=20, workers=1))
    network = solution.architecture
    assert network is not None
    assert solution.predicted is not None
    layers = [(part.repeats, layer) for part in network.parts() if part.repeats for layer in part.body.layers]
    total = sum(repeats * table.nanoseconds(layer) for repeats, layer in layers)
    assert solution.predicted.latency_seconds == total / 1e9 == table.predict(network) <= limit


def test_many_networks_get_the_very_predictions_of_each(table: LatencyTable) -> None:
    rng = np.random.default_rng(2)
    networks = [random_network(small_space(), rng) for _ in range(40)]
    together = table.predict_all([*networks, networks[0]])
    assert together == [table.predict(network) for network in [*networks, networks[0]]]
    assert len(set(together)) > 20
    assert table.predict_all([]) == []


def test_show_and_export_tell_the_rows(imported: Path, source: Path, tmp_path: Path) -> None:
    times, unmeasured, _ = read_tinynas(source)
    described = describe_tables(imported)
    assert [one["batch"] for one in described] == [1, 8]
    assert sum(one["measured"] for one in described) == len(times)
    for one in described:
        assert one["source"] == "times.out (tinynas)"
        assert one["unmeasured"] == unmeasured[one["batch"]] > 0
        assert one["dates"] is None
        assert one["held_out"] is None
    rows = export_rows(imported)
    assert len(rows) == len(times)
    assert sorted(round(1e9 * row["seconds"]) for row in rows) == sorted(times.nanoseconds.tolist())
    export_table(imported, "csv", tmp_path / "rows.csv")
    assert {"depthwise", "inputs", "side", "adds", "seconds"} <= set(pd.read_csv(tmp_path / "rows.csv").columns)


def written(path: Path, content: list[str]) -> Path:
    path.write_text("\n".join(content) + "\n")
    return path


@pytest.mark.parametrize(
    "line",
    [
        "Regular,1,16,8,8,16,3,1,0 0.05", "{Regular,1,16,8,8,16,3,1} 0.05", "{Dilated,1,16,8,8,16,3,1,0} 0.05",
        "{Regular,1,16,8,8,16,3,1,0}", "{Regular,1,16,8,8,16,3,1,0} fast", "{Regular,1,16,8,8,16,3,1,0} nan",
        "{Regular,1,16,8,8,16,3,1,0} 0", "{Regular,1,16,8,8,16,3,1,0} -2", "{Regular,1,16,8,9,16,3,1,0} 1",
        "{Depthwise,1,16,8,8,32,3,1,0} 1", "{Regular,0,16,8,8,16,3,1,0} 1", "{Regular,1,16,8,8,16,3,1,2} 1",
        "{Regular,1,16,8,8,16,2,1,0} 1", "{Regular,1,16,8,8,16,3,0,0} 1", "{Regular,1,16,8,8,16,3,1,0} 1_0",
        "{Regular,1,16,8,8,16,3,1,0} 1e300", f"{{Regular,1,16,8,8,16,3,1,0}} {'9' * 400}",
        "{Regular,1,16,8,8,16,3,1,0} 1e-9", "{Regular,1,16,8,8,16,999999999,1,0} 1",
        "{Regular,999999999,16,8,8,16,3,1,0} 1", "{Regular,1,16,99999,99999,16,3,1,0} 1",
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_left_out_and_a_file_of_such_is_refused(line: str, tmp_path: Path) -> None:
    times, _, left_out = read_tinynas(written(tmp_path / "one.out", [GOOD_LINE, "", line]))
    assert (len(times), left_out.count) == (1, 1)
    assert left_out.remark is not None
    told = f"{tmp_path / 'one.out'}: 1 of its lines left out, the first at line 3: {line[:80]!r} is "
    assert left_out.remark.startswith(told)
    path = written(tmp_path / "bad.out", [line, GOOD_LINE, line])
    with pytest.raises(InputError) as caught:
        import_table(path, "tinynas", device="d", precision="fp32", output=tmp_path / "t.sqlite")
    assert str(caught.value).startswith(f"{path}: line 1: {line[:80]!r} is ")
    assert str(caught.value).endswith("2 of 3 lines cannot be used")
    assert not (tmp_path / "t.sqlite").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "holds no measured"),
        ([GOOD_LINE.replace("0.05", "-1")], "holds no measured"),
        ([GOOD_LINE, "{Depthwise,2,16,8,8,16,3,1,0} 1"], "batch 2: no row is a dense"),
        (["{Regular,1,3,8,8,16,3,1,0} 1"], "batch 1: no row is a dense"),
        (
            [GOOD_LINE, GOOD_LINE.replace("0.05", "0.08")],
            "holds a row .* with 0.05 and with 0.08 ms; remove the wrong one",
        ),
        ([GOOD_LINE.replace("0.05", "5e-5")], "half of its times are below 50 ns.*milliseconds, not seconds"),
        ([f"{{Regular,1,{8 * n},{n},{n},{8 * n + 1},1,1,0}} 1" for n in range(1, 150)], "149 span a grid of"),
    ],
)
def test_a_table_that_says_too_little_is_refused(content: list[str], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "poor.out", content)
    with pytest.raises(InputError, match=message):
        import_table(path, "tinynas", device="d", precision="fp32", output=tmp_path / "t.sqlite")


def test_one_row_is_enough_but_says_nothing_of_depthwise_layers(tmp_path: Path) -> None:
    path = written(tmp_path / "one.out", [GOOD_LINE])
    import_table(path, "tinynas", device="d", precision="fp32", output=tmp_path / "t.sqlite")
    table = LatencyTable.load(tmp_path / "t.sqlite")
    assert table.nanoseconds(conv(16, 16, 8)) == 50_000
    assert table.nanoseconds(conv(16, 16, 8, 2, operation="average_pool", stride=2)) >= 50_000
    with pytest.raises(InputError, match="no time of a depthwise convolution"):
        table.nanoseconds(conv(16, 16, 8, depthwise=True))


def test_a_file_takes_more_tables_but_none_twice_and_no_bad_ones(imported: Path, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite"
    path.write_bytes(imported.read_bytes())
    with pytest.raises(InputError, match=r"holds tensorrt, fp16, batch 1.* already; choose another file"):
        import_table(source, "tinynas", device="d", precision="fp16", output=path)
    with pytest.raises(InputError, match="line 1"):
        import_table(written(tmp_path / "bad.out", ["no"]), "tinynas", device="d", precision="fp32", output=path)
    assert path.read_bytes() == imported.read_bytes()
    import_table(written(tmp_path / "one.out", [GOOD_LINE]), "tinynas", device="d", precision="fp32", output=path)
    assert [(one["precision"], one["batch"]) for one in describe_tables(path)] == [
        ("fp16", 1),
        ("fp16", 8),
        ("fp32", 1),
    ]
    assert LatencyTable.load(path, precision="fp32").nanoseconds(conv(16, 16, 8)) == 50_000
    other = written(tmp_path / "notes.txt", ["not a table"])
    with pytest.raises(InputError, match=r"notes\.txt: cannot be used as a latency table"):
        import_table(source, "tinynas", device="d", precision="fp32", output=other)
    assert other.read_text() == "not a table\n"


def test_a_place_that_cannot_be_written_is_told_before_the_long_part(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_early(*_: object) -> None:
        raise AssertionError("filled")

    monkeypatch.setattr("deepmad.profilers.importing.importing.predict_from", too_early)
    with pytest.raises(InputError, match=r"/proc/none/t\.sqlite: cannot write there"):
        import_table(source, "tinynas", device="d", precision="fp16", output="/proc/none/t.sqlite")


def test_the_command_imports_and_names_its_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "one.out", [GOOD_LINE])
    command = ["table", "import", str(path), "--device", "V100", "-o", str(tmp_path / "t.sqlite")]
    assert run([*command, "--precision", "fp32", "--from", "tinynas", "--json"]) == 0
    (described,) = json.loads(capsys.readouterr().out)
    assert (described["device"], described["measured"]) == ("V100", 1)
    assert run(["table", "show", str(tmp_path / "t.sqlite")]) == 0
    assert "one.out (tinynas)" in capsys.readouterr().out
    assert run(["table", "import", "--help"]) == 0
    assert "Example: deepmad table import" in capsys.readouterr().out
    assert run([*command, "--precision", "fp32", "--from", "nobody"]) == 2
    assert "tinynas" in capsys.readouterr().err
    for form, precision in (("nobody", "fp32"), ("tinynas", "fp12")):
        with pytest.raises(InputError, match="is unknown; choose from"):
            import_table(path, form, device="d", precision=precision, output=tmp_path / "u.sqlite")


def test_kriging_returns_what_was_measured_and_a_line_between() -> None:
    places = np.linspace(0, 4, 9)[:, None]
    values = 2 * places[:, 0] + 1
    assert krige(places, values, places) == pytest.approx(values, abs=1e-2)
    assert krige(places, values, np.array([[1.25]])) == pytest.approx([3.5], abs=1e-2)
    assert krige(places[:1], values[:1], np.array([[100.0]])) == pytest.approx(values[:1])


def test_kriging_can_leave_the_measured_value_itself_out() -> None:
    places = np.arange(20.0)[:, None]
    values = np.zeros(20)
    values[7] = 1.0
    found = krige(places, values, places, without_itself=True)
    assert abs(found[7]) < 1e-6  # its neighbours are all 0
    assert found[6] > 0.1
    assert krige(places[:1], values[:1], places[:1], without_itself=True) == pytest.approx([0.0])


def test_a_step_sees_another_cell_and_never_the_cell_itself() -> None:
    values = np.arange(12.0).reshape(3, 4)
    assert shifted(values, (1, 0))[:2].tolist() == values[1:].tolist()
    assert np.isnan(shifted(values, (1, 0))[2]).all()
    assert shifted(values, (-1, 2))[1:, :2].tolist() == values[:2, 2:].tolist()
    assert np.isnan(shifted(values, (0, 5))).all()
    assert len(set(TWINS)) == len(TWINS)
    assert all(any(step) and len(step) == 7 for step in TWINS)


def test_trees_learn_from_the_twins_what_the_rough_prediction_does_not_know() -> None:
    generator = np.random.default_rng(3)
    truth = np.repeat(generator.normal(size=(1, 40, 40)), 2, axis=0)  # two batches alike, else without order
    values = np.where(generator.random(truth.shape) < 0.2, np.nan, truth)
    rough, holes = np.zeros(truth.shape), np.isnan(values)
    found = corrected(values, rough, np.zeros((*truth.shape, 1)), steps(3, pairs=()))
    assert (found[~holes] == values[~holes]).all()
    twin_known = holes & ~holes[::-1]
    assert np.abs(found - truth)[twin_known].mean() < 0.3 * np.abs(truth)[twin_known].mean()
    few = np.where(np.arange(truth.size).reshape(truth.shape) < 100, truth, np.nan)
    assert (corrected(few, rough, np.zeros((*truth.shape, 1)), steps(3, pairs=()))[np.isnan(few)] == 0).all()


@pytest.mark.skipif("DEEPMAD_TINYNAS" not in os.environ, reason="DEEPMAD_TINYNAS names no published table")
def test_the_published_rows_are_predicted_better_than_by_the_published_interpolation() -> None:
    times, _, _ = read_tinynas(Path(os.environ["DEEPMAD_TINYNAS"]))
    _, held_out = next(draws(times, seed=0, share=0.2))
    asked = times.where(held_out)
    errors = predicted(predict_from(times.where(~held_out)), asked) / asked.nanoseconds - 1
    assert accuracy(errors)["within_10_percent"] > 0.88
