"""Designs under a limit that only a function knows: one that times every network with ONNX Runtime.

The limits are shares of the measured time of the design without one; no latency table is involved. The middle one is
designed for once more with a function that raises, hangs, returns NaN or kills its process for four networks in ten.
What is delivered is timed afresh, in three new processes: the median is the fresh time. Run:
python -m benchmarks.black_box
"""

import hashlib
import json
import math
import os
import signal
import statistics
import time
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.conditions import write_results
from deepmad.cli.render import plain_table
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.program.black_boxes import BlackBox
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import Auto
from deepmad.profilers.measuring.measurements import STANDARD, Failure, measure, measure_apart
from deepmad.profilers.measuring.requests import Request
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space

SPACES = "examples/small.yaml@32,r18@64"
FACTORS = (0.7, 0.5, 0.3)
MOODY_FACTOR = 0.5
FRESH = 3
CALL_SECONDS = 15.0


@dataclass(frozen=True)
class Seconds:
    """The function: median seconds of one image on one thread; a moody one fails for four networks in ten."""

    moody: bool

    def __call__(self, network: Architecture) -> float:
        """Return the seconds, or fail."""
        mood = _mood(network) if self.moody else 9
        if mood == 0:
            raise RuntimeError("in no mood for this network")
        if mood == 1:
            time.sleep(3600)
        if mood == 2:
            return math.nan
        if mood == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(network).seconds


def main(
    spaces: Annotated[str, typer.Option(help="Spaces, each with the side of its input.")] = SPACES,
    time_limit: Annotated[float, typer.Option(help="Seconds of one design, everything included.")] = 90.0,
    seed: int = 0,
) -> None:
    solver = Auto(time_limit=time_limit, seed=seed)
    rows: list[dict[str, object]] = []
    for name in spaces.split(","):
        path, _, side = name.partition("@")
        space = load_space(path)
        problem = Problem(space, Budget.of(space), resolution=int(side))
        free = design(problem, solver.exact())
        assert free.architecture is not None, "the space's own limits can be met"
        seconds = _fresh(free.architecture)
        print(f"{name}: without a limit {1e3 * seconds:.4g} ms", flush=True)
        for factor, moody in [*((factor, False) for factor in FACTORS), (MOODY_FACTOR, True)]:
            box = BlackBox(Seconds(moody), factor * seconds, "seconds", CALL_SECONDS)
            asked = replace(problem, budget=replace(problem.budget, extra=(box,)))
            row = {"space": space.name, "side": side, "function": "moody" if moody else "steady", "factor": factor}
            rows.append(row | _row(box, design(asked, solver)))
            print(rows[-1], flush=True)
    Console(width=220).print(plain_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    print(f"written to {write_results('black_box', rows)}")


def _row(box: BlackBox, solution: Solution) -> dict[str, object]:
    """Return what a design under a limit came to; times in milliseconds."""
    assert solution.black_boxes is not None, "functions were called"
    calls, used = solution.black_boxes["seconds"], solution.limits["seconds"].used
    fresh = None if solution.architecture is None else _fresh(solution.architecture)
    return {
        "limit_ms": f"{1e3 * box.limit:.4g}",
        "status": str(solution.status),
        "solver": solution.solver.name,
        "used_ms": "" if used is None else f"{1e3 * used:.4g}",
        "used/limit": "" if used is None else f"{used / box.limit:.3f}",
        "fresh/limit": "" if fresh is None else f"{fresh / box.limit:.3f}",
        "objective": "" if solution.objective is None else f"{solution.objective:.1f}",
        "bound": "" if solution.bound is None else f"{solution.bound:.1f}",
        "gap": "" if solution.gap is None else f"{solution.gap:.4f}",
        "calls": calls.calls,
        "failed": calls.failed,
        "call_seconds": f"{calls.seconds:.1f}",
        "seconds": f"{solution.seconds:.1f}",
        "reasons": "; ".join(calls.reasons),
    }


def _fresh(network: Architecture) -> float:
    """Return the median of a network's times in new processes."""
    found = [measure_apart([Request(network)], STANDARD) for _ in range(FRESH)]
    return statistics.median(one[0].seconds for one in found if not isinstance(one, Failure))


def _mood(network: Architecture) -> int:
    """Return a digit that is the same for a network whenever it is asked for."""
    text = json.dumps(replace(network, name="").to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).digest()[0] % 10


if __name__ == "__main__":
    typer.run(main)
