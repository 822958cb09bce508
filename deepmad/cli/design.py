"""`deepmad design`: the network of highest objective within a budget."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deepmad.cli.options import Backend, Batch, Json, Precision, Threads, limit, numbers
from deepmad.cli.output import DONE, INTERRUPTED, MISSED, bar, emit_json, out, say, warn
from deepmad.cli.render import solution_report
from deepmad.cli.tables import load_table
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.engine.budgets import Budget
    from deepmad.engine.loop import Round
    from deepmad.engine.problems import Problem
    from deepmad.engine.progress import Progress
    from deepmad.engine.solutions import Measured, Solution
    from deepmad.engine.solvers import CpSat
    from deepmad.profilers.measurements import Measurement
    from deepmad.search_spaces.architectures import Architecture
    from deepmad.search_spaces.spaces import Space

_Text = str | None


def design(
    space: Annotated[str, typer.Argument(metavar="PRESET_OR_SPACE", help="A preset's name or a space's YAML file.")],
    macs: Annotated[_Text, typer.Option(help="Multiply-accumulates an image, e.g. 4.13G; none lifts it.")] = None,
    params: Annotated[_Text, typer.Option(help="Parameters, e.g. 25.55M; none lifts it.")] = None,
    rho: Annotated[_Text, typer.Option(help="Depth over width, e.g. 0.3; none lifts it.")] = None,
    latency: Annotated[_Text, typer.Option(help="Time of one batch, e.g. 5ms; a bare number is seconds.")] = None,
    throughput: Annotated[_Text, typer.Option(help="Images a second at least, e.g. 200/s.")] = None,
    memory: Annotated[_Text, typer.Option(help="Peak activations of one batch, e.g. 64MB.")] = None,
    batch: Batch = 1,
    backend: Backend = "onnxruntime",
    precision: Precision = "fp32",
    threads: Threads = 1,
    table: Annotated[Path | None, typer.Option(help="Latency table (default: this machine's).")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the network and design again until the measured target is met.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Rounds of --measure at most.", min=1, max=100)] = 6,
    objective: Annotated[Literal["paper", "reference"], typer.Option(help="The paper's or the published code's.")] = (
        "paper"
    ),
    alpha: Annotated[_Text, typer.Option(help="Weights of the scales, e.g. 1,1,1,1,8.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of the depth penalty (paper objective).", min=0)] = None,
    classes: Annotated[int | None, typer.Option(help="Classes; 0 is a backbone (default: the space's).", min=0)] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the input (default: the space's).", min=1)] = None,
    solver: Annotated[Literal["auto", "cpsat"], typer.Option(help="Which solver.")] = "auto",
    gap: Annotated[float, typer.Option(help="Relative gap at which to stop, 0.01 is 1 %.", min=0)] = 0.01,
    time_limit: Annotated[str, typer.Option(help="Time of one solve, everything included, e.g. 60 or 90s.")] = "60",
    deterministic_limit: Annotated[
        float | None, typer.Option(help="Work in deterministic units instead of time; use with --workers 1.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Cores (default: all).", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Solution file to write.")] = None,
    json: Json = False,
) -> int:
    """Design the network of highest objective within a budget.

    Example: deepmad design r18 --throughput 50/s
    """
    del solver  # auto is cpsat: the program can express every limit there is an option for
    from deepmad.engine.problems import Problem
    from deepmad.engine.solvers import CpSat
    from deepmad.search_spaces.spaces import load_space
    from deepmad.search_spaces.units import quantity

    chosen = load_space(space).reweighted(alpha=numbers(alpha, "alpha"), beta=beta)
    _warn_about_bare_numbers(latency, macs, params)
    budget = _budget(chosen, macs, params, rho, latency, throughput, memory)
    conditions = {"backend": backend, "precision": precision, "batch": batch, "threads": threads}
    needs_table = budget.latency_seconds(batch) is not None or table is not None
    loaded = load_table(table, space, chosen.name, **conditions) if needs_table else None  # type: ignore[arg-type]
    problem = Problem(chosen, budget, loaded, objective, classes, resolution, batch, precision)
    settings = CpSat(quantity(time_limit, "seconds", "--time-limit"), gap, workers, seed, deterministic_limit)
    measuring = _measurer(backend, precision, batch, threads) if measure else None
    return deliver(problem, settings, measuring, rounds=rounds, output=output, json=json)


def deliver(
    problem: "Problem",
    settings: "CpSat",
    measuring: "Callable[[Architecture], Measured] | None",
    *,
    rounds: int,
    output: Path | None,
    json: bool,
) -> int:
    """Solve, measure where asked, write and print the solution; return the exit code."""
    from deepmad.engine.solvers import Interrupted

    code = None
    try:
        solution = _solve(problem, settings, measuring, rounds)
    except Interrupted as interrupt:
        solution, code = interrupt.solution, INTERRUPTED
    if output is not None:
        solution.save(output)
    if json:
        emit_json(solution.to_dict())
    else:
        solution_report(solution, out())
        if output is not None:
            say(f"written to {output}")
    if code is not None:
        return code
    missed = solution.measured is not None and solution.measured.violated
    if solution.architecture is None or missed:
        say(f"error: {solution.message}")
        return MISSED
    if solution.gap is None or solution.gap > settings.gap:
        warn(solution.message)
    return DONE


def _solve(
    problem: "Problem",
    settings: "CpSat",
    measuring: "Callable[[Architecture], Measured] | None",
    rounds: int,
) -> "Solution":
    """Return the solution, through the measured loop where there is a target to measure against."""
    from deepmad.engine.loop import design_measured
    from deepmad.engine.solvers import design as solve

    with bar("designing", settings.time_limit) as shown:

        def report(progress: "Progress") -> None:
            shown.update(progress.seconds, _line(progress))

        if measuring is not None and "latency_seconds" in problem.limits():
            return design_measured(problem, settings, measuring, rounds=rounds, report=report, on_round=_say_round)
        solution = solve(problem, settings, report=report)
        if measuring is None or solution.architecture is None:
            return solution
        return replace(solution, measured=measuring(solution.architecture))


def _budget(
    space: "Space",
    macs: _Text,
    params: _Text,
    rho: _Text,
    latency: _Text,
    throughput: _Text,
    memory: _Text,
) -> "Budget":
    """Return the budget of the options, the space's own limits where one is left out."""
    from deepmad.engine.budgets import Budget

    return Budget(
        macs=limit(macs, "count", "macs", space.limits.macs),
        params=limit(params, "count", "params", space.limits.params),
        rho=limit(rho, "number", "rho", space.limits.rho),
        latency=limit(latency, "seconds", "latency"),
        throughput=limit(throughput, "per second", "throughput"),
        memory=limit(memory, "bytes", "memory"),
    )


def _warn_about_bare_numbers(latency: _Text, macs: _Text, params: _Text) -> None:
    """Warn where a number without its unit surely meant another one."""
    bare = {name: _number(text) for name, text in (("latency", latency), ("macs", macs), ("params", params))}
    if bare["latency"] is not None and bare["latency"] >= 0.5:
        warn(f"--latency {latency} is {latency} seconds for one batch; for milliseconds write --latency {latency}ms")
    for name, unit in (("macs", "G"), ("params", "M")):
        number = bare[name]
        if number is not None and 0 < number < 1000:
            warn(f"--{name} {number:g} is a count of {number:g}; did you mean --{name} {number:g}{unit}?")


def _number(text: _Text) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _measurer(backend: str, precision: str, batch: int, threads: int) -> "Callable[[Architecture], Measured]":
    """Return what times a network under the conditions asked for."""
    from deepmad.profilers.backends import find_backend
    from deepmad.profilers.measurements import measure

    find_backend(backend, precision)

    def measuring(network: "Architecture") -> "Measured":
        return measured(measure(network, backend=backend, precision=precision, batch=batch, threads=threads))

    return measuring


def measured(measurement: "Measurement") -> "Measured":
    """Return a measurement as the solution file tells it; whether a limit is violated is not known here."""
    from deepmad.engine.solutions import Measured

    what = measurement.conditions
    return Measured(
        measurement.seconds,
        measurement.low,
        measurement.high,
        measurement.throughput,
        None,
        what.device,
        what.backend,
        what.version,
        what.precision,
        what.batch,
        what.threads,
        what.date,
    )


def _line(progress: "Progress") -> str:
    best = "none yet" if progress.best is None else f"{progress.best:,.1f}"
    bound = "-" if progress.bound is None else f"{progress.bound:,.1f}"
    gap = "-" if progress.gap is None else f"{progress.gap:.2%}"
    return f"{progress.doing}: best {best}, bound {bound}, gap {gap}, {progress.seconds:.1f} s"


def _say_round(found: "Round") -> None:
    solution = found.solution
    if solution.predicted is None or solution.measured is None:
        return
    verdict = "missed" if solution.measured.violated else "met"
    say(
        f"round {found.number}: objective {solution.objective:,.1f}, predicted "
        f"{human(solution.predicted.latency_seconds, 'seconds')}, measured "
        f"{human(solution.measured.latency_seconds, 'seconds')} "
        f"({solution.measured.throughput:.4g}/s): target {verdict}"
    )
