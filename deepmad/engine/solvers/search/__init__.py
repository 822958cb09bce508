"""The quick search: good networks within seconds, without a proof. Every solver that wants a start comes in."""

import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count

import numpy as np

from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search.agenda import Agenda
from deepmad.engine.solvers.search.descent import Neighbourhood, descend, neighbourhood
from deepmad.engine.solvers.search.genetic import generations
from deepmad.engine.solvers.search.repair import Repair
from deepmad.engine.solvers.search.scouting import scout
from deepmad.engine.solvers.search.trials import Best, Trial, Trials
from deepmad.engine.solvers.search.variation import random_genomes, traded, varied
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

SMALL_SPACE = 100_000
"""Networks up to which a space is looked through from end to end."""
BATCH = 8192
FIRST_GENERATIONS, RESTART_GENERATIONS, RESTART_SIZE = 30, 120, 800
KINDS = ("scouted", "random", "around")
"""Rounds take turns: from frames all over the space, from random networks, and around the optima so far."""
KICK_GENERATIONS, KICK_SIZE = 15, 800
KICKS = 4
"""Kicks in a row that may fail before the search goes elsewhere."""
PROMISING = 0.003
"""A local optimum over pairs is looked at more closely within this part of the best objective."""


def search(
    problem: Problem,
    *,
    seed: int,
    seconds: float | None = None,
    rounds: int | None = None,
    starts: Sequence[Architecture] = (),
    on_better: Callable[[Architecture, float], None] | None = None,
) -> Architecture | None:
    """Return the best feasible network found, or None where none was.

    It begins with a descent from each of `starts`, which need be neither feasible nor members of the space, or, where
    there are none, from networks that branch and price scouts. Then rounds of three kinds take turns: one scouts which
    frames (depths, kernels, blocks) are worth most when their widths are relaxed, the others run a genetic search from
    random networks or around the optima so far. All look closely at the frames around what they find, the most
    promising first. A space of up to `SMALL_SPACE` networks is looked through instead. The search ends after `rounds`
    rounds or, within about 0.2 s, `seconds`; with `rounds` alone it is deterministic for a `seed`. `on_better` is told
    of every better network and its objective. Raises `InputError` where neither end is given, or where a start has
    another number of stages.
    """
    searcher = Searcher(problem, None if seconds is None else time.monotonic() + seconds)
    return searcher.search(seed=seed, seconds=seconds, rounds=rounds, starts=starts, on_better=on_better)


class Searcher:
    """Quick searches of one problem, one after the other: what they need is worked out once.

    A later one knows the best network of those before it, and which frames they looked at. No table is begun after
    `end` (`time.monotonic` seconds; None is no end).
    """

    def __init__(self, problem: Problem, end: float | None = None) -> None:
        self.problem, self.end = problem, end
        self.coding = Coding(problem.space)
        self.repair = Repair(self.coding)

    @cached_property
    def trials(self) -> Trials:
        """What scores genomes."""
        return Trials(self.problem, Evaluator(self.problem, self.end), self.repair, Best())

    @cached_property
    def agenda(self) -> Agenda:
        """The frames still to be looked at."""
        rng, widths = np.random.default_rng(0), [0, *self.coding.genes("out"), *self.coding.genes("inner")]
        return Agenda(self.trials, rng, neighbourhood(self.coding, rng), neighbourhood(self.coding, rng, widths))

    def search(
        self,
        *,
        seed: int,
        seconds: float | None = None,
        rounds: int | None = None,
        starts: Sequence[Architecture] = (),
        on_better: Callable[[Architecture, float], None] | None = None,
    ) -> Architecture | None:
        """Return the best feasible network found, in this search or one before it; see `search`."""
        began = time.monotonic()
        if seconds is None and rounds is None:
            raise InputError("search: neither seconds nor rounds is given; give one, or both")
        given = np.array([self.coding.nearest(network) for network in starts], dtype=np.intp)
        given = given.reshape(-1, len(self.coding.sizes))
        if not self.repair.possible:
            return None
        trials = self.trials
        trials.end, trials.best.on_better = None if seconds is None else began + seconds, on_better
        if self.problem.space.size() <= SMALL_SPACE:
            _look_through(trials)
        else:
            self._explore(np.random.default_rng(seed), given, rounds)
        return trials.best.network

    def _explore(self, rng: np.random.Generator, starts: Genomes, rounds: int | None) -> None:
        """Run rounds until there were enough or the time is up."""
        coding, trials = self.coding, self.trials
        if len(starts):  # what is feasible among them counts, however little time there is
            trials(starts)
        else:  # a feasible network at once
            generations(trials, rng, random_genomes(coding, rng, 4 * RESTART_SIZE), FIRST_GENERATIONS, RESTART_SIZE)
            starts = _scouted(trials)
        if trials.over:
            return
        agenda = self.agenda
        agenda.rng = rng
        for start in starts:
            descend(trials, agenda.widths, trials(start[None]), deep=False)
        optima = starts
        for number in count() if rounds is None else range(rounds):
            if trials.over:
                return
            kind = KINDS[(number + 2 * bool(len(starts))) % len(KINDS)]
            if kind == "scouted":
                agenda.scout()
                point = agenda.work()
            else:
                first = random_genomes(coding, rng, 4 * RESTART_SIZE)
                if kind == "around" and len(optima):
                    first = np.concatenate([optima, _near(coding, rng, optima)])
                elite = generations(trials, rng, first, RESTART_GENERATIONS, RESTART_SIZE)
                point = agenda.work(_kick(trials, rng, agenda.everything, elite.best))
            if point is not None:
                optima = np.concatenate([optima, point.genomes])


def _look_through(trials: Trials) -> None:
    """Evaluate every network of the space, or as many as the time allows, but for a first batch."""
    sizes = trials.evaluator.coding.sizes
    total = int(np.prod(sizes))
    for first in range(0, total, BATCH):
        if first and trials.over:
            return
        flat = np.arange(first, min(first + BATCH, total))
        trials(np.stack(np.unravel_index(flat, tuple(sizes)), axis=1))


def _scouted(trials: Trials) -> Genomes:
    """Return genomes near networks that branch and price tells of, (networks, genes); none where the time is short."""
    coding, found = trials.evaluator.coding, []
    end = math.inf if trials.end is None else trials.end
    for network in scout(trials.problem, lambda: trials.best.value if trials.best.network else None, end):
        if network is not None:
            found.append(coding.nearest(network))
        if trials.over:
            break
    return np.array(found, dtype=np.intp).reshape(-1, len(coding.sizes))


def _near(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return genomes around the given ones, with other depths."""
    copies = genomes[rng.integers(0, len(genomes), 4 * RESTART_SIZE)]
    return varied(coding, rng, traded(coding, rng, copies))


def _kick(trials: Trials, rng: np.random.Generator, around: Neighbourhood, point: Trial) -> Trial:
    """Leave a local optimum by trading depth for width, and go on from where that leads if it is better."""
    coding = trials.evaluator.coding
    depths, failed = coding.genes("depth"), 0
    point = descend(trials, around, point, deep=True)
    while failed < KICKS and not trials.over:
        kicked = varied(coding, rng, traded(coding, rng, np.repeat(point.genomes, 4 * KICK_SIZE, axis=0)))
        kicked = trials.repair(kicked)
        elsewhere = (kicked[:, depths] != point.genomes[0, depths]).any(axis=1)
        kicked = kicked[elsewhere] if elsewhere.any() else kicked
        elite = generations(trials, rng, kicked, KICK_GENERATIONS, KICK_SIZE)
        found = descend(trials, around, elite.best, deep=False)
        if found.score > (1 - PROMISING) * point.score:
            found = descend(trials, around, found, deep=True)
        failed = 0 if found.score > point.score else failed + 1
        point = found if not failed else point
    return point
