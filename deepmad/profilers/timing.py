"""Timing a callable: warm up until stable, repeat within a time budget, keep every raw time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timer:
    """How to time: seconds of warm-up at the least and at the most, seconds and repeats of the measurement.

    Warming up ends when the median of the last five runs is within `stable` of the five before.
    """

    seconds: float = 1.0
    min_repeats: int = 7
    warmup_seconds: float = 0.2
    max_warmup_seconds: float = 3.0
    stable: float = 0.02

    def warm_up(self, run: Callable[[], object], clock: Clock = time.perf_counter) -> None:
        """Run until the times settle or the longest warm-up is over."""
        times: list[float] = []
        start = clock()
        while True:
            before = clock()
            run()
            now = clock()
            times.append(now - before)
            if now - start > self.max_warmup_seconds:
                return
            if len(times) >= 10 and now - start >= self.warmup_seconds:
                last, earlier = np.median(times[-5:]), np.median(times[-10:-5])
                if abs(last - earlier) <= self.stable * earlier:
                    return

    def time(self, run: Callable[[], object], clock: Clock = time.perf_counter) -> list[float]:
        """Return the raw times of `run` in seconds, warmed up, in the order they were taken."""
        return self.time_all([run], clock)[0]

    def time_all(self, runs: Sequence[Callable[[], object]], clock: Clock = time.perf_counter) -> list[list[float]]:
        """Return the raw times of every callable, interleaved A B A B so that drift hits all alike.

        Each callable gets `seconds` on average, and at least `min_repeats` runs.
        """
        for run in runs:
            self.warm_up(run, clock)
        times: list[list[float]] = [[] for _ in runs]
        start = clock()
        while len(times[0]) < self.min_repeats or clock() - start < self.seconds * len(runs):
            for run, found in zip(runs, times, strict=True):
                before = clock()
                run()
                found.append(clock() - before)
        return times


def bootstrap_interval(times: Sequence[float], *, seed: int = 0, resamples: int = 1000) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the median of `times`."""
    draws = np.random.default_rng(seed).choice(np.asarray(times), size=(resamples, len(times)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)
