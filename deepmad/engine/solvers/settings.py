"""Settings of the solvers. They know nothing of how anything is solved, so that every solver may read them."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deepmad.engine.answers.solutions import SolverInfo
from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.ranges import check_settings
from deepmad.tasks import check_place_name
from deepmad.tasks.cores import usable_cores

GENERATIONS_A_UNIT = 20
"""Generations of evolution for a unit of deterministic work."""
EVOLVED_UNITS = 1.0
"""Units of work for bounds after an evolution that is limited in generations."""
BOUNDS = 20
"""Limits along a front for which a network is searched for and a bound proven."""


@dataclass(frozen=True)
class CpSat:
    """Settings of the exact solver.

    `time_limit` is in wall-clock seconds, everything included; `deterministic_limit`, in CP-SAT's own
    units of work, replaces it and, with one worker, gives the same answer twice for a `seed`. `gap` is
    the relative gap at which the solve ends; `workers` defaults to the cores that may be used.
    """

    time_limit: float = 60.0
    gap: float = 0.01
    workers: int | None = None
    seed: int = 0
    deterministic_limit: float | None = None

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver."""
        return SolverInfo("cpsat", version("ortools"), self.seed, self.workers or usable_cores())


@dataclass(frozen=True)
class Evolution:
    """Settings of the evolutionary solver, which finds good networks and proves nothing.

    `time_limit` is in wall-clock seconds, everything included; `generations`, of every island, replaces it and gives
    the same answer twice for a `seed` and number of `islands`, whatever the `workers` (but for a choice of strides, see
    `Rows`). `population` is the number of networks born in every generation of an island; every `migration_every`
    generations the best networks move to the next island. `workers` processes, never more than islands, run `on` this
    machine ("local"; default: its cores) or on a Ray cluster ("ray" or "ray://HOST:PORT"; default: one an island). A
    run that was cut off goes on from `checkpoint`. Raises `InputError`.
    """

    time_limit: float | None = 60.0
    generations: int | None = None
    population: int = 800
    islands: int = 2
    migration_every: int = 10
    seed: int = 0
    workers: int | None = None
    on: str = "local"
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        if self.time_limit is None and self.generations is None:
            raise InputError("generations: neither it nor time_limit is given; give one of them")
        check_place_name(self.on)
        if not isinstance(self.checkpoint, str | Path | None):
            raise InputError(f"checkpoint: {shown(self.checkpoint)} is no path; give the name of a file")
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", Path(self.checkpoint))

    @property
    def processes(self) -> int:
        """How many islands evolve at once."""
        cores = usable_cores() if self.on == "local" else self.islands
        return min(self.workers or cores, self.islands)

    @property
    def gap(self) -> float:
        """The gap asked for, as other solvers have one; without a bound it is never reached."""
        return 0.0

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver."""
        return SolverInfo("evolution", version("deap"), self.seed, self.processes)


@dataclass(frozen=True)
class Auto:
    """Settings of the solver that chooses between the others: those of `CpSat`, which holds the proofs.

    CP-SAT answers where it can express every limit. Where one is a function (`Budget.extra`), evolution does, from
    CP-SAT's network without it and with CP-SAT's bound, which holds for the whole problem. Where CP-SAT met no network
    in 70 % of the time and has not proven that there is none, evolution gets the rest. `on` ("local", "ray" or
    "ray://HOST:PORT") is where evolution, rows and the calls of functions run, CP-SAT on this machine alone. Raises
    `InputError`.
    """

    time_limit: float = 60.0
    gap: float = 0.01
    workers: int | None = None
    seed: int = 0
    deterministic_limit: float | None = None
    on: str = "local"

    def __post_init__(self) -> None:
        check_settings(self)
        check_place_name(self.on)

    def exact(self, share: float = 1.0) -> CpSat:
        """Return the settings of CP-SAT with a share of the time, or of the deterministic work."""
        work = self.deterministic_limit
        return CpSat(share * self.time_limit, self.gap, self.workers, self.seed, None if work is None else share * work)

    def evolution(self, seconds: float) -> Evolution:
        """Return the settings of evolution with so many seconds, or with generations under a deterministic limit."""
        work = self.deterministic_limit
        limits: dict[str, Any] = (
            {"time_limit": seconds} if work is None else {"generations": max(1, round(GENERATIONS_A_UNIT * work))}
        )
        return Evolution(**limits, seed=self.seed, workers=self.workers, on=self.on)

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver where CP-SAT answers."""
        return self.exact().info


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
        check_settings(self)
        check_place_name(self.on)
        if not isinstance(self.evolution, Evolution | None):
            raise InputError(f"evolution: {shown(self.evolution)} is no Evolution; give one, or None for the quick one")
        if self.evolution is not None and self.evolution.checkpoint is not None:
            raise InputError("checkpoint: rows have none; with fixed strides an evolution has one, or leave it out")

    @staticmethod
    def of(solver: "Solver") -> "Rows":
        """Return the settings that give all rows together what `solver` gives one problem.

        Raises `InputError` for an evolution with a checkpoint.
        """
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

    def exact(self) -> CpSat:
        """Return the same settings for the exact solver."""
        return CpSat(self.time_limit, self.gap, self.workers, self.seed, self.deterministic_limit)

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver."""
        return SolverInfo("rows", version("ortools"), self.seed, self.exact().info.workers)


Solver = Auto | CpSat | Evolution | Rows
