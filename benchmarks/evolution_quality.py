"""How near the evolution comes to the proven optima of the residual presets in a given time on one core.

Run: python -m benchmarks.evolution_quality
"""

import time
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
app = typer.Typer(add_completion=False)


@app.command()
def compare(
    presets: Annotated[list[str] | None, typer.Argument(help="Residual presets (default: r18 r34 r50).")] = None,
    time_limit: float = 30.0,
    seeds: int = 5,
    islands: int = 2,
    population: int = 800,
    note: Annotated[str, typer.Option(help="What else there is to say of the machine.")] = "",
) -> None:
    """Evolve every preset with seeds 0, 1, ... on one core and write results/evolution_quality.csv."""
    rows: list[dict[str, object]] = []
    shares: dict[str, list[float]] = {}
    for name in presets or OPTIMA:
        space = load_space(name)
        problem = Problem(space, Budget.of(space), objective="reference", classes=0)
        for seed in range(seeds):
            settings = Evolution(time_limit, islands=islands, population=population, seed=seed, workers=1)
            began = time.process_time()
            solution = design(problem, settings)
            worked = time.process_time() - began
            share = (solution.objective or 0.0) / OPTIMA[name]
            shares.setdefault(name, []).append(share)
            row: dict[str, object] = {"preset": name, "seed": seed, "objective": round(solution.objective or 0.0, 2)}
            row |= {"optimum": OPTIMA[name], "percent": round(100 * share, 3), "seconds": round(solution.seconds, 1)}
            row["processor_seconds"] = round(worked, 1)  # fewer on a machine that others use too
            rows.append(row)
            print(rows[-1], flush=True)
    table = [[name, f"{median(found):.3%}", f"{min(found):.3%}"] for name, found in shares.items()]
    Console().print(plain_table(["preset", "median", "worst"], table))
    notes = {f"{name} median and worst": f"{median(found):.3%}, {min(found):.3%}" for name, found in shares.items()}
    notes |= {"settings": f"{time_limit:g} s, one process, {islands} islands, population {population}"}
    notes |= {"note": note} if note else {}
    print(f"written to {write_results('evolution_quality', rows, notes)}")


if __name__ == "__main__":
    app()
