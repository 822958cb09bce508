"""Per-layer profiles of TensorRT engines: names as TensorRT and TensorRT-RTX give them, times made up."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import onnx
import pytest

from deepmad.cli.app import run
from deepmad.profilers.backends import Settings
from deepmad.profilers.backends.tensorrt_engines import build_engine, module_name
from deepmad.profilers.importing.importing import import_profile, import_table
from deepmad.profilers.importing.trtexec_files import UNNAMED, profile_rows, read_trtexec
from deepmad.profilers.onnx_files.export import onnx_bytes
from deepmad.profilers.onnx_files.layer_names import named_layers
from deepmad.profilers.onnx_files.precisions import onnx_model
from deepmad.profilers.prediction.layer_rows import LayerRow
from deepmad.profilers.tables.tables import LatencyTable, describe_tables, export_rows
from deepmad.search_spaces.architectures import Architecture, Stage, Stem, Tail
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer
from tests.catalogue import mixed, one_block


def microseconds(layer: Layer) -> float:
    """Return the time of a layer on a made-up device: a start, the arithmetic, and the elements that are moved."""
    return float(2 + layer.macs / 1e5 + (layer.input_elements + layer.output_elements) / 1e4)


def fused(network: Architecture) -> dict[str, float]:
    """Return a profile in the style of TensorRT: activations and additions fused into their layers, seconds."""
    found = {"Reformatting CopyNode for Input Tensor 0 to stem.conv + stem.conv.relu": 1e-6}
    for name, layer in named_layers(network):
        parts = [
            name,
            *([f"{name}.add"] if layer.adds else []),
            *([f"{name}.relu"] if layer.activation == "relu" else []),
        ]
        found[" + ".join(parts)] = microseconds(layer) / 1e6
    return found


def written(path: Path, seconds: dict[str, float]) -> Path:
    """Write a profile as trtexec does."""
    entries = [
        {"name": name, "timeMs": 1e3 * time * 50, "averageMs": 1e3 * time, "medianMs": 1e3 * time, "percentage": 1.0}
        for name, time in seconds.items()
    ]
    path.write_text(json.dumps([{"count": 50}, *entries]))
    return path


def networks() -> list[Architecture]:
    """Return a dozen small networks of one block kind."""
    return [
        Architecture(
            64,
            Stem(16 + 8 * (index % 3)),
            (
                Stage("mbconv", 24 + 8 * (index % 4), 48 + 24 * (index % 5), 3 + 2 * (index % 2), 1 + index % 3, 2),
                Stage("mbconv", 48 + 16 * (index % 3), 96 + 48 * (index % 4), 5, 2, 2),
            ),
            Tail(128),
            10 * (1 + index % 4),
            name=f"net{index}",
        )
        for index in range(12)
    ]


def rows_by_name(rows: Iterable[LayerRow]) -> dict[str, LayerRow]:
    return {row.name: row for row in rows}


@pytest.mark.parametrize("block", BLOCKS)
def test_every_node_of_the_exported_file_has_the_name_of_its_layer(block: str) -> None:
    network = one_block(block)
    model = onnx.load_from_string(onnx_bytes(network))
    names = [name for name, _ in named_layers(network)]
    assert len(set(names)) == len(names)
    nodes = [node.name for node in model.graph.node]
    assert len(set(nodes)) == len(nodes)
    assert set(names) <= set(nodes)
    for row in profile_rows(network, dict.fromkeys(nodes, 1e-6), "all"):
        assert row.name in names  # no node belongs to two layers
    kinds = {"conv": "Conv", "average_pool": "AveragePool", "global_pool": "GlobalAveragePool", "linear": "Gemm"}
    operations = {node.name: node.op_type for node in model.graph.node}
    shapes = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    for name, layer in named_layers(network):
        assert operations[name] == kinds[layer.operation]
        if layer.operation == "conv":
            assert shapes[f"{name}.weight"][:2] == [layer.outputs, 1 if layer.depthwise else layer.inputs]


def test_fused_nodes_are_one_row_with_the_copies_that_serve_them() -> None:
    network = one_block("bottleneck")
    rows = profile_rows(network, fused(network), "p.json")
    names = rows_by_name(rows)
    assert [row.name for row in rows] == [name for name, _ in named_layers(network)]
    assert names["stages.0.1.conv2"].layers[0].adds
    layers = dict(named_layers(network))
    assert names["stem.conv"].nanoseconds == round(1e3 * (1 + microseconds(layers["stem.conv"])))
    assert sum(row.nanoseconds for row in rows) == pytest.approx(1e9 * sum(fused(network).values()), abs=len(rows))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stages.0.0.conv1 + stages.0.0.conv1.relu", ["stages.0.0.conv1"]),
        ("stages.0.0.conv0 || stages.0.0.shortcut.conv", ["stages.0.0.conv0", "stages.0.0.shortcut.conv"]),
        ("PWN(PWN(stages.0.0.conv1.relu), stages.0.0.conv2.add)", ["stages.0.0.conv1", "stages.0.0.conv2"]),
        ("stages.0.0.conv1_U7_myl0_5", ["stages.0.0.conv1"]),
        ("stages.0.0.conv1.weight + (Unnamed Layer* 5) [Shuffle]", ["stages.0.0.conv1"]),
        ("reshape_before_classifier.linear", ["classifier.linear"]),
        ("{ForeignNode[stages.0.0.conv1.weight...stages.0.0.shortcut.pool]}",
         ["stages.0.0.conv1", "stages.0.0.conv2", "stages.0.0.shortcut.pool"]),
        ("Reformatting CopyNode for Input Tensor 0 to {ForeignNode[tail.conv...classifier.pool]}",
         ["tail.conv", "classifier.pool"]),
    ],
)  # fmt: skip
def test_an_engine_layers_name_tells_its_layers(text: str, expected: list[str]) -> None:
    network = one_block("bottleneck")
    others = {name: 1e-6 for name, _ in named_layers(network)}
    names = rows_by_name(profile_rows(network, {text: 5e-6} | others, "p.json"))
    total = 5_000 + 1_000 * len(expected) - (1_000 if text in others else 0)
    assert names[" + ".join(expected)].nanoseconds == total
    assert len(names) == len(others) - len(expected) + 1


def test_kernels_without_a_name_make_one_row_with_the_layers_that_none_names() -> None:
    network = one_block("mbconv_se")
    layers = dict(named_layers(network))
    convolutions = [name for name, layer in layers.items() if layer.operation == "conv" and layer.role == "main"]
    profile = {f"{name}_U{number}_myl0_{number}": 4e-6 for number, name in enumerate(convolutions)}
    own = ["__myl_ConcMove_myl0_0", "__mye1037_myl0_9", "__myl_TranMean_myl0_30", "exit^bb^signal^1_myl0_7"]
    *rows, rest = profile_rows(network, profile | dict.fromkeys(own, 2e-6), "p.json")
    assert [row.name for row in rows] == convolutions
    assert (rest.name, rest.nanoseconds, rest.networks) == (UNNAMED, 8_000, 1)
    assert list(rest.layers) == [layer for name, layer in layers.items() if name not in convolutions]
    # without such kernels the layers that none names ran within the layer before them
    rows = profile_rows(network, profile, "p.json")
    assert rows_by_name(rows)["tail.conv + classifier.pool + classifier.linear"].nanoseconds == 4_000
    assert sum(len(row.layers) for row in rows) == len(layers)


@pytest.mark.skipif(module_name() is None, reason="TensorRT is not installed")
@pytest.mark.parametrize("block", BLOCKS)
def test_tensorrt_keeps_the_names_of_our_nodes(block: str) -> None:
    network = one_block(block)
    model = onnx_model(network, Settings(1, "fp16", 1, 3, network.resolution))
    engine = build_engine(model.SerializeToString())
    found = {name.decode() for name in re.findall(rb"\[ONNX Layer: ([^\]]+)\]", engine)}
    assert found == {node.name for node in model.graph.node}


def test_engine_layers_that_take_no_time_leave_theirs_to_the_layer_before() -> None:
    network = one_block("basic")
    profile = fused(network) | {"classifier.pool": 0.0}
    rows = profile_rows(network, profile, "p.json")
    assert "tail.conv + classifier.pool" in rows_by_name(rows)
    with pytest.raises(InputError, match=r"p\.json: no engine layer took any time"):
        profile_rows(network, dict.fromkeys(profile, 0.0), "p.json")


def test_a_name_that_no_layer_has_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "p.json", fused(mixed()) | {"/layer1/conv1/Conv": 1e-6, "other": 1e-6})
    with pytest.raises(InputError, match=r"p\.json: no layer of the network is called '/layer1/conv1/Conv'; profile"):
        import_table(path, "trtexec", device="d", precision="fp16", output=tmp_path / "t.sqlite", model=mixed())
    assert not (tmp_path / "t.sqlite").exists()
    with pytest.raises(InputError, match=r"is called 'stages\.0\.3\.conv0'"):
        profile_rows(one_block("basic"), {"stages.0.3.conv0": 1e-6}, "p.json")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of a dozen networks' profiles, each imported by itself."""
    folder = tmp_path_factory.mktemp("profiles")
    for network in networks():
        path = written(folder / f"{network.name}.json", fused(network) | {"__myl_Move_myl0_0": 20e-6})
        import_table(
            path, "trtexec", device="made up", precision="fp16", output=folder / "t.sqlite", model=network, batch=2
        )  # fmt: skip
    return folder / "t.sqlite"


def test_profiles_of_several_networks_make_one_predictor(imported: Path) -> None:
    (described,) = describe_tables(imported)
    assert (described["backend"], described["batch"], described["device"]) == ("tensorrt-onnx", 2, "made up")
    assert described["source"] == ", ".join(f"net{index}.json" for index in range(12)) + " (trtexec)"
    assert described["measured"] == sum(1 + len(list(named_layers(network))) for network in networks())
    assert described["held_out"]["networks"] == 12
    assert described["held_out"]["within_10_percent"] == 1
    table = LatencyTable.load(imported)
    assert table.overhead_nanoseconds == pytest.approx(20_000, rel=0.01)
    unseen = Architecture(
        64, Stem(24), (Stage("mbconv", 40, 96, 3, 3, 2), Stage("mbconv", 56, 200, 5, 2, 2)), Tail(128), 20
    )
    assert 1e9 * table.predict(unseen) == pytest.approx(1e9 * sum(fused(unseen).values()) + 20_000, rel=0.1)


def test_rows_are_exported_with_their_layers(imported: Path) -> None:
    rows = export_rows(imported)
    for network in networks():
        profile = [row for row in rows if row["source"] == f"{network.name}.json"]
        assert sum(row["seconds"] for row in profile) == pytest.approx(sum(fused(network).values()) + 20e-6, rel=1e-3)
        layers = [Layer(**layer) for row in profile for layer in json.loads(row["layers"])]
        assert layers == [layer for _, layer in named_layers(network)]


def test_a_profile_joins_only_its_like(imported: Path, tmp_path: Path) -> None:
    network, output = networks()[0], tmp_path / "t.sqlite"
    output.write_bytes(imported.read_bytes())
    again, other = written(tmp_path / "net0.json", fused(network)), written(tmp_path / "new.json", fused(network))
    common = {"precision": "fp16", "output": output, "model": network}
    with pytest.raises(InputError, match=r"holds a profile net0\.json already; rename"):
        import_table(again, "trtexec", device="made up", batch=2, **common)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="its profiles are of made up, not V100"):
        import_table(other, "trtexec", device="V100", batch=2, **common)  # type: ignore[arg-type]
    assert output.read_bytes() == imported.read_bytes()
    import_table(other, "trtexec", device="made up", **common)  # type: ignore[arg-type]
    assert [one["batch"] for one in describe_tables(output)] == [2, 1]
    blocks = tmp_path / "lut.yaml"
    blocks.write_text("Conv_1-input:8x8x16-output:8x8x16: {mean: 1}")
    with pytest.raises(InputError, match=r"holds tensorrt-onnx, fp16, batch 1, .* already"):
        import_table(blocks, "ofa", device="d", precision="fp16", backend="tensorrt-onnx", output=output)
    import_table(blocks, "ofa", device="made up", precision="fp16", batch=8, backend="tensorrt-onnx", output=output)
    with pytest.raises(InputError, match=r"holds tensorrt-onnx, fp16, batch 8, .* already"):
        import_table(other, "trtexec", device="made up", batch=8, **common)  # type: ignore[arg-type]


def test_layer_times_of_a_back_end_are_the_same_as_those_of_a_file(tmp_path: Path) -> None:
    network = mixed()
    path = written(tmp_path / "mixed.json", fused(network))
    import_table(path, "trtexec", device="d", precision="fp16", output=tmp_path / "a.sqlite", model=network)
    import_profile(network, fused(network), "mixed.json", device="d", precision="fp16", output=tmp_path / "b.sqlite")
    assert export_rows(tmp_path / "a.sqlite") == export_rows(tmp_path / "b.sqlite")


def test_averages_serve_where_there_are_no_medians(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(
        '[{"count": 2}, {"name": "a", "averageMs": 2, "timeMs": 4}, {"name": "a", "averageMs": 3, "medianMs": 1}]'
    )
    assert read_trtexec(path)[0] == {"a": pytest.approx(3e-3)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("{}", "is no list of engine layers"),
        (
            '[{"count": 1}, {"name": "stem.conv"}]',
            "entry 2: 'stem.conv' takes None ms; averageMs must be 0 or a number",
        ),
        ('[{"name": "stem.conv", "averageMs": -1}]', "entry 1: 'stem.conv' takes -1 ms"),
        ('[{"name": "stem.conv", "averageMs": NaN}]', "NaN is no finite number"),
        ('[{"name": "stem.conv", "averageMs": 1e300}]', "entry 1: 'stem.conv' takes 1e\\+300 ms"),
        (f'[{{"name": "stem.conv", "averageMs": {"9" * 400}}}]', "has 400 digits"),
        ('[{"name": "stem.conv", "averageMs": 1}]', "one engine layer stands for"),
        ('[{"averageMs": 1}]', "entry 1: .* has no name"),
        ("[3]", "entry 1: 3 has no name"),
        ("[]", "no engine layer took any time"),
    ],
)
def test_a_bad_entry_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InputError, match=message):
        import_table(
            tmp_path / "p.json", "trtexec", device="d", precision="fp16", output=tmp_path / "t.sqlite", model=mixed()
        )  # fmt: skip
    assert not (tmp_path / "t.sqlite").exists()


def test_the_runs_and_bad_entries_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[{"count": 2, "timeMs": 3}, {"name": "a", "averageMs": 2}, {"name": "b", "averageMs": "2"}]')
    seconds, left_out = read_trtexec(path)
    assert seconds == {"a": pytest.approx(2e-3)}
    assert left_out.remark is not None
    assert "1 of its entries left out, the first at entry 3: 'b' takes 2 ms" in left_out.remark


def test_a_profile_that_hardly_tells_layers_apart_is_told(tmp_path: Path) -> None:
    network, remarks = one_block("bottleneck"), list[str]()
    names = [name for name, _ in named_layers(network)]
    one, rest = names[0], f"{{ForeignNode[{names[1]}...{names[-1]}]}}"
    path = written(tmp_path / "p.json", {one: 1e-5, rest: 1e-4})
    common = {"device": "d", "precision": "fp16", "model": network, "remark": remarks.append}
    import_table(path, "trtexec", output=tmp_path / "t.sqlite", **common)  # type: ignore[arg-type]
    (remark,) = remarks
    assert f"{1 / len(names):.0%} of the network's {len(names)} layers have an engine layer of their own" in remark
    path = written(tmp_path / "all.json", {f"{{ForeignNode[{names[0]}...{names[-1]}]}}": 1e-4})
    with pytest.raises(InputError, match=f"one engine layer stands for {len(names)} layers of {len(names)}"):
        import_table(path, "trtexec", output=tmp_path / "t.sqlite", **common)  # type: ignore[arg-type]


def test_the_command_needs_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, model = written(tmp_path / "p.json", fused(mixed())), tmp_path / "net.json"
    model.write_text(json.dumps(mixed().to_dict()))
    command = ["table", "import", str(path), "--from", "trtexec", "--device", "d", "--precision", "fp16"]
    assert run([*command, "-o", str(tmp_path / "t.sqlite")]) == 2
    assert "a trtexec profile tells no shapes" in capsys.readouterr().err
    assert run([*command, "-o", str(tmp_path / "t.sqlite"), "--model", str(model), "--json"]) == 0
    (described,) = json.loads(capsys.readouterr().out)
    assert described["source"] == "p.json (trtexec)"
    assert described["held_out"] is None
