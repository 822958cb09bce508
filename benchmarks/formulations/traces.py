"""Traces: the best network and the upper bound of a solve over time."""

import time
from dataclasses import dataclass, field

from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture


@dataclass
class Trace:
    """What a solve knew at which second: (seconds, best objective, upper bound), None for what is not known."""

    problem: Problem
    start: float = field(default_factory=time.monotonic)
    points: list[tuple[float, float | None, float | None]] = field(default_factory=list)
    best: float | None = None
    bound: float | None = None

    def offer(self, network: Architecture) -> None:
        """Take a network if it is feasible and better than the best, both recounted from its layer records."""
        if self.problem.broken(network):
            return
        value = self.problem.value(network)
        if self.best is None or value > self.best:
            self.best = value
            self._note()

    def lower(self, bound: float | None) -> None:
        """Take a bound if it is better."""
        if bound is not None and bound < 1e15 and (self.bound is None or bound < self.bound):
            self.bound = bound
            self._note()

    def _note(self) -> None:
        self.points.append((time.monotonic() - self.start, self.best, self.bound))
