"""Networks for throughput targets, designed with the measured loop, and measured afresh in another process."""

import json
from dataclasses import replace
from typing import Any

from benchmarks.conditions import write_csv
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.state import Clock, Parts
from benchmarks.gpu_results.steps import PASSES, Step
from benchmarks.gpu_results.tables import table_path
from deepmad.engine.answers.parts import Round
from deepmad.engine.answers.solutions import Measured, Solution
from deepmad.engine.design import design
from deepmad.engine.measured_loop import design_measured
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.profilers.measuring.measurements import measure, measure_all
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.search_spaces.spaces import load_space
from deepmad.zoo.measuring import measured

ROUNDS = 4
TIGHT = 0.95
"""A network that takes at least this share of the target's latency hits it tightly."""


def design_all(options: Options, step: Step, clock: Clock) -> None:
    """Design without a target, then for multiples of the throughput of that network, as many as the time allows."""
    assert step.key is not None
    parts, how = Parts(options.output, step.name), vars(step.key)
    space, table = load_space(options.space), LatencyTable.load(table_path(options, step.needs[0]))
    problem, solver = Problem(space, Budget.of(space), table), CpSat(time_limit=options.solve_seconds)
    timer = Timer(seconds=options.seconds, max_warmup_seconds=1.0)

    def timed(network: Architecture) -> Measured:
        return measured(measure(network, timer=timer, **how))

    if not parts.rows:
        parts.add(_free_row(design(problem, solver), timed))
        clock.tick()
    base = parts.rows[0]["throughput"]
    for factor in options.factors[len(parts.rows) - 1 :]:
        if len(parts.rows) > 1 and not clock.allows_more():
            return
        rounds: list[Round] = []
        asked = replace(problem, budget=replace(problem.budget, throughput=factor * base))
        solution = design_measured(asked, solver, timed, rounds=ROUNDS, on_round=rounds.append)
        parts.add(_target_row(factor, table.batch / (factor * base), solution, len(rounds)))
        if len(parts.rows) <= len(options.factors):
            clock.tick()


def measure_afresh(options: Options, step: Step, _clock: Clock) -> None:
    """Build and time the designed networks again: this process has never seen them."""
    assert step.key is not None
    rows = [dict(row) for row in Parts(options.output, step.needs[0]).rows]
    built = [row for row in rows if row["architecture"] is not None]
    networks = [Architecture.from_dict(row["architecture"]) for row in built]
    requests = [Request(network, **vars(step.key)) for network in networks]
    timer = Timer(seconds=options.seconds, max_warmup_seconds=1.0)
    passes = [measure_all(requests, timer=timer) for _ in range(PASSES)]
    for row, *found in zip(built, *passes, strict=True):
        times = sorted(one.seconds for one in found)
        fresh, target = times[PASSES // 2], row["target_seconds"]
        row |= {"fresh_seconds": fresh, "fastest_pass_seconds": times[0], "slowest_pass_seconds": times[-1]}
        row |= {"device": found[0].conditions.device, "version": found[0].conditions.version}
        row["warnings"] = "; ".join(dict.fromkeys(warning for one in found for warning in one.warnings))
        if target is not None:
            row |= {"fresh_over_target": fresh / target, "violated": fresh > target}
            row["tight"] = TIGHT <= fresh / target <= 1
    for row in rows:
        row["architecture"] = json.dumps(row["architecture"])
    notes = {name: sum(bool(row.get(name)) for row in rows) for name in ("violated", "tight")}
    of = f"{sum(row['target_seconds'] is not None for row in built)} networks"
    write_csv(options.output / f"{step.name}.csv", rows, {name: f"{count} of {of}" for name, count in notes.items()})


def _free_row(solution: Solution, timed: Any) -> dict[str, Any]:
    """Return the row of the design without a target."""
    assert solution.architecture is not None, "a space within its own limits has networks"
    found = timed(solution.architecture)
    return {**_row(None, None, solution, 0), "throughput": found.throughput, "loop_seconds": found.latency_seconds}


def _target_row(factor: float, target: float, solution: Solution, rounds: int) -> dict[str, Any]:
    """Return the row of one target; what an infeasible one does not have is None."""
    row = _row(factor, target, solution, rounds)
    if solution.measured is not None:
        row |= {"throughput": solution.measured.throughput, "loop_seconds": solution.measured.latency_seconds}
    return row


def _row(factor: float | None, target: float | None, solution: Solution, rounds: int) -> dict[str, Any]:
    network = solution.architecture
    return {
        "factor": factor,
        "target_seconds": target,
        "status": str(solution.status),
        "objective": solution.objective,
        "gap": solution.gap,
        "macs": int(total_macs(network.parts())) if network else None,
        "params": int(total_params(network.parts())) if network else None,
        "rounds": rounds,
        "predicted_seconds": solution.predicted.latency_seconds if solution.predicted else None,
        "loop_seconds": None,
        "throughput": None,
        "message": solution.message,
        "architecture": network.to_dict() if network else None,
    }
