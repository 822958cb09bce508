"""What a command has left of its time: loading and preparing count, work that is limited otherwise is left alone."""

import time

import pytest

from deepmad.cli.clock import began_at, seconds_so_far
from deepmad.cli.design import LEAST_SHARE, _with_what_is_left
from deepmad.engine.solvers.evolution.islands import Epoch
from deepmad.engine.solvers.evolution.judging import Verdicts
from deepmad.engine.solvers.settings import Auto, CpSat, Evolution, Rows, Solver


def test_what_was_prepared_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 104.0)
    assert seconds_so_far() == 0.0
    with began_at(100.0):
        assert seconds_so_far() == 4.0
        timed: list[Solver] = [Auto(10.0), CpSat(10.0), Rows(10.0), Evolution(10.0)]
        assert [_with_what_is_left(one).time_limit for one in timed] == [6.0] * 4
        assert _with_what_is_left(CpSat(3.0)).time_limit == LEAST_SHARE * 3.0
        others: list[Solver] = [CpSat(deterministic_limit=1.0), Evolution(None, generations=3)]
        assert [_with_what_is_left(one) for one in others] == others
    with began_at(None):
        assert seconds_so_far() == 0.0


def test_islands_on_one_machine_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 104.0)
    none = Verdicts.none(3)
    assert Epoch(none, 8, 1, 5.0).end() == 109.0
    assert Epoch(none, 8, 1, 5.0, ends=107.0).end() == 107.0  # two seconds went into starting the process
    assert Epoch(none, 8, 1, None).end() is None
