"""How the time of a fixed workload falls with the workers: calls that only sleep, on processes and on Ray.

The workers are started before the clock. Sleeping takes no core, so that what is left above calls x seconds / workers
is the cost of handing calls out and taking their outcomes.

    python -m benchmarks.task_scaling
"""

import os
import time
from typing import Annotated

import typer

from benchmarks.conditions import write_results
from deepmad.tasks import Done, open_tasks

LIMIT_SECONDS = 60.0
"""A limit makes one local worker a process too."""


def main(
    calls: Annotated[int, typer.Option(help="How many calls.")] = 40,
    seconds: Annotated[float, typer.Option(help="How long each sleeps.")] = 0.2,
    workers: Annotated[list[int] | None, typer.Option(help="Numbers of workers; 1, 2 and 4 by default.")] = None,
    on: Annotated[list[str] | None, typer.Option(help="Places to run; local and ray by default.")] = None,
) -> None:
    """Time the workload at every place with every number of workers."""
    rows = []
    for place in on or ["local", "ray"]:
        for count in workers or [1, 2, 4]:
            took = wall_seconds(place, count, [seconds] * calls)
            rows.append(
                {
                    "on": place,
                    "workers": count,
                    "calls": calls,
                    "seconds_a_call": seconds,
                    "wall_seconds": round(took, 3),
                    "ideal_seconds": round(-(-calls // count) * seconds, 3),
                    "speedup_over_one_after_the_other": round(calls * seconds / took, 2),
                }
            )
            print(rows[-1], flush=True)
    print(f"written to {write_results('task_scaling', rows)}")


def wall_seconds(on: str, workers: int, naps: list[float]) -> float:
    """Return the wall-clock seconds of calls that sleep, once all workers have started."""
    with open_tasks(on, workers) as tasks:
        started: set[int] = set()
        while len(started) < workers:
            outcomes = tasks.run_in_order(nap_and_tell, naps[:1] * workers, seconds=LIMIT_SECONDS)
            started |= {outcome.value for outcome in outcomes if isinstance(outcome, Done)}
        start = time.perf_counter()
        done = tasks.run_in_order(time.sleep, naps, seconds=LIMIT_SECONDS)
        took = time.perf_counter() - start
    assert all(isinstance(outcome, Done) for outcome in done), done
    return took


def nap_and_tell(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


if __name__ == "__main__":
    typer.run(main)
