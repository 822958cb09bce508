"""The quick search: good networks within seconds, without a proof (the exact solver takes them as hints)."""

import time
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np

from deepmad.engine.population.evaluation import Evaluator
from deepmad.engine.population.genomes import Coding, Genomes
from deepmad.engine.problems import Problem
from deepmad.engine.search.descent import Neighbourhood, descend, neighbourhood
from deepmad.engine.search.genetic import generations
from deepmad.engine.search.agenda import Agenda
from deepmad.engine.search.relaxed import Relaxation
from deepmad.engine.search.repair import Repair
from deepmad.engine.search.trials import Best, Trial, Trials
from deepmad.engine.search.variation import random_genomes, traded, varied
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError

SMALL_SPACE = 100_000
"""Networks up to which a space is looked through from end to end."""
BATCH = 8192
RESTART_GENERATIONS, RESTART_SIZE = 120, 800
KICK_GENERATIONS, KICK_SIZE = 15, 800
KICKS = 6
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

    Every round runs a genetic search, descends from its best to a local optimum and kicks that one until it
    stays. Rounds begin in turn from random networks and around the optima so far; the first begins around
    `starts` where there are any, which need be neither feasible nor members of the space. A space of up to
    `SMALL_SPACE` networks is looked through instead. The search ends after `rounds` rounds or, within about
    0.2 s, `seconds`; with `rounds` alone it is deterministic for a `seed`. `on_better` is called with every
    better network and its objective. Raises `InputError` where neither end is given, or where a start has
    another number of stages.
    """
    began = time.monotonic()
    if seconds is None and rounds is None:
        raise InputError("search: neither seconds nor rounds is given; give one, or both")
    coding = Coding(problem.space)
    given = np.array([coding.nearest(network) for network in starts], dtype=np.intp).reshape(-1, len(coding.sizes))
    repair = Repair(coding)
    if not repair.possible:
        return None
    end = None if seconds is None else began + seconds
    trials = Trials(problem, Evaluator(problem), repair, Best(on_better), end)
    if problem.space.size() <= SMALL_SPACE:
        _look_through(trials)
    else:
        _explore(trials, np.random.default_rng(seed), given, rounds)
    return trials.best.network


def _look_through(trials: Trials) -> None:
    """Evaluate every network of the space, or as many as the time allows."""
    sizes = trials.evaluator.coding.sizes
    total = int(np.prod(sizes))
    for first in range(0, total, BATCH):
        if trials.over:
            return
        flat = np.arange(first, min(first + BATCH, total))
        trials(np.stack(np.unravel_index(flat, tuple(sizes)), axis=1))


def _explore(trials: Trials, rng: np.random.Generator, starts: Genomes, rounds: int | None) -> None:
    """Run rounds until there were enough or the time is up: from random networks, every other from the optima."""
    coding = trials.evaluator.coding
    first = optima = starts
    if not len(starts):
        first = random_genomes(coding, rng, 4 * RESTART_SIZE)
        point = generations(trials, rng, first, 30, RESTART_SIZE).best
    widths = [0, *coding.genes("out"), *coding.genes("inner")]
    agenda = Agenda(trials, neighbourhood(coding, rng), neighbourhood(coding, rng, widths), Relaxation(trials.evaluator))
    for number in count() if rounds is None else range(rounds):
        if trials.over:
            return
        t0=time.monotonic()
        if number % 2 or (number == 0 and len(starts)):
            first = random_genomes(coding, rng, 4 * RESTART_SIZE)
            if len(optima):
                first = np.concatenate([optima, _near(coding, rng, optima)])
            point = generations(trials, rng, first, RESTART_GENERATIONS, RESTART_SIZE).best
            point = descend(trials, agenda.everything, point, deep=True)
            agenda.known(point.genomes[0])
            agenda.around(point.genomes[0], rng)
        else:
            point = None
            agenda.scout(rng)
        if DEBUG: print("  round",number,point and (point.score,point.feasible,point.genomes[0][coding.genes("depth")]+1),round(time.monotonic()-t0,2),trials.best.value)
        point = agenda.work(rng, point)
        if DEBUG: print("  worked",number,point and (point.score,point.feasible,point.genomes[0][coding.genes("depth")]+1),round(time.monotonic()-t0,2),trials.best.value)
        if point: optima = np.concatenate([optima, point.genomes])


import os
DEBUG = os.environ.get("DBG")

def _near(coding: Coding, rng: np.random.Generator, genomes: Genomes) -> Genomes:
    """Return genomes around the given ones, with other depths."""
    copies = genomes[rng.integers(0, len(genomes), 4 * RESTART_SIZE)]
    return varied(coding, rng, traded(coding, rng, copies))


