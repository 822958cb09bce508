"""Timing callables: warm up until stable, repeat within a time budget, keep every raw time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from deepmad.profilers.prediction.rows import Visit

Clock = Callable[[], float]
_DRAWS_AT_ONCE = 1_000_000
"""Times that the bootstrap draws at once: 100,000 of them, a thousand times over, would take gigabytes."""


@dataclass(frozen=True)
class Timer:
    """How to time: seconds of warm-up at the least and at the most, seconds and repeats of the measurement.

    Warming up ends when the median of the last five runs is within `stable` of the five before. Each
    callable is visited `visits` times, so that several of them are interleaved A B A B. A callable that
    returns a float has timed itself, in seconds by its device's clock.
    """

    seconds: float = 1.0
    min_repeats: int = 7
    warmup_seconds: float = 0.2
    max_warmup_seconds: float = 3.0
    stable: float = 0.02
    visits: int = 5

    def warm_up(self, run: Callable[[], object], clock: Clock = perf_counter) -> None:
        """Run until the times settle or the longest warm-up is over."""
        times: Visit = []
        start = clock()
        while True:
            seconds = _timed(run, clock)
            now = clock()
            times.append(seconds)
            if now - start > self.max_warmup_seconds:
                return
            if len(times) >= 10 and now - start >= self.warmup_seconds:
                last, earlier = np.median(times[-5:]), np.median(times[-10:-5])
                if abs(last - earlier) <= self.stable * earlier:
                    return

    def visit_all(
        self,
        runs: Sequence[Callable[[], object]],
        clock: Clock = perf_counter,
        *,
        shares: Sequence[float] | None = None,
    ) -> list[list[Visit]]:
        """Return, for every callable, the raw times of each of its visits in seconds, in the order they were taken.

        The callables take turns, so that drift hits all alike. A visit opens with an untimed run, which brings back
        the caches that the others used meanwhile: what is timed is a network that runs alone. `shares` says what part
        of the seconds each callable gets, all of them where it is None.
        """
        for run in runs:
            self.warm_up(run, clock)
        found: list[list[Visit]] = [[] for _ in runs]
        for _ in range(self.visits):
            for run, visits, share in zip(runs, found, shares or [1.0] * len(runs), strict=True):
                if len(runs) > 1:
                    run()
                visits.append(self._visit(run, clock, share * self.seconds))
        return found

    def _visit(self, run: Callable[[], object], clock: Clock, seconds: float) -> Visit:
        """Return the raw times of one visit: its part of `seconds` and of the repeats at the least."""
        times: Visit = []
        start = clock()
        while len(times) * self.visits < self.min_repeats or (clock() - start) * self.visits < seconds:
            times.append(_timed(run, clock))
        return times


def _timed(run: Callable[[], object], clock: Clock) -> float:
    """Return the seconds of one run: by its device's own clock where it returns them as a float, else by `clock`."""
    before = clock()
    found = run()
    after = clock()
    return found if isinstance(found, float) else after - before


def bootstrap_interval(times: Sequence[float], *, seed: int = 0, resamples: int = 1000) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the median of `times`."""
    rng, values = np.random.default_rng(seed), np.asarray(times)
    at_once = max(1, _DRAWS_AT_ONCE // len(values))
    medians = [
        np.median(rng.choice(values, size=(min(at_once, resamples - done), len(values))), axis=1)
        for done in range(0, resamples, at_once)
    ]
    low, high = np.percentile(np.concatenate(medians), [2.5, 97.5])
    return float(low), float(high)
