"""The run: step after step, each in a process of its own, until all is done or the piece is over."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.conditions import write_csv
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.state import State
from benchmarks.gpu_results.steps import Step, act, plan
from deepmad.profilers.measuring.isolation import Broken, call_apart
from deepmad.search_spaces.errors import first_line

GRACE_SECONDS = 25.0
"""What a step may run past the end of its piece before it is killed."""
PATIENCE = 2.0
"""A step is also killed after its seconds times this: then it hangs."""
LEAST_SHARE = 0.4
"""A step is not begun with less than this share of its seconds, left of the piece or of the whole run."""

Call = Callable[..., Any]


def go_on(options: Options, say: Callable[[str], None] = print) -> bool:
    """Do steps until all are done, which returns True, or the piece's time is over."""
    state, piece_ends, begun = State.load(options.output), time.time() + options.piece_seconds, False
    steps: list[Step] = []
    for step in plan(options):
        steps.append(step)
        if state.of(step.name).status != "open" or not _ready(state, step):
            continue
        left = options.total_seconds - state.seconds
        if left < LEAST_SHARE * step.seconds:
            state.of(step.name).reason = f"left out: {left:.0f} of {options.total_seconds:.0f} s were left"
            continue
        if begun and piece_ends - time.time() < LEAST_SHARE * step.seconds:
            return False
        begun = True
        used = state.of(step.name).seconds
        allotted = replace(step, seconds=min(step.seconds, used + left))
        say(f"{step.name}, up to {max(0.0, allotted.seconds - used):.0f} s")
        if state.begin(step.name) and not _do(options, state, allotted, piece_ends, say):
            return False
        _write_steps(options, state, steps)
    _write_steps(options, state, steps)
    return True


def _do(options: Options, state: State, step: Step, piece_ends: float, say: Callable[[str], None]) -> bool:
    """Do one step and note how it ended; return False where the piece is over.

    A table whose process fails, with a crash or a GPU that is of no more use, goes on at once with its probes apart.
    """
    began = time.time()
    step_ends = began + step.seconds - state.of(step.name).seconds
    in_piece, in_all = piece_ends - began, PATIENCE * step.seconds
    limit_seconds = max(0.0, min(in_piece, in_all)) + GRACE_SECONDS
    found = caller(options)(act, options, step, piece_ends, step_ends, limit_seconds=limit_seconds)
    seconds = time.time() - began
    if isinstance(found, Broken) and seconds >= limit_seconds and in_piece < in_all:
        state.pause(step.name, seconds, in_order=False)
        return False
    if isinstance(found, Broken) and seconds < limit_seconds and step.kind == "table" and not step.apart:
        say(f"{step.name} failed: {found.reason}; it goes on with its probes in processes of their own")
        state.pause(step.name, seconds)
        return _do(options, state, replace(step, apart=True), piece_ends, say)
    if isinstance(found, Broken):
        say(f"{step.name} failed: {found.reason}")
        state.end(step.name, "failed", found.reason, seconds)
    elif found:
        say(f"{step.name} done in {seconds:.0f} s")
        state.end(step.name, "done", seconds=seconds)
    else:
        state.pause(step.name, seconds)
    return bool(found)


def caller(options: Options) -> Call:
    """Return what calls a function in another process, or in this one where all is to run together."""
    return call_here if options.together else call_apart


def call_here(function: Call, *arguments: Any, limit_seconds: float | None = None) -> Any:  # noqa: ARG001
    """Return what the function returns, or why it returned nothing; nothing limits its time here."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - as in a process of its own: whatever is raised costs this call only
        return Broken(first_line(error))


def _ready(state: State, step: Step) -> bool:
    """Return whether the results that a step needs are there; a step whose needs failed fails with them."""
    for name in step.needs:
        if state.of(name).status == "failed":
            state.end(step.name, "failed", f"{name} failed")
            return False
        if state.of(name).status != "done":
            state.of(step.name).reason = f"left out: it needs {name}"
            return False
    return True


def _write_steps(options: Options, state: State, steps: list[Step]) -> None:
    """Write what became of every step so far."""
    rows = []
    for step in steps:
        record = state.of(step.name)
        rows.append(
            {
                "step": step.name,
                "status": record.status,
                "seconds": round(record.seconds, 1),
                "reason": "" if record.status == "done" else record.reason,
            }
        )
    write_csv(options.output / "steps.csv", rows, {"seconds_in_all": round(state.seconds, 1)})
