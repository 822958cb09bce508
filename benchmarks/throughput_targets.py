"""Delivered networks against their targets: violations and tight hits on this machine.

Designs without a target, then for multiples of that design's measured throughput with the measured loop, and
at the end times all delivered networks afresh in five interleaved passes: the fresh measurement of a network is
the median of its passes. Run: python -m benchmarks.throughput_targets
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.conditions import RESULTS, write_results
from deepmad.cli.delivery import measured
from deepmad.cli.render import plain_table
from deepmad.engine.budgets import Budget
from deepmad.engine.loop import Round, design_measured
from deepmad.engine.problems import Problem
from deepmad.engine.solutions import Measured, Solution
from deepmad.engine.solvers import CpSat, design
from deepmad.profilers.building import build_table
from deepmad.profilers.measurements import Request, measure, measure_all
from deepmad.profilers.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space

FACTORS = (1.1, 1.5, 2.0, 3.0)
PASSES = 5


def main(
    space: str = "r18",
    table: Annotated[Path, typer.Option(help="Table file to build or reuse.")] = RESULTS / "quickstart/table.sqlite",
    time_limit: Annotated[float, typer.Option(help="Seconds of one solve.")] = 20.0,
    workers: int = 2,
    seed: int = 0,
) -> None:
    members = load_space(space)
    build_table(members, table)
    problem = Problem(members, Budget.of(members), LatencyTable.load(table))
    solver = CpSat(time_limit=time_limit, workers=workers, seed=seed)
    free = design(problem, solver)
    assert free.architecture is not None
    base = timed(free.architecture).throughput
    print(f"without a target: objective {free.objective:,.1f}, {base:.2f} images/s", flush=True)
    rounds: list[Round] = []
    solutions = [meet(problem, solver, factor * base, rounds) for factor in FACTORS]
    networks = [solution.architecture for solution in solutions if solution.architecture]
    assert len(networks) == len(FACTORS)
    passes = [measure_all([Request(network) for network in networks]) for _ in range(PASSES)]
    rows = []
    for index, (factor, solution) in enumerate(zip(FACTORS, solutions, strict=True)):
        assert solution.predicted is not None
        assert solution.measured is not None
        target = 1 / (factor * base)
        times = sorted(found[index].seconds for found in passes)
        fresh = times[PASSES // 2]
        rows.append(
            {
                "factor": factor,
                "target_ms": round(target * 1e3, 4),
                "predicted_ms": round(solution.predicted.latency_seconds * 1e3, 4),
                "loop_ms": round(solution.measured.latency_seconds * 1e3, 4),
                "fresh_ms": round(fresh * 1e3, 4),
                "fastest_pass_ms": round(times[0] * 1e3, 4),
                "slowest_pass_ms": round(times[-1] * 1e3, 4),
                "fresh_over_target": round(fresh / target, 4),
                "violated": fresh > target,
                "tight": 0.95 <= fresh / target <= 1,
                "rounds": sum(one.solution.limits["latency_seconds"].limit == target for one in rounds),
                "objective": round(solution.objective or 0, 2),
                "gap_percent": None if solution.gap is None else round(100 * solution.gap, 2),
            }
        )
    Console(width=200).print(plain_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    print(f"violations: {sum(bool(row['violated']) for row in rows)} of {len(rows)}, ", end="")
    print(f"tight hits: {sum(bool(row['tight']) for row in rows)} of {len(rows)}")
    print(f"written to {write_results(f'throughput_targets-{members.name}', rows)}")


def meet(problem: Problem, solver: CpSat, throughput: float, rounds: list[Round]) -> Solution:
    """Return the solution of the measured loop for a throughput in images a second."""
    asked = replace(problem, budget=replace(problem.budget, throughput=throughput))

    def note(found: Round) -> None:
        rounds.append(found)
        print(f"  round {found.number}: {found.solution.message}", flush=True)

    solution = design_measured(asked, solver, timed, on_round=note)
    print(f"{throughput:.2f}/s: {solution.message}", flush=True)
    return solution


def timed(network: Architecture) -> Measured:
    """Return a fresh measurement with ONNX Runtime, batch 1, one thread."""
    return measured(measure(network))


if __name__ == "__main__":
    typer.run(main)
