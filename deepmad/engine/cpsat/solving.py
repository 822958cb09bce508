"""Solving the integer program: search, progress, exact checks of what is found, and a valid bound."""

import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ortools.sat.python import cp_model

from deepmad.engine.cpsat.program import OBJECTIVE_UNIT, Program, build_program
from deepmad.engine.problems import Problem
from deepmad.search_spaces.architectures import Architecture

Status = Literal["optimal", "feasible", "infeasible", "unknown"]
OnProgress = Callable[[Architecture | None, float | None, float], None]
CLOSED = 1e-6
"""A relative gap below this counts as none."""
_SOLVER_GAP = 2e-7
_HINT_SECONDS = 5.0


@dataclass(frozen=True)
class ExactResult:
    """What the search proved: the best network, and an upper bound on the objective, in its own units."""

    status: Status
    network: Architecture | None
    bound: float | None


@dataclass(frozen=True)
class Settings:
    """How long and how to search; see `solve`."""

    seconds: float | None
    deterministic_limit: float | None
    workers: int
    seed: int
    gap: float


@dataclass
class _Search:
    """What one call to `solve` has found so far."""

    program: Program
    on_progress: OnProgress | None
    started: float
    network: Architecture | None = None
    value: float = -math.inf
    bound: float = math.inf
    rejected: list[list[int]] = field(default_factory=list)
    deterministic_used: float = 0.0

    def found(self, values: list[int]) -> bool:
        """Take a solution of the program; False where its network breaks a limit by rounding."""
        program = self.program
        network = program.network(lambda expression: _evaluate(expression, values))
        broken = program.problem.broken(network)
        if broken:
            assert all(reason.startswith("rho ") for reason in broken), f"the program allows {network}: {broken}"
            self.rejected.append(program.assignment(network))
            return False
        program.check(network, lambda expression: _evaluate(expression, values))
        self.take(network)
        return True

    def take(self, network: Architecture) -> None:
        """Keep `network` if it is the best so far, and tell."""
        value = self.program.problem.value(network)
        if self.network is None or value > self.value:
            self.network, self.value = network, value
            self.tell()

    def bounded(self, bound: float) -> None:
        """Keep an upper bound if it is the tightest so far, and tell."""
        if bound < self.bound:
            self.bound = bound
            self.tell()

    def tell(self) -> None:
        """Report the best network and bound so far."""
        if self.on_progress is not None:
            bound = self.bound if math.isfinite(self.bound) else None
            self.on_progress(self.network, bound, time.perf_counter() - self.started)
