"""How fast a build goes, and so how long it will take."""

import time
from dataclasses import dataclass, field


@dataclass
class Pace:
    """The seconds that this run has taken for probes of each kind: whole networks (False) and short ones (True).

    `short_share` is the share of a whole network's seconds that a short probe takes, while one kind is unseen.
    """

    short_share: float
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

    def seconds_left(self, whole: int, short: int) -> float | None:
        """Return the seconds that so many probes will take, None before any was measured."""
        each = {kind: self.seconds[kind] / self.probes[kind] for kind in (False, True) if self.probes[kind]}
        if not each:
            return None
        slow = each[False] if False in each else each[True] / self.short_share
        return whole * slow + short * each.get(True, slow * self.short_share)
