"""The reference network: small, fixed and the same for everybody, timed beside what is measured.

Its times say how steady the machine was meanwhile, and a latency relative to it says more on another machine than
seconds do.
"""

from dataclasses import dataclass

import numpy as np

from deepmad.search_spaces.architectures import Architecture, Stage, Stem

REFERENCE = Architecture(
    resolution=64,
    stem=Stem(32),
    stages=(
        Stage("bottleneck", 128, 64, 3, 1, 2),
        Stage("bottleneck", 256, 128, 3, 1, 2),
        Stage("bottleneck", 512, 256, 3, 1, 2),
    ),
    classes=10,
    name="the reference network",
)
"""Ten convolutions on its main path, 51.2 M multiply-accumulates; it runs with batch 1. Never change it: results that
others have kept are relative to it."""
SHARE = 0.1
"""The part of a network's seconds that the reference gets."""
DRIFT = 0.05
"""A reference that is slower in one visit than in another by more than this share makes a number doubtful."""


@dataclass(frozen=True)
class ReferenceTimes:
    """The raw seconds of the reference network, batch 1, visit by visit in the order they were taken."""

    visits: tuple[tuple[float, ...], ...]

    @property
    def seconds(self) -> float:
        """Its usual seconds: the median of its visits' medians."""
        return float(np.median(self._medians))

    @property
    def drift(self) -> float:
        """The slowest visit's median over the fastest one's."""
        return max(self._medians) / min(self._medians)

    @property
    def _medians(self) -> list[float]:
        return [float(np.median(visit)) for visit in self.visits]

    @property
    def warning(self) -> str | None:
        """The sentence that tells of a drift; None where the machine was steady."""
        if self.drift <= 1 + DRIFT:
            return None
        medians = self._medians
        slow, fast = int(np.argmax(medians)), int(np.argmin(medians))
        return (
            f"the reference network ran {self.drift - 1:.0%} slower in round {slow + 1} than in round {fast + 1} "
            f"of {len(medians)}; the machine was not steady, so measure again"
        )
