"""What a user reads: options in groups, endings of files, numbers without units, targets, limits in own words."""

from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepmad.cli.app import run
from deepmad.cli.design import design as design_command
from deepmad.cli.grouped import GROUPS
from deepmad.cli.targets import misses, verdict
from deepmad.engine.answers.solutions import Solution, Status
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.nearest import in_words, with_fastest_met
from deepmad.engine.solvers.settings import CpSat
from deepmad.profilers.backends import BACKENDS
from deepmad.search_spaces.units import AtLeast
from tests.catalogue import EXAMPLES, StairTable, small_space

SMALL, NETWORK = str(EXAMPLES / "small.yaml"), str(EXAMPLES / "deepmad-r50.json")


def test_the_help_of_design_tells_every_option_in_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted({*signature(design_command).parameters, "help"} - {"space"})
    assert run(["design", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"{title}:\n" in told for title in GROUPS)
    assert "Options:\n" not in told


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (["design", SMALL, "-o", "net.onnx"], "name it net.json, then: deepmad export net.json --to onnx -o net.onnx"),
        (["design", SMALL, "-o", "net.py"], "deepmad export net.json --to module -o net.py"),
        (["design", SMALL, "-o", "net.yaml"], "name it net.json"),
        (["design", SMALL, "--front", "macs", "-o", "front.json"], "name it front.csv"),
        (["export", NETWORK, "--to", "onnx", "-o", "net.py"], "name it net.onnx"),
        (["export", NETWORK, "--to", "timm", "-o", "net.safetensors"], "name it net.py"),
        (["measure", NETWORK, "-o", "times.json"], "name it times.csv"),
        (["table", "build", SMALL, "-o", "table.csv"], "name it table.sqlite"),
    ],
)
def test_a_file_named_as_another_form_is_refused_before_any_work(
    arguments: list[str],
    way_out: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert way_out in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "question"),
    [
        (["--macs", "12"], "did you mean --macs 12M?"),
        (["--params", "250"], "did you mean --params 250k?"),
        (["--latency", "8", "--table", "TABLE"], "--latency 8ms"),
    ],
)
def test_a_number_without_its_unit_is_told_at_the_end_too(
    options: list[str], question: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tiny_tables import build_quickly

    if "TABLE" in options:
        build_quickly(tmp_path / "t.sqlite")
        options = [str(tmp_path / "t.sqlite") if option == "TABLE" else option for option in options]
    run(["design", SMALL, *options, "--time-limit", "2", "--workers", "1"])
    told = capsys.readouterr()
    assert question in " ".join(told.err.split())
    assert question in " ".join(told.out.split())


def test_limits_are_told_in_the_words_that_ask_for_them() -> None:
    asked = Budget(latency=1e-4, macs=3e6, params=AtLeast(2e6), rho=0.3)
    problem = Problem(small_space(), asked, StairTable())
    assert in_words(problem, "latency_seconds", 1e-4) == "latency 100 us"
    assert in_words(problem, "macs", 3e6) == "macs 3 M"
    assert in_words(problem, "params", 2e6) == "params >= 2 M"
    assert in_words(problem, "rho", 0.3) == "rho 0.3"
    faster = replace(problem, budget=Budget(throughput=60.0, latency=1.0))
    assert in_words(faster, "latency_seconds", 1 / 60) == "throughput 60/s"
    slower = replace(problem, budget=Budget(throughput=60.0, latency=0.01))
    assert in_words(slower, "latency_seconds", 0.01) == "latency 10 ms"


def test_who_gets_no_network_is_told_the_fastest_met() -> None:
    space = small_space()
    problem = Problem(space, replace(Budget.of(space), latency=1e-9), StairTable())
    nothing = Solution(Status.UNKNOWN, "no network was found", CpSat().info, 1.0)
    told = with_fastest_met(problem, nothing, seconds=0.3, seed=0)
    assert told.nearest is not None
    used = told.nearest["latency_seconds"]
    assert used > 1e-9
    assert "the fastest network met has latency" in told.message
    without = Problem(space, Budget.of(space))
    assert with_fastest_met(without, nothing, seconds=0.1, seed=0) == nothing


def test_a_target_is_judged_by_the_measured_interval() -> None:
    measured: Any = SimpleNamespace(seconds=0.010, low=0.009, high=0.011)
    assert (misses(measured, 0.012), misses(measured, 0.0105), misses(measured, 0.0095)) == (False, False, True)
    assert verdict(measured, 0.012) == "10 ms meets 12 ms"
    assert verdict(measured, 0.008) == "10 ms misses 8 ms"
    for target, word in ((0.0105, "meets"), (0.0095, "misses")):
        assert f"10 ms {word}" in verdict(measured, target)
        assert "unsteady: the 95 % interval, 9 ms to 11 ms, holds the target" in verdict(measured, target)


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend.processor == "cuda"])
def test_without_a_gpu_no_other_build_is_advised(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmad.profilers.backends.cuda.visible_gpu_name", lambda: None)
    monkeypatch.setattr("deepmad.profilers.backends.cuda.package_files", lambda *_: [])
    reason = BACKENDS[name].availability()
    assert reason is not None
    assert "no NVIDIA GPU" in reason
    assert "pip install" not in reason
