"""What every import does with rows that it cannot use: leave them out and tell how many, or refuse the file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepmad.profilers.prediction.quantities import NANOSECONDS_IN_SECOND, USUAL_SECONDS
from deepmad.search_spaces.errors import InputError

CONTRADICTION = 0.1
"""Times of the same thing that are further apart than this share contradict each other."""


class LeftOut:
    """The rows of a file that cannot be used: how many there are, and why the first one cannot."""

    def __init__(self, path: Path, rows: str) -> None:
        self.path, self.rows, self.count, self.first = path, rows, 0, ""

    def add(self, where: str, why: str) -> None:
        """Leave out the row at `where`, like `line 3`, and keep why."""
        self.first = self.first or f"{where}: {why}"
        self.count += 1

    def check(self, kept: int) -> None:
        """Raise `InputError` with the first reason where more rows were left out than kept: it is another file."""
        if self.count > kept:
            more = f"; {self.count} of {self.count + kept} {self.rows} cannot be used" if self.count > 1 else ""
            raise InputError(f"{self.path}: {self.first}{more}")

    @property
    def remark(self) -> str | None:
        """The sentence that tells of them; None where all rows were used."""
        if not self.count:
            return None
        return f"{self.path}: {self.count} of its {self.rows} left out, the first at {self.first}"


def check_unit(path: Path, nanoseconds: Sequence[int], unit: str) -> None:
    """Raise `InputError` where most times are too short for anything that runs: they are in another unit."""
    usual = float(np.median(nanoseconds))
    if usual < USUAL_SECONDS * NANOSECONDS_IN_SECOND:
        raise InputError(
            f"{path}: half of its times are below {usual:.3g} ns, which nothing takes; it must hold {unit}, not seconds"
        )


def agreeing(times: Sequence[int]) -> bool:
    """Return whether several times of the same thing are near enough to each other to be repeated measurements."""
    return max(times) <= (1 + CONTRADICTION) * min(times)
