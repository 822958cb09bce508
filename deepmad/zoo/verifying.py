"""Verifying the entries of a zoo on this machine: one measurement at a time, while nothing else is computed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeGuard

from deepmad.engine.answers.parts import Round
from deepmad.engine.answers.solutions import Measured, Solution
from deepmad.engine.measured_loop import borne_out, design_measured, in_the_end
from deepmad.profilers.errors import DeviceError
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture
from deepmad.zoo.entries import Entry
from deepmad.zoo.journal import Journal
from deepmad.zoo.solving import solver_for
from deepmad.zoo.spec import Spec

PASSES = 3
"""Times of a network in the end, an odd number."""
Timing = Callable[[Key, Architecture | str], Measured]
"""What times a network, an architecture or one that `deepmad measure` knows by name, under a table's conditions."""


class Stopwatch:
    """A way to time networks under one set of conditions, but for the `known` ones, and the seconds spent with it."""

    def __init__(self, timing: Timing, key: Key, known: Mapping[Architecture, Measured] | None = None) -> None:
        self.timing, self.key, self.known = timing, key, known or {}
        self.seconds = 0.0

    def __call__(self, network: Architecture) -> Measured:
        """Time a network."""
        if network in self.known:
            return self.known[network]
        began = time.monotonic()
        try:
            return self.timing(self.key, network)
        finally:
            self.seconds += time.monotonic() - began


@dataclass(frozen=True)
class Verifier:
    """Verifying the entries of a family: the measured loop for each, then all of them once more.

    What a network takes in one minute is not always what it takes in the next. So in the end every network is timed
    again, in passes over all of them, and the middle time counts. One that this does not bear out goes through the loop
    again, from that time on. Every loop and every time of a pass is a step of the journal.
    """

    spec: Spec
    journal: Journal
    timing: Callable[[Entry], Timing]
    on_round: Callable[[Entry, Round], None]
    on_time: Callable[[Entry, Measured], None]

    def verify(self, solved: Mapping[Entry, Solution]) -> dict[Entry, Solution | str]:
        """Return the verified solution of every entry, or why a network of it could not be timed."""
        looped = {entry: self._loop("verified", entry, solution) for entry, solution in solved.items()}
        checked = looped | self._check("check", looped)
        doubtful = {entry: one for entry, one in checked.items() if _is_timed(one) and not borne_out(one)}
        again = {entry: self._loop("again", entry, solution) for entry, solution in doubtful.items()}
        again |= self._check("checkagain", again)
        return checked | {entry: _better(solution, again[entry]) for entry, solution in doubtful.items()}

    def _loop(self, step: str, entry: Entry, first: Solution) -> Solution | str:
        """Return what the measured loop makes of a solution, or of one that it made before and that was timed since."""
        step = f"{step}-{entry.name}"
        if (known := self.journal.solution(step)) is not None:
            return known
        timed = {first.architecture: first.measured} if first.architecture and first.measured else {}
        watch = Stopwatch(self.timing(entry), entry.family.key, timed)
        solver = solver_for(self.spec.solver, self.spec.solver.workers)  # it has the whole machine
        began = time.monotonic()
        try:
            solution = design_measured(
                entry.problem(self.spec),
                solver,
                watch,
                rounds=self.spec.verify.rounds,
                first=first,
                confirm=False,  # as all of them are timed again in the end
                on_round=partial(self.on_round, entry),
            )
        except DeviceError as error:
            return str(error)
        earlier = first.rounds or ()
        later = [replace(one, number=one.number + len(earlier)) for one in solution.rounds or ()]
        solving = time.monotonic() - began - watch.seconds
        solution = replace(solution, seconds=first.seconds + solving, rounds=(*earlier, *later))
        self.journal.put(step, solution.to_dict())
        return solution

    def _check(self, step: str, found: Mapping[Entry, Solution | str]) -> dict[Entry, Solution | str]:
        """Return the timed ones among the solutions with the middle time of the passes over them, or why there is none.

        Every other pass goes backwards, so that a drift of the machine hits all alike. Times that failed are left out.
        """
        timed = {entry: solution for entry, solution in found.items() if _is_timed(solution)}
        times: dict[Entry, list[Measured]] = {entry: [] for entry in timed}
        broken: dict[Entry, str] = {}
        for number in range(PASSES):
            for entry, solution in list(timed.items())[:: -1 if number % 2 else 1]:
                try:
                    times[entry].append(self._timed(f"{step}-{number}-{entry.name}", entry, solution))
                except DeviceError as error:
                    broken[entry] = str(error)
        return {
            entry: in_the_end(solution, times[entry]) if times[entry] else broken[entry]
            for entry, solution in timed.items()
        }

    def _timed(self, step: str, entry: Entry, solution: Solution) -> Measured:
        """Return the time of a network in one pass."""
        if (known := self.journal.measured(step)) is not None:
            return known
        assert solution.architecture is not None, "it was timed before"
        measured = self.timing(entry)(entry.family.key, solution.architecture)
        self.journal.put(step, asdict(measured))
        self.on_time(entry, measured)
        return measured


def _better(checked: Solution, again: Solution | str) -> Solution:
    """Return what the second loop came to, unless that is worth less: it failed, or misses what was met before."""
    if not _is_timed(again) or (_misses(again) and not _misses(checked)):
        return checked
    return again


def _misses(solution: Solution) -> bool:
    return solution.measured is not None and bool(solution.measured.violated)


def _is_timed(solution: Solution | str) -> TypeGuard[Solution]:
    return isinstance(solution, Solution) and solution.architecture is not None and solution.measured is not None
