"""`Auto`: CP-SAT where it can express every limit, evolution where it cannot or finds no network in time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deepmad.engine.evolution.settings import Evolution
from deepmad.engine.evolution.solving import evolve
from deepmad.engine.problems import Problem
from deepmad.engine.progress import Report
from deepmad.engine.solutions import Solution, SolverInfo, Status, found
from deepmad.engine.solvers import CpSat, design_exactly
from deepmad.search_spaces.architectures import Architecture

EMPTY_HANDED_SHARE = 0.7
"""CP-SAT's share of the time as long as it has no network; the rest is for evolution."""
GENERATIONS_A_UNIT = 20
"""Generations of evolution for a unit of deterministic work."""


@dataclass(frozen=True)
class Auto:
    """Settings of the solver that chooses between the others; those of `CpSat`, which holds the proofs.

    CP-SAT answers where it can express every limit. Where a limit is a function (`Budget.extra`), evolution
    does, from CP-SAT's network without these limits and with its bound, which holds for the whole problem. Where
    CP-SAT found no network in 70 % of the time and has not proven that there is none, evolution gets the rest.
    `on` is where evolution and calls of functions run, "local" or "ray". Raises `InputError`.
    """

    time_limit: float = 60.0
    gap: float = 0.01
    workers: int | None = None
    seed: int = 0
    deterministic_limit: float | None = None
    on: str = "local"

    def __post_init__(self) -> None:
        self.exact(1.0)
        self.evolution(self.time_limit)

    def exact(self, share: float) -> CpSat:
        """Return the settings of CP-SAT with a share of the time, or of the deterministic work."""
        work = self.deterministic_limit
        return CpSat(
            share * self.time_limit, self.gap, self.workers, self.seed, None if work is None else share * work
        )

    def evolution(self, seconds: float) -> Evolution:
        """Return the settings of evolution with so many seconds, or with generations under a deterministic limit."""
        work = self.deterministic_limit
        return Evolution(
            time_limit=seconds if work is None else None,
            generations=None if work is None else max(1, round(GENERATIONS_A_UNIT * work)),
            seed=self.seed,
            workers=self.workers,
            on=self.on,
        )

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver where CP-SAT answers."""
        return self.exact(1.0).info


def design_automatically(
    problem: Problem, solver: Auto, *, starts: Sequence[Architecture] = (), report: Report | None = None
) -> Solution:
    """Return the solution of whichever solver can answer; see `Auto`, and `design` for the rest."""
    if problem.black_boxes:
        from deepmad.engine.blackbox.solving import design_with_calls

        return design_with_calls(problem, solver, starts=starts, report=report)
    began = time.monotonic()
    exact = design_exactly(
        problem, solver.exact(1.0), starts=starts, report=report, empty_handed_share=EMPTY_HANDED_SHARE
    )
    if exact.status is not Status.UNKNOWN:
        return exact
    return evolved_further(problem, exact, solver, began, starts=starts, report=report)


def evolved_further(
    problem: Problem,
    exact: Solution,
    solver: Auto,
    began: float,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
) -> Solution:
    """Return what evolution finds where CP-SAT's solution `exact` has no network, with CP-SAT's bound.

    `began` is when the solve did, by the monotonic clock; evolution gets the time that is left.
    """
    left = solver.time_limit - (time.monotonic() - began)
    evolution = evolve(problem, solver.evolution(max(left, 0.1)), starts=starts, report=report)
    seconds = time.monotonic() - began
    if evolution.architecture is None:
        message = f"{exact.message} (evolution found none either)"
        return replace(exact, message=message, seconds=seconds)
    bound = float("inf") if exact.bound is None else exact.bound
    network, info = evolution.architecture, evolution.solver
    solution = found(problem, network, bound, gap=solver.gap, solver=info, seconds=seconds)
    why = f"evolution found it after CP-SAT had found none in {exact.seconds:.0f} s"
    return replace(solution, message=f"{solution.message}; {why}")
