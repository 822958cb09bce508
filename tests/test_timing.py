"""Timing with a clock that only moves when the timed callables say so."""

import numpy as np
import pytest

from deepmad.profilers.measuring.timing import Timer, bootstrap_interval


class FakeClock:
    """A clock in seconds that callables move forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Task:
    """A callable that takes the seconds it is given, one after another, the last one for ever."""

    def __init__(self, clock: FakeClock, *seconds: float) -> None:
        self.clock, self.seconds, self.runs = clock, seconds, 0

    def __call__(self) -> None:
        self.clock.now += self.seconds[min(self.runs, len(self.seconds) - 1)]
        self.runs += 1


def test_times_are_kept_in_order_and_fill_the_budget() -> None:
    clock = FakeClock()
    timer = Timer(seconds=1.0, min_repeats=1, warmup_seconds=0.0, visits=1)
    ((times,),) = timer.visit_all([Task(clock, *[0.125] * 10, 0.25, 0.5, 0.25)], clock)
    assert times == [0.25, 0.5, 0.25]


def test_repeats_at_the_least_even_above_the_budget() -> None:
    clock = FakeClock()
    ((times,),) = Timer(seconds=1.0, min_repeats=7, visits=1).visit_all([Task(clock, 4.0)], clock)
    assert len(times) == 7


def test_warm_up_waits_for_settled_times_and_gives_up_in_the_end() -> None:
    clock = FakeClock()
    settling = Task(clock, *[1.0] * 20, 0.5)
    timer = Timer(warmup_seconds=0.0, max_warmup_seconds=1000.0, stable=0.02)
    timer.warm_up(Task(clock, *np.linspace(2, 1, 40), 1.0), clock)
    before = clock.now
    timer.warm_up(settling, clock)
    assert clock.now - before == 10.0  # settled at once, after the ten runs that the decision needs
    growing = Task(clock, *np.cumsum(np.ones(100)))
    before = clock.now
    Timer(max_warmup_seconds=50.0).warm_up(growing, clock)
    assert 50.0 < clock.now - before < 70.0


def test_several_callables_take_turns() -> None:
    clock = FakeClock()
    order: list[str] = []

    def task(name: str, seconds: float) -> None:
        order.append(name)
        clock.now += seconds

    timer = Timer(seconds=0.5, min_repeats=2, warmup_seconds=0.0, visits=2)
    visits = timer.visit_all([lambda: task("a", 0.25), lambda: task("b", 0.125)], clock)
    assert visits == [[[0.25], [0.25]], [[0.125] * 2, [0.125] * 2]]
    assert "".join(order[20:]) == "aabbb" * 2  # a visit opens with a run that is not timed


def test_bootstrap_interval_holds_the_median_and_narrows() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(1.0, 0.1, 10), rng.normal(1.0, 0.1, 1000)
    low, high = bootstrap_interval(few.tolist())
    narrow_low, narrow_high = bootstrap_interval(many.tolist())
    assert low <= np.median(few) <= high
    assert narrow_low <= np.median(many) <= narrow_high
    assert narrow_high - narrow_low < high - low
    assert bootstrap_interval([2.0] * 5) == (2.0, 2.0)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_bootstrap_interval_covers_the_true_median_about_as_often_as_it_says(share: float) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        low, high = bootstrap_interval(rng.lognormal(0.0, share, 40).tolist(), resamples=300)
        hits += low <= 1.0 <= high
    assert 85 <= hits <= 100


def test_a_device_that_times_itself_is_believed() -> None:
    clock = FakeClock()
    task = Task(clock, 0.5)

    def timed_by_its_device() -> float:
        task()
        return 0.125

    ((times,),) = Timer(seconds=5.0, visits=1).visit_all([timed_by_its_device], clock)
    assert set(times) == {0.125}


def test_a_callable_may_have_a_smaller_share_of_the_seconds() -> None:
    clock = FakeClock()
    timer = Timer(seconds=10.0, min_repeats=2, warmup_seconds=0.0, max_warmup_seconds=0.0, visits=2)
    whole, part = timer.visit_all([Task(clock, 0.5), Task(clock, 0.5)], clock, shares=[1.0, 0.2])
    assert [len(visit) for visit in whole] == [10, 10]
    assert [len(visit) for visit in part] == [2, 2]


def test_many_times_have_their_interval_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in parts, since all at once would take gigabytes, it is the very same interval."""
    times = np.random.default_rng(2).lognormal(0.0, 0.3, 1001).tolist()
    at_once = bootstrap_interval(times, resamples=100)
    monkeypatch.setattr("deepmad.profilers.measuring.timing._DRAWS_AT_ONCE", 7 * 1001)
    assert bootstrap_interval(times, resamples=100) == at_once
    monkeypatch.setattr("deepmad.profilers.measuring.timing._DRAWS_AT_ONCE", 1)
    assert bootstrap_interval(times, resamples=100) == at_once
