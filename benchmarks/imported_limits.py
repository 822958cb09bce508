"""Designs under a throughput limit from an imported table: gap, time, and the program's latency beside the table's.

The targets are multiples of the throughput that the table predicts for the design without a limit on it. Run:
python -m benchmarks.imported_limits conv_data.out.fp16
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.conditions import write_results
from deepmad.cli.render import plain_table
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds.pricing import Choice, choice_costs
from deepmad.engine.solvers.bounds.tables import read_tables
from deepmad.engine.solvers.settings import CpSat
from deepmad.profilers.importing.importing import import_table
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space

FACTORS = (1.1, 1.25, 1.5)
NANOSECONDS = 3
"""Row of the program's cost tables: after entropy, MACs and parameters."""


def main(
    file: Annotated[Path, typer.Argument(help="Published times of convolutions (TinyNAS, V100).")],
    space: str = "r50",
    precision: str = "fp16",
    batch: int = 64,
    time_limit: float = 120.0,
    gap: float = 0.01,
    workers: int = 2,
    seed: int = 0,
) -> None:
    if not file.is_file():
        sys.exit(f"{file}: there is no such file; it is published with the TinyNAS code")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "imported.sqlite"
        import_table(file, "tinynas", device="V100", precision=precision, output=path)
        table = LatencyTable.load(path, batch=batch, precision=precision)
    chosen, solver = load_space(space), CpSat(time_limit, gap, workers, seed)
    rows: list[dict[str, object]] = []
    base = 0.0
    for factor in (None, *FACTORS):
        target = None if factor is None else factor * base
        budget = Budget(chosen.limits.macs, chosen.limits.params, chosen.limits.rho, throughput=target)
        problem = Problem(chosen, budget, table, objective="reference", classes=0)
        rows.append(_row(problem, table, design(problem, solver), factor, target))
        base = base or float(str(rows[0]["predicted_throughput"]))
        print(rows[-1], flush=True)
    Console(width=160).print(plain_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    print(f"written to {write_results(f'imported_limits-{space}', rows)}")


def program_nanoseconds(problem: Problem, network: Architecture) -> int:
    """Return a network's latency as the tables of the integer program add it up, stage by stage."""
    tables, (table,) = read_tables(problem), problem.tables
    total, position = float(table.overhead_nanoseconds), list(tables.channels[0]).index(network.stem.out)
    for place, stage in enumerate(network.stages):
        (option,) = (
            number
            for number, found in enumerate(tables.tables[place].options)
            if (found.kind, found.kernel) == (stage.block, stage.kernel)
        )
        widths = tables.tables[place].widths
        assert widths is not None, "the residual presets choose their inner widths"
        out = list(tables.channels[place + 1]).index(stage.out)
        depth = list(tables.depths[place]).index(stage.depth)
        choice = Choice(option, depth, position, out, widths.index(stage.width))
        total += choice_costs(tables, place, choice)[NANOSECONDS]
        position = out
    return int(total)


def _row(
    problem: Problem, table: LatencyTable, solution: Solution, factor: float | None, target: float | None
) -> dict[str, object]:
    network, predicted = solution.architecture, solution.predicted
    assert network is not None
    assert predicted is not None
    return {
        "target": "none" if factor is None else f"{factor} x",
        "throughput_asked": target,
        "predicted_throughput": predicted.throughput,
        "program_nanoseconds": (counted := program_nanoseconds(problem, network)),
        "table_nanoseconds": (priced := round(1e9 * table.predict(network))),
        "equal": counted == priced,
        "status": str(solution.status),
        "objective": solution.objective,
        "bound": solution.bound,
        "gap_percent": None if solution.gap is None else round(100 * solution.gap, 3),
        "seconds": round(solution.seconds, 1),
        "depths": " ".join(str(stage.depth) for stage in network.stages),
    }


if __name__ == "__main__":
    typer.run(main)
