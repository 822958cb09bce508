"""Solving the integer program: search, progress, exact checks of what is found, and a valid bound."""

import math
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal

from ortools.sat.python import cp_model

from deepmad.engine.answers.claims import exceeds, require_bound
from deepmad.engine.answers.progress import CP_SAT
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.cpsat.digits import Expression, at_most, require_safe_rows
from deepmad.engine.solvers.cpsat.program import OutOfTimeError, Program, build_program
from deepmad.search_spaces.architectures import Architecture

Status = Literal["optimal", "feasible", "infeasible", "unknown"]
OnProgress = Callable[[Architecture | None, float | None, float], None]
CLOSED = 1e-6
"""A relative gap below this counts as none."""
_SOLVER_GAP = 2e-7
_HINT_SECONDS = 5.0
_SEARCHED_WITHOUT_LP = 1e6
"""Networks up to which one worker searches without linear relaxation. With it, CP-SAT 9.15 was seen to split the
ranges of large totals for minutes, without a conflict, among 10,000 networks that it else settles in 0.1 s."""


@dataclass(frozen=True)
class ExactResult:
    """What the search proved: the best network, and an upper bound on the objective, in its own units."""

    status: Status
    network: Architecture | None
    bound: float | None


@dataclass(frozen=True)
class Effort:
    """How long and how to search; `gap` is the relative gap at which the solver stops, see `solve` for the rest."""

    seconds: float | None
    deterministic_limit: float | None
    workers: int
    seed: int
    gap: float


@dataclass
class Search:
    """What one run of the program has found so far; it looks for the network of most `worth`.

    `refuted(network, bound)` raises `ContradictionError`: the network is worth more than a bound that was claimed.
    """

    worth: Callable[[Architecture], float]
    refuted: Callable[[Architecture, float], None]
    on_progress: OnProgress | None
    bound: float
    started: float
    network: Architecture | None = None
    value: float = -math.inf

    @property
    def seconds(self) -> float:
        """Seconds since the call."""
        return time.perf_counter() - self.started

    def left(self, seconds: float | None) -> float | None:
        """Return what is left of so many seconds from the call on; None is no end."""
        return None if seconds is None else max(0.0, seconds - self.seconds)

    def ends(self, seconds: float | None) -> float | None:
        """Return when so many seconds from the call on are over, as `build_program` takes it; None is never."""
        return None if seconds is None else self.started + seconds

    def take(self, network: Architecture) -> None:
        """Keep a feasible `network` if it is the best so far, and tell."""
        value = self.worth(network)
        if exceeds(value, self.bound):
            self.refuted(network, self.bound)
        if self.network is None or value > self.value:
            self.network, self.value = network, value
            self.tell()

    def tighten(self, bound: float) -> None:
        """Keep an upper bound if it is the tightest so far, and tell."""
        if bound < self.bound:
            if self.network is not None and exceeds(self.value, bound):
                self.refuted(self.network, bound)
            self.bound = bound
            self.tell()

    def tell(self) -> None:
        """Report the best network and bound so far."""
        if self.on_progress is not None:
            self.on_progress(self.network, self.bound if math.isfinite(self.bound) else None, self.seconds)

    def closed(self, gap: float) -> bool:
        """Whether the bound proves the best network to be within `gap` of the optimum."""
        return self.network is not None and self.bound - self.value <= max(gap, CLOSED) * abs(self.value)


@dataclass(frozen=True)
class _Found:
    """A solution of the program; `broken` says why rounding let it pass where it is no network of the problem."""

    network: Architecture
    decisions: list[int]
    broken: list[str]
    counted: dict[str, int]


_Event = _Found | float | BaseException | None


class _Callback(cp_model.CpSolverSolutionCallback):
    """Turns the solver's solutions into events; stops it at one that only rounding let pass."""

    def __init__(self, program: Program, events: "queue.Queue[_Event]") -> None:
        super().__init__()
        self._program, self._events = program, events

    def on_solution_callback(self) -> None:
        """Read the network; an exception must not reach the solver, which cannot pass it on."""
        program = self._program
        try:
            decisions = [_value(self, decision) for decision in program.decisions]
            network = program.network(decisions)
            broken = program.problem.broken(network)
            counted = {name: _value(self, total) for name, total in program.totals.items()}
            self._events.put(_Found(network, decisions, broken, counted))
        except Exception as error:  # noqa: BLE001
            self._events.put(error)
            self.stop_search()
        else:
            if broken:
                self.stop_search()


def _value(solution: cp_model.CpSolverSolutionCallback, expression: Expression) -> int:
    return expression if isinstance(expression, int) else int(solution.value(expression))


def solve(
    problem: Problem,
    *,
    hint: Architecture | None = None,
    bound: float | None = None,
    seconds: float | None,
    deterministic_limit: float | None = None,
    workers: int,
    seed: int,
    gap: float = 0.0,
    on_progress: OnProgress | None = None,
) -> ExactResult:
    """Return the best network of `problem` that CP-SAT finds, and a proven upper bound on the objective.

    `hint` is a network to start from (left out where it breaks a rule or limit), `bound` a valid upper bound
    known beforehand. The search ends once the bound is within the relative `gap`, after `seconds`, or after
    `deterministic_limit` of the solver's deterministic units: with one worker and a seed the same answer then
    comes twice. `on_progress` gets (best network, bound, seconds so far) at every new network and bound; what
    it raises, and a KeyboardInterrupt, stops the search and goes on to the caller.

    Raises `InputError` for a block kind whose layers the program cannot tabulate, and `ContradictionError` where the
    hint, or a network found, refutes a bound or that there is no network.
    """
    search = best_search(problem, on_progress, math.inf if bound is None else bound)
    if hint is not None and not problem.broken(hint):
        search.take(hint)
    try:
        program = build_program(problem, ends=search.ends(seconds))
    except OutOfTimeError:
        known = search.bound if math.isfinite(search.bound) else None
        return ExactResult("unknown" if search.network is None else "feasible", search.network, known)
    search.bound = min(search.bound, program.most)
    if bound is not None and program.objective is not None:
        largest = math.ceil((bound + program.rounding) * program.unit)
        at_most(program.builder.model, program.objective, largest, "bound")
    effort = Effort(seconds, deterministic_limit, workers, seed, max(gap - CLOSED, _SOLVER_GAP))
    status = searched(program, search, effort)
    if search.network is None:
        bound = search.bound if math.isfinite(search.bound) else None
        infeasible = status == cp_model.INFEASIBLE
        return ExactResult("infeasible" if infeasible else "unknown", None, None if infeasible else bound)
    return ExactResult("optimal" if search.closed(gap) else "feasible", search.network, search.bound)


def best_search(problem: Problem, on_progress: OnProgress | None = None, bound: float = math.inf) -> Search:
    """Return the state of a search for the network of highest objective, none of which is above `bound`."""

    def refuted(network: Architecture, bound: float) -> None:
        require_bound(problem, CP_SAT, bound, network)

    return Search(problem.value, refuted, on_progress, bound, time.perf_counter())


def find_feasible(problem: Problem, *, seconds: float, workers: int, seed: int) -> ExactResult:
    """Return any feasible network, or the proof that there is none; the objective does not matter."""
    search = best_search(problem)
    try:
        program = build_program(problem, objective=False, ends=search.ends(seconds))
    except OutOfTimeError:
        return ExactResult("unknown", None, None)
    status = searched(program, search, Effort(seconds, None, workers, seed, 0.0))
    if search.network is not None:
        return ExactResult("feasible", search.network, None)
    return ExactResult("infeasible" if status == cp_model.INFEASIBLE else "unknown", None, None)


def searched(program: Program, search: Search, effort: Effort) -> "cp_model.CpSolverStatus":
    """Run the search to its end: again, without them, where it met solutions that only rounding let pass."""
    require_safe_rows(program.builder.model)
    deterministic_used = 0.0
    while True:
        solver = _solver(effort.workers, effort.seed)
        if effort.workers == 1 and program.problem.space.size() <= _SEARCHED_WITHOUT_LP:
            solver.parameters.linearization_level = 0
        solver.parameters.relative_gap_limit = effort.gap
        if search.network is not None:
            _add_complete_hint(program, search.network, search.left(effort.seconds))
        if (left := search.left(effort.seconds)) is not None:
            solver.parameters.max_time_in_seconds = left
        if effort.deterministic_limit is not None:
            solver.parameters.max_deterministic_time = max(0.0, effort.deterministic_limit - deterministic_used)
        status, rejected = _run(program, solver, search)
        if effort.deterministic_limit is not None:
            deterministic_used += solver.response_proto.deterministic_time
        if not rejected:
            if status == cp_model.INFEASIBLE and search.network is not None:
                search.refuted(search.network, -math.inf)
            return status
        # Their networks break the limit on rho by less than the rounding, or one whose tables are rounded.
        program.builder.model.add_forbidden_assignments(program.decisions, rejected)


def _solver(workers: int, seed: int) -> cp_model.CpSolver:
    """Return a solver that leaves interrupts to Python."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = seed
    solver.parameters.catch_sigint_signal = False
    solver.parameters.cp_model_probing_level = 0  # seconds on full-size spaces, and little gained
    return solver


def _run(
    program: Program, solver: cp_model.CpSolver, search: Search
) -> "tuple[cp_model.CpSolverStatus, list[list[int]]]":
    """Run one solve in a thread of its own, so that this one can be interrupted.

    Returns the solver's status and the solutions that only rounding let pass.
    """
    invalid = program.builder.model.validate()
    assert not invalid, f"the integer program is malformed: {invalid}"
    events: queue.Queue[_Event] = queue.Queue()
    solver.best_bound_callback = lambda value: events.put(value / program.unit)
    rejected: list[list[int]] = []
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(solver.solve, program.builder.model, _Callback(program, events))
        future.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                rejected += _handle(program, search, event)
        except BaseException:
            while not future.done():
                solver.stop_search()
                wait([future], timeout=0.02)
            raise
        status = future.result()
    assert status != cp_model.MODEL_INVALID, "the integer program is malformed"
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    if found and program.objective is not None:  # otherwise the solver holds no bound
        search.tighten(solver.best_objective_bound / program.unit)
    return status, rejected


def _handle(program: Program, search: Search, event: _Found | float | BaseException) -> list[list[int]]:
    """Take in one event of the search; return the decisions of a solution that only rounding let pass."""
    if isinstance(event, BaseException):
        raise event
    if isinstance(event, float):
        search.tighten(event)
        return []
    if event.broken:
        assert program.lets_pass(event.broken), f"{event.network}: {event.broken}"
        return [event.decisions]
    program.check(event.network, event.counted)
    search.take(event.network)
    return []


def _add_complete_hint(program: Program, network: Architecture, seconds: float | None) -> None:
    """Hint `network` with the values of all variables, so that the solver takes it as its first solution.

    It takes no longer than `seconds`; None is as long as it takes.

    The variables that follow from the decisions are computed by solving with the decisions fixed.
    """
    model: Any = program.builder.model
    solver = _solver(1, 0)
    model.clear_hints()
    for decision, value in zip(program.decisions, program.assignment(network), strict=True):
        if not isinstance(decision, int):
            model.add_hint(decision, value)
    solver.parameters.fix_variables_to_their_hinted_value = True
    if seconds is not None:
        solver.parameters.max_time_in_seconds = min(_HINT_SECONDS, seconds)
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return
    model.clear_hints()
    hints, values = model.proto.solution_hint, list(solver.response_proto.solution)
    hints.vars.extend(range(len(values)))
    hints.values.extend(values)
