"""Planning a table's probes: a first set drawn by seed, then rounds of networks for which the predictor errs.

At the end those that look disturbed are measured again. Every choice depends on the seed, the space and the rows
measured so far, and on nothing else: a build that is interrupted between two rounds plans the same again.
"""

import math
from collections.abc import Sequence

import numpy as np

from deepmad.profilers.building.probes import PARAMS_SLACK, Probes, draw_probes, random_network
from deepmad.profilers.prediction.features import Basis, terms
from deepmad.profilers.prediction.prediction import Matrix, Vector, excess, held_out_errors
from deepmad.profilers.prediction.rows import Row
from deepmad.profilers.tables.build_records import Planned
from deepmad.profilers.tables.table_files import text
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import Space

FIRST_SHARE = 0.6
"""Share of the whole networks that are drawn before anything is measured."""
ROUND_SHARE = 0.1
"""Share of the whole networks that is chosen in one round."""
CANDIDATES = 4
"""Networks drawn for every one that is chosen."""
NEIGHBOURS = 3
"""Measured networks whose errors tell what error to expect of one like them."""
PATIENCE = 2
IMPROVEMENT = 0.01
"""Rounds end once so many of them together lowered the error by less than this share."""
MIN_WHOLE = 12
"""Whole networks that are measured however little time there is."""
MIN_ROWS = 10
"""Whole networks that must be measured before errors choose; with fewer, chance does."""

SLOW = 0.01
"""A whole network that took so much longer than its fit is measured once more: other work only adds time."""
SLOW_SHORT = 0.05
"""The same for a short probe, whose time is fitted less closely."""


def first_probes(space: Space, seed: int, networks: int, short: int) -> Probes:
    """Return what is measured before the first choice: a share of the whole networks, and all short ones.

    Raises `InputError` where the space is empty.
    """
    return draw_probes(space, seed, min(networks, max(1, math.ceil(FIRST_SHARE * networks))), short)


def in_order(probes: Probes, kinds: int = 0) -> list[Planned]:
    """Return the plan of a first set: so many short probes, the whole networks, the other short ones.

    With a short one of every kind first, a build that runs out of time knows every kind of layer.
    """
    short = [Planned(network, True, 0) for network in probes.short]
    return [*short[:kinds], *(Planned(network, False, 0) for network in probes.networks), *short[kinds:]]


def essential(planned: Sequence[Planned]) -> Sequence[Planned]:
    """Return the part of a plan that is measured however little time there is."""
    leading = next((index for index, item in enumerate(planned) if not item.short), 0)
    return planned[: leading + MIN_WHOLE]


def still_improves(rows: Sequence[Row], planned: Sequence[Planned]) -> bool:
    """Return whether the last rounds made the predictor better on the first set.

    Only the first set counts, since later networks were chosen for being hard. The mean held-out error must
    have fallen by the share `IMPROVEMENT` at least over the last `PATIENCE` rounds.
    """
    first = {text(item.architecture) for item in planned if item.round == 0}
    rounds = {text(item.architecture): item.round for item in planned}
    last = max(rounds.values())
    if last < PATIENCE:
        return True

    def error(until: int) -> float:
        used = [row for row in rows if rounds.get(text(row.architecture), 0) <= until]
        whole = [text(row.architecture) in first for row in used if not row.short]
        return float(np.abs(held_out_errors(used))[whole].mean()) if sum(whole) >= MIN_ROWS else math.inf

    return not error(last) > (1 - IMPROVEMENT) * error(last - PATIENCE)


def round_size(networks: int) -> int:
    """Return how many of a table's whole networks one round chooses."""
    return max(1, round(ROUND_SHARE * networks))


def draw_candidates(space: Space, seed: int, number: int, count: int) -> list[Architecture]:
    """Return networks to choose from, spread like the probes of the first set. Raises `InputError`."""
    rng = np.random.default_rng((seed, number))
    blocks = sorted({block for stage in space.stages for block in stage.block})
    drawn = (
        random_network(space, rng, low=0.1, high=1.05, params_slack=PARAMS_SLACK, block=blocks[index % len(blocks)])
        for index in range(count)
    )
    return list(dict.fromkeys(drawn))


def choose_networks(rows: Sequence[Row], candidates: Sequence[Architecture], count: int) -> list[Architecture]:
    """Return those `count` candidates, no two alike, for which the fit on `rows` promises the largest errors.

    The expected error of a candidate is the mean held-out error of the measured networks most like it. With
    few rows the first candidates are taken.
    """
    if sum(not row.short for row in rows) < MIN_ROWS:
        return list(candidates[:count])
    measured = [row.architecture for row in rows if not row.short]
    positions = _positions([*measured, *candidates])
    known, open_ = positions[: len(measured)], positions[len(measured) :]
    expected = _neighbours_errors(known, np.abs(held_out_errors(rows)), open_)
    return [candidates[index] for index in _spread(open_, expected, count)]


def slow_probes(rows: Sequence[Row], visits: int) -> list[Row]:
    """Return the probes that took longer than their fit by too much, worst first, but not those visited twice as often.

    `visits` is how often a probe is visited when it is measured.
    """
    if sum(not row.short for row in rows) < MIN_ROWS:
        return []
    over = [
        (float(share), index)
        for index, (row, share) in enumerate(zip(rows, excess(rows), strict=True))
        if share > (SLOW_SHORT if row.short else SLOW) and len(row.visits) < 2 * visits
    ]
    return [rows[index] for _, index in sorted(over, reverse=True)]


def _positions(networks: Sequence[Architecture]) -> Matrix:
    """Return a point for every network, near to those whose layers do similar work: the scaled logs of its features."""
    basis = Basis.of(networks)
    totals = []
    for network in networks:
        total: dict[str, int] = {}
        for part in network.parts():
            for layer in part.body.layers if part.repeats else ():
                for name, value in terms(layer, basis):
                    total[name] = total.get(name, 0) + part.repeats * int(value)
        totals.append(total)
    names = sorted({name for total in totals for name in total})
    logs = np.log1p(np.array([[float(total.get(name, 0)) for name in names] for total in totals]))
    spread = logs.std(axis=0)
    scaled: Matrix = (logs - logs.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    return scaled


def _distances(one: Matrix, other: Matrix) -> Matrix:
    found: Matrix = np.sqrt(((one[:, None, :] - other[None, :, :]) ** 2).mean(axis=2))
    return found


def _neighbours_errors(known: Matrix, errors: Vector, wanted: Matrix) -> Vector:
    """Return the mean error of the known points nearest to every wanted one."""
    nearest = np.argsort(_distances(wanted, known), axis=1, kind="stable")[:, :NEIGHBOURS]
    found: Vector = errors[nearest].mean(axis=1)
    return found


def _spread(points: Matrix, score: Vector, count: int) -> list[int]:
    """Return the points of the highest scores, leaving out those nearer to a chosen one than is usual."""
    distances = _distances(points, points)
    np.fill_diagonal(distances, math.inf)
    usual = float(np.median(distances.min(axis=1))) if len(points) > 1 else 0.0
    order = np.argsort(-score, kind="stable").tolist()
    chosen = list[int]()
    for index in order:
        if len(chosen) < count and all(distances[index, other] >= usual for other in chosen):
            chosen.append(index)
    left = [index for index in order if index not in chosen]
    return chosen + left[: count - len(chosen)]
