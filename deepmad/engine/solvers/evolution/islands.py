"""Islands: what an island is between two epochs, and the generations of one on DEAP's toolbox.

Individuals are rows of an integer matrix, so that every operator registered in the toolbox, `map` included, takes a
whole population at once: with lists of numbers a generation would take a hundred times as long.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from deap import base, tools

from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.judging import DebJudge, Judged, Verdicts, joined
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search.descent import Neighbourhood, neighbourhood
from deepmad.engine.solvers.search.repair import Repair
from deepmad.engine.solvers.search.variation import crossed, paired, varied

ELITE = 250
"""Networks that survive a generation."""
SHARE = 3
"""Networks with the same depths that survive a generation while there are others."""
OPTIMA = 16
"""Local optima that an island remembers, its own and those that came from another island."""
SHOWN = 8
"""Best networks that an island shows after an epoch, for others to look at more closely."""

Record = dict[str, float]
"""One line of the log."""


@dataclass(frozen=True)
class Island:
    """All that an island is between two epochs; with it, an evolution goes on as if it had not been interrupted.

    `population`, `optima` and `shown` are genomes (networks, genes): those who have offspring (none where the island is
    about to begin anew), the local optima remembered, and the best feasible ones, each best first. `point` is the
    optimum around which the island looks further, of length 0 while it climbs. `climbed` are generations since the
    island began, `failed` looks in a row that brought nothing better, `beginnings` how often it began. `generator` is
    the state of its random numbers.
    """

    population: Genomes
    optima: Genomes
    shown: Genomes
    point: Genomes
    generator: dict[str, Any]
    generation: int = 0
    climbed: int = 0
    failed: int = 0
    beginnings: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the island as a JSON document."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    @staticmethod
    def from_dict(document: dict[str, Any], genes: int) -> "Island":
        """Return the island of a document that `to_dict` made."""
        values = {one.name: document[one.name] for one in fields(Island)}
        for name in ("population", "optima", "shown", "point"):
            values[name] = np.array(values[name], dtype=np.intp).reshape(-1, genes)
        return Island(**values)


@dataclass(frozen=True)
class Epoch:
    """What every island is told of the epoch to come: verdicts, networks born in a generation, how many of these.

    It ends early where `seconds` are over; None is no end. They count from when it begins or, where the islands evolve
    on this machine and share its monotonic clock, until `ends`: what a process takes to start counts then.
    """

    verdicts: Verdicts
    size: int
    generations: int
    seconds: float | None
    ends: float | None = None

    def end(self) -> float | None:
        """Return the end of an epoch that begins now, in `time.monotonic` seconds."""
        if self.ends is not None:
            return self.ends
        return None if self.seconds is None else time.monotonic() + self.seconds


class Machine:
    """What all islands of a problem need and none changes: tables of costs, repair of rules, moves of descents.

    The evaluator begins no table after `end`, in `time.monotonic` seconds.
    """

    def __init__(self, problem: Problem, seed: int, against: str | None = None, end: float | None = None) -> None:
        self.against = against
        self.evaluator = Evaluator(problem, end)
        self.repair = Repair(self.coding)
        rng, widths = np.random.default_rng(seed), [0, *self.coding.genes("out"), *self.coding.genes("inner")]
        self.around: Neighbourhood = neighbourhood(self.coding, rng)
        self.widths: Neighbourhood = neighbourhood(self.coding, rng, widths)

    @property
    def coding(self) -> Coding:
        """How the networks are written as genomes."""
        return self.evaluator.coding

    def judge(self, verdicts: Verdicts, end: float | None, cap: float | None = None) -> DebJudge:
        """Return a judge of networks; `end` is its end in `time.monotonic` seconds, `cap` as in `DebJudge`."""
        return DebJudge(self.evaluator, self.repair, verdicts, end, self.against, cap)


Select = Callable[[np.random.Generator, Genomes, int], tuple[Genomes, Genomes]]
Survive = Callable[[Judged], Judged]


def spread_survivors(coding: Coding) -> Survive:
    """Return the survival that keeps several combinations of depths alive, so that none takes over early."""
    depths = coding.genes("depth")
    return lambda judged: judged.survivors(ELITE, depths, SHARE)


def toolbox(
    judge: DebJudge, rng: np.random.Generator, size: int, survive: Survive, select: Select = paired
) -> base.Toolbox:
    """Return DEAP's toolbox with operators on whole populations, `size` networks born in every generation.

    `select` takes genomes, best first, and gives parents (one, other); `mate` makes genomes of them, `mutate` changes
    those, `evaluate` repairs and judges them; `survive` takes judged networks and gives those that live on.
    """
    box = base.Toolbox()
    box.register("map", _at_once)
    box.register("select", select, rng, count=size)
    box.register("mate", crossed, rng)
    box.register("mutate", varied, judge.evaluator.coding, rng)
    box.register("evaluate", judge.judged)
    box.register("survive", survive)
    return box


def _at_once(function: Callable[[Genomes], Judged], genomes: Genomes) -> Judged:
    """Map a function over a population in one call."""
    return function(genomes)


def generations(box: base.Toolbox, judge: DebJudge, population: Judged, count: int) -> Judged:
    """Return the population, best first, after `count` generations; earlier where the time is up."""
    for _ in range(count):
        if judge.over:
            break
        children = box.mutate(box.mate(*box.select(population.genomes)))
        population = box.survive(joined(population, box.map(box.evaluate, children)))
    return population


def statistics() -> tools.Statistics:
    """Return what the log says of the objectives (networks,) of a population, given as the only element of a tuple."""
    found = tools.Statistics()
    for name, function in (("least", np.min), ("median", np.median), ("most", np.max)):
        found.register(name, function)
    return found


def record(island: Island, judge: DebJudge, population: Judged) -> Record:
    """Return a line of the log; objectives are those of the feasible networks, left out where none is finite."""
    feasible = population.values[population.feasible]
    finite = feasible[np.isfinite(feasible)]  # a penalty may be infinite
    compiled = statistics().compile((finite,)) if len(finite) else {}
    counts: Record = {"generation": island.generation, "networks": judge.networks, "feasible": len(feasible)}
    return counts | {name: float(value) for name, value in compiled.items()}


def best_of(judged: Judged, count: int) -> Judged:
    """Return up to `count` feasible networks, best first, each once."""
    order = judged.order
    order = order[judged.feasible[order]]
    if not len(order):
        return judged.rows(order)
    _, first = np.unique(judged.genomes[order], axis=0, return_index=True)
    return judged.rows(order[np.sort(first)[:count]])


def migrated(islands: Sequence[Island], count: int) -> list[Island]:
    """Return the islands once the `count` best optima of each are known to the next one in the ring.

    They are the first to be bred from when that island begins anew. In its present population they would only be
    climbed once more: any look around finds nothing better than an optimum that another island came to.
    """
    return [
        replace(island, optima=np.concatenate([island.optima, islands[place - 1].optima[:count]]))
        for place, island in enumerate(islands)
    ]
