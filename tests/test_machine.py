"""What the machine did meanwhile and how it is set: read from made-up systems, told in one line each, and kept."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepmad.cli import doctor
from deepmad.cli.app import run
from deepmad.engine.answers.solutions import Solution
from deepmad.profilers.building.building import build_table
from deepmad.profilers.measuring import machine, measurements, processor
from deepmad.profilers.measuring.machine import MachineState, machine_state
from deepmad.profilers.measuring.measurements import Conditions, Measurement, measure
from deepmad.profilers.measuring.processor import Processor
from deepmad.profilers.measuring.steps import Once
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.tables.tables import describe_tables
from tests.catalogue import one_block, small_space

QUICK = Timer(seconds=0.01, min_repeats=2, warmup_seconds=0.0)
CPU, SUPPLY = "sys/devices/system/cpu", "sys/class/power_supply"
CONDITIONS = Conditions("cpu", "onnxruntime", "1", "fp32", 1, 1, 3, 32, "2026-01-01T00:00:00+00:00")
LAPTOP = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance",
    f"{CPU}/cpu0/topology/thread_siblings_list": "0-1",
    f"{CPU}/cpu1/topology/thread_siblings_list": "0-1",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
    f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "10",
    f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "4",
    f"{CPU}/cpu1/thermal_throttle/package_throttle_count": "12",
    f"{CPU}/intel_pstate/no_turbo": "0",
    f"{SUPPLY}/AC/type": "Mains",
    f"{SUPPLY}/AC/online": "0",
    f"{SUPPLY}/BAT0/type": "Battery",
    f"{SUPPLY}/BAT0/status": "Discharging",
    "proc/stat": "cpu  100 0 50 800 20 5 5 20 0 0",
    "proc/cpuinfo": "cpu MHz : 2000.0",
}


def system(root: Path, files: dict[str, str]) -> Path:
    """Return a root with these files."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n", encoding="utf-8")
    return root


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process have two cores."""
    for module in ("deepmad.tasks.cores", "deepmad.profilers.measuring.processor"):
        monkeypatch.setattr(f"{module}.allowed_cores", lambda: frozenset({0, 1}))


@pytest.fixture
def laptop(tmp_path: Path, two_cores: None, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """Let all measurements find a laptop on its battery; return its root."""
    root = system(tmp_path / "laptop", LAPTOP)
    state: Callable[[], MachineState] = lambda: machine_state(root)  # noqa: E731
    monkeypatch.setattr(measurements, "machine_state", state)
    monkeypatch.setattr("deepmad.profilers.building.chunks.machine_state", state)
    monkeypatch.setattr(machine, "machine_state", state)
    return root


@pytest.mark.usefixtures("two_cores")
def test_a_system_is_read(tmp_path: Path) -> None:
    found = processor.processor(system(tmp_path, LAPTOP))
    assert found == Processor(("performance", "powersave"), True, True, 3 + 4 + 12, 1)
    assert found.words == ("governor performance, powersave", "turbo on", "on battery", "1 physical core(s)")
    state = machine_state(tmp_path)
    assert (state.ticks, state.stolen_ticks, state.megahertz, state.cores) == (1000, 20, 2000.0, 2)
    assert state.busy_seconds == 160 / os.sysconf("SC_CLK_TCK")
    assert state.processor == found


@pytest.mark.usefixtures("two_cores")
def test_nothing_is_told_where_the_system_shows_nothing(tmp_path: Path) -> None:
    assert processor.processor(tmp_path) == Processor()
    assert Processor().words == ()
    state = machine_state(tmp_path)
    assert replace(state, load=0.0).doubts(replace(state, load=0.0), 2) == {}
    document = state.document(state)
    shown = ("governors", "turbo", "on_battery", "physical_cores", "throttled", "other_cores", "megahertz_after")
    assert [document[name] for name in shown] == [(), None, None, None, None, None, None]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({f"{CPU}/intel_pstate/no_turbo": "1"}, {"turbo": False}),
        ({f"{CPU}/intel_pstate/no_turbo": "", f"{CPU}/cpufreq/boost": "0"}, {"turbo": False}),
        ({f"{SUPPLY}/AC/online": "1"}, {"on_battery": False}),
        ({f"{SUPPLY}/BAT0/status": "Full", f"{SUPPLY}/AC/online": "1"}, {"on_battery": False}),
        ({f"{SUPPLY}/BAT0/scope": "Device"}, {"on_battery": False}),  # a mouse's
        ({f"{CPU}/cpu1/topology/thread_siblings_list": "1"}, {"physical_cores": 2}),
        ({f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "nonsense"}, {"throttles": 4 + 12}),
    ],
)
@pytest.mark.usefixtures("two_cores")
def test_settings_are_told_apart(changed: dict[str, str], expected: dict[str, Any], tmp_path: Path) -> None:
    found = processor.processor(system(tmp_path, LAPTOP | changed))
    assert {name: getattr(found, name) for name in expected} == expected


def test_each_of_them_is_one_line() -> None:
    quiet = MachineState(0.0, 0, 1000, 3000.0, 4, Processor(("performance",), True, False, 7, 2), 10.0, 5.0, 100.0)
    later = replace(quiet, ticks=2000, busy_seconds=20.0, own_seconds=15.0, clock_seconds=110.0)
    assert quiet.doubts(later, 2) == {}

    def with_processor(**values: Any) -> MachineState:
        return replace(later, processor=replace(later.processor, **values))

    for state, threads, kind, words in (
        (with_processor(governors=("performance", "schedutil")), 2, "governor", "the governor schedutil sets the"),
        (with_processor(on_battery=True), 2, "battery", "the machine runs on its battery"),
        (with_processor(throttles=9), 2, "throttled", "heat slowed the processor down 2 time(s) meanwhile"),
        (with_processor(turbo=False), 2, "turbo", "turbo was switched off meanwhile"),
        (later, 3, "siblings", "3 threads share 2 physical core(s), as threads (SMT) of them; take at most 2"),
        (later, 5, "threads", "5 threads share 4 core(s) and wait for each other"),
        (replace(later, busy_seconds=40.0), 2, "load", "other processes kept 2.0 core(s) busy meanwhile"),
        (replace(later, stolen_ticks=100), 2, "stolen", "the hypervisor kept 10.0% of the processor's time"),
        (replace(later, megahertz=2000.0), 2, "clock", "the processor's clock fell from 3000 to 2000 MHz"),
    ):
        found = quiet.doubts(state, threads)
        assert list(found) == [kind]
        assert found[kind].startswith(words)
        assert len(found[kind].splitlines()) == 1
        assert kind in ("siblings", "threads") or list(quiet.doubts(state, 1, on_gpu=True)) == [kind]
    assert quiet.doubts(later, 5, on_gpu=True) == {}


def test_a_load_from_before_is_none_of_the_measurement() -> None:
    """A design that has just ended leaves a load average; where there is time enough, what others used is known."""
    busy = MachineState(3.0, 0, 0, busy_seconds=10.0, clock_seconds=5.0)
    later = replace(busy, busy_seconds=11.0, own_seconds=0.9, clock_seconds=6.0)
    assert busy.others(later) == pytest.approx(0.1)
    assert busy.doubts(later, 1) == {}
    soon = replace(later, clock_seconds=5.1)
    assert busy.others(soon) is None
    assert "the load average was 3.0" in busy.doubts(soon, 1)["load"]


def test_a_measurement_says_how_the_machine_is_set(laptop: Path) -> None:
    found = measure(one_block("basic"), timer=QUICK)
    told = " ".join(found.warnings)
    assert "the governor powersave" in told
    assert "on its battery" in told
    document = json.loads(json.dumps(found.to_dict()))
    assert (document["governors"], document["turbo"], document["on_battery"]) == (
        ["performance", "powersave"],
        True,
        True,
    )
    assert (document["throttled"], document["physical_cores"], document["cores"]) == (0, 1, 2)
    assert document["warnings"] == list(found.warnings)
    assert laptop.is_dir()


@pytest.mark.usefixtures("laptop")
def test_a_table_keeps_it_and_a_file_of_an_older_version_does_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.sqlite"
    told: list[str] = []
    build_table(
        small_space(), path, networks=2, short=2, timer=QUICK, progress=lambda progress: told.extend(progress.doubts)
    )
    assert any("on its battery" in doubt for doubt in told)
    (described,) = describe_tables(path)
    assert described["machine"] == "governor performance, powersave, turbo on, on battery, 1 physical core(s)"
    kinds = ("the governor powersave", "the machine runs on its battery")
    assert [any(one.startswith(kind) for one in described["warnings"]) for kind in kinds] == [True, True]
    assert run(["table", "show", str(path)]) == 0
    assert "governor performance, powersave, turbo on" in capsys.readouterr().out
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE machine_watches")
    (older,) = describe_tables(path)
    assert "machine" not in older
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE builds SET networks = 3")
        connection.execute("UPDATE series SET fit = NULL")
    build_table(small_space(), path, networks=3, short=2, timer=QUICK)  # its records get the table that is missing
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'machine_watches'").fetchall()


@pytest.mark.usefixtures("laptop")
def test_table_build_warns_of_each_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["table", "build", "examples/small.yaml", "--minutes", "0.001", "-o", str(tmp_path / "t.sqlite")]
    assert run([*arguments, "--json"]) == 0
    output = capsys.readouterr()
    warnings = [line for line in output.err.splitlines() if line.startswith("warning: the governor powersave")]
    assert len(warnings) == 1
    (described,) = json.loads(output.out)
    assert "on battery" in described["machine"]


def test_a_solution_keeps_what_made_its_measurement_doubtful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doubtful = replace(MachineState(0.0, 0, 1000), processor=Processor(on_battery=True))
    found = Measurement((1.0,) * 20, CONDITIONS, doubtful, doubtful)
    monkeypatch.setattr(measurements, "measure_apart", lambda *_arguments, **_options: [found])
    path = tmp_path / "net.json"
    limits = ["--macs", "3M", "--params", "none", "--rho", "0.3", "--time-limit", "5", "--workers", "1"]
    assert run(["design", "examples/small.yaml", *limits, "--measure", "-o", str(path)]) == 0
    assert capsys.readouterr().err.count("warning: the machine runs on its battery") == 1
    solution = Solution.load(path)
    assert solution.measured is not None
    assert solution.measured.warnings == found.warnings
    assert run(["show", str(path)]) == 0
    assert "warning: measured: the machine runs on its battery" in capsys.readouterr().out


@pytest.mark.usefixtures("laptop")
def test_doctor_tells_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_NEEDED", {})
    monkeypatch.setattr(doctor, "_EXTRAS", {})
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert run(["doctor"]) == 0
    output = capsys.readouterr()
    assert "2 of 3 cores" in output.out.splitlines()[0]
    assert "processor: governor performance, powersave, turbo on, on battery, 1 physical core(s)" in output.out
    assert "warning: a measurement would be doubtful now: the machine runs on its battery" in output.err
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["cores"], report["cores_of_machine"], report["machine"]["on_battery"]) == (2, 3, True)


def test_sentences_that_differ_in_numbers_alone_are_told_once() -> None:
    once = Once()
    first = list(once.new(["the load was 3.5, of 2", "the load was 1,234.5, of 2", "another"]))
    assert first == ["the load was 3.5, of 2", "another"]
    assert list(once.new(["another", "a third"])) == ["a third"]
