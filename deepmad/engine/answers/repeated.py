"""Repeated measurements of one network: which of them count, and which one speaks for all.

Beside a measurement the reference network is timed, the same small network every time. Where it was slower than it is
at other times, so was the machine, and the measurement says little about the network: it is taken again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deepmad.engine.answers.solutions import Measured

MEASUREMENTS, MOST_MEASUREMENTS, AGREEMENT = 3, 7, 0.03
"""The least and the most measurements of a network in one round, both odd. Two more are taken as long as the three in
the middle are further apart than the last share."""
MOST_IN_ALL = 11
"""The most measurements of a network in one round, those left out included."""
DRIFTED = 0.15
"""A measurement whose reference took longer than the fastest one by more than this share is left out."""


@dataclass
class Machine:
    """How fast the machine is known to be: the least seconds of the reference network beside any measurement so far."""

    fastest: float = math.inf

    def see(self, measured: Measured) -> Measured:
        """Take note of a measurement, and return it."""
        self.fastest = min(self.fastest, measured.reference_seconds or math.inf)
        return measured

    def drift(self, measured: Measured) -> float:
        """Return by which share the machine was slower than it can be; 0 where no reference was timed."""
        return 0.0 if measured.reference_seconds is None else measured.reference_seconds / self.fastest - 1

    def steady(self, times: Sequence[Measured]) -> list[Measured]:
        """Return the measurements that are not left out."""
        return [measured for measured in times if self.drift(measured) <= DRIFTED]

    def agreeing(self, take: Callable[[], Measured]) -> list[Measured]:
        """Return measurements of which the middle three that count agree, or as many as are taken at most."""
        times: list[Measured] = []
        while len(times) < MOST_IN_ALL and len(self.steady(times)) < MOST_MEASUREMENTS:
            times += [self.see(take()) for _ in range(2 if times else MEASUREMENTS)]
            seconds = sorted(measured.latency_seconds for measured in self.steady(times))
            middle = len(seconds) // 2
            if len(seconds) >= MEASUREMENTS and seconds[middle + 1] <= (1 + AGREEMENT) * seconds[middle - 1]:
                break
        return times

    def left_out(self, times: Sequence[Measured]) -> int:
        """Return how many measurements are left out; none where all would be."""
        return (len(times) - len(self.steady(times))) % len(times)

    def middle(self, times: Sequence[Measured]) -> Measured:
        """Return the middle one of the measurements that count, with a warning where others were left out.

        Where all of them would be, all count. Of an even number the slower of the two in the middle is taken.
        """
        one = middle(self.steady(times) or times)
        worst = max(map(self.drift, times))
        if worst <= DRIFTED:
            return one
        if self.steady(times):
            told = (
                f"{self.left_out(times)} of {len(times)} measurements were left out: the reference network ran up to "
                f"{worst:.0%} slower beside them"
            )
        else:
            told = (
                f"the machine was slower in all {len(times)} measurements than before (the reference network by up to "
                f"{worst:.0%}), so the latency may be too high; run it again while nothing else runs"
            )
        return replace(one, warnings=(*one.warnings, told))


def middle(times: Sequence[Measured]) -> Measured:
    """Return the middle one of some measurements; of an even number the slower of the two."""
    return sorted(times, key=lambda measured: measured.latency_seconds)[len(times) // 2]


def agreed(take: Callable[[], Measured]) -> Measured:
    """Return the one that speaks for as many measurements as it takes for them to agree; `take` takes one."""
    machine = Machine()
    return machine.middle(machine.agreeing(take))


def undecided(measured: Measured, target: float) -> bool:
    """Return whether the 95 % interval of a measurement holds the target, so that another may come out otherwise."""
    return measured.low <= target <= measured.high and measured.low < measured.high
