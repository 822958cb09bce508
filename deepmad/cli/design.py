"""`deepmad design`: the network of highest objective within a budget."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepmad.cli.clock import seconds_so_far, seconds_to_end
from deepmad.cli.delivery import Wishes, deliver, measurer
from deepmad.cli.fronts import PICTURE_SECONDS, deliver_front
from deepmad.cli.limits import function_limits
from deepmad.cli.options import (
    Json,
    TableBackend,
    TableBatch,
    TablePrecision,
    TableThreads,
    check_ending,
    either_limit,
    limit,
    ranged,
    weights,
    written,
)
from deepmad.cli.output import warn
from deepmad.cli.tables import Asked, load_tables
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_writable
from deepmad.search_spaces.units import AtLeast

if TYPE_CHECKING:
    from deepmad.engine.program.budgets import Budget
    from deepmad.engine.solvers.settings import Auto, Solver
    from deepmad.profilers.tables.tables import LatencyTable
    from deepmad.search_spaces.spaces import Space

_Text = str | None
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}
LEAST_SHARE = 0.2
"""The share of the time that a solve gets at least, however long it took to read and prepare everything."""


def design(
    space: Annotated[str, typer.Argument(metavar="PRESET_OR_SPACE", help="A preset's name or a space's YAML file.")],
    macs: Annotated[
        _Text, typer.Option(help="Multiply-accumulates an image, e.g. 4.13G or '>=3G'; none lifts it.")
    ] = None,
    params: Annotated[_Text, typer.Option(help="Parameters, e.g. 25.55M or '>=20M'; none lifts it.")] = None,
    rho: Annotated[
        _Text, typer.Option(help="Depth over width, e.g. 0.3; auto: 0.3 or 0.5 by block kind; none lifts it.")
    ] = None,
    latency: Annotated[_Text, typer.Option(help="Time of one batch, e.g. 5ms; a bare number is seconds.")] = None,
    throughput: Annotated[_Text, typer.Option(help="Images a second at least, e.g. 200/s.")] = None,
    memory: Annotated[_Text, typer.Option(help="Peak activations of one batch, e.g. 64MB.")] = None,
    activations: Annotated[
        _Text, typer.Option(help="Output elements of main-path layers an image, e.g. '<=3M' or '>=6M'; none lifts it.")
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="'MODULE:FUNCTION<=VALUE'",
            help="A limit on what a function returns for a network, in quotes; repeatable. It runs that code, in "
            "processes of their own: once a network, one at a time.",
        ),
    ] = None,
    limit_seconds: Annotated[str, typer.Option(help="Time after which a call of such a function is killed.")] = "60",
    batch: TableBatch = None,
    backend: TableBackend = None,
    precision: TablePrecision = None,
    threads: TableThreads = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(help="Latency table (default: this machine's); repeat it to meet the limit on several devices."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time the network and design again until the measured target is met.")
    ] = False,
    rounds: Annotated[int, ranged("rounds", "Rounds of --measure at most.")] = 6,
    objective: Annotated[Literal["paper", "reference"], typer.Option(help="The paper's or the published code's.")] = (
        "paper"
    ),
    alpha: Annotated[
        _Text, typer.Option(help="Weights of the scales, e.g. 1,1,1,1,8; uniform: all alike; last: the last alone.")
    ] = None,
    beta: Annotated[float | None, ranged("beta", "Weight of the depth penalty (paper objective).")] = None,
    classes: Annotated[int | None, ranged("classes", "Classes; 0 is a backbone (default: the space's).")] = None,
    resolution: Annotated[int | None, ranged("resolution", "Side of the input (default: the space's).")] = None,
    multiple: Annotated[
        int | None,
        ranged(
            "multiple",
            "Only channels that are multiples of this: 16, 32 or 64 (default: as the space says, mostly 8). "
            "A stem narrower than that keeps the multiples of its largest width.",
        ),
    ] = None,
    solver: Annotated[
        Literal["auto", "cpsat", "evolution", "rows"],
        typer.Option(help="Which solver; evolution proves no bound, rows tells of every row of block kinds."),
    ] = "auto",
    gap: Annotated[float, ranged("gap", "Relative gap at which to stop, 0.01 is 1 %.")] = 0.01,
    time_limit: Annotated[str, typer.Option(help="Time of one solve, everything included, e.g. 60 or 90s.")] = "60",
    deterministic_limit: Annotated[
        float | None,
        ranged("deterministic_limit", "Work in deterministic units, not time; use with --workers 1."),
    ] = None,
    workers: Annotated[int | None, ranged("workers", "Cores (default: all).")] = None,
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="local|ray|ray://HOST:PORT",
            help="Where islands of an evolution, rows and calls of functions run: this machine, the Ray cluster that "
            "RAY_ADDRESS names (else a Ray of its own), or one joined from outside. CP-SAT stays on this machine.",
        ),
    ] = "local",
    seed: Annotated[int, ranged("seed", "Seed of all random choices.")] = 0,
    generations: Annotated[
        int | None, ranged("generations", "Evolution: generations instead of time, for the same answer twice.")
    ] = None,
    population: Annotated[
        int | None, ranged("population", "Evolution: networks born in a generation of an island (800).")
    ] = None,
    islands: Annotated[int | None, ranged("islands", "Evolution: populations side by side (2).")] = None,
    checkpoint: Annotated[
        Path | None,
        written("Evolution: file to go on from, and to keep for going on after a kill.", "--checkpoint"),
    ] = None,
    front: Annotated[
        Literal["latency", "macs", "params", "memory", "activations"] | None,
        typer.Option(
            help="The networks that trade the objective for this cost, and bounds above them; -o takes a .csv."
        ),
    ] = None,
    bounds: Annotated[
        int | None,
        ranged("bounds", "Front: limits along it with a search and a proven bound each (20); 0 proves nothing."),
    ] = None,
    top: Annotated[int, ranged("top", "Networks in all, within the gap of the best, that differ in two stages.")] = 1,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say what every limit and corner costs: design again with each limit alone 10 % looser, and "
            "each corner alone left. The main solve then takes half of the time limit, these share the rest.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take a table that holds hardly any of the network's layers.")
    ] = False,
    output: Annotated[Path | None, written("Solution file to write.")] = None,
    json: Json = False,
) -> int:
    """Design the network of highest objective within a budget.

    Example: deepmad design r18 --throughput 50/s
    """
    from deepmad.engine.program.limits import require_counted
    from deepmad.engine.program.problems import Problem
    from deepmad.engine.solvers.settings import BOUNDS, Auto
    from deepmad.profilers.backends import find_backend, known_backend
    from deepmad.search_spaces.coarsening import coarsened
    from deepmad.search_spaces.spaces import load_space
    from deepmad.search_spaces.units import quantity

    if output is not None:
        check_ending(output, [".csv"] if front is not None else [".json"], "a front" if front else "a solution file")
        check_writable(output, read=[space, *(table or []), *([checkpoint] if checkpoint else [])])
    chosen = load_space(space).reweighted(alpha=weights(alpha, "alpha"), beta=beta)
    chosen = chosen if multiple is None else coarsened(chosen, multiple)
    extra = function_limits(limits or [], limit_seconds)
    budget = replace(_budget(chosen, macs, params, rho, latency, throughput, memory, activations), extra=extra)
    bare = _bare_numbers(latency, macs, params, chosen)
    for one in bare:
        warn(one)
    asked = Asked(backend, precision, batch, threads)
    if backend is not None:
        known_backend(backend)
    if measure and backend is not None:
        find_backend(backend, precision or "fp32")
    needs_tables = table or front == "latency" or budget.latency_seconds(1) is not None
    sized = replace(chosen, resolution=resolution or chosen.resolution)
    found = load_tables(table or [], space, sized, asked) if needs_tables else {}
    tables = tuple(found.values())
    doubts = [*bare, *_doubts(found, sized, space, measuring=measure, force=force)]
    conditions = asked.completed(tables)
    problem = Problem(
        chosen, budget, tables or None, objective, classes, resolution, conditions.batch, conditions.precision
    )
    seconds = quantity(time_limit, "seconds", "--time-limit")
    evolving = {"generations": generations, "population": population, "islands": islands, "checkpoint": checkpoint}
    settings = _solver(solver, Auto(seconds, gap, workers, seed, deterministic_limit, on), evolving, front)
    _check_wishes(settings, front, measure, explain or top > 1, bounds)
    if explain or top > 1:
        require_counted(problem, "--top or --explain")
    if output is not None:
        check_writable(output)
    settings = _with_what_is_left(settings, PICTURE_SECONDS if front is not None and output is not None else 0.0)
    if front is not None:
        return deliver_front(problem, settings, front, BOUNDS if bounds is None else bounds, output, json)
    measuring = measurer(conditions, len(tables)) if measure else None
    wishes = Wishes(measuring, rounds, top, explain, tuple(doubts), force)
    return deliver(problem, settings, wishes, tables=tables, output=output, json=json)


def _doubts(
    tables: "dict[Path, LatencyTable]", space: "Space", argument: str, *, measuring: bool, force: bool
) -> list[str]:
    """Return what is doubtful about the tables for a space, and warn of it.

    Raises `InputError` where one does not hold the space's layers, unless forced to take it.
    """
    from deepmad.cli.table_doubts import check_space, doubts_here, doubts_of

    found = []
    for path, table in tables.items():
        if not force:
            check_space(path, table, space, argument)
        found += [*doubts_of(path, table, space, argument), *doubts_here(table, measuring=measuring)]
    for doubt in found:
        warn(doubt)
    return found


def _solver(name: str, auto: "Auto", evolving: dict[str, Any], front: _Text) -> "Solver":
    """Return the settings of the solver asked for; `evolving` are those that only an evolution has.

    Raises `InputError` where one of them is given to another solver, and for CP-SAT on other machines.
    """
    from deepmad.engine.solvers.settings import Evolution, Rows

    if name == "cpsat" and front is not None:
        raise InputError("--front: it needs --solver evolution")
    if name == "cpsat" and auto.on != "local":
        raise InputError(
            f"--on {auto.on}: --solver cpsat is one program on one machine, with nothing to spread; leave --on out, or "
            "choose --solver auto, evolution or rows"
        )
    given = {option: value for option, value in evolving.items() if value is not None}
    if name == "evolution" or front is not None:
        if auto.deterministic_limit is not None:
            raise InputError("--deterministic-limit: it counts the work of cpsat; evolution has --generations")
        return Evolution(auto.time_limit, seed=auto.seed, workers=auto.workers, on=auto.on, **given)
    for option in given:
        raise InputError(f"--{option}: it needs --solver evolution")
    if name == "rows":
        return Rows.of(auto)
    return auto.exact() if name == "cpsat" else auto


def _with_what_is_left(settings: "Solver", more: float) -> "Solver":
    """Return the settings with what the command has left of its time, where it is limited in time: it has begun.

    What it takes to end, and `more` seconds of work before that, are kept for it.
    """
    if settings.time_limit is None or getattr(settings, "deterministic_limit", None) is not None:
        return settings
    left = max(settings.time_limit - seconds_so_far() - seconds_to_end(more), LEAST_SHARE * settings.time_limit)
    return replace(settings, time_limit=left)


def _check_wishes(settings: "Solver", front: _Text, measure: bool, more: bool, bounds: int | None) -> None:
    """Raise `InputError` for what cannot be had together; `more` are networks or explanations beside the best one."""
    from deepmad.engine.solvers.settings import Evolution

    if front is None and bounds is not None:
        raise InputError("--bounds: it is for --front; any other design has its bound")
    if front is not None and (measure or more):
        raise InputError("--front: it gives many networks; leave --measure, --explain and --top out")
    if isinstance(settings, Evolution) and more:
        raise InputError("--solver evolution: --explain and --top need a bound, which only cpsat has")
    if isinstance(settings, Evolution) and measure and settings.checkpoint is not None:
        raise InputError("--checkpoint: every round of --measure is another problem; leave one of them out")


def _budget(
    space: "Space",
    macs: _Text,
    params: _Text,
    rho: _Text,
    latency: _Text,
    throughput: _Text,
    memory: _Text,
    activations: _Text,
) -> "Budget":
    """Return the budget of the options, the space's own limits where one is left out."""
    from deepmad.engine.program.budgets import Budget, usual_rho

    return Budget(
        macs=either_limit(macs, "macs", space.limits.macs),
        params=either_limit(params, "params", space.limits.params),
        rho=usual_rho(space) if rho == "auto" else limit(rho, "number", "rho", space.limits.rho),
        latency=limit(latency, "seconds", "latency"),
        throughput=limit(throughput, "per second", "throughput"),
        memory=limit(memory, "bytes", "memory"),
        activations=either_limit(activations, "activations", space.limits.activations),
    )


def _bare_numbers(latency: _Text, macs: _Text, params: _Text, space: "Space") -> list[str]:
    """Return, a sentence each, which numbers without a unit surely meant another one."""
    bare = {name: _number(text) for name, text in (("latency", latency), ("macs", macs), ("params", params))}
    found = []
    if bare["latency"] is not None and bare["latency"] >= 0.5:
        found.append(
            f"--latency {latency} is {latency} seconds for one batch; for milliseconds write --latency {latency}ms"
        )
    for name, usual in (("macs", "G"), ("params", "M")):
        number = bare[name]
        if number is not None and 0 < number < 1000:
            unit = _nearest_unit(number, getattr(space.limits, name)) or usual
            found.append(f"--{name} {number:g} is a count of {number:g}; did you mean --{name} {number:g}{unit}?")
    return found


def _nearest_unit(number: float, limit: "float | AtLeast | None") -> str | None:
    """Return the unit with which a number comes nearest to a space's own limit, in ratio; None where it has none."""
    if limit is None:
        return None
    near = limit.value if isinstance(limit, AtLeast) else limit
    return min(_UNITS, key=lambda unit: abs(math.log(number * _UNITS[unit] / near)))


def _number(text: _Text) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
