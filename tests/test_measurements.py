"""Measurements: every back end on every block kind, conditions, doubts and errors."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from deepmad.profilers.backends import BACKENDS, find_backend
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.machine import MachineState
from deepmad.profilers.measuring.measurements import Conditions, Failure, Measurement, measure, measure_all
from deepmad.profilers.measuring.reference import ReferenceTimes
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.onnx_files.export import export_onnx
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.torch_builder import build

QUICK = Timer(seconds=0.002, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.01, visits=2)
QUICK_TO_PREPARE = {name: backend for name, backend in BACKENDS.items() if "compiled" not in name}
"""Compiling takes half a minute; `test_backends` does it once."""
PRESENT = [(name, precision) for name, backend in QUICK_TO_PREPARE.items() for precision in backend.precisions]
HERE = [name for name, backend in QUICK_TO_PREPARE.items() if backend.availability() is None]


def small(block: str = "bottleneck") -> Architecture:
    return Architecture(32, Stem(16), (Stage(block, 16, 8, 3, 2, 2),), None, 10)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("backend", "precision"), PRESENT)
def test_every_backend_times_every_block(backend: str, precision: str, block: str) -> None:
    if BACKENDS[backend].availability() is not None:
        pytest.skip(f"{backend} is not here")
    found = measure(small(block), backend=backend, precision=precision, batch=2, timer=QUICK)
    assert found.low <= found.seconds <= found.high
    assert found.throughput == pytest.approx(2 / found.seconds)
    assert len(found.times) >= 2
    conditions = found.conditions
    assert (conditions.backend, conditions.precision, conditions.batch, conditions.threads) == (
        (backend, precision, 2, 1)
    )
    assert (conditions.in_channels, conditions.resolution) == (3, 32)
    assert conditions.device
    assert conditions.version == BACKENDS[backend].version()
    assert json.loads(json.dumps(found.to_dict()))["latency_seconds"] == found.seconds


@pytest.mark.parametrize("backend", HERE)
def test_measuring_leaves_everything_as_it_was(backend: str) -> None:
    model = build(small()).train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    measure(model, backend=backend, threads=2, timer=QUICK)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_onnx_files_and_plain_modules_are_timed(tmp_path: Path) -> None:
    path = export_onnx(small(), tmp_path / "small.onnx", 1)
    assert measure(path, timer=QUICK).conditions.resolution == 32
    module = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
    found = measure(module, backend="torch", resolution=8, in_channels=4, timer=QUICK)
    assert (found.conditions.in_channels, found.conditions.resolution) == (4, 8)


def test_an_architecture_is_measured_at_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(small().to_dict()), encoding="utf-8")
    requests = [
        Request(model, backend, resolution=16) for model in (small(), str(path)) for backend in ("onnxruntime", "torch")
    ]
    for found in measure_all([*requests, Request(small(), in_channels=4)], timer=QUICK):
        side, channels = found.conditions.resolution, found.conditions.in_channels
        assert (side, channels) in ((16, 3), (32, 4))
        assert found.network == NetworkLayers.of(replace(small(), resolution=side, in_channels=channels))


def test_several_are_measured_together_in_order() -> None:
    requests = [Request(small(block), backend) for block in ("basic", "mbconv") for backend in ("torch", "onnxruntime")]
    found = measure_all(requests, timer=QUICK)
    assert [item.conditions.backend for item in found] == [request.backend for request in requests]


def test_errors_list_the_choices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"onnxruntime, .*, torch"):
        find_backend("abacus", "fp32")
    with pytest.raises(InputError, match="fp32, fp16, bf16"):
        measure(small(), backend="torch", precision="int8")
    with pytest.raises(InputError, match="batch: 0"):
        measure(small(), batch=0)
    with pytest.raises(InputError, match="resolution"):
        measure(nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match="no such file"):
        measure(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_text("nonsense")
    with pytest.raises(InputError, match=r"bad\.onnx"):
        measure(tmp_path / "bad.onnx", resolution=8)
    with pytest.raises(InputError, match="shape"):
        measure(export_onnx(small(), tmp_path / "one.onnx", 1), batch=2)
    with pytest.raises(InputError, match="onnxruntime"):
        measure(tmp_path / "one.onnx", backend="torch")


def test_a_failing_device_is_not_the_users_fault() -> None:
    with pytest.raises(DeviceError, match="torch"):
        measure(nn.Conv2d(5, 3, 1), backend="torch", resolution=8, timer=QUICK)


def test_a_missing_library_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for name, backend in BACKENDS.items():
        told = backend.availability() or ""
        assert "pip install" in told or "no NVIDIA GPU" in told  # where there is none, a library does not help
        with pytest.raises(InputError, match=r"pip install|no NVIDIA GPU"):
            find_backend(name, "fp32")


def test_a_broken_library_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "openvino").mkdir()
    broken = "print('loading')\nraise OSError('libopenvino.so: no such file')\n"
    (tmp_path / "openvino/__init__.py").write_text(broken, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    with pytest.raises(DeviceError, match=r"openvino is installed but broken \(libopenvino\.so: no such file\)"):
        measure(small(), backend="openvino", timer=QUICK)
    assert capsys.readouterr().out == ""  # results alone are there


def test_a_measurement_doubts_itself() -> None:
    conditions = Conditions("cpu", "torch", "1", "fp32", 1, 1, 3, 32, "2026-01-01T00:00:00+00:00")
    quiet = Measurement((1.0,) * 20, conditions, MachineState(0.2, 0, 1000), MachineState(0.9, 0, 2000))
    assert quiet.warnings == ()
    assert "load" in replace(quiet, after=MachineState(3.0, 0, 2000)).warnings[0]
    assert "hypervisor" in replace(quiet, after=MachineState(0.9, 100, 2000)).warnings[0]
    assert "interval" in replace(quiet, times=(1.0, 2.0) * 10).warnings[0]
    fast, slow = (MachineState(0.9, 0, 2000, megahertz) for megahertz in (3000.0, 2400.0))
    assert replace(quiet, before=fast, after=fast).warnings == ()
    assert "from 3000 to 2400 MHz" in replace(quiet, before=fast, after=slow).warnings[0]


def test_each_may_be_measured_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "suspects.py").write_text(
        "import os\ndef aborts():\n    os.abort()\ndef exits():\n    os._exit(7)\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    requests = [Request("suspects:aborts"), Request(small()), Request("suspects:exits"), Request(small(), batch=0)]
    aborted, measured, exited, misused = measure_all(requests, timer=QUICK, isolated=True)
    assert isinstance(measured, Measurement)
    assert measured.conditions.backend == "onnxruntime"
    assert len(measured.times) >= 2
    reasons = [one.reason for one in (aborted, exited, misused) if isinstance(one, Failure)]
    assert reasons == [
        "its process died: killed by SIGABRT",
        "its process died: exit code 7",
        "batch: 0 is no positive number",
    ]


def test_a_network_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps(small().to_dict()), encoding="utf-8")
    assert measure(str(path), timer=QUICK).conditions.resolution == 32
    with pytest.raises(InputError, match="timm:NAME"):
        measure("nowhere")


def test_the_reference_network_takes_turns_with_several() -> None:
    requests = [Request(small(), "onnxruntime"), Request(small(), "torch"), Request(small("basic"), "onnxruntime")]
    first, other, second = measure_all(requests, timer=QUICK)
    assert first.reference is not None
    assert other.reference is not None
    assert first.reference is second.reference
    assert other.reference is not first.reference
    assert len(first.reference.visits) == QUICK.visits
    assert first.relative_to_reference == first.seconds / first.reference.seconds
    document = json.loads(json.dumps(first.to_dict()))
    assert document["drift"] == first.reference.drift
    assert [tuple(visit) for visit in document["reference_times"]] == list(first.reference.visits)


def test_the_reference_network_stands_around_a_single_one_that_takes_long() -> None:
    (quick,) = measure_all([Request(small())], timer=QUICK)
    (asked,) = measure_all([Request(small())], timer=QUICK, reference=True)
    (long,) = measure_all([Request(small())], timer=replace(QUICK, seconds=2.0))
    assert quick.reference is None
    assert quick.to_dict()["drift"] is None
    for one in (asked, long):
        assert one.reference is not None
        assert len(one.reference.visits) == 4
    assert all(one.reference is None for one in measure_all([Request(small())] * 2, timer=QUICK, reference=False))


def test_a_drift_of_the_reference_is_told() -> None:
    steady = ReferenceTimes(((1.0, 1.0, 9.0), (1.04, 1.04), (1.02,)))
    assert (steady.seconds, steady.drift, steady.warning) == (1.02, 1.04, None)
    drifted = ReferenceTimes((*steady.visits, (1.25, 1.25)))
    assert drifted.drift == 1.25
    assert drifted.warning is not None
    assert "25% slower in round 4 than in round 1 of 4" in drifted.warning
    conditions = Conditions("cpu", "torch", "1", "fp32", 1, 1, 3, 32, "2026-01-01T00:00:00+00:00")
    quiet = MachineState(0.2, 0, 1000)
    assert Measurement((1.0,) * 20, conditions, quiet, quiet, None, drifted).warnings == (drifted.warning,)


def test_a_measurement_says_what_the_network_is_made_of(tmp_path: Path) -> None:
    own = NetworkLayers.of(small())
    path = export_onnx(small(), tmp_path / "small.onnx", 1)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    requests = [
        Request(small()),
        Request(build(small()), "torch"),
        Request(path),
        Request(module, "torch", resolution=8),
        Request(module, resolution=8),
    ]
    record, built, file, alone, exported = measure_all(requests, timer=QUICK)
    assert record.network == built.network == own
    assert file.network is not None
    assert file.network.macs == own.macs
    assert exported.network is not None
    assert alone.network == exported.network
    assert (exported.network.macs, exported.network.params) == (3 * 9 * 8 * 36, 3 * 9 * 8 + 8)
    (undescribed,) = measure_all([requests[3]], timer=QUICK)
    assert undescribed.network is None  # only PyTorch ran it
    (described,) = measure_all([requests[3]], timer=QUICK, describe=True)
    assert described.network == exported.network


def test_a_failing_network_is_named_before_anything_is_timed(tmp_path: Path) -> None:
    class Untimed(Timer):
        def visit_all(self, *_: object, **__: object) -> list[list[list[float]]]:
            raise AssertionError("timed")

    (tmp_path / "bad.onnx").write_text("nonsense")
    named = Architecture(32, Stem(16), (Stage("basic", 16, 8, 3, 1, 2),), name="wanted")
    for wrong, words in (
        (Request("nowhere.json"), r"nowhere\.json"),
        (Request(str(tmp_path / "bad.onnx"), resolution=8), r"bad\.onnx"),
        (Request(named, resolution=15), "wanted: resolution: 15 gives an odd side"),
        (Request(nn.Conv2d(5, 3, 1), resolution=8), "Conv2d: .*export"),
    ):
        with pytest.raises(InputError, match=words):
            measure_all([Request(small()), wrong], timer=Untimed())
    with pytest.raises(DeviceError, match="Conv2d: torch: "):
        measure_all([Request(small()), Request(nn.Conv2d(5, 3, 1), "torch", resolution=8)], timer=Untimed())
