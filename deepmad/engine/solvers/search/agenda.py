"""The agenda: frames in the order of what they are thought to be worth, looked at one after the other."""

import heapq
from dataclasses import dataclass, field

import numpy as np

from deepmad.engine.solvers.population.genomes import Coding, Genomes
from deepmad.engine.solvers.search.descent import Neighbourhood, descend
from deepmad.engine.solvers.search.frames import evolved, neighbours, scouted
from deepmad.engine.solvers.search.relaxed import Prices, Relaxation
from deepmad.engine.solvers.search.trials import Trial, Trials

SCOUTS = 6
"""Frames from which the space is looked at anew."""
GENERATIONS = 4
"""Generations of frames around a network found."""
PATIENCE = 12
"""Frames in a row that may bring nothing better before the search goes elsewhere."""
INFEASIBLE = 0.5
"""How much a frame counts for that turns out to hold no feasible network: the next ones often do."""
KEPT = 24
"""Frames kept of those around one network."""
WORTH = 0.99
"""A frame thought to be worth less than this part of the best objective is not looked at."""


@dataclass
class Agenda:
    """Frames still to be looked at; each is looked at once.

    `everything` and `widths` are the moves with which networks descend: all of them, and those of widths alone.
    """

    trials: Trials
    rng: np.random.Generator
    everything: Neighbourhood
    widths: Neighbourhood
    _waiting: list[tuple[float, int, Genomes]] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)
    _added: int = 0

    def __post_init__(self) -> None:
        self._coarse = Relaxation(self.trials.evaluator)

    def scout(self) -> None:
        """Add promising frames from all over the space, and those around them."""
        frames = scouted(self.trials, self._coarse, self.rng, SCOUTS)
        coarse = self._coarse(frames)
        for row in range(len(frames)):
            if self.trials.over:
                return
            center = coarse.middle(row)
            fine = Relaxation(self.trials.evaluator, center)
            refined = fine(center[None], coarse.prices.of(row, 1))
            self._around(Relaxation(self.trials.evaluator, refined.middle(0)), refined.prices, 0)

    def work(self, start: Trial | None = None) -> Trial | None:
        """Look at frames, first at those around the network `start`, until several in a row bring nothing better.

        Returns the best network met, None where none was looked at.
        """
        point: Trial | None = None
        if start is not None:
            point = self._taken(start)
        failed = 0.0
        while self._waiting and failed < PATIENCE and not self.trials.over:
            value, _, starts = heapq.heappop(self._waiting)
            if -value < WORTH * self.trials.best.value:
                break
            if self._known(starts[0]):
                continue
            found = descend(self.trials, self.widths, self.trials(starts).best, deep=True)
            feasible = bool(found.feasible[0])
            failed += 1.0 if feasible else INFEASIBLE
            if feasible and (point is None or found.score > point.score):
                point, failed = self._taken(found), 0.0
        return point

    def _taken(self, point: Trial) -> Trial:
        """Return the local optimum that a network leads to, once the frames around it are added."""
        point = descend(self.trials, self.everything, point, deep=True)
        self._known(point.genomes[0])
        self._around(Relaxation(self.trials.evaluator, point.genomes[0], pinned=True), None, GENERATIONS)
        return point

    def _around(self, relaxation: Relaxation, prices: Prices | None, generations: int) -> None:
        """Add the most promising frames around the network in the middle of a relaxation's grid."""
        assert relaxation.center is not None, "a grid over the whole space has no middle"
        frames = neighbours(self.trials.evaluator.coding, relaxation.center)
        frames, values = evolved(self.trials, relaxation, self.rng, frames, prices, generations)
        frames = frames[np.argsort(-values, kind="stable")[:KEPT]]
        found = relaxation(frames, prices and prices.of(0, len(frames)))
        for row, value in enumerate(found.values):
            self._added += 1
            heapq.heappush(self._waiting, (-float(value), self._added, found.starts(row)))

    def _known(self, genome: Genomes) -> bool:
        """Return whether the genome's frame was looked at before; from now on it was."""
        frame = genome[_frame_genes(self.trials.evaluator.coding)].tobytes()
        before = frame in self._seen
        self._seen.add(frame)
        return before


def _frame_genes(coding: Coding) -> list[int]:
    return [gene for name in ("depth", "kernel", "block", "inner") for gene in coding.genes(name)]
