"""Why there is no network: the limits that clash, and how far one has to give way before there is one again."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deepmad.engine.answers.claims import PROOF, require_least, require_none
from deepmad.engine.answers.limit_uses import unused
from deepmad.engine.answers.progress import BRANCH_AND_PRICE, CP_SAT, Race, stopped
from deepmad.engine.answers.solutions import Solution, SolverInfo, Status
from deepmad.engine.program.limits import KINDS, only, with_limit
from deepmad.engine.program.measures import Sense
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat, Rows
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import STOPS
from deepmad.search_spaces.rows import Layouts, with_strides
from deepmad.search_spaces.units import human

LOOSE = 1e15
"""A limit that every network keeps, on MACs, parameters, bytes or rho."""
LOOSE_SECONDS = 1e6
"""A latency limit that every network keeps; its nanoseconds can still be added up in 64 bits."""
LOOSE_FROM_BELOW = 1.0
"""A limit from below that every network keeps."""
SEARCH_SHARE, LONGEST_SEARCH = 0.5, 5.0
"""The quick search's share of the time, and the most seconds that it gets in a large space."""
SHORTEST_SEARCH = 0.3
"""The most seconds that it gets in a small space, which CP-SAT is soon through with."""
EXPLAINING_SECONDS, CLASH_SHARE = 10.0, 0.5
"""Seconds to say why there is no network under a limit in units of work, and the share in which the clash is looked
for."""
LESS = 1e-6
"""In a large space a value counts as least once it is proven that none is smaller by more than this share."""


@dataclass(frozen=True)
class Nearest:
    """The tightest value of a limit found feasible: what `network` uses of it while it keeps all others.

    `proven` says that none tighter is feasible: none smaller, or none larger of a limit from below. In the unit of
    `Problem.usages`.
    """

    value: float
    network: Architecture
    proven: bool


def nearest(problem: Problem, name: str, *, seconds: float, workers: int, seed: int) -> Nearest | None:
    """Return the nearest value of the limit `name` at which `problem`, its other limits kept, has a network.

    None where no network was found within `seconds`, perhaps because the other limits already clash. A quick
    search finds a witness; a better one, or the proof that there is none, comes from CP-SAT in a small space and
    from branch and price in a large one (which takes a value less by a millionth for the same).
    """
    from deepmad.engine.solvers.search.scored import search_least

    if not problem.space.strides_fixed:
        return _nearest_layout(problem, name, seconds=seconds, workers=workers, seed=seed)
    ends = time.monotonic() + seconds
    free = _loose(problem, name)
    longest = SHORTEST_SEARCH if problem.small else LONGEST_SEARCH
    searching = min(longest, SEARCH_SHARE * seconds)
    witness = search_least(free, name, seed=seed, seconds=searching)
    if witness is not None and not problem.small:
        return least_priced(free, name, witness, ends)
    from deepmad.engine.solvers.cpsat import least_use

    if witness is not None:
        free = with_limit(free, name, free.usages(witness)[name].used)
    least = least_use(free, name, hint=witness, seconds=ends - time.monotonic(), workers=workers, seed=seed)
    if least.network is None:
        if least.proven:
            require_none(free, CP_SAT, witness)
        return None
    if least.proven and witness is not None:
        require_least(free, CP_SAT, name, free.usages(least.network)[name].used, witness)
    return Nearest(free.usages(least.network)[name].used, least.network, least.proven)


def _loose(problem: Problem, name: str) -> Problem:
    """Return the problem with the limit `name` where every network keeps it."""
    limit = problem.limits().get(name)
    if limit is not None and limit.sense == "at least":
        return with_limit(problem, name, LOOSE_FROM_BELOW)
    return with_limit(problem, name, LOOSE_SECONDS if name == "latency_seconds" else LOOSE)


def _nearest_layout(problem: Problem, name: str, *, seconds: float, workers: int, seed: int) -> Nearest | None:
    """Return the nearest value of a limit over the layouts of strides, each looked at for an even share of the time.

    Where that does not suffice for all of them, the value is not proven.
    """
    ends, layouts = time.monotonic() + seconds, Layouts(problem.space)
    found: list[Nearest | None] = []
    for place, strides in enumerate(layouts):
        left = ends - time.monotonic()
        if place and left <= 0:
            break
        part = replace(problem, space=with_strides(problem.space, strides))
        found.append(nearest(part, name, seconds=left / (layouts.count - place), workers=workers, seed=seed))
    known = [one for one in found if one is not None]
    if not known:
        return None
    sign = _loose(problem, name).limits()[name].sign
    least = min(known, key=lambda one: sign * one.value)
    return replace(least, proven=len(known) == layouts.count and all(one.proven for one in known))


def least_priced(problem: Problem, name: str, witness: Architecture, ends: float) -> Nearest:
    """Return a network that uses no more than `witness` of the limit `name`, proven least where the time suffices.

    Of a limit from below it uses no less, and is proven to use most. Branch and price looks for a network below (above)
    what the best one uses. It looks just below, which is the proof where the best one is the least, and further down
    with every network that it meets, until there is none so far down. It ends at `ends` by the monotonic clock.
    """
    from deepmad.engine.solvers.bounds import tighten

    sign = problem.limits()[name].sign
    used, none_below, step = problem.usages(witness)[name].used, 0.0 if sign > 0 else math.inf, LESS
    while sign * none_below < sign * _shifted(used, LESS, sign):
        halfway = (none_below + used) / 2
        limit = sign * min(sign * _shifted(used, LESS, sign), max(sign * _shifted(used, step, sign), sign * halfway))
        below = with_limit(problem, name, limit)
        found: Architecture | None = None
        for part in tighten(below, lambda: None, ends):
            if part.infeasible:
                none_below, step = limit, LESS
                break
            if part.proposal is not None and not below.broken(part.proposal):
                found = part.proposal
                break
            if part.done or time.monotonic() > ends:
                return Nearest(used, witness, proven=False)
        if found is not None:
            require_least(problem, BRANCH_AND_PRICE, name, none_below, found)
            witness, used, step = found, problem.usages(found)[name].used, 4 * step
        if time.monotonic() > ends:
            break
    return Nearest(used, witness, proven=sign * none_below >= sign * _shifted(used, LESS, sign))


def _shifted(used: float, share: float, sign: int) -> float:
    """Return a value tighter than `used` by a share of it."""
    return (1 - sign * share) * used


def nearest_each(
    problem: Problem, names: Sequence[str], *, seconds: float, workers: int, seed: int
) -> Iterator[tuple[str, Nearest]]:
    """Yield the nearest value of each of the limits `names`, as it is found; one that has none is left out.

    The names are of limits that no network keeps together: raises `ContradictionError` where one does.
    """
    ends = time.monotonic() + seconds
    for place, name in enumerate(names):
        share = (ends - time.monotonic()) / (len(names) - place)
        if share <= 0:
            return
        found = nearest(problem, name, seconds=share, workers=workers, seed=seed)
        if found is not None:
            if not only(problem, names).broken(found.network):
                require_none(problem, PROOF, found.network)
            yield name, found


def infeasible(
    race: Race, solver: CpSat | Rows, info: SolverInfo, *, seconds: float, clashes: Callable[..., list[str]] | None
) -> Solution:
    """Return the solution of a problem proven to have no network: the limits that clash, the nearest feasible ones.

    `seconds` are those left, infinite under a limit in units of work. `clashes` finds out which limits clash; without
    it all of them are said to. Raises `Interrupted` with what is known by then.
    """
    race.doing = "explaining"
    race.tell()
    problem, limited = race.problem, math.isfinite(seconds)
    ends = time.monotonic() + (seconds if limited else min(EXPLAINING_SECONDS, solver.time_limit))
    options = {"workers": info.workers, "seed": info.seed}
    clash = list(problem.limits()) if clashes is None else None
    near: dict[str, Nearest] = {}

    def solution() -> Solution:
        names = list(problem.limits()) if clash is None else clash
        return Solution(
            Status.INFEASIBLE,
            clash_message(problem, names, near),
            info,
            race.seconds,
            limits=unused(problem),
            clash=None if clash is None else tuple(clash),
            nearest={name: one.value for name, one in near.items()} or None,
        )

    try:
        if clashes is not None:
            clash = clashes(problem, seconds=CLASH_SHARE * (ends - time.monotonic()), **options)
        assert clash is not None
        near.update(nearest_each(problem, clash, seconds=ends - time.monotonic(), **options))
    except STOPS as stop:
        raise stopped(stop, solution()) from stop
    return solution()


def clash_message(problem: Problem, names: Sequence[str], near: Mapping[str, Nearest]) -> str:
    """Return the sentence on why there is no network, and from which limits on there is one.

    `names` are the limits that clash, `near` the nearest values known. Values are rounded up, those of
    limits from below down, so that a limit typed from the sentence is feasible.
    """
    limits = problem.limits()
    start = f"no network of space {problem.space.name} meets "
    if not names:
        return start + "the space's own rules; loosen the rules"
    start += " and ".join(in_words(problem, name, limits[name].value) for name in names)
    start += " together" if len(names) > 1 else ""
    if not near:
        return start + "; loosen a limit"
    ways = []
    for name, found in near.items():
        others = " and ".join(_asked_for(problem, other) for other in names if other != name)
        proof = "proven nearest" if found.proven else "the best found"
        kept = f"{others} as asked, {proof}" if others else proof
        ways.append(f"{in_words(problem, name, rounded_looser(found.value, limits[name].sense))} ({kept})")
    missing = " or ".join(_asked_for(problem, name) for name in names if name not in near)
    rest = f"; no network was found by loosening {missing} alone" if missing else ""
    return f"{start}; feasible from {' or '.join(ways)}{rest}"


def in_words(problem: Problem, name: str, value: float) -> str:
    """Return a value of a limit in the words that ask for it: `latency 8 ms`, `throughput 60/s`, `macs >= 3 M`.

    Where a throughput was asked for, a latency is told as one, rounded down.
    """
    word = _asked_for(problem, name)
    if word == "throughput":
        throughput = problem.batch / value
        step = 10.0 ** (math.floor(math.log10(throughput)) - 3)
        return f"{word} {math.floor(throughput / step * (1 + 1e-9)) * step:.10g}/s"
    limit = problem.limits().get(name)
    sign = ">= " if limit is not None and limit.sense == "at least" else ""
    return f"{word} {sign}{human(value, KINDS[name])}"


def _asked_for(problem: Problem, name: str) -> str:
    """Return what a limit is called where it is asked for."""
    if name != "latency_seconds":
        return name
    throughput, latency = problem.budget.throughput, problem.budget.latency_seconds(problem.batch)
    return "throughput" if throughput is not None and problem.batch / throughput == latency else "latency"


def with_fastest_met(problem: Problem, solution: Solution, *, seconds: float, seed: int) -> Solution:
    """Return a solution without network and proof, with the least predicted latency met in a search of some seconds.

    The network met keeps all other limits. Without a limit on latency the solution is returned as it is.
    """
    from deepmad.engine.solvers.search.scored import search_least

    name = "latency_seconds"
    if name not in problem.limits():
        return solution
    free = _loose(problem, name)
    fastest = search_least(free, name, seed=seed, seconds=seconds)
    if fastest is None:
        return solution
    used = free.usages(fastest)[name].used
    told = f"the fastest network met has {in_words(problem, name, used)}, all other limits kept"
    return replace(solution, message=f"{solution.message}; {told}", nearest={name: used})


def rounded_looser(value: float, sense: Sense, digits: int = 4) -> float:
    """Return a positive `value` rounded to so many significant digits: up, or down for a limit from below."""
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    if sense == "at least":
        return math.floor(value / step * (1 + 1e-12)) * step
    return math.ceil(value / step * (1 - 1e-12)) * step
