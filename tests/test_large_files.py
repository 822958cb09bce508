"""Large ONNX files: their weights stay on the disk, memory stays small, no step is silent, and a death is one line."""

import random
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepmad.cli import output, silence
from deepmad.cli.app import run
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.isolation import Broken, call_apart, heard
from deepmad.profilers.measuring.measurements import measure, measure_all_apart
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.steps import Tell
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.onnx_files.layers import onnx_layers, read_onnx_layers
from deepmad.profilers.onnx_files.leaving import values_of, weight_bytes, without_weights, write_beside
from deepmad.profilers.onnx_files.probing import probe
from deepmad.profilers.onnx_files.reading import read_model
from deepmad.profilers.settings import Settings
from deepmad.search_spaces.errors import InputError

QUICK = Timer(seconds=0.01, min_repeats=2, warmup_seconds=0.0)
SIDE = 8


def network(channels: int = 64, convolutions: int = 2) -> onnx.ModelProto:
    """Return a network with weights of 36 * channels^2 bytes a convolution, a grid of positions, and a small shape."""
    rng = np.random.default_rng(0)
    weights = {"stem": rng.standard_normal((channels, 3, 3, 3), dtype=np.float32)}
    scale = np.float32(0.3 / np.sqrt(9 * channels))
    for index in range(convolutions):
        weights[f"w{index}"] = scale * rng.standard_normal((channels, channels, 3, 3), dtype=np.float32)
    weights["grid"] = np.linspace(0, 1, channels * SIDE * SIDE, dtype=np.float32).reshape(1, channels, SIDE, SIDE)
    weights["fc"] = 0.1 * rng.standard_normal((10, channels), dtype=np.float32)
    nodes = [helper.make_node("Conv", ["images", "stem"], ["c0"], kernel_shape=[3, 3], pads=[1] * 4)]
    for index in range(convolutions):
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        nodes.append(
            helper.make_node("Conv", [f"r{index}", f"w{index}"], [f"c{index + 1}"], kernel_shape=[3, 3], pads=[1] * 4)
        )
    nodes += [
        helper.make_node("Add", [f"c{convolutions}", "grid"], ["placed"]),
        helper.make_node("GlobalAveragePool", ["placed"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc"], ["output"], transB=1),
    ]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    held.append(numpy_helper.from_array(np.array([0, -1], np.int64), "shape"))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "network", [images], [result], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(params=["one file", "weights of its own"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the network as a file, with its weights within it or in another one."""
    found = tmp_path / "net.onnx"
    external: dict[str, Any] = {} if request.param == "one file" else {
        "save_as_external_data": True, "location": "net.data"
    }  # fmt: skip
    onnx.save(network(), found, **external)
    return found


def outputs(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE), dtype=np.float32)
    found: np.ndarray = session.run(None, {"images": images})[0]
    return found


def test_weights_stay_on_the_disk_and_are_found_there(path: Path) -> None:
    whole, lean = read_model(path), read_model(path, weights=False)
    assert lean.ByteSize() < 30_000
    large = {one.name for one in lean.graph.initializer if one.data_location == one.EXTERNAL}
    assert large == {"w0", "w1"}
    assert weight_bytes(lean) == 2 * 36 * 64**2
    for own, left in zip(whole.graph.initializer, lean.graph.initializer, strict=True):
        values = values_of(left)
        assert values is not None
        assert np.array_equal(numpy_helper.to_array(own), values)
    for model in (whole, lean):
        for weight in model.graph.initializer:
            weight.ClearField("raw_data")
            weight.ClearField("external_data")
            weight.ClearField("data_location")
    assert whole == lean


def test_what_is_counted_is_the_same(path: Path) -> None:
    found = read_onnx_layers(path, SIDE)
    assert found == onnx_layers(read_model(path), SIDE)
    grown = path.with_name("grown.onnx")
    onnx.save(network(256, 1), grown)  # now the grid is large, too: its values are looked at where they lie
    lean = read_model(grown, weights=False)
    assert "grid" in {one.name for one in lean.graph.initializer if one.data_location == one.EXTERNAL}
    assert read_onnx_layers(grown, SIDE).params == 27 * 256 + 9 * 256**2 + 10 * 256


@pytest.mark.parametrize("linked", [True, False])
def test_it_can_be_written_elsewhere_and_run(
    linked: bool, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    if not linked:
        monkeypatch.setattr("os.link", refuse)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    written = write_beside(without_weights(path), folder)
    assert np.array_equal(outputs(written), outputs(path))
    source = path if path.stat().st_size > 200_000 else path.with_name("net.data")
    assert (folder / "weights-0").samefile(source) is linked


def test_a_probe_sees_weights_that_are_zero(tmp_path: Path) -> None:
    model = network()
    for weight in model.graph.initializer:
        if weight.name == "w1":
            weight.raw_data = bytes(len(weight.raw_data))
    onnx.save(model, tmp_path / "zero.onnx")
    seen = probe(tmp_path / "zero.onnx", Settings(1, "fp32", 1, 3, SIDE))
    assert seen is not None
    assert (seen.zero_weights, seen.weights) == (1, 4)


def test_a_weight_outside_of_the_files_folder_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    model = without_weights(saved(tmp_path / "net.onnx"))
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = "../net.onnx"
    (tmp_path / "inner/net.onnx").write_bytes(model.SerializeToString())
    found = without_weights(tmp_path / "inner/net.onnx")
    assert {values_of(one) is None for one in found.graph.initializer if one.data_location == one.EXTERNAL} == {True}


def saved(path: Path) -> Path:
    onnx.save(network(), path)
    return path


def test_damaged_files_are_refused_as_before(tmp_path: Path) -> None:
    content = saved(tmp_path / "net.onnx").read_bytes()
    chance, refused = random.Random(0), 0
    damaged = tmp_path / "damaged.onnx"
    for number in range(300):
        changed = bytearray(content[: chance.randrange(len(content))] if number % 2 else content)
        for _ in range(chance.randrange(4) if changed else 0):
            changed[chance.randrange(min(len(changed), 3000))] = chance.randrange(256)
        damaged.write_bytes(changed)
        try:
            whole: onnx.ModelProto | None = read_model(damaged)
        except InputError:
            whole = None
        try:
            lean = read_model(damaged, weights=False)
        except InputError:
            refused += 1
            assert whole is None
        else:
            assert whole is None or len(lean.graph.initializer) == len(whole.graph.initializer)
    assert refused > 100


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_peak_of_memory_is_a_small_multiple_of_the_file(precision: str, tmp_path: Path) -> None:
    """2.5 times the file and 300 MB; the file is one whose activations are looked at, which costs a run more."""
    path = tmp_path / "large.onnx"
    onnx.save(network(1024, 4), path)
    size = path.stat().st_size
    assert size > 150e6
    found = call_apart(peak_bytes, path, precision)
    assert isinstance(found, int), found
    assert found < 2.5 * size + 300e6


def peak_bytes(path: Path, precision: str = "fp32") -> int:
    """Measure a file; return the most memory that this process ever took."""
    measure(path, precision=precision, timer=QUICK)
    (line,) = [one for one in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if "VmHWM" in one]
    return int(line.split()[1]) * 1024


def test_every_step_is_told_from_the_process_that_takes_it(tmp_path: Path) -> None:
    steps: list[str] = []

    def tell(step: str, *, lasting: bool = False) -> None:
        assert not lasting
        steps.append(step.partition(" ")[0])

    measure_all_apart([Request(saved(tmp_path / "net.onnx"))], timer=QUICK, tell=tell)
    assert steps == ["reading", "looking", "preparing", "running", "counting", "timing"]


def test_what_another_process_tells_is_heard_whole() -> None:
    found: list[tuple[str, bool]] = []

    def tell(step: str, *, lasting: bool = False) -> None:
        found.append((step, lasting))

    with heard(tell) as told:
        assert call_apart(talks, told) == 7
    assert found == [(f"step {number} é", number == 3) for number in range(2000)]
    with heard(tell) as told:
        pass
    told("nobody listens any more")


def talks(tell: Tell) -> int:
    for number in range(2000):
        tell(f"step {number}\né", lasting=number == 3)
    return 7


def test_long_work_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said, spoken = list[str](), Event()

    def say(line: str) -> None:
        said.append(line)
        if "reading" in line:
            spoken.set()

    monkeypatch.setattr(silence, "LONGEST_SILENCE", 0.001)
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(output, "say", say)
    with silence.never_silent("measure", say), output.working("measuring") as on:
        on.tell("waiting for process 7", lasting=True)
        on.tell("reading large.onnx")
        assert spoken.wait(60)
    assert "waiting for process 7" in said
    assert any(line.startswith("reading large.onnx: ") for line in said)


def test_the_death_of_the_process_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import os, signal\ndef killed():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "suspects.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path = str(saved(tmp_path / "net.onnx"))
    assert run(["measure", path, "suspects:killed", "--seconds", "0.01"]) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    why = "its process died: killed by SIGKILL, perhaps for want of memory: free some"
    assert line == f"error: {path}, suspects:killed: {why}"
    assert call_apart(killed) == Broken(why)
    with pytest.raises(DeviceError, match="perhaps for want of memory"):
        measure_all_apart([Request("suspects:killed")], timer=QUICK)


def killed() -> None:
    """End as a process does that the system ends."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import onnx, onnxruntime
from deepmad.cli.app import run
from deepmad.profilers.measuring import measurements
from deepmad.profilers.onnx_files.reading import read_model

def at_hand(megabytes):
    mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + megabytes * 2**20, -1))

for megabytes in (20, 120, 200):  # neither a copy of the file, nor two, nor what the parser adds to them
    at_hand(megabytes)
    try:
        read_model(Path(sys.argv[1]))
        print("read")
    except MemoryError as error:
        print(error)
at_hand(60)
print(run(["measure", sys.argv[1], "--seconds", "0.01"]), flush=True)
"""


def test_a_good_file_that_there_is_no_memory_for_is_not_called_a_bad_one(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    onnx.save(network(1024, 4), path)
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY, path], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:3] == [f"{path}; free some, or measure a smaller network"] * 3
    assert done.stdout.splitlines()[-1] in ("3", "5"), done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "memory" in line


def test_what_is_wrong_with_a_file_is_told_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.onnx").write_text("nonsense", encoding="utf-8")
    assert run(["measure", str(tmp_path / "bad.onnx"), "--seconds", "0.01"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "not an ONNX file that can be read" in line
