"""NSGA-II's front of objective against predicted latency, beside random networks and exact designs along it.

The front's hypervolume is compared with that of the front joined with the others: where it dominates or equals all of
them, the two are the same. Run: python -m benchmarks.pareto_front [--table TABLE.sqlite]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.conditions import RESULTS, write_results
from deepmad.engine.budgets import Budget
from deepmad.engine.evolution.fronts import Point, pareto_front
from deepmad.engine.evolution.nondominated import hypervolume
from deepmad.engine.evolution.settings import Evolution
from deepmad.engine.latency import LatencyModel
from deepmad.engine.limits import with_limit
from deepmad.engine.population.evaluation import Evaluator
from deepmad.engine.problems import Problem
from deepmad.engine.search.repair import Repair
from deepmad.engine.search.variation import random_genomes
from deepmad.engine.solvers import CpSat, design
from deepmad.search_spaces.layers import Count, Layer
from deepmad.search_spaces.spaces import load_space

COST = "latency_seconds"
LEAST_SHARE = 0.99
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class PaddedTable:
    """A made-up device where no table is given: layers cost a launch each, and channels count in groups of 16."""

    batch: int = 1
    precision: str = "fp32"
    overhead_nanoseconds: int = 20_000

    def nanoseconds(self, layer: Layer) -> Count:
        """Return 2 microseconds a layer and one nanosecond for 50 padded multiply-accumulates."""
        inputs = 1 if layer.depthwise else -(-layer.inputs // 16) * 16
        return 2_000 + inputs * (-(-layer.outputs // 16) * 16) * layer.kernel**2 * layer.out_side**2 // 50


@app.command()
def compare(
    preset: Annotated[str, typer.Argument(help="A preset.")] = "r18",
    table: Annotated[Path | None, typer.Option(help="Latency table (default: a made-up device).")] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds of the front.")] = 60.0,
    exact_seconds: Annotated[float, typer.Option(help="Seconds of every exact design.")] = 30.0,
    designs: int = 10,
    random: int = 50,
    seed: int = 0,
    note: Annotated[str, typer.Option(help="What else there is to say of the machine.")] = "",
) -> None:
    """Find the front, compare it, and write results/pareto_front.csv and .svg."""
    space = load_space(preset)
    problem = Problem(space, Budget.of(space), _table(table), classes=0)
    front = pareto_front(problem, "latency_seconds", Evolution(time_limit, seed=seed, workers=1))
    print(f"front: {len(front.points)} networks in {front.seconds:.0f} s", flush=True)
    groups = {
        "front": list(front.points),
        "random": _random_networks(problem, random, seed),
        "exact": _exact_designs(problem, front.points, designs, exact_seconds),
    }
    everything = [point for points in groups.values() for point in points]
    reference = (min(point.objective for point in everything), max(point.used for point in everything))
    share = _area(groups["front"], reference) / _area(everything, reference)
    print(f"hypervolume: {share:.4%} of that of all networks (asked: {LEAST_SHARE:.0%})")
    rows = [
        {"of": name, "objective": point.objective, COST: point.used, "share_of_front": _beside(point, groups["front"])}
        for name, points in groups.items()
        for point in points
    ]
    notes = {"hypervolume": f"{share:.4%} of that of all networks", "table": table.name if table else "made up"}
    settings = {"settings": f"{time_limit:g} s on one core, exact designs {exact_seconds:g} s each"}
    print(f"written to {write_results('pareto_front', rows, notes | settings | ({'note': note} if note else {}))}")
    print(f"written to {_plot(groups, f'{preset}: {share:.2%} of the hypervolume')}")


def _table(path: Path | None) -> LatencyModel:
    from deepmad.profilers.tables import LatencyTable

    return PaddedTable() if path is None else LatencyTable.load(path)


def _random_networks(problem: Problem, count: int, seed: int) -> list[Point]:
    """Return the first random networks that keep all limits."""
    evaluator = Evaluator(problem)
    repair, rng = Repair(evaluator.coding), np.random.default_rng(seed)
    found: list[Point] = []
    while len(found) < count:
        genomes = repair(random_genomes(evaluator.coding, rng, 1000))
        for genome in genomes[evaluator.evaluate(genomes).excess == 0]:
            network = evaluator.coding.architecture(genome)
            if not problem.broken(network) and len(found) < count:
                found.append(Point(network, problem.value(network), problem.predicted_seconds(network)))
    return found


def _exact_designs(problem: Problem, points: tuple[Point, ...], count: int, seconds: float) -> list[Point]:
    """Return exact designs under latency limits along the front's range, evenly in the logarithm."""
    found = []
    for limit in np.geomspace(points[0].used, points[-1].used, count + 1)[1:]:
        solution = design(with_limit(problem, COST, float(limit)), CpSat(seconds, workers=1))
        if solution.architecture is not None and solution.objective is not None:
            used = problem.predicted_seconds(solution.architecture)
            found.append(Point(solution.architecture, solution.objective, used))
            gap = "-" if solution.gap is None else f"{solution.gap:.2%}"
            print(f"exact: {solution.objective:,.1f} within {limit * 1e3:.3f} ms, gap {gap}", flush=True)
    return found


def _area(points: list[Point], reference: tuple[float, float]) -> float:
    objectives, used = ([getattr(point, name) for point in points] for name in ("objective", "used"))
    return hypervolume(np.array(objectives), np.array(used), reference)


def _beside(point: Point, front: list[Point]) -> float | None:
    """Return the highest objective of the front at no more cost, over the point's; None where there is none."""
    highest = max((other.objective for other in front if other.used <= point.used), default=None)
    return None if highest is None else round(highest / point.objective, 5)


def _plot(groups: dict[str, list[Point]], title: str) -> Path:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    panel = figure.subplots()
    for (name, points), mark in zip(groups.items(), (".-", "x", "D"), strict=True):
        milliseconds, objectives = [1e3 * point.used for point in points], [point.objective for point in points]
        panel.plot(milliseconds, objectives, mark, label=name, markersize=4)
    panel.set(xlabel="predicted latency, ms for one batch", ylabel="objective", title=title)
    panel.legend(frameon=False)
    path = RESULTS / "pareto_front.svg"
    with mpl.rc_context({"svg.hashsalt": "front"}):  # the same picture for the same numbers
        figure.savefig(path, metadata={"Date": None})
    return path


if __name__ == "__main__":
    app()
