"""What a command has left of its time: loading and preparing count, work that is limited otherwise is left alone."""

import time
from pathlib import Path

import psutil
import pytest

from deepmad.cli import clock
from deepmad.cli.clock import ENDING_SECONDS, began_at, process_began, seconds_so_far
from deepmad.cli.design import LEAST_SHARE, _with_what_is_left
from deepmad.engine.solvers.evolution.islands import Epoch
from deepmad.engine.solvers.evolution.judging import Verdicts
from deepmad.engine.solvers.settings import Auto, CpSat, Evolution, Rows, Solver
from deepmad.tasks.pace import slowness


def test_what_was_prepared_counts_and_the_end_is_kept_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 104.0)
    monkeypatch.setattr(clock, "slowness", lambda: 3.0)  # as beside four busy loops on two cores
    end = 3 * ENDING_SECONDS
    assert seconds_so_far() == 0.0
    with began_at(100.0):
        assert seconds_so_far() == 4.0
        timed: list[Solver] = [Auto(10.0), CpSat(10.0), Rows(10.0), Evolution(10.0)]
        assert [_with_what_is_left(one, 0.0).time_limit for one in timed] == [6.0 - end] * 4
        assert _with_what_is_left(Evolution(10.0), 0.5).time_limit == pytest.approx(4.5 - end)
        assert _with_what_is_left(CpSat(3.0), 0.0).time_limit == LEAST_SHARE * 3.0
        others: list[Solver] = [CpSat(deterministic_limit=1.0), Evolution(None, generations=3)]
        assert [_with_what_is_left(one, 0.0) for one in others] == others
    with began_at(None):
        assert seconds_so_far() == 0.0


def test_islands_on_one_machine_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 104.0)
    none = Verdicts.none(3)
    assert Epoch(none, 8, 1, 5.0).end() == 109.0
    assert Epoch(none, 8, 1, 5.0, ends=107.0).end() == 107.0  # two seconds went into starting the process
    assert Epoch(none, 8, 1, None).end() is None


def test_a_command_began_when_its_process_did(tmp_path: Path) -> None:
    began = process_began(time.monotonic())
    assert time.time() - time.monotonic() + began == pytest.approx(psutil.Process().create_time(), abs=1.0)
    fields = " ".join(["S", *map(str, range(18)), str(10**15)])  # from the third field on; started far in the future
    for content in (f"7 (an odd) name) {fields}", "nonsense", "7 (short) S 1"):
        (tmp_path / "stat").write_text(content, encoding="utf-8")
        assert process_began(123.0, tmp_path / "stat") == 123.0
    assert process_began(123.0, tmp_path / "missing") == 123.0


def test_a_machine_is_as_slow_as_threads_wait(tmp_path: Path) -> None:
    assert slowness() >= 1.0
    for content, slow in (("2000 4000 7", 3.0), ("2000 0 7", 1.0), ("0 0 0", 1.0), ("nonsense", 1.0)):
        (tmp_path / "schedstat").write_text(content, encoding="ascii")
        assert slowness(tmp_path / "schedstat") == slow
    assert slowness(tmp_path / "missing") == 1.0
