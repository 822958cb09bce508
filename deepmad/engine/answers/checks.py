"""What a solution file says, compared with what its networks say themselves."""

import math
from collections.abc import Mapping

from deepmad.engine.program.entropy import rho, scales
from deepmad.engine.program.measures import ADDITIVE
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import total

ROUNDING = 1e-9
"""How far, relatively, a number in a file may be from the same one computed anew."""
CHANGED = "the file was changed after it was written; write it anew, or give the architecture a file of its own"


def check_used(network: Architecture | None, used: Mapping[str, float | None], source: str) -> None:
    """Raise `InputError` where a network does not use of its limits what the file says."""
    if network is None:
        return
    parts = network.parts()
    counted = {measure.name: total(parts, measure.of_layer) for measure in ADDITIVE if measure.of_layer is not None}
    counted["rho"] = rho(scales(parts))
    for name, value in used.items():
        if value is not None and name in counted and not math.isclose(value, counted[name], rel_tol=ROUNDING):
            used_now = f"{counted[name]:.10g}"
            raise InputError(f"{source}: limits.{name}.used: {value:.10g}, and the network uses {used_now}; {CHANGED}")


def check_objective(objective: float | None, bound: float | None, *, network: bool, source: str) -> None:
    """Raise `InputError` where there is an objective without a network or the reverse, or one above its bound."""
    if (objective is not None) != network:
        raise InputError(f"{source}: objective: {objective} {'with' if network else 'without'} a network; {CHANGED}")
    if objective is not None and bound is not None and objective > bound + ROUNDING * abs(bound):
        raise InputError(f"{source}: objective: {objective:.10g} is above the bound, {bound:.10g}; {CHANGED}")
