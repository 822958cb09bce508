"""A space of mixed rows beside its single kinds: the best row of four block kinds against the rows of one kind each.

Every row of one kind is solved by the exact solver under the limits of the mixed space, then the mixed space by `Rows`,
and by the exact solver as one program. Run: python -m benchmarks.mixed_rows
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.conditions import write_results
from deepmad.cli.render import plain_table
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat, Rows
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.rows import Row, restricted, row_of
from deepmad.search_spaces.spaces import load_space

SPACE = Path(__file__).parents[1] / "examples" / "mixed.yaml"


def main(
    space: Annotated[Path, typer.Argument(help="A space whose stages all offer the same kinds.")] = SPACE,
    time_limit: Annotated[float, typer.Option(help="Seconds of every solve.")] = 60.0,
    workers: int = 2,
    seed: int = 0,
    gap: float = 0.0,
) -> None:
    whole = load_space(space)
    problem = Problem(whole, Budget.of(whole))
    exact = CpSat(time_limit, gap, workers, seed)
    rows = []
    for kind in BLOCKS:
        row = Row((kind,) * len(whole.stages), tuple(stage.stride for stage in whole.stages))
        alone = Problem(restricted(whole, row), problem.budget)
        rows.append(told(f"{kind} in every stage", design(alone, exact)))
        print(rows[-1], flush=True)
    rows.append(told("all rows, by Rows", design(problem, Rows(time_limit, gap, workers, seed))))
    print(rows[-1], flush=True)
    rows.append(told("all rows, as one program", design(problem, exact)))
    Console(width=200).print(plain_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    print(f"written to {write_results('mixed_rows', rows)}")


def told(what: str, solution: Solution) -> dict[str, object]:
    """Return a line of the results."""
    network, counts = solution.architecture, solution.row_counts
    return {
        "rows": what,
        "solver": solution.solver.name,
        "status": str(solution.status),
        "objective": _rounded(solution.objective),
        "bound": _rounded(solution.bound),
        "gap_percent": None if solution.gap is None else round(100 * solution.gap, 3),
        "seconds": round(solution.seconds, 1),
        "row": None if network is None else str(row_of(network)),
        **{name: use.used for name, use in solution.limits.items()},
        "rows_dropped": counts and counts.dropped,
        "rows_open": counts and counts.open,
        "rows_not_looked_at": counts and counts.not_looked_at,
        "workers": solution.solver.workers,
        "seed": solution.solver.seed,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


if __name__ == "__main__":
    typer.run(main)
