"""A piece of work on one limit of a front: a search for networks within it, then branch and price below it.

The bound is a line. Branch and price maximises the objective less a charge for every unit of the cost, over the
networks within the limit; no network there has more than that maximum and its own charge. All trees share the tables
of the space, which hold whatever the limit, and the columns found so far, which are stages with their costs.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.costs.additive import Additive, additive_costs
from deepmad.engine.program.limits import only, with_limit
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import Share, Tree
from deepmad.engine.solvers.bounds.columns import Pool
from deepmad.engine.solvers.bounds.grouping import tables_of
from deepmad.engine.solvers.bounds.tables import OutOfTimeError, SpaceTables, rooms
from deepmad.engine.solvers.evolution.running import counted
from deepmad.engine.solvers.search import search
from deepmad.search_spaces.architectures import Architecture

SEARCH_SHARE = 0.4
"""The share of a piece's time in which networks are searched for."""
SEARCH_ROUNDS = 1
"""Rounds of that search where a piece is limited in nodes."""
DEVICE = "@0"
"""Ends the name of the latency that is charged for: the largest of all devices' is no less."""


@dataclass(frozen=True)
class Piece:
    """Work on one limit: no network that costs up to `limit` (inf: whatever it costs), `charge` for a unit of cost.

    `floor` is the best objective less charges known within the limit; what is not above it by more than `tolerance` is
    not looked at. It goes on with the open boxes of a `share`, and ends within about `seconds`, or after `nodes`
    boxes, the same ones every time; `left` are the seconds after which it is worth nothing any more. Where there are
    `starts`, it begins with a search from them for a network that costs up to `aim`. `key` is the front's own.
    """

    key: str
    problem: Problem
    against: str
    limit: float
    charge: float
    floor: float
    tolerance: float
    share: Share
    starts: tuple[Architecture, ...]
    aim: float
    seed: int
    seconds: float | None
    nodes: int | None
    left: float = math.inf


@dataclass(frozen=True)
class Worked:
    """What became of a piece: what is open, and networks worth checking.

    No network has an objective, less charges, above the largest of `closed`, `open` and what earlier pieces of the tree
    have closed. `share` is None where nothing was proven.
    """

    share: Share | None
    closed: float
    open: float
    networks: tuple[Architecture, ...]


class _Here:
    """What this process keeps of the front that it works for: reading the tables takes longer than a piece."""

    key = ""
    tables: SpaceTables
    pool: Pool


def free(problem: Problem, against: str) -> Problem:
    """Return the problem with its other limits alone, the cost counted."""
    return counted(only(problem, [name for name in problem.limits() if name != against]), against)


def chargeable(problem: Problem, against: str) -> bool:
    """Return whether the cost adds up over the layers, as far as branch and price is concerned."""
    return any(_is(cost, against) for cost in additive_costs(free(problem, against)))


def _is(cost: Additive, against: str) -> bool:
    return cost.name in (against, f"{against}{DEVICE}")


def work(piece: Piece) -> Worked:
    """Return what became of a piece of work; runs in a worker's process."""
    began = time.monotonic()
    end = math.inf if piece.seconds is None else began + piece.seconds
    whole = free(piece.problem, piece.against)
    if piece.key != _Here.key:
        _Here.key, _Here.tables = piece.key, tables_of(whole)
        _Here.pool = Pool(_Here.tables)
    problem = _within(whole, piece.against, piece.limit)
    networks = list(_searched(piece, _within(whole, piece.against, piece.aim))) if piece.starts else []
    tables, constant = _charged(piece, problem, _Here.tables)
    floor = max(piece.floor, *(_worth(piece, problem, network) for network in networks), -math.inf)
    pool = Pool(tables) if piece.nodes is not None else _Here.pool
    tree = Tree(problem, lambda: None, began + piece.left, tables=tables, pool=pool)
    share = replace(piece.share, known=floor + constant + piece.tolerance)

    def over() -> bool:
        return tree.evaluated >= piece.nodes if piece.nodes is not None else time.monotonic() >= end

    try:
        found = tree.work_on(share, over)
    except OutOfTimeError:
        return Worked(None, -math.inf, math.inf, tuple(networks))
    closed = max(share.known, found.settled, found.ties)
    still = max((node.bound for node in found.nodes), default=-math.inf)
    networks += [*found.proposals, *([found.met] if found.met else [])]
    share = replace(share, nodes=found.nodes, begun=True)
    return Worked(share, closed - constant, still - constant, tuple(networks))


def _within(problem: Problem, against: str, limit: float) -> Problem:
    """Return the problem with a limit on the cost; inf is none."""
    return problem if math.isinf(limit) else with_limit(problem, against, limit)


def _searched(piece: Piece, problem: Problem) -> Iterator[Architecture]:
    """Yield the best network within the limit that a quick search finds."""
    limited = piece.seconds is not None
    found = search(
        problem,
        seed=piece.seed,
        seconds=SEARCH_SHARE * (piece.seconds or 0.0) if limited else None,
        rounds=None if limited else SEARCH_ROUNDS,
        starts=piece.starts,
    )
    if found is not None:
        yield found


def _worth(piece: Piece, problem: Problem, network: Architecture) -> float:
    """Return the objective of a network less its charge; -inf where it breaks a limit."""
    usages = problem.usages(network)
    if problem.broken_at(network, usages):
        return -math.inf
    return problem.value(network) - (piece.charge * usages[piece.against].used if piece.charge else 0.0)


def _charged(piece: Piece, problem: Problem, tables: SpaceTables) -> tuple[SpaceTables, float]:
    """Return the tables with the piece's limit and charge, and what the layers' charge is less than the whole."""
    costs = additive_costs(problem)
    charges, constant, limits = np.zeros(len(costs)), 0.0, rooms(costs)
    for place, cost in enumerate(costs):
        if _is(cost, piece.against):
            charges[place] = piece.charge * (1e-9 if cost.of_device else 1.0)
            constant = float(charges[place]) * cost.constant
            limits[place] = math.inf if math.isinf(piece.limit) else limits[place]
    return replace(tables, problem=problem, charges=charges, limits=limits), constant
