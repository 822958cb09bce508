"""Processes that search while another one bounds: one that is lost costs its turn, and no design."""

import os
import signal
import time
from concurrent.futures import wait

from deepmad.engine.budgets import Budget
from deepmad.engine.problems import Problem
from deepmad.engine.progress import Race
from deepmad.engine.searchers import MOST_LOSSES, Searchers, searching
from deepmad.search_spaces.spaces import load_space

PATIENCE_SECONDS = 60.0
"""How long something is waited for that comes soon unless it never does."""


def kill_the_process(searchers: Searchers) -> None:
    """Kill the only process, and wait until its search is known to have ended."""
    (pid,) = searchers.pool._processes
    os.kill(pid, signal.SIGKILL)
    finish(searchers)


def finish(searchers: Searchers) -> None:
    """Wait until all searches have ended."""
    assert not wait(searchers.running, timeout=PATIENCE_SECONDS).not_done


def test_a_lost_process_costs_its_turn_and_too_many_cost_all_others() -> None:
    problem = Problem(load_space("r18"), Budget())  # any network of which is feasible
    race = Race(problem, 0.0, None, time.monotonic())
    with searching(problem, 1, seed=0) as searchers:
        assert searchers is not None
        searchers.turn(race, PATIENCE_SECONDS)
        kill_the_process(searchers)
        searchers.turn(race, PATIENCE_SECONDS)
        assert (searchers.losses, searchers.running) == (1, [])
        assert race.network is None
        searchers.turn(race, 1.0)
        finish(searchers)
        searchers.turn(race, 0.0)
        assert race.network is not None
        for losses in range(2, MOST_LOSSES + 1):
            searchers.turn(race, PATIENCE_SECONDS)
            kill_the_process(searchers)
            searchers.turn(race, PATIENCE_SECONDS)
            assert searchers.losses == losses
        searchers.turn(race, PATIENCE_SECONDS)
        assert searchers.running == []
