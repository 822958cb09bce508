"""Processes that search while another one bounds: a lost one costs its turn and no design, and none is left behind."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import wait
from dataclasses import replace

import psutil
import pytest

from deepmad.engine.answers.progress import Race
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.bounds import Tree
from deepmad.engine.solvers.crew import MOST_LOSSES, MOST_PROPOSALS, Crew, Proposals, helped
from deepmad.search_spaces.spaces import load_space
from tests.catalogue import ROOT, mixed

PATIENCE_SECONDS = 60.0
"""How long something is waited for that comes soon unless it never does."""
PROGRAM = """
import time
from deepmad.engine.solvers.crew import helped
from tests.test_crew import PATIENCE_SECONDS, free

race = free()
with helped(race.problem, 1, seed=0) as crew:
    crew.turn(race, PATIENCE_SECONDS)
    print(*crew.pool._processes, flush=True)
    time.sleep(PATIENCE_SECONDS)
"""


def free() -> Race:
    """Return a race in a large space, any network of which is feasible."""
    return Race(Problem(load_space("r18"), Budget()), 0.0, None, time.monotonic())


def kill_the_process(crew: Crew) -> None:
    """Kill the only process, and wait until its search is known to have ended."""
    (pid,) = crew.pool._processes
    os.kill(pid, signal.SIGKILL)
    finish(crew)


def finish(crew: Crew) -> None:
    """Wait until all searches have ended."""
    assert not wait([job.future for job in crew.running], timeout=PATIENCE_SECONDS).not_done


def runs(pid: int) -> bool:
    """Return whether a process runs; a dead one that nobody waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_lost_process_costs_its_turn_and_too_many_cost_all_others() -> None:
    race = free()
    with helped(race.problem, 1, seed=0) as crew:
        assert crew is not None
        crew.turn(race, PATIENCE_SECONDS)
        kill_the_process(crew)
        crew.turn(race, PATIENCE_SECONDS)
        assert (crew.losses, crew.running) == (1, [])
        assert race.network is None
        crew.turn(race, 1.0)
        finish(crew)
        crew.turn(race, 0.0)
        assert race.network is not None
        for losses in range(2, MOST_LOSSES + 1):
            crew.turn(race, PATIENCE_SECONDS)
            kill_the_process(crew)
            crew.turn(race, PATIENCE_SECONDS)
            assert crew.losses == losses
        crew.turn(race, PATIENCE_SECONDS)
        assert crew.running == []


def test_other_processes_work_on_boxes_and_the_proof_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepmad.engine.solvers.crew.SEARCH_SHARE", -1.0)  # never a search while there are boxes
    space = load_space("mbv2")
    race = Race(Problem(space, Budget.of(space)), 0.0, None, time.monotonic())
    tree = Tree(race.problem, lambda: race.best)
    with helped(race.problem, 1, seed=0) as crew:
        assert crew is not None
        for step in tree.steps():
            race.offer(step.proposal)
            race.lower(step.bound, "branch and price")
            crew.turn(race, PATIENCE_SECONDS, tree)
        assert crew.bounded > 0
    assert step.done
    assert not tree.shared
    assert race.gap == 0


def test_they_end_with_the_program_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.kill()
    ends = time.monotonic() + PATIENCE_SECONDS
    while runs(pid):
        assert time.monotonic() < ends, "a process that searches lives on"
        time.sleep(0.05)


def test_networks_of_the_bound_wait_once_each_frame_and_the_newest_goes_first() -> None:
    networks = [
        replace(mixed(), stages=(replace(mixed().stages[0], depth=depth), *mixed().stages[1:])) for depth in range(1, 9)
    ]
    proposals = Proposals()
    for network in (*networks, None, networks[-1]):
        proposals.add(network)
    proposals.add(replace(networks[0], stem=replace(networks[0].stem, out=48)))  # of a frame seen before
    taken = [proposals.take() for _ in range(MOST_PROPOSALS + 1)]
    assert taken == [*networks[: -MOST_PROPOSALS - 1 : -1], None]
