"""What `deepmad design` does once the problem is known: solve, measure, explain, write and print."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.cli.clock import seconds_so_far
from deepmad.cli.endings import told
from deepmad.cli.output import DONE, MISSED, Bar, Waits, bar, emit_json, out, say, warn
from deepmad.cli.render import solution_report
from deepmad.cli.silence import SILENCE
from deepmad.cli.tables import Conditions, predicted_by_device
from deepmad.search_spaces.errors import STOPS, InputError
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.engine.answers.parts import Round
    from deepmad.engine.answers.progress import Progress, Report
    from deepmad.engine.answers.solutions import Measured, Solution
    from deepmad.engine.program.problems import Problem
    from deepmad.engine.solvers.settings import Auto, CpSat, Rows, Solver
    from deepmad.profilers.tables.tables import LatencyTable
    from deepmad.search_spaces.architectures import Architecture

EXPLAINED_SHARE, RANKED_SHARE = 0.5, 0.75
"""The main solve's share of the time with --explain, and with --top alone."""
ALTERNATIVES_SHARE, ALTERNATIVES_SECONDS = 0.3, 10.0
"""The alternatives' share of the time left where limits are explained after them, and the most seconds they get."""
STARTING = "starting"
TELLING_SECONDS, TELLING_SHARE = 0.002, 0.4
"""Seconds that it takes to write and print one of several networks, about, and the most of their time kept for that."""


@dataclass(frozen=True)
class Wishes:
    """What is asked for beside the network: measured by `measuring`, `top` networks in all, limits explained.

    `doubts` are known of the tables beforehand; `force` takes a prediction that is mostly a guess.
    """

    measuring: "Callable[[Architecture], Measured] | None" = None
    rounds: int = 6
    top: int = 1
    explain: bool = False
    doubts: tuple[str, ...] = ()
    force: bool = False

    @property
    def main_share(self) -> float:
        """The main solve's share of the time limit."""
        return EXPLAINED_SHARE if self.explain else RANKED_SHARE if self.top > 1 else 1.0


def deliver(
    problem: "Problem",
    settings: "Solver",
    wishes: Wishes,
    *,
    tables: "Sequence[LatencyTable]" = (),
    output: Path | None,
    json: bool,
) -> int:
    """Solve, measure and explain where asked, write and print the solution; return the exit code."""
    from deepmad.engine.answers.progress import Interrupted, OutOfMemoryError

    stop: Interrupted | OutOfMemoryError | None = None
    try:
        solution = _solve(problem, settings, wishes)
    except (Interrupted, OutOfMemoryError) as stopped:
        solution, stop = stopped.solution, stopped
    solution = replace(solution, predicted_by_device=predicted_by_device(tables, solution.architecture))
    solution = _with_doubts(solution, tables, wishes)
    try:
        if output is not None:
            solution.save(output)
    finally:  # a network found is told even where its file cannot be written
        if json:
            emit_json(solution.to_dict())
        else:
            solution_report(solution, out())
    if output is not None and not json:
        say(f"written to {output}")
    if stop is not None:
        raise told(stop, _kept(solution, settings, output)) from stop
    missed = solution.measured is not None and solution.measured.violated
    if solution.architecture is None or missed:
        say(f"error: {solution.message}")
        return MISSED
    if solution.gap is None or solution.gap > settings.gap:
        warn(solution.message)
    return DONE


def _kept(solution: "Solution", settings: "Solver", output: Path | None) -> str:
    """Return what a solve that ended before its time leaves behind."""
    place = "above" if output is None else f"in {output}"
    kept = "no network was found by then" if solution.architecture is None else f"the best network by then is {place}"
    checkpoint = getattr(settings, "checkpoint", None)
    if checkpoint is not None and checkpoint.exists():
        return f"{kept}; the same command goes on from {checkpoint}"
    return kept


def _with_doubts(solution: "Solution", tables: "Sequence[LatencyTable]", wishes: Wishes) -> "Solution":
    """Return the solution with the share of the network's layers that its tables hold, and what is doubtful.

    Raises `InputError` where less than half of the layers are held, unless forced.
    """
    from deepmad.cli.table_doubts import FORCE, least_within
    from deepmad.profilers.prediction.coverage import REFUSED, WARNED

    within = None if solution.architecture is None else least_within(tables, solution.architecture)
    if within is None:
        return replace(solution, warnings=wishes.doubts or None)
    if within.share < REFUSED and not wishes.force:
        raise InputError(f"--table: {within.sentence}: what it predicts is a guess; build one for the space ({FORCE})")
    doubts = (*wishes.doubts, within.sentence) if within.share < WARNED or within.kernels else wishes.doubts
    return replace(solution, within_table=within.share, warnings=doubts or None)


def _solve(problem: "Problem", settings: "Solver", wishes: Wishes) -> "Solution":
    """Return the solution with everything wished for, all of it within the time limit."""
    from deepmad.engine.explanation import explain
    from deepmad.engine.solvers.alternatives import with_alternatives
    from deepmad.engine.solvers.settings import Evolution

    if isinstance(settings, Evolution):  # nothing more can be wished for: that takes a bound
        with bar("designing", settings.time_limit or 0.0) as shown:
            shown.update(0.0, STARTING)
            return _designed(problem, settings, wishes, _report(shown))
    began = time.monotonic()
    with bar("designing", settings.time_limit) as shown:
        shown.update(0.0, STARTING)
        solution = _designed(problem, _shared(settings, wishes.main_share), wishes, _report(shown))
        reserved = 0.0 if wishes.measuring is None else (1 - wishes.main_share) * settings.time_limit
        ends = max(began + settings.time_limit, time.monotonic() + reserved)
        share = 0.0 if wishes.top == 1 else ALTERNATIVES_SHARE if wishes.explain else 1.0
        if wishes.top > 1:
            seconds = min(share * (ends - time.monotonic()), ALTERNATIVES_SECONDS)
            seconds -= min(wishes.top * TELLING_SECONDS, TELLING_SHARE * seconds)
            shown.update(time.monotonic() - began, f"{wishes.top} networks that differ")
            rest = _exact(_shared(settings, share * (1 - wishes.main_share)))
            solution = with_alternatives(problem, solution, wishes.top, rest, seconds=seconds)
        if wishes.explain:
            left = ends - time.monotonic()
            rest = _exact(_shared(settings, (1 - share) * (1 - wishes.main_share)))
            report = _report(shown, time.monotonic() - began)
            solution = explain(problem, solution, rest, seconds=left, report=report)
    return solution if wishes.measuring is not None else replace(solution, seconds=seconds_so_far())


def _shared(settings: "Auto | CpSat | Rows", share: float) -> "Auto | CpSat | Rows":
    """Return the settings with a share of the time, and of the deterministic work where that is limited."""
    work = settings.deterministic_limit
    return replace(
        settings,
        time_limit=share * settings.time_limit,
        deterministic_limit=None if work is None else share * work,
    )


def _exact(settings: "Auto | CpSat | Rows") -> "CpSat":
    """Return the settings of the exact solver, which has a say in all but the main solve."""
    from deepmad.engine.solvers.settings import CpSat

    return settings if isinstance(settings, CpSat) else settings.exact()


def _designed(problem: "Problem", settings: "Solver", wishes: Wishes, report: "Report") -> "Solution":
    """Return the solution, through the measured loop where there is a target to measure against."""
    from deepmad.engine.answers.progress import stopped
    from deepmad.engine.design import design
    from deepmad.engine.measured_loop import design_measured

    measuring = wishes.measuring
    if measuring is not None and "latency_seconds" in problem.limits():
        say_round = partial(_say_round, problem.batch)
        return design_measured(problem, settings, measuring, rounds=wishes.rounds, report=report, on_round=say_round)
    solution = design(problem, settings, report=report)
    if measuring is None or solution.architecture is None:
        return solution
    try:
        return replace(solution, measured=measuring(solution.architecture))
    except STOPS as stop:
        raise stopped(stop, solution) from stop


def _report(shown: Bar, seconds: float = 0.0) -> "Report":
    """Return what shows the progress of a solve that began `seconds` after the command."""

    def report(progress: "Progress") -> None:
        passed = seconds + progress.seconds
        if progress.warning is not None:
            warn(progress.warning)
        shown.update(passed, _line(replace(progress, seconds=passed)))

    return report


def measurer(conditions: Conditions, devices: int) -> "Callable[[Architecture], Measured]":
    """Return what times a network under the conditions asked for, each time in a new process.

    Raises `InputError` where the limit is to hold on several devices: only this machine can be measured. What is
    returned raises `DeviceError` where the back end fails, and warns, once, of what makes its numbers doubtful.
    """
    from deepmad.profilers.backends import find_backend
    from deepmad.profilers.measuring.steps import Once
    from deepmad.profilers.tables.table_files import Key
    from deepmad.zoo.measuring import timed_apart

    if devices > 1:
        raise InputError(
            f"--measure: {devices} tables are given, and only this machine can be measured; leave --measure out and "
            "run deepmad measure SOLUTION.json on every device"
        )
    find_backend(conditions.backend, conditions.precision)
    key, doubts, waits = Key(**asdict(conditions)), Once(), Waits()

    def timed(network: "Architecture") -> "Measured":
        with SILENCE.at("timing a network"):
            measured = timed_apart(key, network, tell=waits)
        for doubt in doubts.new(measured.warnings):
            warn(doubt)
        return measured

    return timed


def _line(progress: "Progress") -> str:
    best = "none yet" if progress.best is None else f"{progress.best:,.1f}"
    bound = "-" if progress.bound is None else f"{progress.bound:,.1f}"
    gap = "-" if progress.gap is None else f"{progress.gap:.2%}"
    return f"{progress.doing}: objective {best}, bound {bound}, gap {gap}, {progress.seconds:.1f} s"


def _say_round(batch: int, found: "Round") -> None:
    limit = human(found.limit, "seconds")
    if found.predicted is None or found.measured is None or found.objective is None:
        say(f"round {found.number}: no network is predicted within {limit}")
        return
    within = "within" if found.predicted <= found.limit else "the least, none is within"
    say(
        f"round {found.number}: objective {found.objective:,.1f}, predicted {human(found.predicted, 'seconds')} "
        f"({within} {limit}), measured {human(found.measured, 'seconds')} ({batch / found.measured:.4g}/s): "
        f"target {'missed' if found.violated else 'met'}{_doubt(found)}"
    )


def _doubt(found: "Round") -> str:
    """Return what is to be said about a round's measurements."""
    return f" ({found.left_out} measurement(s) left out, the machine drifted)" if found.left_out else ""
