"""What is written by hand in notebooks and scripts: a design by a space's name, networks side by side, progress."""

import html
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deepmad.cli.table_doubts import check_space, doubts_here, doubts_of
from deepmad.cli.tables import Asked, Conditions, load_tables
from deepmad.engine.answers.progress import Progress, Report
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.answers.summaries import summary
from deepmad.engine.design import check_solver
from deepmad.engine.design import design as designed
from deepmad.engine.measured_loop import design_measured
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.objectives import ObjectiveName
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.settings import Auto, Solver
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, shown
from deepmad.search_spaces.notebooks import frame
from deepmad.search_spaces.spaces import Space, load_space
from deepmad.search_spaces.units import AtLeast, quantity

if TYPE_CHECKING:
    from pandas import DataFrame

    from deepmad.engine.answers.solutions import Measured
    from deepmad.profilers.tables.tables import LatencyTable

Amount = float | str | AtLeast | None
"""A limit: a number in SI units, a text with a unit like "8ms" or ">=3G", None for no limit."""
OWN: Literal["space"] = "space"
"""Stands for the limit that comes with a space."""
_COLUMNS = (
    "macs",
    "params",
    "activations",
    "entropy",
    "rho",
    "depth_variance",
    "objective_paper",
    "objective_reference",
)


def design(
    problem: Problem | Space | str | Path,
    solver: Solver | None = None,
    *,
    macs: Amount = OWN,
    params: Amount = OWN,
    rho: Amount = OWN,
    activations: Amount = OWN,
    latency: Amount = None,
    throughput: Amount = None,
    memory: Amount = None,
    table: "LatencyTable | str | Path | Sequence[LatencyTable | str | Path] | None" = None,
    backend: str | None = None,
    precision: str | None = None,
    batch: int | None = None,
    threads: int | None = None,
    objective: ObjectiveName = "paper",
    classes: int | None = None,
    resolution: int | None = None,
    time_limit: float | str | None = None,
    measure: bool = False,
    rounds: int = 6,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
    progress: bool | None = None,
) -> Solution:
    """Return the network of highest objective within limits, with a proven bound on how far from the optimum it is.

    `problem` is a preset's name, a space's YAML file, a `Space`, or a `Problem`, which has all limits in it. Limits are
    written as on the command line: "space" is the space's own, None is no limit, "8ms" and 0.008 are the same latency
    of one batch. A limit on latency or throughput needs a latency table: `table` is one, its file, or several; by
    default it is this machine's own for `backend`, `precision`, `batch` and `threads`, from `deepmad table build`.

    `solver` is `Auto()` by default; `time_limit` is its seconds, 60 by default. With `measure` the network is timed on
    this machine, and designed again until its measured latency meets the limit, in `rounds` at most. `progress` shows
    how far it is; by default in notebooks only, and `report` is called with it instead. `starts` are networks to begin
    from. What is doubtful about a table is a warning, and in the solution's `warnings`.

    Never raises for limits that cannot be met: the solution's `status` and `message` say so. Raises `InputError` for
    anything that cannot be used, and what `deepmad.engine.design.design` raises.

    Examples:
        >>> import deepmad as dm
        >>> solution = dm.design("examples/small.yaml", macs="15M", time_limit="5s")
        >>> [*solution.stages.columns]
        ['block', 'out', 'width', 'kernel', 'depth', 'stride', 'side', 'macs', 'params']

        With a latency table of this machine (`deepmad table build r18`):

        dm.design("r18", latency="8ms", measure=True)
    """
    own = {"macs": macs, "params": params, "rho": rho, "activations": activations}
    limits = {"latency": latency, "throughput": throughput, "memory": memory}
    asked = Asked(backend, precision, batch, threads)
    if isinstance(problem, Problem):
        sized = {"classes": classes, "resolution": resolution, "table": table, **limits, **asdict(asked)}
        given = [name for name, value in sized.items() if value is not None]
        given += [name for name, value in own.items() if value != OWN] + ["objective"] * (objective != "paper")
        if given:
            raise InputError(f"{given[0]}: a Problem has it already; give it there, or a space in the problem's place")
        made, doubts = problem, list[str]()
    elif not isinstance(problem, Space | str | Path):
        raise InputError(f"problem: {shown(problem)} is no Problem, no Space, and no name or file of one")
    else:
        space = problem if isinstance(problem, Space) else load_space(problem)
        space = replace(space, resolution=resolution or space.resolution)
        limits |= {name: getattr(space.limits, name) if value == OWN else value for name, value in own.items()}
        budget = Budget(**limits)  # type: ignore[arg-type]
        tables, doubts = _tables(problem, space, budget, table, asked, measuring=measure)
        conditions = asked.completed(tables)
        made = Problem(space, budget, tables or None, objective, classes, None, conditions.batch, conditions.precision)
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)
    settings = _settings(solver, time_limit)
    with _shown(settings.time_limit, progress, report) as told:
        solution = _delivered(made, settings, starts, told, _timer(made, asked) if measure else None, rounds)
    return replace(solution, warnings=(*(solution.warnings or ()), *doubts)) if doubts else solution


def _tables(
    named: Space | str | Path, space: Space, budget: Budget, given: Any, asked: Asked, *, measuring: bool
) -> "tuple[tuple[LatencyTable, ...], list[str]]":
    """Return the tables for a space, and what is doubtful about them, a sentence each."""
    from deepmad.profilers.tables.tables import LatencyTable

    if given is None and budget.latency_seconds(1) is None:
        return (), []
    several = given if isinstance(given, list | tuple) else [] if given is None else [given]
    loaded = [one for one in several if isinstance(one, LatencyTable)]
    paths = [Path(one) for one in several if not isinstance(one, LatencyTable)]
    argument = space.name if isinstance(named, Space) else str(named)
    found = load_tables(paths, argument, space, asked) if paths or not loaded else {}
    tables = (*loaded, *found.values())
    doubts = list[str]()
    for table in tables:
        if table.path is not None:
            check_space(table.path, table, space, argument)
            doubts += doubts_of(table.path, table, space, argument)
        doubts += doubts_here(table, measuring=measuring)
    return tables, doubts


def _settings(solver: Solver | None, time_limit: float | str | None) -> Solver:
    """Return the solver with the time limit asked for."""
    settings = Auto() if solver is None else solver
    check_solver(settings)
    if time_limit is None:
        return settings
    return replace(settings, time_limit=quantity(time_limit, "seconds", "time_limit"))


def _timer(problem: Problem, asked: Asked) -> "Callable[[Architecture], Measured]":
    """Return what times a network under the conditions of the problem's table. Raises `InputError` for several."""
    from deepmad.profilers.backends import find_backend
    from deepmad.profilers.tables.table_files import Key
    from deepmad.zoo.measuring import timed_apart

    tables = problem.tables
    if len(tables) > 1:
        raise InputError(f"measure: {len(tables)} tables are given, and only this machine can be measured; give one")
    known: Any = tables
    conditions: Conditions = asked.completed(known)
    find_backend(conditions.backend, conditions.precision)
    return partial(timed_apart, Key(**asdict(conditions)))


def _delivered(
    problem: Problem,
    solver: Solver,
    starts: Sequence[Architecture],
    report: Report | None,
    timer: "Callable[[Architecture], Measured] | None",
    rounds: int,
) -> Solution:
    """Return the solution, measured where there is a timer."""
    if timer is not None and "latency_seconds" in problem.limits():
        return design_measured(problem, solver, timer, rounds=rounds, report=report)
    solution = designed(problem, solver, starts=starts, report=report)
    if timer is None or solution.architecture is None:
        return solution
    return replace(solution, measured=timer(solution.architecture))


def compare(*networks: Solution | Architecture | str | Path) -> "DataFrame":
    """Return the figures of several networks side by side as a pandas frame, a column each.

    A network is a solution, an architecture, or a file of either; FILE#3 is a solution's third network. Latencies are
    seconds for one batch, where a solution tells them. Raises `InputError`, and `ImportError` without pandas.

    Examples:
        >>> import deepmad as dm
        >>> told = dm.compare("examples/deepmad-r50.json", "examples/deepmad-29m-224.json")
        >>> int(told.loc["macs"].iloc[0])
        4042761408
    """
    rows = []
    for place, one in enumerate(networks):
        network, name = _network(one, place)
        figures = summary(network)
        row: dict[str, Any] = {"network": name} | {column: figures[column] for column in _COLUMNS}
        row |= {"depths": [stage.depth for stage in network.stages], "outs": [stage.out for stage in network.stages]}
        if isinstance(one, Solution):
            row["predicted"] = one.predicted and one.predicted.latency_seconds
            row["measured"] = one.measured and one.measured.latency_seconds
        rows.append(row)
    if not rows:
        raise InputError("compare: there is no network; give solutions, architectures or their files")
    return frame(rows, "network").T


def _network(one: Solution | Architecture | str | Path, place: int) -> tuple[Architecture, str]:
    """Return a network and what it is called. Raises `InputError` where there is none."""
    if isinstance(one, str | Path):
        return Architecture.load(one), Path(one).name.replace(".json", "")
    network = one.architecture if isinstance(one, Solution) else one
    if isinstance(one, Solution) and network is None:
        raise InputError(f"compare: solution {place + 1} has no network: {one.message}")
    if not isinstance(network, Architecture):
        raise InputError(f"compare: {shown(one)} is no network; give solutions, architectures or their files")
    return network, network.name or f"network {place + 1}"


@contextmanager
def _shown(seconds: float | None, wanted: bool | None, report: Report | None) -> Iterator[Report | None]:
    """Yield what shows the progress of a solve: a line of a notebook, a bar on a terminal, or nothing."""
    if report is not None or not (in_notebook() if wanted is None else wanted):
        yield report
        return
    if in_notebook():
        yield _Cell(seconds or 0.0).tell
        return
    from deepmad.cli.output import bar

    with bar("designing", seconds or 0.0) as shown_bar:
        yield lambda progress: shown_bar.update(progress.seconds, _line(progress))


def in_notebook() -> bool:
    """Return whether this runs in a notebook, which shows HTML."""
    interactive = sys.modules.get("IPython")
    shell = None if interactive is None else interactive.get_ipython()
    return shell is not None and shell.has_trait("kernel")


class _Cell:
    """A line under a notebook's cell that is written anew with every step."""

    def __init__(self, seconds: float) -> None:
        from IPython.display import HTML, display

        self._made, self._seconds = HTML, seconds
        self._handle = display(HTML(""), display_id=True)

    def tell(self, progress: Progress) -> None:
        """Show how far the solve is."""
        bar = f'<progress max="{self._seconds:g}" value="{progress.seconds:.3f}"></progress>'
        self._handle.update(self._made(f"{bar} {html.escape(_line(progress))}"))


def _line(progress: Progress) -> str:
    best = "none yet" if progress.best is None else f"{progress.best:,.1f}"
    bound = "" if progress.bound is None else f", bound {progress.bound:,.1f}"
    gap = "" if progress.gap is None else f", gap {progress.gap:.2%}"
    return f"{progress.doing}: objective {best}{bound}{gap}, {progress.seconds:.0f} s"
