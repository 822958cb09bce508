"""A guess at what black boxes return, in prices of layers, so that the solvers can aim below a limit.

What a black box tells of a few networks says nothing of the others. But most of what is asked for grows with a network,
as a latency does: so prices of layers are fitted to the calls made so far, and stand in the program as the latency
table of one more device. A guess leads to networks worth a call; only the calls decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepmad.engine.program.black_boxes import BlackBox
from deepmad.engine.program.latency import LatencyModel, latency_nanoseconds
from deepmad.engine.program.limits import without_black_boxes
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import Count, Layer

SECONDS = 1.0
"""The latency limit that a guess is scaled to in a problem that has none."""
PRIOR = 0.05
"""Weight, beside one observation, of the price that each feature has before anything is known: an even share."""


@dataclass(frozen=True)
class Guess:
    """A latency table that tells a black box: at its limit a network takes as long as the problem's latency limit.

    `prices` are nanoseconds for each of the `features` of a layer, `error` is the mean relative error over the
    networks that they were fitted to.
    """

    batch: int
    precision: str
    prices: tuple[float, ...]
    error: float = 0.0
    overhead_nanoseconds: int = 0

    def nanoseconds(self, layer: Layer) -> Count:
        """Return the nanoseconds of a layer, an int or an int64 array."""
        total: Any = sum(price * feature for price, feature in zip(self.prices, features(layer), strict=True))
        rounded = np.rint(total)
        return rounded.astype(np.int64) if np.ndim(rounded) else int(rounded)

    def looser(self, factor: float) -> "Guess":
        """Return a guess that lets networks pass which this one takes to be above the limit by up to `factor`."""
        return replace(self, prices=tuple(price / factor for price in self.prices))


def features(layer: Layer) -> tuple[Count, ...]:
    """Return what a layer's price may depend on: its being there, its MACs and parameters, what it reads and writes."""
    return 1, layer.macs, layer.params, layer.input_elements + layer.output_elements


def guess(problem: Problem, box: BlackBox, observed: Sequence[tuple[Architecture, float]]) -> Guess | None:
    """Return a guess from networks with what the function returned for them, the latest one last.

    The latest one is met exactly. None where a limit or a value is not positive, so that nothing can add up to it.
    """
    from scipy.optimize import nnls

    if box.limit <= 0 or not observed or min(used for _, used in observed) <= 0:
        return None
    blank = Guess(problem.batch, problem.precision, ())
    targets = np.array([used / box.limit * _seconds(problem) * 1e9 for _, used in observed])
    totals = np.array([_totals(network, blank) for network, _ in observed])
    usual = (totals / targets[:, None]).mean(axis=0)  # in this unit, each feature alone has the price 1
    count, weight = len(usual), np.sqrt(PRIOR)
    rows = np.concatenate([totals / targets[:, None] / usual, weight * np.eye(count)])
    shares, _ = nnls(rows, np.concatenate([np.ones(len(targets)), np.full(count, weight / count)]))
    prices = shares / usual
    predicted = totals @ prices
    error = float(np.mean(np.abs(predicted / targets - 1)))
    return replace(blank, prices=tuple(float(price) for price in prices * targets[-1] / predicted[-1]), error=error)


def guided(problem: Problem, guesses: Sequence[Guess]) -> Problem:
    """Return the problem with guesses in the place of its black boxes."""
    relaxed = without_black_boxes(problem)
    if not guesses:
        return relaxed
    own = relaxed.tables if "latency_seconds" in relaxed.limits() else ()
    tables: list[LatencyModel] = [*own, *guesses]
    budget = replace(relaxed.budget, latency=_seconds(problem), throughput=None)
    return replace(relaxed, budget=budget, table=tables)


def _seconds(problem: Problem) -> float:
    """Return the latency limit in force, for one batch, and that of a guess where there is none."""
    return problem.budget.latency_seconds(problem.batch) or SECONDS


def _totals(network: Architecture, blank: Guess) -> list[float]:
    """Return each feature, summed over the network's layers as a latency is."""
    parts, count = network.parts(), len(features(network.parts()[0].body.layers[0]))
    units = np.eye(count)
    return [float(latency_nanoseconds(parts, replace(blank, prices=tuple(unit)))) for unit in units]
