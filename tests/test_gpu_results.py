"""The run that measures a GPU, on the back ends of the CPU in its place: the same code under other names."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.conditions import read_csv, write_csv
from benchmarks.gpu_results import running
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.running import go_on
from benchmarks.gpu_results.state import MAX_STARTS, Clock, Parts, PieceOver, State
from benchmarks.gpu_results.steps import Step, plan
from deepmad.profilers.measuring.isolation import Broken, call_apart
from tests.catalogue import ROOT

TINY = """
format: deepmad/space@1
name: tiny
resolution: 16
stem: {out: [8, 16], kernel: 3, stride: 2}
stages:
  - {block: bottleneck, stride: 2, out: {min: 16, max: 64}, width: {min: 8, max: 32}, kernel: 3, depth: [1, 2, 3]}
rules: {non_decreasing: true, growth: 4, width_ratio: {min: 0.1, max: 1}}
classes: 10
limits: {rho: 0.5, macs: 1M, params: 100k}
"""
NETWORKS = ("published:r18", "published:nothing")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Return a run without a limit on its time on two back ends of the CPU and one that cannot work there."""
    space = tmp_path / "tiny.yaml"
    space.write_text(TINY, encoding="utf-8")
    return Options(
        tmp_path / "results",
        ("torch", "tensorrt-onnx", "onnxruntime"),
        "fp32",
        str(space),
        batches=(1,),
        models=NETWORKS,
        factors=(1.1,),
        networks=2,
        probes=3,
        seconds=0.002,
        solve_seconds=5.0,
        total_seconds=1e5,
        piece_seconds=1e5,
        together=True,
    )


def command(options: Options) -> list[str]:
    """Return the command line of the options."""
    named = {
        "--output": [options.output],
        "--backend": options.backends,
        "--precision": [options.precision],
        "--space": [options.space],
        "--batch": options.batches,
        "--model": options.models,
        "--factor": options.factors,
        "--networks": [options.networks],
        "--probes": [options.probes],
        "--seconds": [options.seconds],
        "--solve-seconds": [options.solve_seconds],
        "--piece-seconds": [options.piece_seconds],
    }
    words = [str(word) for name, values in named.items() for value in values for word in (name, value)]
    return [sys.executable, "-m", "benchmarks.gpu_results", *words, "--together"]


def wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a file is there, or fail with the process that should write it."""
    for _ in range(12000):
        if path.is_file():
            return
        assert process.poll() is None, "the run ended early"
        time.sleep(0.05)
    pytest.fail(f"{path.name} did not appear")


@pytest.mark.usefixtures("brief_warm_up")
def test_a_killed_run_goes_on_and_writes_everything(options: Options) -> None:
    with subprocess.Popen(command(options), cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        wait_for(options.output / "table-tiny-torch-fp32-b1.csv", process)
        process.send_signal(signal.SIGKILL)
    kept = read_csv(options.output / "table-tiny-torch-fp32-b1.csv")

    said: list[str] = []
    assert go_on(options, said.append)
    assert not any(line.startswith(("conditions", "backends")) for line in said), "done is done"
    assert read_csv(options.output / "table-tiny-torch-fp32-b1.csv") == kept, "no probe is measured twice"

    steps = {row["step"]: row for row in read_csv(options.output / "steps.csv")}
    assert {row["status"] for row in steps.values()} == {"done"}
    trials = {row["backend"]: row for row in read_csv(options.output / "backends.csv")}
    assert [row["works"] for row in trials.values()] == ["True", "False", "True"]
    assert "no NVIDIA GPU" in trials["tensorrt-onnx"]["reason"]
    for backend in ("torch", "onnxruntime"):
        conditions = f"{backend}-fp32-b1"
        assert len(read_csv(options.output / f"table-tiny-{conditions}.csv")) > 3
        accuracy = read_csv(options.output / f"accuracy-tiny-{conditions}.csv")
        assert len(accuracy) == options.networks
        assert all(float(row[name]) > 0 for row in accuracy for name in ("predicted_seconds", "second_seconds"))
        picture = (options.output / f"accuracy-tiny-{conditions}.svg").read_text(encoding="utf-8")
        assert picture.count(f"(accuracy-tiny-{conditions}): measured ") == options.networks
        free, target = read_csv(options.output / f"targets-tiny-{conditions}.csv")
        assert float(free["fresh_seconds"]) > 0
        assert float(target["target_seconds"]) == pytest.approx(1 / 1.1 / float(free["throughput"]))
        assert target["status"] in ("optimal", "feasible", "infeasible", "unknown")
        found, unknown = read_csv(options.output / f"networks-{conditions}.csv")
        assert (found["works"], int(found["params"])) == ("True", 11826088)
        assert (unknown["works"], "no such published" in unknown["reason"]) == ("False", True)
    assert "torch" in (options.output / "conditions.txt").read_text(encoding="utf-8")
    assert go_on(options, said.append), "a finished run has nothing more to do"


def test_a_piece_ends_after_its_time(options: Options) -> None:
    """With no time at all a piece does one unit of work, keeps it, and says that there is more."""
    asked = replace(options, backends=("tensorrt-onnx", "tensorrt"), piece_seconds=0.0)
    State.load(asked.output).end("conditions", "done")
    for units in (1, 2):
        assert not go_on(asked, lambda _: None)
        assert len(Parts(asked.output, "backends").rows) == units
    assert go_on(asked, lambda _: None)


def test_without_a_back_end_there_is_still_a_report(options: Options) -> None:
    State.load(options.output).end("conditions", "done")
    assert go_on(replace(options, backends=("tensorrt-onnx", "abacus")), lambda _: None)
    trials = read_csv(options.output / "backends.csv")
    assert ["abacus" in row["reason"] for row in trials] == [False, True]
    assert [step.name for step in plan(options)] == ["conditions", "backends"]


def test_steps_get_the_time_that_a_slow_back_end_takes_to_prepare_their_networks(options: Options) -> None:
    asked = replace(options, backends=("torch",))
    for cost, compared, fresh in ((0.1, 60, 50), (40.0, 80, 240)):  # two networks; two designed ones three times
        write_csv(asked.output / "backends.csv", [{"backend": "torch", "works": True, "seconds_per_probe": cost}])
        seconds = {step.kind: step.seconds for step in plan(asked)}
        assert (seconds["compare"], seconds["targets"]) == (compared, fresh)


def test_what_needs_more_than_is_left_is_left_out(options: Options) -> None:
    assert go_on(replace(options, total_seconds=1.0), lambda _: None)
    steps = read_csv(options.output / "steps.csv")
    assert all("left out" in row["reason"] for row in steps)


def test_a_clock_ends_the_piece_before_a_unit_would_be_cut_off() -> None:
    now = time.time()
    clock = Clock(piece_ends=now + 100, step_ends=now + 10, last=now - 60)
    clock.tick()  # a unit took a minute, 100 s are left
    assert not clock.allows_more()
    clock = Clock(piece_ends=now + 50, step_ends=now + 500, last=now - 60)
    with pytest.raises(PieceOver):
        clock.tick()


def test_a_step_that_never_ends_is_given_up(tmp_path: Path) -> None:
    for _ in range(MAX_STARTS):
        assert State.load(tmp_path).begin("hangs")
    state = State.load(tmp_path)
    assert not state.begin("hangs")
    assert State.load(tmp_path).of("hangs").status == "failed"
    state.pause("goes on", 3.0)
    assert State.load(tmp_path).seconds == 3.0


def test_a_table_whose_process_dies_goes_on_with_its_probes_apart(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bool] = []

    def dying(_function: object, _options: Options, step: Step, *_: float, limit_seconds: float) -> bool | Broken:
        assert limit_seconds > 0
        tried.append(step.apart)
        return True if step.apart else Broken("its process died: killed by SIGSEGV")

    monkeypatch.setattr(running, "caller", lambda _: dying)
    state = State.load(options.output)
    for kind, status in (("table", "done"), ("accuracy", "failed")):
        running._do(options, state, Step(kind, kind, 100.0), time.time() + 100, lambda _: None)
        assert state.of(kind).status == status
    assert tried == [False, True, False]


def test_parts_are_kept(tmp_path: Path) -> None:
    Parts(tmp_path, "rows").add({"a": 1}, {"b": None})
    assert Parts(tmp_path, "rows").rows == json.loads('[{"a": 1}, {"b": null}]')


def test_work_apart_is_stopped_at_its_limit() -> None:
    found = call_apart(time.sleep, 600.0, limit_seconds=0.5)
    assert isinstance(found, Broken)
    assert "longer than 0.5 s" in found.reason


def test_every_result_is_in_the_index() -> None:
    index = (ROOT / "results/README.md").read_text(encoding="utf-8")
    files = [path.name for path in (ROOT / "results").iterdir() if path.is_file() and path.name != "README.md"]
    assert files
    assert [name for name in files if f"`{name}`" not in index] == []
