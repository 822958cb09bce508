"""Scouting: networks near the optimum of a thin part of the space, which branch and price works on for a moment."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import tighten
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.coarsening import thinned

OUT_STEP, WIDTH_STEP = 1.3, 1.4
"""Ratio of neighbouring widths of the thin part, at least."""
MOST_STEPS = 300
"""Steps of branch and price at most; a few bring the first network."""
MOST_SCOUTED = 4
"""Networks at most, each of another frame."""


def scout(
    problem: Problem, incumbent: Callable[[], float | None], end: float = math.inf
) -> Iterator[Architecture | None]:
    """Yield networks near the optimum of a thin part of the space, not necessarily within the budget.

    Each is of another frame: of other block kinds, kernels or depths. After a step without one comes None; so the
    caller may end it at any time. It ends at `end`, in `time.monotonic` seconds.
    """
    thin = replace(problem, space=thinned(problem.space, OUT_STEP, WIDTH_STEP))
    seen: set[tuple[tuple[str, int, int], ...]] = set()
    for count, step in enumerate(tighten(thin, incumbent, end)):
        network = step.proposal
        if network is not None:
            frame = tuple((stage.block, stage.kernel, stage.depth) for stage in network.stages)
            network = None if frame in seen else network
            seen.add(frame)
        yield network
        if count >= MOST_STEPS or len(seen) >= MOST_SCOUTED or step.done:
            return
