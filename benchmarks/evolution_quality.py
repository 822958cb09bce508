"""How near the evolution comes to proven optima in a given time on one core: residual presets, and spaces from files.

    python -m benchmarks.evolution_quality
    python -m benchmarks.evolution_quality seven kinds ten --time-limit 60 --seeds 10 --name evolution_quality-spaces

One line a seed.
"""

import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.conditions import write_results
from deepmad.cli.render import plain_table
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.spaces import load_space

OPTIMA = {"r18": 36_555.57, "r34": 48_562.19, "r50": 51_991.37}
"""Proven by branch and price: objective `reference`, no classifier."""
SPACES = Path(__file__).parent / "spaces"
OPTIMA_OF_SPACES = {"seven": 84_500.08, "kinds": 170_431.50, "ten": 220_288.47, "mobile": 33_353.58, "nine": 84_243.59}
"""Proven alike: objective `paper`, the file's classifier."""
app = typer.Typer(add_completion=False)


@app.command()
def compare(
    names: Annotated[list[str] | None, typer.Argument(help="Residual presets (these by default), spaces.")] = None,
    time_limit: float = 30.0,
    seeds: int = 5,
    islands: int = 2,
    population: int = 800,
    note: Annotated[str, typer.Option(help="What else there is to say of the machine.")] = "",
    output: Annotated[str, typer.Option("--name", help="Of the file in results/.")] = "evolution_quality",
) -> None:
    """Evolve every preset and space with seeds 0, 1, ... on one core and write a line each."""
    rows: list[dict[str, object]] = []
    shares: dict[str, list[float]] = {}
    for name in names or OPTIMA:
        problem, optimum = _problem(name)
        for seed in range(seeds):
            settings = Evolution(time_limit, islands=islands, population=population, seed=seed, workers=1)
            began = time.process_time()
            solution = design(problem, settings)
            worked = time.process_time() - began
            share = (solution.objective or 0.0) / optimum
            shares.setdefault(name, []).append(share)
            row: dict[str, object] = {"space": name, "seed": seed, "objective": round(solution.objective or 0.0, 2)}
            row |= {"optimum": optimum, "percent": round(100 * share, 3), "seconds": round(solution.seconds, 1)}
            row["processor_seconds"] = round(worked, 1)  # fewer on a machine that others use too
            rows.append(row)
            print(rows[-1], flush=True)
    table = [[name, f"{median(found):.3%}", f"{min(found):.3%}"] for name, found in shares.items()]
    Console().print(plain_table(["space", "median", "worst"], table))
    notes = {f"{name} median and worst": f"{median(found):.3%}, {min(found):.3%}" for name, found in shares.items()}
    notes |= {"settings": f"{time_limit:g} s, one process, {islands} islands, population {population}"}
    notes |= {"note": note} if note else {}
    print(f"written to {write_results(output, rows, notes)}")


def _problem(name: str) -> tuple[Problem, float]:
    """Return a preset's or a space's problem, and its optimum."""
    if name in OPTIMA:
        space = load_space(name)
        return Problem(space, Budget.of(space), objective="reference", classes=0), OPTIMA[name]
    space = load_space(str(SPACES / f"{name}.yaml"))
    return Problem(space, Budget.of(space), objective="paper", classes=space.classes), OPTIMA_OF_SPACES[name]


if __name__ == "__main__":
    app()
