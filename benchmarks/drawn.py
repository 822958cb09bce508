"""Random networks of a space that a table does not hold, and what is told of their times."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict

import numpy as np

from deepmad.profilers.building.probes import random_network
from deepmad.profilers.measuring.measurements import Measurement
from deepmad.profilers.tables.table_files import text
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import Space


def draw(space: Space, held: Collection[str], count: int, seed: int) -> list[Architecture]:
    """Return random members of the space, none of them `held` (as `text` writes it); rho is not limited."""
    rng, found = np.random.default_rng(seed), list[Architecture]()
    while len(found) < count:
        network = random_network(space, rng, low=0.25)
        if text(network) not in held and network not in found:
            found.append(network)
    return found


def rows_of(
    networks: Sequence[Architecture],
    predicted: Sequence[float],
    first: Sequence[Measurement],
    second: Sequence[Measurement],
) -> list[dict[str, object]]:
    """Return one row a network with its times in seconds and the conditions of its measurements."""
    return [
        {
            "predicted_seconds": expected,
            "first_seconds": one.seconds,
            "first_low": one.low,
            "first_high": one.high,
            "second_seconds": two.seconds,
            "second_low": two.low,
            "second_high": two.high,
            "relative_error": (expected - one.seconds) / one.seconds,
            **asdict(one.conditions),
            "load_before": one.before.load,
            "load_after": two.after.load,
            "warnings": "; ".join((*one.warnings, *two.warnings)),
            "architecture": json.dumps(network.to_dict()),
        }
        for network, expected, one, two in zip(networks, predicted, first, second, strict=True)
    ]
