"""Networks of a zoo are timed in turns with another one, so that a slow minute is not taken for a slow network."""

from dataclasses import replace
from pathlib import Path

import pytest

from deepmad.engine.answers.solutions import Measured, Solution
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.machine import MachineState
from deepmad.profilers.measuring.measurements import Conditions, Measurement
from deepmad.profilers.measuring.steps import Tell
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture
from deepmad.zoo import making
from deepmad.zoo.making import News
from deepmad.zoo.measuring import Companion, at_usual_speed, timed_apart
from tests.catalogue import mixed
from tests.zoo_parts import Replay, spec_of, written

KEY = Key("onnxruntime", "fp32", 1, 1)


def timed(*times: float) -> Measurement:
    """Return a measurement of these seconds on a quiet machine."""
    conditions = Conditions("cpu", "onnxruntime", "1", "fp32", 2, 1, 3, 32, "2026-01-01T00:00:00+00:00")
    quiet = MachineState(0.1, 0, 1000)
    return Measurement(times, conditions, quiet, quiet)


def test_a_slow_minute_is_not_taken_for_a_slow_network() -> None:
    quiet = at_usual_speed(timed(*[0.02] * 20), timed(*[0.05] * 20), 0.05)
    assert (quiet.latency_seconds, quiet.clock_seconds, quiet.throughput) == pytest.approx((0.02, 0.02, 100.0))
    slow = at_usual_speed(timed(*[0.03] * 20), timed(*[0.075] * 20), 0.05)
    assert (slow.latency_seconds, slow.clock_seconds, slow.throughput) == pytest.approx((0.02, 0.03, 100.0))
    assert (slow.low, slow.high) == pytest.approx((0.02, 0.02))


def test_what_disturbs_some_of_the_turns_changes_nothing() -> None:
    """Other work during a third of the network's times, and none of the companion's."""
    found = at_usual_speed(timed(*[0.02] * 14, *[0.04] * 7), timed(*[0.05] * 21), 0.05)
    assert found.latency_seconds == pytest.approx(0.02)


def test_a_network_beside_itself_takes_what_its_companion_usually_does() -> None:
    network = mixed()
    found = timed_apart(KEY, network, 0.2, Companion(network, 3600.0))
    assert found.clock_seconds is not None
    assert 0 < found.clock_seconds < 36 < found.latency_seconds
    assert found.low <= found.latency_seconds <= found.high
    alone = timed_apart(KEY, network, 0.2)
    assert alone.clock_seconds is None
    assert 0 < alone.latency_seconds < 36


def test_the_interval_is_that_of_both_networks() -> None:
    """Where only the companion scatters, so does the latency."""
    found = at_usual_speed(timed(*[0.02] * 20), timed(*[0.05, 0.06, 0.055, 0.052] * 5), 0.05)
    assert found.low < found.latency_seconds <= found.high < 0.0201
    assert found.high - found.low > 0.0002


def test_what_cannot_be_timed_beside_another_is_told() -> None:
    with pytest.raises(DeviceError, match="onnxruntime"):
        timed_apart(KEY, "no_such_module:network", 0.1, Companion(mixed(), 1.0))


@pytest.mark.usefixtures("solves_here")
def test_a_zoo_tells_waits_and_doubts_and_keeps_these(
    small_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = Replay(small_tables)
    doubts = ("the machine runs on its battery", "other processes kept 1.5 core(s) busy meanwhile")

    def timed(key: Key, network: Architecture, *_: object, tell: Tell) -> Measured:
        tell("preparing it")
        tell("waiting for process 7", lasting=True)
        return replace(replay(key, network), warnings=doubts)

    monkeypatch.setattr(making, "timed_apart", timed)
    told: list[News] = []
    spec = written(tmp_path, spec_of(small_tables, targets={"relative": [1.2]}, verify={"measure": True}))
    document = making.make_zoo(spec, tmp_path / "zoo", tell=told.append)
    lines = [news.line for news in told]
    assert "waiting for process 7" in lines
    assert "preparing it" not in lines
    assert [news.line for news in told if news.line.startswith("warning: ")] == [f"warning: {one}" for one in doubts]
    assert all(news.lasting for news in told if news.line.startswith("warning: "))
    assert [tuple(entry["measured"]["warnings"]) for entry in document["entries"]] == [doubts]
    (entry,) = document["entries"]
    assert Solution.load(tmp_path / "zoo" / entry["files"]["solution"]).measured is not None
    assert doubts[0] in (tmp_path / "zoo" / entry["files"]["card"]).read_text(encoding="utf-8")
