"""Benchmark tables of timm, and the proxy fitted on them: hand-made files whose times a made-up device took."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepmad.cli.app import run
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.profilers.importing.importing import import_table
from deepmad.profilers.importing.timm_files import read_timm
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.profilers.prediction.proxies import (
    MIN_NETWORKS,
    UNITS_IN_NANOSECOND,
    ProxyPrediction,
    activations,
    fit_proxy,
    fit_proxy_networks,
)
from deepmad.profilers.tables.tables import LatencyTable, describe_tables, export_rows
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer
from tests.catalogue import mixed, one_block, small_space

HEADER = (
    "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,param_count,infer_gmacs,infer_macts"
)
GOOD = "resnet50,224,2000,4.0,8,25.56,4.12,11.11"


def seconds(batch: int, gmacs: float, mparams: float, macts: float) -> float:
    """Return the time of one batch on a made-up device."""
    return 1e-3 + batch * (2e-3 * gmacs + 1e-4 * macts) + 1e-5 * mparams


def lines(batches: dict[int, int], noise: float = 0.0) -> list[str]:
    """Return the lines of a table with that many networks of every batch."""
    generator = np.random.default_rng(0)
    found = [HEADER]
    for batch, count in batches.items():
        for index in range(count):
            gmacs, mparams, macts = (round(float(value), 2) for value in generator.uniform(0.5, 50, 3))
            taken = seconds(batch, gmacs, mparams, macts) * (1 + noise * generator.uniform(-1, 1))
            found.append(f"net{index},224,{batch / taken:.4f},{1e3 * taken:.3f},{batch},{mparams},{gmacs},{macts}")
    return found


def german(text: str) -> str:
    """Return a table as a German spreadsheet copies it: tabs between the cells, decimal commas."""
    return text.replace(",", "\t").replace(".", ",")


def written(path: Path, content: list[str]) -> Path:
    path.write_text("\n".join(content) + "\n")
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    source = written(folder / "benchmark.csv", [*lines({8: 100, 4: MIN_NETWORKS, 2: 3}), "vit,224,50,1,8,86,,"])
    import_table(source, "timm", device="made up", precision="fp32", output=folder / "t.sqlite", threads=4)
    return folder / "t.sqlite"


def test_every_batch_with_enough_networks_has_a_table(imported: Path) -> None:
    described = describe_tables(imported)
    assert [(one["batch"], one["measured"], one["unmeasured"]) for one in described] == [
        (4, MIN_NETWORKS, 0),
        (8, 100, 1),
    ]
    for one in described:
        assert (one["backend"], one["threads"], one["version"], one["dates"]) == ("torch", 4, "unknown", None)
        assert one["source"] == "benchmark.csv (timm)"
        assert one["held_out"]["networks"] == one["measured"] // 5
        assert one["held_out"]["within_5_percent"] == 1
    rows = [row for row in export_rows(imported) if row["batch"] == 8]
    assert len(rows) == 100
    for row in rows:
        counts = (row["macs"] / 1e9, row["params"] / 1e6, row["activations"] / 1e6)
        assert row["seconds"] == pytest.approx(seconds(8, *counts), rel=1e-4)
        assert (row["resolution"], row["date"], row["device"]) == (224, None, "made up")


def test_a_table_prices_layers_by_what_the_device_takes(imported: Path) -> None:
    table = LatencyTable.load(imported, batch=8)
    layer = Layer("main", "conv", 64, 128, 56, 3)
    expected = 8 * (2e-12 * layer.macs + 1e-10 * layer.output_elements) + 1e-11 * layer.params
    assert table.nanoseconds(layer) == pytest.approx(1e9 * expected, rel=0.01)
    assert table.overhead_nanoseconds == pytest.approx(1e6, rel=0.05)
    assert pickle.loads(pickle.dumps(table)).nanoseconds(layer) == table.nanoseconds(layer)


def test_accuracy_is_that_of_networks_the_fit_has_not_seen(tmp_path: Path) -> None:
    source = written(tmp_path / "noisy.csv", lines({1: 200}, noise=0.3))
    import_table(source, "timm", device="d", precision="fp32", output=tmp_path / "t.sqlite")
    (described,) = describe_tables(tmp_path / "t.sqlite")
    assert 10 < described["held_out"]["mean_absolute_percentage_error"] < 20  # uniform noise of 30 % alone gives 15
    assert 0.2 < described["held_out"]["within_10_percent"] < 0.5
    table = LatencyTable.load(tmp_path / "t.sqlite")
    low, high = table.interval(mixed()) or (0.0, 0.0)
    assert 0.6 * table.predict(mixed()) < low < table.predict(mixed()) < high < 1.4 * table.predict(mixed())


def test_the_program_adds_up_the_very_nanoseconds_of_the_proxy(imported: Path) -> None:
    space, table = small_space(), LatencyTable.load(imported, batch=8)
    free = design(Problem(space, Budget(params=3e5), table), CpSat(time_limit=5, workers=1))
    assert free.predicted is not None
    over = table.overhead_nanoseconds / 1e9
    limit = over + 0.7 * (free.predicted.latency_seconds - over)
    solution = design(Problem(space, Budget(params=3e5, latency=limit), table), CpSat(time_limit=20, workers=1))
    assert solution.architecture is not None
    assert solution.predicted is not None
    assert solution.predicted.latency_seconds == table.predict(solution.architecture) <= limit


def test_a_proxy_finds_the_costs_that_made_the_times() -> None:
    generator = np.random.default_rng(1)
    macs, params, elements = (
        generator.uniform(1e8, 1e10, 60),
        generator.uniform(1e6, 1e8, 60),
        generator.uniform(1e6, 1e8, 60),
    )
    proxy = fit_proxy(macs, params, elements, 3e-12 * macs + 2e-11 * elements + 5e-4)
    assert proxy.mac == pytest.approx(3e5, rel=1e-3)
    assert proxy.activation == pytest.approx(2e6, rel=1e-3)
    assert proxy.network == pytest.approx(5e13, rel=1e-3)
    assert 0 <= proxy.parameter < 1e4
    assert ProxyPrediction.from_dict(json.loads(json.dumps(proxy.to_dict()))) == proxy


def test_a_proxy_of_networks_is_that_of_their_counts() -> None:
    networks = [mixed(), *(one_block(kind) for kind in ("bottleneck", "basic", "mbconv", "mbconv_se"))]
    times = [3e-3, 2e-3, 2e-3, 1e-3, 1e-3]
    layers = [NetworkLayers.of(network) for network in networks]
    counts = np.array([(one.macs, one.params, one.activations) for one in layers])
    assert fit_proxy_networks(networks, times) == fit_proxy(counts[:, 0], counts[:, 1], counts[:, 2], times)
    proxy = ProxyPrediction(mac=0, parameter=0, activation=UNITS_IN_NANOSECOND, network=0)
    for one in layers:
        assert sum(proxy.nanoseconds(layer) for layer in one.layers) == one.activations


def test_activations_are_the_outputs_of_convolutions_and_linear_maps() -> None:
    assert activations(Layer("main", "conv", 3, 16, 32, 3, 2)) == 16 * 16 * 16
    assert activations(Layer("classifier", "linear", 64, 10, 1)) == 10
    assert activations(Layer("gate", "global_pool", 64, 64, 8)) == 0
    assert activations(Layer("shortcut", "average_pool", np.array([8, 16]), np.array([8, 16]), 8, 2, 2)).tolist() == [
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("2000", "fast"), "infer_samples_per_sec is 'fast'; it must be a number above 0"),
        (GOOD.replace("2000", "0"), "infer_samples_per_sec is '0'"),
        (GOOD.replace("2000", "nan"), "infer_samples_per_sec is 'nan'"),
        (GOOD.replace(",8,", ",,"), "infer_batch_size is ''; it must be a positive integer"),
        (GOOD.replace(",8,", ",1.5,"), "infer_batch_size is '1.5'; it must be a positive integer"),
        (GOOD.replace("4.12", "-1"), "infer_gmacs is '-1'; it must be a number above 0"),
        (GOOD.replace("2000", "1_0"), "infer_samples_per_sec is '1_0'"),
        (
            GOOD.replace("2000", "1e-15"),
            "infer_samples_per_sec is '1e-15' at batch 8; a batch takes between 1 ns and 60 s",
        ),
        (GOOD.replace("2000", "1e-320"), "infer_samples_per_sec is '1e-320'"),
        (GOOD.replace("2000", "1e300"), "infer_samples_per_sec is '1e300'"),
        (GOOD.replace("2000", "9" * 400), "infer_samples_per_sec is '9999"),
        (
            GOOD.replace(",8,", ",999999999,"),
            "infer_batch_size is '999999999'; it must be a positive integer up to 65536",
        ),
        ("resnet50,224", "infer_samples_per_sec is ''"),
    ],
)
def test_a_bad_line_is_left_out_and_a_file_of_such_is_refused(
    line: str, message: str, imported: Path, tmp_path: Path
) -> None:
    networks = read_timm(written(tmp_path / "one.csv", [HEADER, GOOD, line]))
    assert [row.name for row in networks.rows] == ["resnet50"]
    (remark,) = networks.remarks
    assert f"1 of its rows left out, the first at line 3: {message}" in remark
    path, held = written(tmp_path / "bad.csv", [HEADER, line, GOOD, line]), tmp_path / "t.sqlite"
    held.write_bytes(imported.read_bytes())
    for output in (held, tmp_path / "new.sqlite"):
        with pytest.raises(InputError) as caught:
            import_table(path, "timm", device="d", precision="fp16", output=output)
        assert str(caught.value).startswith(f"{path}: line 2: {message}")
    assert held.read_bytes() == imported.read_bytes()
    assert not (tmp_path / "new.sqlite").exists()


def own(count: int, **changes: str) -> list[str]:
    """Return rows as `deepmad measure -o` writes them: the conditions after timm's columns."""
    conditions = {"backend": "onnxruntime", "precision": "fp32", "threads": "1", "device": "d", "failed": ""} | changes
    return [",".join([line, *conditions.values()]) for line in lines({1: count})[1:]]


OWN_HEADER = f"{HEADER},backend,precision,threads,device,failed"


def test_the_rows_of_other_conditions_are_left_out(tmp_path: Path) -> None:
    mixed_up = [
        OWN_HEADER, *own(60), *own(60, precision="int8"), *own(60, backend="torch"), *own(3, threads="4"),
        ",,,,1,,,,onnxruntime,fp32,1,d,out of memory",
    ]  # fmt: skip
    path = written(tmp_path / "own.csv", mixed_up)
    asked = {"device": "d", "precision": "fp32", "threads": 1}
    with pytest.raises(InputError, match="its rows are of backend onnxruntime, torch; choose one with --backend"):
        import_table(path, "timm", **asked, output=tmp_path / "t.sqlite")  # type: ignore[arg-type]
    for name, value in (("device", "V100"), ("precision", "fp16"), ("threads", 2), ("backend", "openvino")):
        with pytest.raises(InputError, match=f"its rows are of {name} .*, not {value}; mend --{name}"):
            import_table(path, "timm", **(asked | {name: value}), output=tmp_path / "t.sqlite")  # type: ignore[arg-type]
    remarks = list[str]()
    import_table(path, "timm", **asked, backend="torch", output=tmp_path / "t.sqlite", remark=remarks.append)  # type: ignore[arg-type]
    assert remarks == [f"{path}: 124 of its rows are of other conditions and left out"]
    import_table(
        written(tmp_path / "one.csv", [line for line in mixed_up if "torch" not in line]), "timm", **asked,  # type: ignore[arg-type]
        output=tmp_path / "t.sqlite", remark=remarks.append,
    )  # fmt: skip
    assert remarks[-1].endswith("1 of its rows left out, the first at line 125:  failed")
    assert [(one["backend"], one["measured"]) for one in describe_tables(tmp_path / "t.sqlite")] == [
        ("torch", 60), ("onnxruntime", 60),
    ]  # fmt: skip
    assert all(one["held_out"]["within_5_percent"] == 1 for one in describe_tables(tmp_path / "t.sqlite"))


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        (lambda text: "\ufeff" + text, 2000.0),
        (lambda text: text.replace(",", ";").replace("2000", "1,648.5").replace("4.0", "4.853"), 1648.5),
        (lambda text: text.replace("2000", '"1,648.5"').replace("4.0", "4.853"), 1648.5),
        (lambda text: text.replace(",", ";").replace(".", ","), 2000.0),
        (lambda text: german(text).replace("2000", "1.648,5").replace("4,0", "4,853"), 1648.5),
        (lambda text: text.replace("\n", "\r\n"), 2000.0),
    ],
    ids=["a byte order mark", "semicolons", "thousands", "decimal commas", "tabs, points for thousands", "DOS"],
)  # fmt: skip
def test_a_table_may_come_from_a_spreadsheet(change: Callable[[str], str], rate: float, tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(change(f"{HEADER}\n{GOOD}\n").encode())
    (row,) = read_timm(path).rows
    assert row.nanoseconds == round(8 / rate * 1e9)
    assert (row.name, row.batch) == ("resnet50", 8)
    assert row.params == pytest.approx(25.56e6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([HEADER, GOOD.replace("2000", "20\0")], "line 2: has a zero byte"),
        ([HEADER + ",infer_gmacs", GOOD + ",4.12"], "line 1: has column 'infer_gmacs' twice"),
        (
            [HEADER, GOOD, GOOD.replace("2000", "1000").replace("4.0", "8.0")],
            "'resnet50' at batch 8 with 4 and with 8 ms",
        ),
        ([HEADER, GOOD.replace("2000", "1,648.5")], "line 2: has more cells than the header"),
        ([HEADER, GOOD.replace("4.0", "8.0")], "line 2: 8 images at infer_samples_per_sec do not take"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(content: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_timm(written(tmp_path / "b.csv", content))


def test_a_network_measured_twice_counts_once(tmp_path: Path) -> None:
    (row,) = read_timm(written(tmp_path / "b.csv", [HEADER, GOOD, GOOD.replace("2000", "1950")])).rows
    assert row.nanoseconds == round((8 / 2000 + 8 / 1950) / 2 * 1e9)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 1000])
@pytest.mark.parametrize("option", ["--device", "--backend"])
def test_a_name_that_is_none_is_refused(
    option: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "b.csv", lines({8: 60}))
    command = ["table", "import", str(path), "--from", "timm", "--precision", "fp32", "-o", str(tmp_path / "t.sqlite")]
    assert run([*command, "--device", "d", option, name]) == 2
    told = "is no name; give one of 1 to 200 plain letters" if name.strip() else "names nothing; give a value"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "t.sqlite").exists()


def test_too_few_networks_of_a_batch_are_refused_with_what_there_is(tmp_path: Path) -> None:
    path = written(tmp_path / "few.csv", lines({8: 60, 2: 3}))
    options = {"device": "d", "precision": "fp32", "output": tmp_path / "t.sqlite"}
    with pytest.raises(InputError, match=r"3 of batch 2, 60 of batch 8; a proxy needs 50 of one batch"):
        import_table(path, "timm", **options, batch=2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="line 1: has no column infer_gmacs"):
        import_table(written(tmp_path / "c.csv", [HEADER.replace("gmacs", "x"), GOOD]), "timm", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"l\.csv: is no CSV file .*name a benchmark-infer table"):
        import_table(written(tmp_path / "l.csv", ["x" * 200_000]), "timm", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds no network with its counts"):
        import_table(written(tmp_path / "d.csv", [HEADER]), "timm", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "t.sqlite").exists()
    import_table(path, "timm", **options, batch=8)  # type: ignore[arg-type]
    assert [one["batch"] for one in describe_tables(tmp_path / "t.sqlite")] == [8]


def test_the_command_tells_how_crude_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "b.csv", lines({8: 60}, noise=0.3))
    command = ["table", "import", str(path), "--from", "timm", "--device", "RTX 4090", "--precision", "fp16"]
    assert run([*command, "-o", str(tmp_path / "t.sqlite")]) == 0
    assert "within 10 percent" in capsys.readouterr().out
    assert run(["table", "show", str(tmp_path / "t.sqlite"), "--json"]) == 0
    (described,) = json.loads(capsys.readouterr().out)
    assert described["held_out"]["networks"] == 12


@pytest.mark.skipif("DEEPMAD_TIMM" not in os.environ, reason="DEEPMAD_TIMM names no published table")
def test_published_networks_make_a_proxy(tmp_path: Path) -> None:
    path = Path(os.environ["DEEPMAD_TIMM"])
    import_table(path, "timm", device="d", precision="fp32", output=tmp_path / "t.sqlite")
    rows = read_timm(path).rows
    for one in describe_tables(tmp_path / "t.sqlite"):
        assert one["measured"] == sum(row.batch == one["batch"] for row in rows)
        assert one["held_out"]["mean_absolute_percentage_error"] < 30
