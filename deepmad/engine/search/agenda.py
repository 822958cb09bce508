"""The agenda: frames in the order of what they are thought to be worth, looked at one after the other."""

import heapq
import time
from dataclasses import dataclass, field

import numpy as np

from deepmad.engine.population.genomes import Genomes
from deepmad.engine.search.descent import Neighbourhood, descend
from deepmad.engine.search.frames import evolved, neighbours, scouted
from deepmad.engine.search.relaxed import Relaxation, Relaxed
from deepmad.engine.search.trials import Trial, Trials

SCOUTS = 6
GENERATIONS_AROUND = 4
PATIENCE = 8
"""Frames in a row that may bring nothing better before the search goes elsewhere."""
WORTH = 0.99
"""A frame thought to be worth less than this part of the best objective is not looked at."""


@dataclass
class Agenda:
    """Frames still to be looked at; each is looked at once."""

    trials: Trials
    everything: Neighbourhood
    widths: Neighbourhood
    relaxation: Relaxation
    waiting: list[tuple[float, int, Genomes]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    added: int = 0

    def scout(self, rng: np.random.Generator) -> None:
        """Add promising frames from all over the space, and those around them."""
        frames = scouted(self.trials, self.relaxation, rng, SCOUTS)
        coarse = self.relaxation(frames)
        for row in range(len(frames)):
            if self.trials.over:
                return
            self.around(coarse.middle(row), rng, coarse.prices.of(row, 1), 2)

    def around(self, genome: Genomes, rng, prices=None, count=GENERATIONS_AROUND) -> None:
        """Add the frames around a network."""
        relaxation = Relaxation(self.trials.evaluator, genome)
        frames = neighbours(self.trials.evaluator.coding, genome)
        t0=time.monotonic()
        frames, values = evolved(self.trials, relaxation, rng, frames, prices, count)
        frames = frames[np.argsort(-values)[: 3 * PATIENCE]]
        found = relaxation(frames, prices and prices.of(0, len(frames)))
        if DEBUG: print("     around", len(values), round(time.monotonic()-t0,3))
        for row, value in enumerate(found.values):
            starts = np.concatenate([found.tries[:, row], found.middle(row)[None]])
            heapq.heappush(self.waiting, (-float(value), self.added, starts))
            self.added += 1

    def work(self, rng, point: Trial | None) -> Trial | None:
        """Look at frames until several in a row bring nothing better than `point`; return the best network."""
        failed = 0
        while self.waiting and failed < PATIENCE and not self.trials.over:
            value, _, starts = heapq.heappop(self.waiting)
            if self.known(starts[0]):
                continue
            if -value < WORTH * self.trials.best.value:
                break
            found = descend(self.trials, self.widths, self.trials(starts).best, deep=True)
            if DEBUG: print("     look", round(-value), self.trials.evaluator.coding.genes("depth") and found.genomes[0][self.trials.evaluator.coding.genes("depth")]+1, found.score, found.feasible)
            failed += 1
            if point is None or found.score > point.score:
                point, failed = descend(self.trials, self.everything, found, deep=True), 0
                self.known(point.genomes[0])
                self.around(point.genomes[0], rng)
        return point

    def known(self, genome: Genomes) -> bool:
        """Return whether the genome's frame was looked at before; from now on it was."""
        coding = self.trials.evaluator.coding
        frame = genome[[gene for name in ("depth", "kernel", "block", "inner") for gene in coding.genes(name)]].tobytes()
        before = frame in self.seen
        self.seen.add(frame)
        return before
import os
DEBUG = os.environ.get("DBG")
