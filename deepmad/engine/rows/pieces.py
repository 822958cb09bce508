"""Pieces of work on a family of rows, each done by one process: a bound, and good networks on the way."""

import math
import time
from dataclasses import dataclass

from deepmad.engine.problems import Problem
from deepmad.engine.progress import Race
from deepmad.engine.solutions import relative_gap
from deepmad.search_spaces.architectures import Architecture

STEPS_A_UNIT = 10
"""Steps of branch and price that count as a unit of deterministic work."""
SEARCH_SHARE, EXACT_SHARE = 0.2, 0.7
"""The search's share of a piece's time, and CP-SAT's share of what is then left in a small space."""


@dataclass(frozen=True)
class Effort:
    """How much a piece may take: `seconds` or, where that is None, `work` in deterministic units.

    With `solve` networks are searched for too, and CP-SAT takes part where the space is small.
    """

    seconds: float | None
    work: float
    solve: bool


@dataclass(frozen=True)
class Piece:
    """A problem with one stride a stage, to be settled as far as `effort` goes.

    `floor` is the best objective known of any row (None: none is known): networks that are no better are of no
    interest. `gap` is the relative gap to it that may stay open.
    """

    problem: Problem
    starts: tuple[Architecture, ...]
    floor: float | None
    gap: float
    seed: int
    effort: Effort


@dataclass(frozen=True)
class Settled:
    """What a piece of work brought: a feasible network or None, and a bound.

    No feasible network of the piece's problem has an objective above the larger of `bound` and the piece's floor;
    `bound` is inf where nothing is proven and -inf where there is no feasible network.
    """

    network: Architecture | None
    bound: float


def settle(piece: Piece) -> Settled:
    """Return the best network met in a piece's problem, and what is proven of it within the piece's effort."""
    race = Race(piece.problem, piece.gap, None, time.monotonic())
    for network in piece.starts:
        race.offer(network)
    if piece.effort.solve:
        _search(race, piece)
        if piece.problem.small and not _over(race, piece):
            _prove(race, piece)
    if not _closed(race, piece):
        _bound(race, piece)
    return Settled(race.network, race.bound)


def _known(race: Race, piece: Piece) -> float | None:
    """Return the best objective known, here or of any row; None where none is known."""
    return max((value for value in (race.best, piece.floor) if value is not None), default=None)


def _closed(race: Race, piece: Piece) -> bool:
    """Whether no more is to be found here than the gap leaves open."""
    known = _known(race, piece)
    return race.bound == -math.inf if known is None else relative_gap(known, race.bound) <= piece.gap


def _left(race: Race, piece: Piece) -> float:
    """Return the seconds left; infinite under a limit in units of work."""
    return math.inf if piece.effort.seconds is None else piece.effort.seconds - race.seconds


def _over(race: Race, piece: Piece) -> bool:
    return _left(race, piece) <= 0


def _search(race: Race, piece: Piece) -> None:
    """Search for better networks, from the best one known on."""
    from deepmad.engine.search import search

    limited = piece.effort.seconds is not None
    race.offer(
        search(
            piece.problem,
            seed=piece.seed,
            seconds=SEARCH_SHARE * _left(race, piece) if limited else None,
            rounds=None if limited else 1,
            starts=piece.starts,
        )
    )


def _prove(race: Race, piece: Piece) -> None:
    """Let CP-SAT search a small space, to its end where the effort suffices."""
    from deepmad.engine.cpsat import solve

    limited = piece.effort.seconds is not None
    result = solve(
        piece.problem,
        hint=race.network,
        seconds=EXACT_SHARE * _left(race, piece) if limited else None,
        deterministic_limit=None if limited else piece.effort.work,
        workers=1,
        seed=piece.seed,
        gap=piece.gap,
    )
    race.offer(result.network)
    race.lower(-math.inf if result.status == "infeasible" else result.bound)


def _bound(race: Race, piece: Piece) -> None:
    """Tighten the bound until nothing above the floor is left or the effort is spent."""
    from deepmad.engine.bounds import tighten

    steps = STEPS_A_UNIT * piece.effort.work if piece.effort.seconds is None else math.inf
    for count, step in enumerate(tighten(piece.problem, lambda: _known(race, piece)), start=1):
        race.offer(step.proposal)
        race.lower(step.bound)
        if step.done or _closed(race, piece) or count >= steps or _over(race, piece):
            return
