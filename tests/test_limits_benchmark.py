"""The benchmark of time limits: its inputs are the same for a seed and may be designed, a run tells what happened."""

import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.limits import running
from benchmarks.limits.inputs import Input, convolution_times, named_inputs, random_inputs
from benchmarks.limits.running import Course, busy_loops, run
from deepmad.profilers.importing.tinynas_files import read_tinynas
from deepmad.search_spaces.spaces import load_space
from tests.catalogue import ROOT

KINDS = 10


def test_the_inputs_are_the_same_for_a_seed() -> None:
    every = [*named_inputs(), *random_inputs(1)]
    assert len({one.name for one in every}) == len(every) >= 38
    assert list(random_inputs(1)) == list(random_inputs(1)) != list(random_inputs(2))
    assert len({one.name.partition("-")[0] for one in random_inputs(1)}) == KINDS


def test_every_space_is_one(tmp_path: Path) -> None:
    for one in (*named_inputs(), *random_inputs(1)):
        words = one.command(tmp_path)
        assert len(load_space(words[1]).stages) >= 3
        assert words[-2:] == ["--time-limit", f"{one.seconds:g}"]


def test_the_invented_times_are_a_table(tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text(convolution_times(), encoding="utf-8")
    times, _, left_out = read_tinynas(tmp_path / "times.txt")
    assert left_out.count == 0
    assert {int(batch) for batch in times.batch} == {1, 64}


def test_a_run_tells_its_end_its_lines_and_its_solution(tmp_path: Path) -> None:
    one = Input("small", str(ROOT / "examples" / "small.yaml"), ("--workers", "1"), 2.0)
    course = run(one.command(tmp_path), ROOT, tmp_path / "solution.json", patience=600.0)
    assert course.code == 0
    assert course.solution["architecture"] is not None
    assert course.first_line is not None
    assert 0 < course.first_line <= course.seconds
    assert course.peak > 10e6


def test_a_run_without_an_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/sleep")  # what gets the words ends at once, with an error
    assert run(["--help"], ROOT, tmp_path / "solution.json", patience=60.0).code
    script = tmp_path / "hang"
    script.write_text("#!/bin/sh\necho begun\nexec sleep 1000\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    course = run([], ROOT, tmp_path / "solution.json", patience=0.5)
    assert course.code is None
    assert course.solution == {}


def test_the_longest_silence_is_from_start_to_end() -> None:
    course = Course(0, 9.0, [2.0, 3.0, 8.0], 0, "", {})
    assert (course.first_line, course.longest_silence) == (2.0, 5.0)
    assert Course(0, 9.0, [], 0, "", {}).longest_silence == 9.0


def test_busy_loops_end() -> None:
    with busy_loops(2):
        loops = [one for one in psutil.Process().children() if running.BUSY in " ".join(one.cmdline())]
    assert not any(one.is_running() for one in loops)
