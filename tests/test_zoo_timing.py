"""Networks of a zoo are timed in turns with another one, so that a slow minute is not taken for a slow network."""

import pytest

from deepmad.profilers.errors import DeviceError
from deepmad.profilers.measuring.machine import MachineState
from deepmad.profilers.measuring.measurements import Conditions, Measurement
from deepmad.profilers.tables.table_files import Key
from deepmad.zoo.measuring import Companion, at_usual_speed, timed_apart
from tests.catalogue import mixed

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
