"""How many nodes branch and price works on a second with one, two and four workers: by wall time and by processor time.

The best network known is handed in, so that the searches beside it change nothing. Told are the nodes that all
processes evaluated once the root was split, a second, and a second of their processor time together; where there are
fewer cores than workers, only the latter means something.

    python -m benchmarks.bound_workers
"""

import time
from pathlib import Path
from typing import Annotated

import psutil
import typer

from benchmarks.conditions import write_results
from deepmad.engine.answers.progress import Race
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import Tree
from deepmad.engine.solvers.crew import helped
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space

RATES = ("nodes_a_second", "nodes_a_processor_second")
SPACES = Path(__file__).parent / "spaces"


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Spaces of benchmarks/spaces.")] = None,
    workers: Annotated[list[int], typer.Option(help="Numbers of workers; repeatable.")] = [1, 2, 4],  # noqa: B006 - typer copies it
    seconds: Annotated[float, typer.Option(help="How long each works.")] = 30.0,
) -> None:
    """Work on every space with every number of workers and write results/bound_workers.csv."""
    rows = []
    for name in names or ["nine", "seven"]:
        space = load_space(str(SPACES / f"{name}.yaml"))
        problem = Problem(space, Budget.of(space))
        network = design(problem, CpSat(seconds, 0.0, 2)).architecture
        assert network is not None, "these spaces have networks"
        alone: dict[str, float] | None = None
        for count in workers:
            found = _worked(problem, network, count, seconds)
            alone = alone or found
            ratios = {f"{what}_ratio": round(found[what] / alone[what], 2) for what in RATES}
            rows.append({"space": name, "workers": count} | found | ratios)
            print(rows[-1], flush=True)
    print(f"written to {write_results('bound_workers', rows, {'seconds': seconds})}")


def _worked(problem: Problem, network: Architecture, workers: int, seconds: float) -> dict[str, float]:
    """Return what so many workers do in some seconds from the first split on."""
    race = Race(problem, 0.0, None, time.monotonic())
    race.offer(network)
    with helped(problem, workers - 1, 0) as crew:
        tree = Tree(problem, lambda: race.best)
        began: tuple[float, float, int] | None = None
        for _ in tree.steps():
            now = time.monotonic()
            if began is None and tree.heap:
                began = now, _processor_seconds(), tree.evaluated
            if began and now - began[0] >= seconds:
                break
            if crew:
                crew.turn(race, seconds, tree)
        assert began is not None, "these spaces are not closed at the root"
        took, spent = time.monotonic() - began[0], _processor_seconds() - began[1]
    nodes = tree.evaluated - began[2]
    return {
        "nodes": nodes,
        "seconds": round(took, 2),
        "processor_seconds": round(spent, 2),
        "nodes_a_second": round(nodes / took, 2),
        "nodes_a_processor_second": round(nodes / spent, 2),
    }


def _processor_seconds() -> float:
    """Return the processor time of this process and of those that it started."""
    here = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (here, *here.children(recursive=True)))


if __name__ == "__main__":
    typer.run(main)
