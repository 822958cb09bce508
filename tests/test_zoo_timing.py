"""Networks of a zoo are timed in turns with another one, so that a slow minute is not taken for a slow network."""

import pytest

from deepmad.profilers.errors import DeviceError
from deepmad.profilers.machine import MachineState
from deepmad.profilers.measurements import Conditions, Measurement
from deepmad.profilers.table_files import Key
from deepmad.zoo.measuring import Companion, paced, timed_apart
from tests.catalogue import mixed

KEY = Key("onnxruntime", "fp32", 1, 1)


def timed(*times: float) -> Measurement:
    """Return a measurement of these seconds on a quiet machine."""
    conditions = Conditions("cpu", "onnxruntime", "1", "fp32", 2, 1, 3, 32, "2026-01-01T00:00:00+00:00")
    quiet = MachineState(0.1, 0, 1000)
    return Measurement(times, conditions, quiet, quiet)


def test_a_slow_minute_is_not_taken_for_a_slow_network() -> None:
    quiet = paced(timed(*[0.02] * 20), timed(*[0.05] * 20), 0.05)
    assert (quiet.latency_seconds, quiet.pace, quiet.throughput) == pytest.approx((0.02, 1.0, 100.0))
    slow = paced(timed(*[0.03] * 20), timed(*[0.075] * 20), 0.05)
    assert (slow.latency_seconds, slow.pace, slow.throughput) == pytest.approx((0.02, 1.5, 100.0))
    assert (slow.low, slow.high) == pytest.approx((0.02, 0.02))


def test_what_disturbs_some_of_the_turns_changes_nothing() -> None:
    """Other work during a third of the network's times, and none of the companion's."""
    found = paced(timed(*[0.02] * 14, *[0.04] * 7), timed(*[0.05] * 21), 0.05)
    assert found.latency_seconds == pytest.approx(0.02)


def test_a_network_beside_itself_takes_what_its_companion_usually_does() -> None:
    network = mixed()
    found = timed_apart(KEY, network, 0.2, Companion(network, 3600.0))
    assert found.pace is not None
    assert found.pace < 0.01  # a batch takes less than 36 seconds
    assert 0 < found.latency_seconds * found.pace < 36
    alone = timed_apart(KEY, network, 0.2)
    assert alone.pace is None
    assert 0 < alone.latency_seconds < 36


def test_what_cannot_be_timed_beside_another_is_told() -> None:
    with pytest.raises(DeviceError, match="onnxruntime"):
        timed_apart(KEY, "no_such_module:network", 0.1, Companion(mixed(), 1.0))
