"""Calls of black-box functions: in worker processes, each network's once, and what became of them."""

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deepmad.engine.answers.parts import CallRecord
from deepmad.engine.program.black_boxes import BlackBox, answer
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture
from deepmad.tasks import Done, Failed, Outcome, Tasks

REASONS = 3
"""Reasons of failed calls that are told, each once."""


class Calls:
    """What the functions of black-box limits say of networks, asked for once each.

    `known` holds every outcome by the JSON text of the architecture and the name of the limit; what is in it from
    the start is not asked for again. A call that is cut off at `ends`, by the monotonic clock, has no outcome;
    `cut_off` counts them.
    """

    def __init__(
        self,
        boxes: Sequence[BlackBox],
        tasks: Tasks,
        *,
        ends: float = math.inf,
        known: Mapping[tuple[str, str], Outcome[float]] | None = None,
    ) -> None:
        self.boxes, self.tasks, self.ends = tuple(boxes), tasks, ends
        self.known: dict[tuple[str, str], Outcome[float]] = dict(known or {})
        self.cut_off = 0
        self._cached: Counter[str] = Counter()
        self._made: Counter[str] = Counter()

    @property
    def over(self) -> bool:
        """Whether there is no time for another call."""
        return time.monotonic() >= self.ends

    def __call__(self, networks: Sequence[Architecture]) -> list[dict[str, Outcome[float]]]:
        """Return the outcomes of each network by the name of the limit; one that there was no time for is missing."""
        texts = [text(network) for network in networks]
        for box in self.boxes:
            missing = {key: one for key, one in zip(texts, networks, strict=True) if (key, box.name) not in self.known}
            self._cached[box.name] += len(set(texts)) - len(missing)
            self._make(box, missing)
        return [
            {box.name: self.known[key, box.name] for box in self.boxes if (key, box.name) in self.known}
            for key in texts
        ]

    def _make(self, box: BlackBox, networks: Mapping[str, Architecture]) -> None:
        """Call one function for networks that it is not known for, a few at a time until the end."""
        keys = list(networks)
        for first in range(0, len(keys), box.at_once):
            some = keys[first : first + box.at_once]
            seconds = min(box.seconds, self.ends - time.monotonic())
            if seconds <= 0:
                return
            items = [(box, networks[key]) for key in some]
            for place, outcome in self.tasks.run(answer, items, seconds=seconds):
                if isinstance(outcome, Failed) and seconds < box.seconds and self.over:
                    self.cut_off += 1  # by the end of the run: nothing is known of this network
                    continue
                self.known[some[place], box.name] = outcome
                self._made[box.name] += 1

    def records(self) -> dict[str, CallRecord]:
        """Return what became of the calls, by the name of the limit."""
        return {box.name: self._record(box.name) for box in self.boxes}

    def _record(self, name: str) -> CallRecord:
        outcomes = [outcome for (_, limit), outcome in self.known.items() if limit == name]
        reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)]
        return CallRecord(
            self._made[name],
            self._cached[name],
            len(reasons),
            tuple(dict.fromkeys(reasons))[:REASONS],
            sum(outcome.seconds for outcome in outcomes),
        )


def text(network: Architecture) -> str:
    """Return the JSON text by which what is known of a network is kept; its name does not matter."""
    return json.dumps(replace(network, name="").to_dict(), sort_keys=True)


class Screen:
    """Judges networks by the black-box limits of a problem, and remembers the best one that keeps all limits.

    `best` is that network, `called` what the functions returned for it. `seen` holds every network that was judged,
    by its text, with what the functions returned, as far as they did.
    """

    def __init__(self, problem: Problem, calls: Calls) -> None:
        self.problem, self.calls = problem, calls
        self.best: Architecture | None = None
        self.called: dict[str, float] = {}
        self.seen: dict[str, tuple[Architecture, dict[str, float]]] = {}

    def __call__(self, networks: Sequence[Architecture]) -> list[float]:
        """Return of each network how far it is above the limits: the sum of their relative excesses.

        It is 0 where all black-box limits are kept, and infinite where a call failed or there was no time for it.
        """
        return [self._judged(*pair) for pair in zip(networks, self.calls(networks), strict=True)]

    def _judged(self, network: Architecture, outcomes: Mapping[str, Outcome[float]]) -> float:
        called = {name: outcome.value for name, outcome in outcomes.items() if isinstance(outcome, Done)}
        self.seen[text(network)] = network, called
        if len(called) < len(self.problem.black_boxes):
            return math.inf
        if not self.problem.broken(network, called) and self._better(network):
            self.best, self.called = network, called
        return sum(box.excess(called[box.name]) for box in self.problem.black_boxes)

    def _better(self, network: Architecture) -> bool:
        return self.best is None or self.problem.value(network) > self.problem.value(self.best)
