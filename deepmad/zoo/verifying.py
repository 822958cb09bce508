"""Verifying the entries of a zoo on this machine: one measurement at a time, while nothing else is computed."""

import time
from collections.abc import Callable
from dataclasses import replace

from deepmad.engine.loop import design_measured
from deepmad.engine.problems import Problem
from deepmad.engine.solutions import Measured, Round, Solution
from deepmad.engine.solvers import Solver
from deepmad.profilers.table_files import Key
from deepmad.search_spaces.architectures import Architecture

Timing = Callable[[Key, Architecture | str], Measured]
"""What times a network, an architecture or one that `deepmad measure` knows by name, under a table's conditions."""


class Stopwatch:
    """A way to time networks under one set of conditions, and the seconds spent with it."""

    def __init__(self, timing: Timing, key: Key) -> None:
        self.timing, self.key = timing, key
        self.seconds = 0.0

    def __call__(self, network: Architecture) -> Measured:
        """Time a network."""
        began = time.monotonic()
        try:
            return self.timing(self.key, network)
        finally:
            self.seconds += time.monotonic() - began


def verified(
    problem: Problem,
    solver: Solver,
    watch: Stopwatch,
    first: Solution,
    *,
    rounds: int,
    on_round: Callable[[Round], None] | None = None,
) -> Solution:
    """Return what the measured loop makes of a solved entry; its seconds are those of all solves, without measuring.

    Raises what `design_measured` raises, and `DeviceError` where a network cannot be timed.
    """
    began, before = time.monotonic(), watch.seconds
    solution = design_measured(problem, solver, watch, rounds=rounds, first=first, on_round=on_round)
    solving = time.monotonic() - began - (watch.seconds - before)
    return replace(solution, seconds=first.seconds + solving)
