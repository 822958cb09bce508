"""Networks a processor second: the evaluation of large populations alone, and the whole loop of an evolution.

Run: python -m benchmarks.evolution_speed
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import typer

from benchmarks.conditions import write_results
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.islands import Machine, generations, spread_survivors, toolbox
from deepmad.engine.solvers.evolution.judging import Verdicts
from deepmad.engine.solvers.evolution.nondominated import front_survivors, tournament
from deepmad.engine.solvers.search.variation import random_genomes
from deepmad.search_spaces.spaces import load_space

NETWORKS, POPULATION = 200_000, 800
GENERATIONS = 100
app = typer.Typer(add_completion=False)


@app.command()
def compare(
    presets: Annotated[list[str] | None, typer.Argument(help="Presets (default: r18, r50 and b0).")] = None,
    rounds: Annotated[int, typer.Option(help="Timed rounds; the fastest counts.")] = 7,
    note: Annotated[str, typer.Option(help="What else there is to say of the machine.")] = "",
) -> None:
    """Time evaluation and loops and write results/evolution_speed.csv."""
    rows: list[dict[str, object]] = []
    for name in presets or ("r18", "r50", "b0"):
        space = load_space(name)
        problem = Problem(space, Budget.of(space), objective="reference", classes=0)
        machine = Machine(problem, 0, "macs")
        rng = np.random.default_rng(0)
        genomes = machine.repair(random_genomes(machine.coding, rng, NETWORKS))
        loops: dict[str, tuple[int, Callable[[], object]]] = {
            "evaluation": (NETWORKS, partial(machine.evaluator.evaluate, genomes)),
            "loop": (GENERATIONS * POPULATION, partial(_evolve, machine, front=False)),
            "loop of NSGA-II": (GENERATIONS * POPULATION, partial(_evolve, machine, front=True)),
        }
        for what, (networks, run) in loops.items():
            seconds = _fastest(run, rounds)
            rows.append({"preset": name, "what": what, "networks": networks, "processor_seconds": round(seconds, 4)})
            rows[-1]["networks_per_second"] = round(networks / seconds)
            print(rows[-1], flush=True)
    print(f"written to {write_results('evolution_speed', rows, {'note': note} if note else None)}")


def _evolve(machine: Machine, *, front: bool) -> None:
    """Evolve for some generations: selection, crossing, mutation, repair, evaluation and survival."""
    rng = np.random.default_rng(1)
    judge = machine.judge(Verdicts.none(len(machine.coding.sizes)), None)
    if front:
        box = toolbox(judge, rng, POPULATION, partial(front_survivors, count=POPULATION), tournament)
    else:
        box = toolbox(judge, rng, POPULATION, spread_survivors(machine.coding))
    population = box.survive(judge.judged(random_genomes(machine.coding, rng, POPULATION)))
    generations(box, judge, population, GENERATIONS)


def _fastest(run: Callable[[], object], rounds: int) -> float:
    """Return the processor seconds of the fastest round after one that warms up; other work does not count."""
    run()
    times = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    app()
