"""What predictions are made from: rows that were measured here, and rows that others published."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepmad.search_spaces.architectures import Architecture

Visit = list[float]
"""Raw times in seconds of runs that followed each other directly."""


@dataclass(frozen=True)
class Row:
    """One probe: the raw seconds of each visit, and the anchor's undisturbed ones in the same rounds.

    `short` says that it is one stage rather than a whole network.
    """

    architecture: Architecture
    short: bool
    visits: list[Visit]
    anchor: list[float]
    date: str
    load_before: float
    load_after: float
    stolen_share: float


@dataclass(frozen=True)
class ImportedRow:
    """A row of an imported series other than a convolution: what was timed, for one batch.

    `source` is the name of the file it comes from, `name` what that calls it, `content` a JSON document on it.
    """

    source: str
    name: str
    nanoseconds: int
    content: dict[str, Any]


def undisturbed(visit: Visit) -> float:
    """Return the seconds of a run that nothing disturbed: the 10 % quantile, since other work only adds time."""
    return float(np.quantile(visit, 0.1))
