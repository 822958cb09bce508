"""`design(problem, solver)`: which solver answers. Only here are all of them known; each is loaded when needed."""

from collections.abc import Sequence

from deepmad.engine.answers.progress import Report
from deepmad.engine.answers.solutions import Solution
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.exact import design_exactly
from deepmad.engine.solvers.settings import Auto, CpSat, Evolution, Rows, Solver
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, shown
from deepmad.tasks import check_place


def design(
    problem: Problem,
    solver: Solver | None = None,
    *,
    starts: Sequence[Architecture] = (),
    report: Report | None = None,
) -> Solution:
    """Return the network of highest objective, with a proven bound on how far from the optimum it is.

    `solver` is `Auto` by default. Where strides are a choice, and with `Rows` as the solver, `design_rows` decides
    between the rows of block kinds and strides. An `Evolution` proves no bound: its solution is feasible, or unknown
    where it found no network. `starts` are networks to begin from; `report` is told of progress. Never raises for
    limits that cannot be met: the solution's status says so. Raises `InputError` where the solver cannot take a limit
    and where nothing can run at the place it names (`on`), and `Interrupted` (a `KeyboardInterrupt`) with the best so
    far on an interrupt. Raises `ContradictionError` where a network known refutes what a solver claims to have proven.
    """
    solver = Auto() if solver is None else solver
    if not isinstance(problem, Problem):
        raise InputError(f"problem: {shown(problem)} is no Problem; make one of a space and a budget")
    check_solver(solver)
    if not isinstance(solver, CpSat):
        check_place(solver.on)
    if isinstance(solver, Rows) or not problem.space.strides_fixed:
        from deepmad.engine.solvers.rows.loop import design_rows

        return design_rows(problem, Rows.of(solver), starts=starts, report=report)
    if isinstance(solver, CpSat):
        return design_exactly(problem, solver, starts=starts, report=report)
    if problem.black_boxes:
        from deepmad.engine.solvers.blackbox.solving import design_with_calls

        return design_with_calls(problem, solver, starts=starts, report=report)
    if isinstance(solver, Evolution):
        from deepmad.engine.solvers.evolution.solving import evolve

        return evolve(problem, solver, starts=starts, report=report, scouting=True)
    from deepmad.engine.solvers.auto import design_automatically

    return design_automatically(problem, solver, starts=starts, report=report)


def check_solver(solver: Solver) -> None:
    """Raise `InputError` for what is no solver's settings."""
    if not isinstance(solver, Solver):
        raise InputError(f"solver: {shown(solver)} is none; choose Auto(), CpSat(), Rows() or Evolution()")
