"""Repeated measurements on an unquiet machine: what drifted is taken again, not counted, and told."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from deepmad.engine.answers.repeated import (
    MEASUREMENTS,
    MOST_IN_ALL,
    Machine,
    agreed,
    middle,
    undecided,
)
from deepmad.engine.answers.solutions import Measured, Status
from deepmad.engine.measured_loop import design_measured
from deepmad.search_spaces.architectures import Architecture
from tests.test_loop import SOLVER, Device, least_predicted, problem, within


def timed(seconds: float, reference: float | None = None) -> Measured:
    """Return a measurement beside which the reference network took so long."""
    what = (None, "toy", "toy", "1", "fp32", 1, 1, "2026-01-01")
    return Measured(seconds, seconds, seconds, 1 / seconds, *what, reference_seconds=reference)


def takes(*pairs: tuple[float, float | None]) -> Iterator[Measured]:
    return iter([timed(*pair) for pair in pairs])


def test_measurements_beside_a_slow_reference_are_taken_again_and_left_out() -> None:
    given = takes((2.0, 1.0), (4.0, 2.0), (4.1, 2.0), (2.01, 1.0), (2.02, 1.01))
    found = agreed(lambda: next(given))
    assert found.latency_seconds == 2.01
    (told,) = found.warnings
    assert "2 of 5 measurements were left out" in told
    assert "100% slower" in told
    assert next(given, None) is None


def test_without_a_reference_all_measurements_count() -> None:
    given = takes((2.0, None), (2.01, None), (2.02, None))
    found = agreed(lambda: next(given))
    assert (found.latency_seconds, found.warnings) == (2.01, ())


def test_a_machine_that_stays_slow_ends_the_round_and_is_told() -> None:
    machine = Machine()
    machine.see(timed(1.0, 1.0))
    times = machine.agreeing(lambda: timed(3.0, 1.5))
    assert len(times) == MOST_IN_ALL
    assert machine.left_out(times) == 0
    found = machine.middle(times)
    assert found.latency_seconds == 3.0
    assert "slower in all 11 measurements" in found.warnings[0]


def test_of_an_even_number_the_slower_middle_one_speaks() -> None:
    assert middle([timed(1.0), timed(3.0), timed(2.0), timed(4.0)]).latency_seconds == 3.0


@pytest.mark.parametrize(("low", "high", "doubt"), [(0.9, 1.1, True), (1.05, 1.1, False), (1.0, 1.0, False)])
def test_an_interval_that_holds_the_target_decides_nothing(low: float, high: float, doubt: bool) -> None:
    assert undecided(replace(timed(1.0), low=low, high=high), 1.0) is doubt


class Unquiet(Device):
    """A device that is twice as slow, its reference network with it, in some measurements."""

    def __init__(self, factor: float, slow: frozenset[int]) -> None:
        super().__init__(factor)
        self.slow = slow

    def __call__(self, network: Architecture) -> Measured:
        times = 2.0 if self.measured in self.slow else 1.0
        measured = super().__call__(network)
        seconds = measured.latency_seconds * times
        return replace(measured, latency_seconds=seconds, low=seconds, high=seconds, reference_seconds=0.001 * times)


def test_a_slow_minute_does_not_correct_the_limit() -> None:
    target = problem(0.6)
    quiet = design_measured(target, SOLVER, Unquiet(1.0, frozenset()))
    unquiet = design_measured(target, SOLVER, Unquiet(1.0, frozenset({1, 2, 4})))
    assert unquiet.architecture == quiet.architecture
    assert quiet.rounds is not None
    assert unquiet.rounds is not None
    assert quiet.rounds[0].left_out == 0
    assert (unquiet.rounds[0].left_out or 0) >= 2
    assert [one.limit for one in unquiet.rounds] == [one.limit for one in quiet.rounds]


def test_that_none_meets_the_target_takes_more_than_a_doubtful_time() -> None:
    target = 0.97 * least_predicted()

    class Wide(Device):
        def __call__(self, network: Architecture) -> Measured:
            measured = super().__call__(network)
            return replace(measured, low=0.9 * measured.latency_seconds, high=1.1 * measured.latency_seconds)

    sure = design_measured(within(target), SOLVER, Device(1.0))
    assert sure.status is Status.INFEASIBLE
    unsure = design_measured(within(target), SOLVER, Wide(1.0))
    assert unsure.status is not Status.INFEASIBLE
    assert unsure.measured is not None
    assert unsure.measured.violated
    assert "unsteady: the 95 % interval" in unsure.message


def test_a_miss_of_the_fastest_network_is_confirmed() -> None:
    device = Device(1.0)
    design_measured(within(0.97 * least_predicted()), SOLVER, device, confirm=False)
    assert device.measured == 2 * MEASUREMENTS + 1
