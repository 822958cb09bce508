"""The two objectives: the paper's, and the one of the authors' published code."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from deepmad.search_spaces.layers import Count

ObjectiveName = Literal["paper", "reference"]
OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)
REFERENCE_BETA = 10.0
"""Weight of the depth penalty in the published code, which it does not let anybody change."""
MOST_PENALTY = 1e18
"""A penalty on depths above this leaves nothing of the entropy in a floating-point number."""
MOST_STEPS = 50
RESIDUAL_BLOCKS = ("bottleneck", "basic")


def entropy_factor(objective: ObjectiveName) -> float:
    """Return what the entropy is multiplied by: the published code halves it."""
    return 0.5 if objective == "reference" else 1.0


def penalised_stages(objective: ObjectiveName, first_block: str, stages: int) -> slice:
    """Return which stages' depths the penalty looks at.

    The published code leaves out the first two where the first stage is of the residual family.
    """
    return slice(2 if objective == "reference" and first_block in RESIDUAL_BLOCKS else 0, stages)


def depth_penalty(objective: ObjectiveName, depths: Sequence[Count], beta: float) -> Count:
    """Return the penalty on uneven depths of the penalised stages, in units of the objective.

    `paper`: beta * exp(Var(L)) (paper, equation 11); `reference`: 10 * exp(std(L)). Variance and
    deviation are those of the population; no more than one stage has none.
    """
    if len(depths) < 2:
        spread: Count = 0.0
    else:
        spread = np.var(np.stack(np.broadcast_arrays(*depths)).astype(float), axis=0)
    if objective == "reference":
        return REFERENCE_BETA * np.exp(np.sqrt(spread))
    with np.errstate(over="ignore"):  # a variance above 709 is a penalty nobody can pay: infinity is right
        return beta * np.exp(spread)


def least_penalty(objective: ObjectiveName, depths: Sequence[Sequence[int]], first_block: str, beta: float) -> float:
    """Return about the least penalty that a network can have, `depths` holding every stage's choices.

    Depths are moved towards their mean until they stay; with choices far apart a little less may be possible.
    """
    chosen = [choices[0] for choices in depths]
    for _ in range(MOST_STEPS):
        mean = sum(chosen) / len(chosen)
        nearer = [min(choices, key=lambda depth: abs(depth - mean)) for choices in depths]
        if nearer == chosen:
            break
        chosen = nearer
    return float(depth_penalty(objective, chosen[penalised_stages(objective, first_block, len(chosen))], beta))


def objective_value(
    objective: ObjectiveName, entropy: Count, depths: Sequence[Count], first_block: str, beta: float
) -> Count:
    """Return the objective of a network from its entropy (sum alpha_i H_i) and its stages' depths."""
    penalised = depths[penalised_stages(objective, first_block, len(depths))]
    return entropy_factor(objective) * entropy - depth_penalty(objective, penalised, beta)
