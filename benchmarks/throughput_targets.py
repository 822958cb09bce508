"""Delivered networks against throughput targets on this machine, in three modes: violations and tight hits.

Designs without a target, then for multiples of that design's measured throughput:
- `feedback`: the measured loop;
- `open`: one solve with the table's prediction, delivered unmeasured;
- `macs`: one solve with MACs as the proxy, at the seconds a MAC of the design without a target.
Networks are timed in new processes, in turns with the design without a target, whose throughput the targets are
multiples of: a latency is what the network takes where that design takes what it took at the start. At the end all are
timed afresh so, in five interleaved passes: the fresh measurement of a network is the median of its passes; what they
differ by is the noise floor. What the clock showed in them, without the turns, stands beside. A run cut off goes
on where it was, for the same code and options. Run: python -m benchmarks.throughput_targets
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from benchmarks.conditions import RESULTS, write_results
from benchmarks.journal import Journal
from deepmad.cli.render import plain_table
from deepmad.cli.tables import Conditions
from deepmad.engine.answers.parts import Round
from deepmad.engine.answers.repeated import agreed
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.design import design
from deepmad.engine.measured_loop import Measure, design_measured
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import CpSat
from deepmad.profilers.building.building import build_table
from deepmad.profilers.tables.table_files import Key
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.layers import total_macs
from deepmad.search_spaces.spaces import Space, load_space
from deepmad.zoo.measuring import Companion, timed_apart

FACTORS = "1.1,1.25,1.5,1.75,2,2.5,3,4"
MODES = ("feedback", "open", "macs")
PASSES = 5
TIGHT = 0.95
FREE = "free"
Pass = tuple[float, float]
"""Seconds of a network where the design without a target takes its usual ones, and those that the clock showed."""
Delivered = dict[str, Any]
"""What was delivered for a target, as JSON: architecture (None without one), seconds, rounds, objective, gap."""


@dataclass(frozen=True)
class Bench:
    """What all designs share: the problem without a target, the solver, and how networks are timed."""

    problem: Problem
    solver: CpSat
    measure: Measure

    def beside(self, free: Delivered, key: Key) -> "Bench":
        """Return this bench with networks timed in turns with the design without a target."""
        companion = Companion(Architecture.from_dict(free["architecture"]), free["loop"])
        return replace(self, measure=partial(timed_apart, key, companion=companion))


def main(
    space: str = "r18",
    table: Annotated[Path, typer.Option(help="Table file to build or use.")] = RESULTS / "quickstart/table.sqlite",
    backend: str = "onnxruntime",
    precision: str = "fp32",
    batch: int = 1,
    threads: int = 1,
    resolution: Annotated[int | None, typer.Option(help="Side of the input (default: the space's).")] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds of one solve.")] = 12.0,
    factors: Annotated[str, typer.Option(help="Throughputs over that of the design without a target.")] = FACTORS,
    modes: Annotated[str, typer.Option(help="Which of feedback, open, macs.")] = ",".join(MODES),
    workers: int = 2,
    seed: int = 0,
) -> None:
    members = load_space(space)
    members = replace(members, resolution=resolution or members.resolution)
    conditions = Conditions(backend, precision, batch, threads)
    solver = CpSat(time_limit=time_limit, workers=workers, seed=seed)
    key = Key(**asdict(conditions))
    bench = Bench(_problem(members, table, conditions), solver, partial(timed_apart, key))
    asked, chosen = [float(text) for text in factors.split(",")], modes.split(",")
    content = hashlib.sha256(table.read_bytes()).hexdigest()
    journal = Journal("throughput_targets", members, content, conditions, solver, asked, chosen)
    free = journal.once(FREE, lambda: _free(bench))
    bench = bench.beside(free, key)
    print(f"without a target: objective {free['objective']:,.1f}, measured {1e3 * free['loop']:.4g} ms", flush=True)
    delivered = {
        (mode, factor): journal.once(f"{mode} {factor}", lambda m=mode, f=factor: _delivered(bench, m, f, free))  # type: ignore[misc]
        for factor in asked
        for mode in chosen
    }
    passes = _passes(
        bench, journal, {FREE: free} | {f"{mode} {factor}": one for (mode, factor), one in delivered.items()}
    )
    rows = [_row(mode, factor, one, free, passes.get(f"{mode} {factor}")) for (mode, factor), one in delivered.items()]
    Console(width=200).print(plain_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))
    notes = _summary(rows) | _noise(passes, free)
    for name, text in notes.items():
        print(f"{name}: {text}")
    name = f"throughput_targets-{members.name}-{backend.replace(':', '-')}" + (f"-b{batch}" if batch > 1 else "")
    print(f"written to {write_results(name, rows, notes)} and {_plot(name, rows)}")
    journal.close()


def _problem(space: Space, table: Path, conditions: Conditions) -> Problem:
    """Return the space's problem without a target, under a table that is built where it is missing."""
    if not table.exists():
        build_table(space, table, **asdict(conditions))
    return Problem(space, Budget.of(space), LatencyTable.load(table, **asdict(conditions)))


def _free(bench: Bench) -> Delivered:
    """Return the design without a target, measured: the middle one of several times."""
    solution = design(bench.problem, bench.solver)
    assert solution.architecture is not None
    return _document(solution, loop=agreed(partial(bench.measure, solution.architecture)).latency_seconds)


def _delivered(bench: Bench, mode: str, factor: float, free: Delivered) -> Delivered:
    """Return what one mode delivers for a throughput of `factor` times that of the design without a target."""
    problem, target = bench.problem, free["loop"] / factor
    if mode == "macs":
        seconds_per_mac = free["loop"] / free["macs"]
        macs = min(problem.budget.macs or np.inf, target / seconds_per_mac)
        solution = design(replace(problem, budget=replace(problem.budget, macs=macs), table=None), bench.solver)
        found = _document(solution)
        found["predicted"] = None if found["macs"] is None else found["macs"] * seconds_per_mac
    else:
        asked = replace(problem, budget=replace(problem.budget, throughput=problem.batch / target))
        if mode == "feedback":
            solution = design_measured(asked, bench.solver, bench.measure, on_round=_say)
        else:
            solution = design(asked, bench.solver)
        found = _document(solution)
    print(f"{mode} {factor:g} x, {1e3 * target:.4g} ms: {solution.message}", flush=True)
    return found


def _say(one: Round) -> None:
    if one.predicted is not None and one.measured is not None:
        predicted, measured = 1e3 * one.predicted, 1e3 * one.measured
        print(f"  round {one.number}: predicted {predicted:.4g} ms, measured {measured:.4g} ms", flush=True)


def _document(solution: Solution, loop: float | None = None) -> Delivered:
    network, predicted, measured = solution.architecture, solution.predicted, solution.measured
    return {
        "architecture": network.to_dict() if network else None,
        "macs": int(total_macs(network.parts())) if network else None,
        "predicted": predicted.latency_seconds if predicted else None,
        "loop": measured.latency_seconds if measured else loop,
        "rounds": len(solution.rounds) if solution.rounds else 1,
        "objective": solution.objective,
        "gap": solution.gap,
        "status": str(solution.status),
    }


def _passes(bench: Bench, journal: Journal, delivered: Mapping[str, Delivered]) -> dict[str, list[Pass]]:
    """Return the times of every network in every pass; every other pass goes backwards, so that drift cancels."""
    networks = {
        name: Architecture.from_dict(one["architecture"]) for name, one in delivered.items() if one["architecture"]
    }
    found: dict[str, list[Pass]] = {name: [] for name in networks}
    for number in range(PASSES):
        for name in list(networks)[:: -1 if number % 2 else 1]:
            network = networks[name]
            seconds, clock = journal.once(f"pass {number} {name}", lambda n=network: _pass(bench, n))  # type: ignore[misc]
            found[name].append((seconds, clock))
        print(f"pass {number + 1} of {PASSES} done", flush=True)
    return found


def _pass(bench: Bench, network: Architecture) -> Pass:
    measured = bench.measure(network)
    assert measured.clock_seconds is not None, "another network took turns"
    return measured.latency_seconds, measured.clock_seconds


def _row(mode: str, factor: float, one: Delivered, free: Delivered, passes: Sequence[Pass] | None) -> dict[str, object]:
    target = free["loop"] / factor
    times = None if passes is None else [seconds for seconds, _ in passes]
    fresh = None if times is None else float(np.median(times))
    clock = None if passes is None else float(np.median([seconds for _, seconds in passes]))
    return {
        "mode": mode,
        "factor": factor,
        "target_ms": _milliseconds(target),
        "predicted_ms": _milliseconds(one["predicted"]),
        "loop_ms": _milliseconds(one["loop"]),
        "fresh_ms": _milliseconds(fresh),
        "fastest_pass_ms": _milliseconds(min(times) if times else None),
        "slowest_pass_ms": _milliseconds(max(times) if times else None),
        "clock_ms": _milliseconds(clock),
        "fresh_over_target": None if fresh is None else round(fresh / target, 4),
        "violated": None if fresh is None else fresh > target,
        "tight": None if fresh is None else TIGHT <= fresh / target <= 1,
        "clock_over_target": None if clock is None else round(clock / target, 4),
        "rounds": one["rounds"],
        "objective": None if one["objective"] is None else round(one["objective"], 2),
        "gap_percent": None if one["gap"] is None else round(100 * one["gap"], 2),
        "status": one["status"],
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1e3 * seconds, 4)


def _summary(rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return violations, tight hits and rounds of every mode."""
    found = {}
    for mode in dict.fromkeys(str(row["mode"]) for row in rows):
        own = [row for row in rows if row["mode"] == mode]
        violated, tight = (sum(bool(row[name]) for row in own) for name in ("violated", "tight"))
        missing = sum(row["fresh_ms"] is None for row in own)
        rounds = " ".join(str(row["rounds"]) for row in own)
        found[mode] = (
            f"{violated} violations, {tight} tight hits, {missing} without a network of {len(own)}; rounds {rounds}"
        )
    return found


def _noise(passes: Mapping[str, Sequence[Pass]], free: Delivered) -> dict[str, str]:
    """Return the noise floor, the same network in different passes, and how the machine drifted from pass to pass."""
    times = np.array([passes[name] for name in passes])  # networks, passes, in turns and by the clock
    relative = times / np.median(times, axis=1, keepdims=True)
    turns, clock = np.moveaxis(np.abs(relative - 1), -1, 0)
    drift = np.median(relative[..., 1], axis=0)
    since = float(np.median([seconds for _, seconds in passes[FREE]])) / free["loop"]
    return {
        "noise floor": f"a pass is off the median of a network's passes by {np.median(turns):.2%} in the median, "
        f"{np.quantile(turns, 0.95):.2%} at the 95 % quantile; by the clock {np.median(clock):.2%} and "
        f"{np.quantile(clock, 0.95):.2%}",
        "drift": f"by the clock the passes took {' '.join(f'{one:.4f}' for one in drift)} of their networks' medians; "
        f"the design without a target took {since:.4f} of its time at the start",
    }


def _plot(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Plot measured over target for every mode and factor, the tight band shaded, bars from fastest to slowest pass."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "throughput_targets"  # the same picture for the same numbers
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(7, 3.6))
    panel.axhspan(TIGHT, 1, color="0.88", label=f"tight: {TIGHT:g} to 1")
    panel.axhline(1, color="0.4", linewidth=0.8)
    for place, mode in enumerate(MODES):
        shown = [row for row in rows if row["mode"] == mode and row["fresh_over_target"] is not None]
        if not shown:
            continue
        ratios = np.array([row["fresh_over_target"] for row in shown])
        ends = np.array([[row["fastest_pass_ms"], row["slowest_pass_ms"]] for row in shown])
        ends = ends / np.array([[row["target_ms"]] for row in shown])
        at = [row["factor"] * (1 + 0.012 * (place - 1)) for row in shown]
        panel.errorbar(
            at, ratios, yerr=np.abs(ends.T - ratios), fmt="os^"[place], color=f"C{place}", markersize=4, label=mode
        )
    factors = sorted({row["factor"] for row in rows})
    panel.set(
        xlabel="throughput asked, over the design without a target", ylabel="measured / target latency", xscale="log"
    )
    panel.set_xticks(factors, [f"{factor:g}" for factor in factors])
    panel.minorticks_off()
    panel.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    figure.tight_layout()
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path


if __name__ == "__main__":
    typer.run(main)
