"""How fast a build goes, and so how long it will take."""

import time
from dataclasses import dataclass, field

SLOW_SHARE = 0.2
"""The share of a table's probes that other work usually disturbs."""


@dataclass
class Pace:
    """The seconds that this run has taken for probes of each kind: whole networks (False) and short ones (True).

    `short_share` is the share of a whole network's seconds that a short probe takes, while one kind is unseen.
    """

    short_share: float
    rounds: int = 0
    """Rounds that were planned so far."""
    planning: float = 0.0
    """Seconds that planning them took."""
    slow: float = SLOW_SHARE
    """The share of the probes that will be measured once more: a guess until a round was planned, then as seen."""
    began: float = field(default_factory=time.monotonic)
    seconds: dict[bool, float] = field(default_factory=lambda: {False: 0.0, True: 0.0})
    probes: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})

    @property
    def seconds_so_far(self) -> float:
        """The seconds since this run began."""
        return time.monotonic() - self.began

    def add(self, probes: int, seconds: float, *, short: bool) -> None:
        """Count what a chunk took."""
        self.seconds[short] += seconds
        self.probes[short] += probes

    def planned(self, seconds: float, slow: float) -> None:
        """Count the planning of a round, and the share of the probes that have taken too long by then."""
        self.rounds, self.planning, self.slow = self.rounds + 1, self.planning + seconds, slow

    def seconds_to_end(self, whole: int, short: int, rounds: int, all_of_it: tuple[int, int]) -> float | None:
        """Return the seconds until a build ends, None before any probe was measured.

        `whole` and `short` are the probes to come, `rounds` those to be planned, and `all_of_it` are all whole
        and all short probes, of which a share is measured once more.
        """
        measuring = self.seconds_left(whole, short)
        once_more = self.seconds_left(*all_of_it)
        if measuring is None or once_more is None:
            return None
        return measuring + self.slow * once_more + rounds * self.planning / max(1, self.rounds)

    def seconds_left(self, whole: int, short: int) -> float | None:
        """Return the seconds that so many probes will take, None before any was measured."""
        each = {kind: self.seconds[kind] / self.probes[kind] for kind in (False, True) if self.probes[kind]}
        if not each:
            return None
        slow = each[False] if False in each else each[True] / self.short_share
        return whole * slow + short * each.get(True, slow * self.short_share)
