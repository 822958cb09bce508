"""What networks are ranked by: the objective, its parts, and plain counts, by the package."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking.networks import Trained
from deepmad.engine.program.entropy import entropy, rho, scales
from deepmad.engine.program.objectives import objective_value
from deepmad.search_spaces.layers import by_stage, main_elements, total, total_macs, total_params

LAST_WEIGHT = 8.0
"""What the last scale's entropy is multiplied by, as published; the others count once."""
BETA = 10.0
"""Weight of the paper's penalty on uneven depths, as published."""
RANDOM = "random"

Floats = NDArray[np.float64]


def score_table(networks: Sequence[Trained]) -> dict[str, Floats]:
    """Return every score by its name, an array (networks,) each, for all of them the larger the better."""
    rows = [scores_of(network) for network in networks]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}


def scores_of(network: Trained) -> dict[str, float]:
    """Return the scores of one network; `random` is the same for all, so that ties alone decide."""
    parts = network.parts
    found = scales(parts)
    stages = 1 + max((part.stage for part in parts if part.stage is not None), default=-1)
    depths = [sum(part.repeats for part in stage) for stage in by_stage(parts, stages)]
    weighted = entropy(found, [1.0] * (len(found) - 1) + [LAST_WEIGHT])
    first_block = "bottleneck" if network.residual else "mbconv"
    return {
        "objective paper": objective_value("paper", weighted, depths, first_block, BETA),
        "objective reference": objective_value("reference", weighted, depths, first_block, BETA),
        "entropy, last scale x 8": weighted,
        "entropy, scales alike": entropy(found, [1.0] * len(found)),
        "entropy, last scale alone": found[-1].entropy,
        "-rho": -rho(found),
        "layers": found[-1].depth,
        "MACs": total_macs(parts),
        "parameters": total_params(parts),
        "activations": total(parts, main_elements),
        "sqrt activations": total(parts, lambda layer: np.sqrt(main_elements(layer))),
        RANDOM: 0.0,
    }
