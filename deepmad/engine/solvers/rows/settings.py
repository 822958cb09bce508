"""Settings of the solver that decides which block kind and which stride stands in each stage."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from deepmad.engine.answers.solutions import SolverInfo
from deepmad.engine.solvers.evolution.settings import Evolution
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from deepmad.engine.solvers.exact import CpSat, Solver

EVOLVED_UNITS = 1.0
"""Units of work for bounds after an evolution that is limited in generations."""


@dataclass(frozen=True)
class Rows:
    """Settings of the solver of mixed rows: evolution looks for good rows, the exact solver settles them.

    `time_limit` is in wall-clock seconds, everything included; `deterministic_limit`, in the exact solver's units of
    work, replaces it and gives the same answer twice for a `seed` and number of workers, wherever these run. `gap` is
    the relative gap, over all rows, at which the solve ends. `workers` processes take a piece of work each, on this
    machine ("local"; its cores by default) or on a Ray cluster ("ray" or "ray://HOST:PORT"; its cores). `evolution`
    explores each layout of strides in the place of the quick one; of its time each gets a share. Raises `InputError`.
    """

    time_limit: float = 60.0
    gap: float = 0.01
    workers: int | None = None
    seed: int = 0
    deterministic_limit: float | None = None
    on: str = "local"
    evolution: Evolution | None = None

    def __post_init__(self) -> None:
        self.exact()  # its settings are checked there, once for all solvers
        if self.evolution is not None and self.evolution.checkpoint is not None:
            raise InputError("checkpoint: rows have none; with fixed strides an evolution has one, or leave it out")

    @staticmethod
    def of(solver: "Solver") -> "Rows":
        """Return the settings that give all rows together what `solver` gives one problem.

        Raises `InputError` for an evolution with a checkpoint.
        """
        from deepmad.engine.solvers.exact import Auto

        if isinstance(solver, Rows):
            return solver
        if isinstance(solver, Evolution):
            limited = solver.generations is not None
            return Rows(
                solver.time_limit or Rows.time_limit,
                solver.gap,
                solver.workers,
                solver.seed,
                EVOLVED_UNITS if limited else None,
                solver.on,
                solver,
            )
        on = solver.on if isinstance(solver, Auto) else "local"
        return Rows(solver.time_limit, solver.gap, solver.workers, solver.seed, solver.deterministic_limit, on)

    def exact(self) -> "CpSat":
        """Return the same settings for the exact solver."""
        from deepmad.engine.solvers.exact import CpSat

        return CpSat(self.time_limit, self.gap, self.workers, self.seed, self.deterministic_limit)

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver."""
        return SolverInfo("rows", version("ortools"), self.seed, self.exact().info.workers)
