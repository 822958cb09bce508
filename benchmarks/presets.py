"""Design every preset: objective, bound, gap and time, beside the published structures of the same budget.

The reference objective; r18, r34 and r50 without a classifier, as published. Run: python -m benchmarks.presets --paper,
and with --gap 0 for proven optima, which go into a file of their own.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.conditions import write_results
from deepmad.cli.render import plain_table
from deepmad.engine.answers.progress import Progress
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.search_spaces.spaces import load_space, presets

PUBLISHED = json.loads((Path(__file__).parents[1] / "tests/golden/published.json").read_text(encoding="utf-8"))
RESIDUAL = ("r18", "r34", "r50")


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Presets (default: all).")] = None,
    time_limit: float = 60.0,
    workers: int = 2,
    seed: int = 0,
    gap: float = 0.01,
    paper: Annotated[bool, typer.Option(help="Solve the mobile presets for the paper objective too.")] = False,
) -> None:
    rows = []
    for name in names or presets():
        objectives: tuple[ObjectiveName, ...] = (
            ("reference", "paper") if paper and name not in RESIDUAL else ("reference",)
        )
        for objective in objectives:
            rows.append(solve(name, objective, CpSat(time_limit, gap, workers, seed)))
            print(rows[-1], flush=True)
    Console(width=160).print(plain_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    print(f"written to {write_results('presets' if gap else 'presets-optimal', rows)}")


def solve(name: str, objective: ObjectiveName, solver: CpSat) -> dict[str, object]:
    space = load_space(name)
    classes = 0 if name in RESIDUAL else 1000
    problem = Problem(space, Budget.of(space), objective=objective, classes=classes)
    first: list[float] = []

    def note(progress: Progress) -> None:
        if progress.best is not None and not first:
            first.append(progress.seconds)

    solution = design(problem, solver, report=note)
    published = PUBLISHED.get(name, {}).get("expect", {}).get("objective_reference")
    return {
        "preset": name,
        "objective_name": objective,
        "classes": classes,
        "status": str(solution.status),
        "objective": _rounded(solution.objective),
        "bound": _rounded(solution.bound),
        "gap_percent": None if solution.gap is None else round(100 * solution.gap, 3),
        "seconds": round(solution.seconds, 1),
        "first_network_seconds": round(first[0], 2) if first else None,
        "published": _rounded(published) if objective == "reference" else None,
        "macs": _used(solution.limits, "macs"),
        "params": _used(solution.limits, "params"),
        "rho": _used(solution.limits, "rho"),
        "workers": solver.workers,
        "seed": solver.seed,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _used(limits: object, name: str) -> float | None:
    assert isinstance(limits, dict)
    return limits[name].used if name in limits else None


if __name__ == "__main__":
    typer.run(main)
