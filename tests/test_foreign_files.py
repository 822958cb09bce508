"""Measuring networks of other people: which files are taken, what is told of them, and how names are printed."""

import csv
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from deepmad.cli.app import run
from deepmad.cli.output import as_text
from deepmad.profilers.backends.onnxruntime_backend import OnnxRuntime
from deepmad.profilers.measuring import checks
from deepmad.profilers.measuring.machine import MachineState
from deepmad.profilers.measuring.measurements import Conditions, Measurement, measure, measure_all
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.sources import load_source
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.onnx_files.precisions import onnx_model
from deepmad.profilers.onnx_files.probing import Probe
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.errors import InputError, first_line
from tests.catalogue import one_block
from tests.foreign_networks import CHANNELS, CLASSIFIER, C, conv, network, value, weight

pytestmark = pytest.mark.usefixtures("brief_warm_up")
QUICK = Timer(seconds=0.002, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
NO_OPENVINO = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


def written(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, str(path))
    return path


def timed(model: onnx.ModelProto, path: Path, backend: str = "onnxruntime", precision: str = "fp32") -> Measurement:
    """Return what is measured of a model in a file."""
    return measure(written(model, path / "net.onnx"), backend=backend, precision=precision, timer=QUICK)


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=NO_OPENVINO)])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_images_need_not_be_squares(backend: str, precision: str, tmp_path: Path) -> None:
    found = timed(network(shape=("N", 3, 24, 40)), tmp_path, backend, precision)
    assert (found.conditions.resolution, found.conditions.width) == (24, 40)
    assert found.network is not None
    assert found.network.macs == CHANNELS * 27 * 24 * 40 + CLASSIFIER
    assert found.to_dict()["width"] == 40


def test_channels_that_a_file_leaves_open_are_those_of_its_first_weight(tmp_path: Path) -> None:
    normalise = helper.make_node("BatchNormalization", ["images", "g", "b", "m", "v"], ["normal"])
    model = network(shape=("N", "C", 32, 32))
    model.graph.node[0].input[0] = "normal"
    model.graph.node.insert(0, normalise)
    for name in "gbmv":
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [5], [1.0] * 5))
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight(CHANNELS, 5, 3, 3), "first"))
    for one in (model, network(shape=("N", "C", 32, 32))):
        found = timed(one, tmp_path)
        assert found.network is not None
        assert found.conditions.in_channels == (5 if one is model else 3)
        assert found.network.macs == CHANNELS * 9 * found.conditions.in_channels * 32**2 + CLASSIFIER


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_weight_may_be_listed_before_the_images(precision: str, tmp_path: Path) -> None:
    model = network()
    model.ir_version = 3  # which wants every weight among the inputs
    images = value("images", [1, 3, 32, 32])
    del model.graph.input[:]
    model.graph.input.extend([value(one.name, one.dims) for one in model.graph.initializer] + [images])
    found = timed(model, tmp_path, precision=precision)
    assert found.network is not None
    assert (found.network.macs, found.conditions.resolution) == (C, 32)


def test_the_ending_may_be_in_capitals(tmp_path: Path) -> None:
    path = written(network(), tmp_path / "BN.ONNX")
    assert load_source(str(path)).model == path
    assert measure(str(path), timer=QUICK).conditions.resolution == 32


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        (network(), {"batch": 2}, "its input's shape fixes the batch at 1, not 2; take --batch 1"),
        (network(), {"resolution": 64}, "its input's shape fixes the height at 32, not 64; leave --resolution out"),
        (network(), {"in_channels": 4}, "its input's shape fixes the channels at 3, not 4; give it 3"),
        (network(shape=("N", 3, "H", "W")), {}, "its input leaves the sides open; give one in pixels"),
        (network(shape=(1, 3, 32)), {"resolution": 32}, "its input has 3 axes, not 4: batch, channels, height, width"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_told_what_to_do(
    model: onnx.ModelProto, asked: dict[str, int], words: str, tmp_path: Path
) -> None:
    path = written(model, tmp_path / "net.onnx")
    with pytest.raises(InputError) as told:
        measure_all([Request(path, **asked)], timer=QUICK)  # type: ignore[arg-type]
    assert str(told.value).startswith(f"{path}: ")
    assert words in str(told.value)


def test_a_network_of_two_inputs_is_refused(tmp_path: Path) -> None:
    model = network()
    model.graph.input.append(value("mask", [1, 1, 32, 32]))
    with pytest.raises(InputError, match="takes images, mask; only networks with one input"):
        timed(model, tmp_path)


def test_messages_of_libraries_lose_their_colours() -> None:
    assert first_line(RuntimeError("\x1b[96mStep 1/3\x1b[0m failed\nmore")) == "Step 1/3 failed"
    with pytest.raises(InputError) as told:
        measure(nn.Conv2d(5, 3, 1), resolution=8, timer=QUICK)
    assert "expected input[1, 3, 8, 8] to have 5 channels" in str(told.value)  # the cause, not how to mend exporters
    assert "\x1b" not in str(told.value)


def test_what_is_not_counted_is_told_in_every_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("Inverse", ["features"], ["mixed"], domain="com.microsoft")]
    path = written(network(nodes), tmp_path / "odd.onnx")
    note = "at least, without 1 Gemm, 1 Inverse"
    arguments = ["measure", str(path), "--seconds", "0.02", "-o", str(tmp_path / "times.csv")]
    assert run([*arguments, "--json"]) == 0
    output = capsys.readouterr()
    (document,) = json.loads(output.out)
    assert document["counts_note"] == note
    assert document["macs"] == C - CLASSIFIER
    assert f"warning: {path} (onnxruntime, fp32): MACs, parameters and activations: {note}\n" in output.err
    with (tmp_path / "times.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["counts_note"] == note
    assert note in row["warnings"]
    assert run(arguments) == 0
    assert "at least 442.4 k" in capsys.readouterr().out


NAMES = ["net[bold]x", "a:gear:b", "m[red]:one:", "[/]", "5 < 6 & c\\[d]"]


def test_names_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for name in NAMES:
        paths.append(tmp_path / f"{name.replace('/', '-')}.json")
        named = replace(one_block("basic"), name=name)
        paths[-1].write_text(json.dumps(named.to_dict()), encoding="utf-8")
        assert run(["show", str(paths[-1])]) == 0
        assert f"\n{name}: " in capsys.readouterr().out
    assert run(["compare", *map(str, paths)]) == 0
    heading = capsys.readouterr().out.splitlines()[0]
    assert all(path.stem in heading for path in paths)
    for name in NAMES:
        assert run(["show", f"{name}.json"]) == 2
        assert f"error: {name}.json" in capsys.readouterr().err


def test_names_in_tables_and_warnings_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Inverse", ["features"], ["mixed"], domain="com.microsoft")]
    path = written(network(nodes), tmp_path / "m[red]:one:.onnx")
    assert run(["measure", str(path), "--seconds", "0.02"]) == 0
    output = capsys.readouterr()
    assert "\nm[red]:one:.onnx  onnxruntime " in output.out
    assert f"warning: {path} (onnxruntime, fp32): " in output.err


def test_what_would_steer_a_terminal_is_shown_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "steering.json"
    network = replace(one_block("basic"), name="a\u202ebidi")
    path.write_text(json.dumps(network.to_dict()), encoding="utf-8")
    assert run(["show", str(path)]) == 0
    assert "\na\\u202ebidi: " in capsys.readouterr().out
    path.write_text(json.dumps(network.to_dict()).replace("bidi", "\\u001b[31mred"), encoding="utf-8")
    assert run(["show", str(path)]) == 2  # a name of control characters is no name
    assert "\x1b" not in capsys.readouterr().err
    assert run(["show", "\x1b]0;title\x07.json"]) == 2
    output = capsys.readouterr()
    assert "\\x1b]0;title\\x07.json" in output.err
    assert not {"\x1b", "\x07"} & {*output.err}
    assert as_text("rho ≤ 0.3, 224×224, ①").plain == "rho ≤ 0.3, 224×224, ①"


def test_more_threads_than_cores_are_doubtful() -> None:
    conditions = Conditions("cpu", "onnxruntime", "1", "fp32", 1, 8, 3, 32, "2026-01-01T00:00:00+00:00")
    quiet = MachineState(0.2, 0, 1000, cores=2)
    crowded = Measurement((1.0,) * 20, conditions, quiet, quiet)
    assert crowded.warnings == ("8 threads share 2 core(s) and wait for each other; take at most 2 (--threads)",)
    assert replace(crowded, conditions=replace(conditions, threads=2)).warnings == ()


def ceiling() -> onnx.ModelProto:
    """Return a network whose pool would have a last window that starts in the padding."""
    pool = helper.make_node(
        "MaxPool", ["features"], ["small"], kernel_shape=[3, 3], strides=[3, 3], pads=[1] * 4, ceil_mode=1
    )
    nodes, weights = [pool, conv("small", "w", "mixed")], {"w": weight(CHANNELS, CHANNELS, 3, 3)}
    return network(nodes, weights, shape=(1, 3, 14, 14))


@NO_OPENVINO
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_runtime_that_computes_another_network_is_told(precision: str, tmp_path: Path) -> None:
    """OpenVINO gives such a pool a row and a column more, at every operator set."""
    words = "openvino computes another network: its small is 1x16x6x6 where it should be 1x16x5x5"
    assert any(words in told for told in timed(ceiling(), tmp_path, "openvino", precision).warnings)
    assert not any("another network" in told for told in timed(ceiling(), tmp_path).warnings)
    assert not any("another network" in told for told in timed(network(), tmp_path, "openvino", precision).warnings)


def doubts(model: onnx.ModelProto, path: Path) -> str:
    return "\n".join(timed(model, path).doubts)


def test_weights_of_zeros_and_vanishing_activations_are_told(tmp_path: Path) -> None:
    def scaled(by: float) -> onnx.ModelProto:
        middle = [conv("features", "w", "mixed")]
        return network(middle, {"w": weight(CHANNELS, CHANNELS, 3, 3) * np.float32(by)})

    assert doubts(scaled(1), tmp_path) == ""
    assert doubts(scaled(0), tmp_path).startswith("the weights of 1 of 3 layers are all zero")
    assert "activations of 1 of 3 layers vanish (at most " in doubts(scaled(1e-36), tmp_path)
    assert "first in mixed" in doubts(scaled(1e-36), tmp_path)
    assert "its outputs are not finite" in doubts(scaled(1e38), tmp_path)


def test_values_of_a_runtime_are_compared() -> None:
    one = np.array([[1.0, 2.0]], np.float32)
    seen = Probe((one,), {}, {}, 0, 1)
    runnable = OnnxRuntime().prepare(one_block("basic"), Settings(1, "fp32", 1, 3, 32))
    for outputs, words in (
        (one * 1.001, []),
        (one * 1.1, ["10.0% of the largest value away"]),
        (one[:, :1], ["(1, 1)"]),
    ):
        told = list(checks.runtime_doubts(runnable, [outputs], seen, "other", "fp32"))
        assert len(told) == len(words)
        assert all(word in text for word, text in zip(words, told, strict=True))
    assert list(checks.runtime_doubts(runnable, [one * 1.1], seen, "other", "int8")) == []


def test_modules_are_looked_at_too() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten())
    nn.init.zeros_(module[1].weight)  # type: ignore[arg-type]
    with torch.no_grad():
        found = measure_all([Request(module, way, resolution=8) for way in ("torch", "onnxruntime")], timer=QUICK)
    for one in found:
        assert [told for told in one.doubts if "all zero" in told] == [
            "the weights of 1 of 2 layers are all zero; trained ones may take another time"
        ]


@pytest.mark.usefixtures("torchvision_operators")
def test_residual_branches_of_timm_are_no_zeros() -> None:
    module = load_source("timm:test_resnet").model
    assert isinstance(module, nn.Module)
    assert list(checks.module_doubts(module)) == []


def test_operators_that_stay_in_float_are_told(tmp_path: Path) -> None:
    def activated(kind: str) -> list[str]:
        nodes = [helper.make_node(kind, ["features"], ["active"]), conv("active", "w", "mixed")]
        path = written(network(nodes, {"w": weight(CHANNELS, CHANNELS, 3, 3)}), tmp_path / "net.onnx")
        settings = Settings(1, "int8", 1, 3, 32)
        onnx.checker.check_model(onnx_model(path, settings))
        told: list[str] = OnnxRuntime().prepare(path, settings).remarks()  # type: ignore[attr-defined]
        return told

    assert activated("Relu") == []
    assert activated("HardSigmoid") == [
        "ONNX Runtime left 1 operator(s) in float between quantised ones (1 HardSigmoid); int8 may be slower than fp32"
    ]
