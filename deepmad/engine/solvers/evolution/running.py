"""Running islands: an epoch at a time, here or in other processes, with migration, closer looks and checkpoints."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepmad.engine.answers.progress import Race, Report
from deepmad.engine.program.limits import with_limit
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.checkpoints import Checkpoint, identity
from deepmad.engine.solvers.evolution.climbing import climb
from deepmad.engine.solvers.evolution.islands import Epoch, Island, Machine, Record, migrated
from deepmad.engine.solvers.evolution.judging import Judged, Verdicts
from deepmad.engine.solvers.evolution.spreading import spread
from deepmad.engine.solvers.search import SMALL_SPACE, search
from deepmad.engine.solvers.search.scouting import scout
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_writable
from deepmad.tasks import Done, Tasks, open_tasks

MIGRANTS = 2
"""Optima of an island that the next one comes to know after an epoch."""
SCOUTED_SHARE = 0.2
"""The share of the time that scouting may take, and then the descent from what it found."""
LOGGED = 2000
"""Lines of the log that are kept: a checkpoint is written whole after every epoch."""
SCREENED = 4
"""Networks screened after an epoch, the best ones not yet screened."""
UNREACHED = 1e30
"""A limit that no network comes near, on a cost that is to be counted although it has none."""

Screen = Callable[[Sequence[Architecture]], list[float]]
"""Looks closely at a few networks and returns the total relative excess of each over limits that only it can tell:
0 where all are kept, infinite where it failed."""


@dataclass(frozen=True)
class Leg:
    """An island's epoch as a task for another process; `key` tells evolutions apart."""

    key: str
    problem: Problem
    seed: int
    against: str | None
    island: Island
    epoch: Epoch


_MACHINES: dict[str, Machine] = {}
"""The machine of the evolution that this process works for: making one takes longer than an epoch."""


def travel(leg: Leg) -> tuple[Island, Record]:
    """Return the island after its epoch, and a line for the log; runs in a worker's process."""
    if leg.key not in _MACHINES:
        _MACHINES.clear()
        _MACHINES[leg.key] = Machine(leg.problem, leg.seed, leg.against, leg.epoch.end())
    return evolved(_MACHINES[leg.key], leg.island, leg.epoch)


def evolved(machine: Machine, island: Island, epoch: Epoch) -> tuple[Island, Record]:
    """Return the island after an epoch, towards a front where the machine looks at a cost."""
    evolve = climb if machine.against is None else spread
    return evolve(machine, island, epoch)


class Run:
    """An evolution of one problem: where it stands, and the best network so far.

    `against` names the cost of a front; None looks for the highest objective alone. Raises `InputError` for starts
    with another number of stages, and for a checkpoint that cannot be used. `unsaved` says why the last
    one could not be written. `tasks` do the islands' epochs where
    there are several processes, in the place of tasks opened for that alone. With `scouting` it begins from a network
    that branch and price points to.
    """

    def __init__(
        self,
        problem: Problem,
        solver: Evolution,
        report: Report | None,
        *,
        against: str | None = None,
        screen: Screen | None = None,
        starts: Sequence[Architecture] = (),
        tasks: Tasks | None = None,
        scouting: bool = False,
    ) -> None:
        began = time.monotonic()
        self.solver, self.screen, self.tasks = solver, screen, tasks
        self.counted = counted(problem, against)
        limit = solver.time_limit if solver.generations is None else None
        end = None if limit is None else began + limit
        self.machine = Machine(self.counted, solver.seed, against, end)
        self.identity = identity(problem, solver, self.machine.evaluator, against)
        self.state = self._resumed() or self._first([*starts, *(self._scouted(began) if scouting else ())])
        self.race = Race(problem, solver.gap, report, began - self.state.seconds)
        self.race.offer(self.state.best)
        self.unsaved: str | None = None
        self.warned = False

    @property
    def left(self) -> float | None:
        """Seconds left, those used before an interruption counted; None where a number of generations rules."""
        if self.solver.generations is not None or self.solver.time_limit is None:
            return None
        return self.solver.time_limit - self.race.seconds

    @property
    def over(self) -> bool:
        """Whether the generations or the time are over."""
        if self.solver.generations is not None:
            return self.state.generation >= self.solver.generations
        return self.left is not None and self.left <= 0

    def go(self) -> None:
        """Evolve until the generations or the time are over."""
        if not self.machine.repair.possible:
            return
        with ExitStack() as stack:
            tasks: Tasks | None = None
            if self.solver.processes > 1 or self.solver.on != "local":
                tasks = self.tasks or stack.enter_context(open_tasks(self.solver.on, self.solver.processes))
            while not self.over:
                self.race.doing = f"evolving, generation {self.state.generation:,}"
                self.race.tell()
                self._epoch(tasks)

    def end_at(self, seconds: float | None) -> None:
        """Let the time be over after so many seconds since the evolution began."""
        self.solver = replace(self.solver, time_limit=seconds)

    def learn(self, networks: Sequence[Architecture]) -> None:
        """Let every island's next epoch begin from some more networks of the space."""
        coding = self.machine.coding
        news = np.array([coding.nearest(network) for network in networks], dtype=np.intp).reshape(-1, len(coding.sizes))
        islands = [replace(one, optima=np.concatenate([news, one.optima])) for one in self.state.islands]
        self.state = replace(self.state, islands=tuple(islands))

    def _resumed(self) -> Checkpoint | None:
        """Return where an earlier run was cut off, None where there was none."""
        path = self.solver.checkpoint
        if path is None:
            return None
        check_writable(path, "another checkpoint")
        return Checkpoint.load(path, self.identity, len(self.machine.coding.sizes)) if path.exists() else None

    def _scouted(self, began: float) -> list[Architecture]:
        """Return a good network to begin from, by a descent from scouted ones; none in a small space.

        Neither is done where a function tells limits.
        """
        found: list[Architecture] = []
        if self.counted.black_boxes or self.counted.space.size() <= SMALL_SPACE or not self.machine.repair.possible:
            return found
        limit = self.solver.time_limit if self.solver.generations is None else None
        end = math.inf if limit is None else began + SCOUTED_SHARE * limit
        for network in scout(self.counted, lambda: None, end):
            if network is not None:
                found.append(network)
            if time.monotonic() > end:
                break
        seconds = None if limit is None else SCOUTED_SHARE * limit
        best = search(self.counted, seed=self.solver.seed, seconds=seconds, rounds=0, starts=found)
        return [] if best is None else [best]

    def _first(self, starts: Sequence[Architecture]) -> Checkpoint:
        """Return where an evolution begins: without networks, but for `starts` among the optima."""
        coding = self.machine.coding
        genes = len(coding.sizes)
        none = np.empty((0, genes), dtype=np.intp)
        optima = np.array([coding.nearest(network) for network in starts], dtype=np.intp).reshape(-1, genes)
        seeds = np.random.SeedSequence(self.solver.seed).spawn(self.solver.islands)
        states = [dict(np.random.default_rng(one).bit_generator.state) for one in seeds]
        islands = tuple(Island(none, optima, none, none, state) for state in states)
        return Checkpoint(islands, Verdicts.none(genes))

    def _epoch(self, tasks: Tasks | None) -> None:
        """Let every island evolve for an epoch, look closely at the best, exchange, and write the checkpoint."""
        ends = [self._here(island) for island in self.state.islands] if tasks is None else self._away(tasks)
        islands = [island for island, _ in ends]
        lines = [{"island": place, **line} for place, (_, line) in enumerate(ends)]
        self.state = replace(self.state, islands=tuple(islands), log=(*self.state.log, *lines))
        verdicts = self._looked_closely(islands)
        self.state = replace(
            self.state,
            islands=tuple(migrated(islands, MIGRANTS) if len(islands) > 1 else islands),
            verdicts=verdicts,
            log=self.state.log[-LOGGED:],
            seconds=self.race.seconds,
            best=self.race.network,
        )
        if self.solver.checkpoint is not None:
            self._save(self.solver.checkpoint)

    def _save(self, path: Path) -> None:
        """Write the checkpoint; where that fails, say so once, go on, and try again after the next epoch."""
        try:
            self.state.save(path, self.identity)
        except InputError as error:
            if not self.warned:
                self.race.tell(f"{error}; the evolution goes on and tries again after every epoch")
            self.unsaved, self.warned = str(error), True
        else:
            self.unsaved = None

    def _to_come(self) -> Epoch:
        """Return what the islands are told of the epoch to come."""
        most, every = self.solver.generations, self.solver.migration_every
        count = every if most is None else min(every, most - self.state.generation)
        left = self.left
        ends = time.monotonic() + left if left is not None and self.solver.on == "local" else None
        return Epoch(self.state.verdicts, self.solver.population, count, left, ends)

    def _here(self, island: Island) -> tuple[Island, Record]:
        """Return an island after its epoch in this process."""
        return evolved(self.machine, island, self._to_come())

    def _away(self, tasks: Tasks) -> list[tuple[Island, Record]]:
        """Return the islands after an epoch in other processes; one whose process was lost evolves here."""
        seed, against = self.solver.seed, self.machine.against
        key = f"{self.identity['problem']} {seed} {against}"
        islands, epoch = self.state.islands, self._to_come()
        outcomes = tasks.run_in_order(travel, [Leg(key, self.counted, seed, against, one, epoch) for one in islands])
        return [
            outcome.value if isinstance(outcome, Done) else self._here(island)
            for outcome, island in zip(outcomes, islands, strict=True)
        ]

    def _looked_closely(self, islands: Sequence[Island]) -> Verdicts:
        """Return the verdicts once the best networks shown are recounted and screened; those that pass are offered."""
        verdicts = self.state.verdicts
        shown = self.machine.judge(verdicts, None).judged(np.concatenate([island.shown for island in islands]))
        waiting: list[tuple[int, Architecture]] = []
        for row in self._promising(shown):
            network = self.machine.coding.architecture(shown.genomes[row])
            if self.race.problem.broken(network):
                verdicts = verdicts.with_one(shown.genomes[row], math.inf)
            elif self.screen is None:
                self.race.offer(network)
                break  # the others are not better
            elif len(waiting) < SCREENED:
                waiting.append((row, network))
        if self.screen is not None and waiting:
            for (row, network), excess in zip(waiting, self.screen([one for _, one in waiting]), strict=True):
                verdicts = verdicts.with_one(shown.genomes[row], excess)
                if excess == 0:
                    self.race.offer(network)
        return verdicts

    def _promising(self, shown: Judged) -> list[int]:
        """Return the rows of networks better than the best so far and without a verdict, best first, each once."""
        if not len(shown):
            return []
        fresh = shown.feasible & ~self.state.verdicts.known(shown.genomes)
        if self.race.best is not None:
            fresh &= shown.values > self.race.best
        _, once = np.unique(shown.genomes, axis=0, return_index=True)
        fresh &= np.isin(np.arange(len(shown)), once)
        return [int(row) for row in shown.order if fresh[row]]


def counted(problem: Problem, cost: str | None) -> Problem:
    """Return a problem of the same networks whose usages tell the cost. Raises `InputError` for one without a table."""
    if cost is None or cost in problem.limits():
        return problem
    return with_limit(problem, cost, UNREACHED)
