"""Settings of the evolutionary solver."""

from dataclasses import dataclass
from importlib.metadata import version
from os import cpu_count
from pathlib import Path

from deepmad.engine.answers.solutions import SolverInfo
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.ranges import check_settings
from deepmad.tasks import check_place_name


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
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", Path(self.checkpoint))

    @property
    def processes(self) -> int:
        """How many islands evolve at once."""
        cores = cpu_count() or 1 if self.on == "local" else self.islands
        return min(self.workers or cores, self.islands)

    @property
    def gap(self) -> float:
        """The gap asked for, as other solvers have one; without a bound it is never reached."""
        return 0.0

    @property
    def info(self) -> SolverInfo:
        """What the solution file says of the solver."""
        return SolverInfo("evolution", version("deap"), self.seed, self.processes)
