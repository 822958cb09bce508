"""NSGA-II's front of objective against predicted latency, beside random networks and exact designs along it.

The front's hypervolume is compared with that of the front joined with the others: where it dominates or equals all of
them, the two are the same. The volume is taken within the lowest objective and the highest latency of the front and the
exact designs: a random network far below them would only make all volumes large. The latency is that of a table of
this machine:

    deepmad table build r18 -o r18.sqlite
    python -m benchmarks.pareto_front --table r18.sqlite
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.conditions import RESULTS, write_results
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.limits import with_limit
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.nondominated import hypervolume
from deepmad.engine.solvers.fronts.finding import pareto_front
from deepmad.engine.solvers.fronts.front import Point
from deepmad.engine.solvers.population.evaluation import Evaluator
from deepmad.engine.solvers.search.repair import Repair
from deepmad.engine.solvers.search.variation import random_genomes
from deepmad.engine.solvers.settings import CpSat, Evolution
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.spaces import load_space

COST = "latency_seconds"
ASKED = 0.99
"""The part of the hypervolume of all networks that the front is to reach."""
DRAWN = 120
"""Networks of the front in the picture, as evenly along it as there are."""

Groups = Mapping[str, Sequence[Point]]


def main(
    table: Annotated[Path, typer.Option(help="Latency table, as deepmad table build makes it.")],
    preset: Annotated[str, typer.Argument(help="A preset.")] = "r18",
    time_limit: Annotated[float, typer.Option(help="Seconds of the front.")] = 60.0,
    exact_seconds: Annotated[float, typer.Option(help="Seconds of every exact design.")] = 20.0,
    designs: Annotated[int, typer.Option(help="Exact designs along the front.")] = 10,
    random: Annotated[int, typer.Option(help="Random networks within the limits.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the front and the random networks.")] = 0,
    note: Annotated[str, typer.Option(help="What else there is to say of the machine.")] = "",
) -> None:
    """Find the front, compare it, and write results/pareto_front.csv and .svg."""
    space, latencies = load_space(preset), LatencyTable.load(table)
    problem = Problem(space, Budget.of(space), latencies)
    front = pareto_front(problem, "latency_seconds", Evolution(time_limit, seed=seed, workers=1), bounds=0)
    print(f"front: {len(front.points)} networks in {front.seconds:.0f} s", flush=True)
    groups: Groups = {
        "front": front.points,
        "exact": _exact_designs(problem, front.points, designs, exact_seconds, seed),
        "random": _random_networks(problem, random, seed),
    }
    told = _compared(groups)
    for what, text in told.items():
        print(f"{what}: {text}")
    rows = [
        {"of": name, "objective": round(point.objective, 3), COST: point.used, "above_front": _above(point, groups)}
        for name, points in groups.items()
        for point in points
    ]
    notes = {
        **told,
        "table": f"{latencies.backend} {latencies.version}, {latencies.precision}, batch {latencies.batch}, "
        f"{latencies.threads} thread(s), on {latencies.device}",
        "settings": f"front {time_limit:g} s on one core, exact designs {exact_seconds:g} s each on one core",
    }
    print(f"written to {write_results('pareto_front', rows, notes | ({'note': note} if note else {}))}")
    print(f"written to {_plot(groups, f'{preset}: {len(front.points)} networks of a front, {time_limit:g} s')}")


def _exact_designs(problem: Problem, front: Sequence[Point], count: int, seconds: float, seed: int) -> list[Point]:
    """Return exact designs under latency limits along the front's range, evenly in the logarithm."""
    found = []
    for limit in np.geomspace(front[0].used, front[-1].used, count + 1)[1:]:
        solution = design(with_limit(problem, COST, float(limit)), CpSat(seconds, gap=0.0, workers=1, seed=seed))
        if solution.architecture is not None and solution.objective is not None:
            used = problem.predicted_seconds(solution.architecture)
            found.append(Point(solution.architecture, solution.objective, used))
            gap = "-" if solution.gap is None else f"{solution.gap:.2%}"
            print(f"exact: {solution.objective:,.1f} within {limit * 1e3:.3f} ms, gap {gap}", flush=True)
    return found


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


def _compared(groups: Groups) -> dict[str, str]:
    """Return in words how much of the hypervolume the front has, and which networks it does not dominate or equal."""
    designed = [*groups["front"], *groups["exact"]]
    reference = (min(point.objective for point in designed), max(point.used for point in designed))
    own = _area(groups["front"], reference)
    unions = {"exact designs": designed, "exact designs and random networks": [*designed, *groups["random"]]}
    told = {
        f"hypervolume of the front in that of front, {names}": f"{own / _area(points, reference):.4%}"
        for names, points in unions.items()
    }
    told["asked"] = f"{ASKED:.0%}"
    for name in ("exact", "random"):
        above = [_above(point, groups) for point in groups[name]]
        beaten = sum(one is not None and one <= 0 for one in above)
        told[f"{name} networks that the front dominates or equals"] = f"{beaten} of {len(above)}"
    shares = [one for point in groups["exact"] if (one := _above(point, groups)) is not None]
    told["exact designs over the front at their latency"] = (
        f"{min(shares):+.3%} to {max(shares):+.3%}, {sum(shares) / len(shares):+.3%} in the mean"
    )
    return told


def _area(points: Sequence[Point], reference: tuple[float, float]) -> float:
    objectives, used = ([getattr(point, name) for point in points] for name in ("objective", "used"))
    return hypervolume(np.array(objectives), np.array(used), reference)


def _above(point: Point, groups: Groups) -> float | None:
    """Return by which share a network's objective is above the front's at no more latency; None where that has none."""
    highest = max((other.objective for other in groups["front"] if other.used <= point.used), default=None)
    return None if highest is None else round(point.objective / highest - 1, 6)


def _plot(groups: Groups, title: str) -> Path:
    """Draw the front as the stairs that it is, thinned out, with the other networks beside."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    front = groups["front"]
    wanted = np.geomspace(front[0].used, front[-1].used, DRAWN)
    shown = [front[place] for place in np.unique(np.searchsorted([point.used for point in front], wanted))]
    with mpl.rc_context({"svg.hashsalt": "front", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        panel = figure.subplots()
        panel.plot(*_columns(shown), color="#1f77b4", drawstyle="steps-post", label="front (NSGA-II with climbs)")
        panel.plot(*_columns(groups["exact"]), "D", color="#d62728", markersize=5, label="exact designs (CP-SAT)")
        panel.plot(*_columns(groups["random"]), ".", color="#7f7f7f", markersize=5, label="random networks")
        panel.set(xscale="log", xlabel="predicted latency of one batch, ms", ylabel="objective", title=title)
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.set_ylim(bottom=0)  # a random network may be far below: a front needs no room there
        panel.minorticks_off()
        panel.grid(color="#e0e0e0", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
        path = RESULTS / "pareto_front.svg"
        figure.savefig(path, metadata={"Date": None})
    return path


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Return milliseconds and objectives."""
    return [1e3 * point.used for point in points], [point.objective for point in points]


if __name__ == "__main__":
    typer.run(main)
