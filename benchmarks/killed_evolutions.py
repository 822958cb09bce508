"""Kills evolutions at random moments, and looks whether they end as one does that nothing disturbs.

There are three kinds: towards the highest objective, towards the highest one that passes a closer look, and towards a
front. Each runs undisturbed in one process first. Then two workers do it, on processes of this machine and on a Ray
cluster of two (simulated) machines, and at random moments one of the workers is killed with SIGKILL, which the run has
to outlive, or the program itself, which is started again with its checkpoint. A quick program waits for the last kill
before its last epoch. One line a kill goes into results/killed_evolutions.csv.

    python -m benchmarks.killed_evolutions --kills 20
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from benchmarks.conditions import write_results
from benchmarks.ray_cluster import ray_cluster
from deepmad.engine.answers.progress import Progress, Report
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.solving import evolve
from deepmad.engine.solvers.fronts.finding import pareto_front
from deepmad.engine.solvers.settings import Evolution
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space

TOWARDS = ("objective", "screened", "front")
VICTIMS = ("worker", "program")
SEED = 9
ROOT = Path(__file__).parents[1]
PROGRAM = "import sys; from benchmarks.killed_evolutions import work; work(*sys.argv[1:])"
PROCESS, ACTOR = "popen_loky_posix", "ray::_Caller"
"""What stands in the command line of a worker of this machine, and of one on Ray."""
PATIENCE_SECONDS = 60.0
"""How long something is waited for that comes within seconds unless it never does."""
EVOLVING, WAITING = "evolving, generation ", "waiting for the kills"
"""What a program tells: how a line about an epoch begins, and that its last one has to wait."""


@dataclass(frozen=True)
class Evolving:
    """An evolution: in which space (a preset or a file), towards what, how long, and where it runs."""

    space: str
    towards: str
    generations: int
    population: int
    on: str = "local"
    workers: int = 2


def main(
    kills: Annotated[int, typer.Option(help="Kills in all.")] = 20,
    space: Annotated[str, typer.Option(help="A preset, or a space's file.")] = str(ROOT / "examples" / "small.yaml"),
    generations: Annotated[int, typer.Option(help="Generations of every evolution.")] = 1000,
    population: Annotated[int, typer.Option(help="Networks born in a generation of an island.")] = 800,
    longest: Annotated[float, typer.Option(help="Most seconds from an epoch or a kill to the next kill.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the moments and of what is killed.")] = 0,
) -> None:
    """Kill evolutions of every kind at every place, and write one line a kill."""
    rng, rows = np.random.default_rng(seed), list[dict[str, object]]()
    expected: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, ray_cluster(1, 1) as cluster:
        os.environ["RAY_ADDRESS"] = cluster.address
        runs = [(towards, on) for towards in TOWARDS for on in ("local", "ray")][:kills]
        for place, (towards, on) in enumerate(runs):
            alone, disturbed = (Path(folder) / f"{name}.json" for name in (towards, f"{towards}-{on}"))
            evolving = Evolving(space, towards, generations, population, on)
            if towards not in expected:
                expected[towards] = Program(replace(evolving, on="local", workers=1), alone).result()
            victims = rng.choice(VICTIMS, kills // len(runs) + (place < kills % len(runs)))
            lines, result = killed(evolving, disturbed, victims.tolist(), longest, rng)
            same = result == expected[towards] and course(disturbed) == course(alone)
            rows += [{**line, "same_end": same} for line in lines]
            print(*rows[-len(lines) :], sep="\n", flush=True)
    size = f"{generations} generations of {population} networks, two islands, two workers"
    notes = {"settings": f"{Path(space).stem}, {size}"}
    print(f"written to {write_results('killed_evolutions', rows, notes)}")
    assert all(row["same_end"] for row in rows), "an evolution did not end as the undisturbed one"


def killed(
    evolving: Evolving, checkpoint: Path, victims: Sequence[str], longest: float, rng: np.random.Generator
) -> tuple[list[dict[str, object]], Any]:
    """Let an evolution run to its end while `victims` are killed; return a line for each, and the result.

    A victim is "worker" or "program"; it is killed up to `longest` seconds after the kill before it, or after the first
    epoch since then where that was the program.
    """
    program, lines = Program(evolving, checkpoint), list[dict[str, object]]()
    for number, victim in enumerate(victims, start=1):
        seconds = float(rng.uniform(0, longest))
        time.sleep(seconds)
        lines.append(
            {
                "towards": evolving.towards,
                "on": evolving.on,
                "kill": number,
                "killed": victim,
                "seconds": round(seconds, 3),
                "generation": course(checkpoint)["islands"][0]["generation"],
            }
        )
        if victim == "worker":
            program.kill_worker(rng)
        else:
            program.kill()
    return lines, program.result()


class Program:
    """A program that evolves with a checkpoint, started again where it is killed."""

    def __init__(self, evolving: Evolving, checkpoint: Path) -> None:
        self.evolving, self.checkpoint = evolving, checkpoint
        self._process = self._started()

    def kill(self) -> None:
        """Kill it, and start it again."""
        self._process.kill()
        self._process.communicate()
        assert self._process.returncode == -signal.SIGKILL, "the program failed"
        if self.evolving.on != "local":  # the cluster ends the workers of a program that is gone
            _wait_until(lambda: not self._workers())
        self._process = self._started()

    def kill_worker(self, rng: np.random.Generator) -> None:
        """Kill one of its workers."""
        workers = list[psutil.Process]()

        def found() -> bool:
            workers[:] = self._workers()
            return bool(workers) or self._process.poll() is not None

        _wait_until(found)
        assert self._process.poll() is None, "the program failed"
        with suppress(psutil.NoSuchProcess):
            workers[rng.integers(len(workers))].kill()

    def result(self) -> Any:
        """Return what it comes to at its end, a JSON document; no kill comes after this."""
        _over(self.checkpoint).touch()
        output, _ = self._process.communicate()
        assert self._process.returncode == 0, "the program failed"
        return json.loads(output.splitlines()[-1])

    def _started(self) -> "subprocess.Popen[str]":
        """Start it, and wait until it has evolved for an epoch, or has come to its last one."""
        command = [sys.executable, "-c", PROGRAM, json.dumps(asdict(self.evolving)), str(self.checkpoint)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # as Ray does in its workers
        )
        assert process.stdout is not None
        begun = set[str]()
        while len(begun) < 2 and (line := process.stdout.readline()).rstrip() not in ("", WAITING):
            begun |= {line} if line.startswith(EVOLVING) else set()
        return process

    def _workers(self) -> list[psutil.Process]:
        """Return the processes that do its calls; those of Ray descend from this process, which started the cluster."""
        local = self.evolving.on == "local"
        above, mark = (self._process.pid, PROCESS) if local else (os.getpid(), ACTOR)
        return [one for one in psutil.Process(above).children(recursive=True) if mark in _command(one)]


def _command(process: psutil.Process) -> str:
    """Return a process's command line, nothing where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _wait_until(holds: Callable[[], bool]) -> None:
    """Return as soon as something holds."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)


def course(checkpoint: Path) -> dict[str, Any]:
    """Return what a checkpoint holds but for the seconds, and the digest of all."""
    document: dict[str, Any] = json.loads(checkpoint.read_text(encoding="utf-8"))
    del document["seconds"], document["digest"]
    return document


def _over(checkpoint: Path) -> Path:
    """Return the file that is there once no kill comes any more."""
    return checkpoint.with_suffix(".over")


def work(evolving: str, checkpoint: str) -> None:
    """Do what the program does: evolve from the checkpoint on, tell every epoch, and the result in the last line.

    The last epoch waits until no kill comes any more, or until nobody is there who would kill.
    """
    asked, over, killer = Evolving(**json.loads(evolving)), _over(Path(checkpoint)), os.getppid()
    last = asked.generations - Evolution.migration_every

    def tell(progress: Progress) -> None:
        print(progress.doing, flush=True)
        if progress.doing.startswith(EVOLVING) and int(progress.doing.removeprefix(EVOLVING).replace(",", "")) >= last:
            print(WAITING, flush=True)
            while not over.exists() and os.getppid() == killer:
                time.sleep(0.02)

    print(json.dumps(evolved(asked, Path(checkpoint), tell)), flush=True)


def evolved(evolving: Evolving, checkpoint: Path, report: Report | None = None) -> Any:
    """Return what an evolution comes to, as a JSON document: a network, or the points of a front."""
    space = load_space(evolving.space)
    problem = Problem(space, Budget.of(space))
    settings = Evolution(
        time_limit=None,
        generations=evolving.generations,
        population=evolving.population,
        seed=SEED,
        workers=evolving.workers,
        on=evolving.on,
        checkpoint=checkpoint,
    )
    if evolving.towards == "front":
        return [point.to_dict() for point in pareto_front(problem, "macs", settings, bounds=0, report=report).points]
    screen = _evenly_deep if evolving.towards == "screened" else None
    network = evolve(problem, settings, report=report, screen=screen).architecture
    return None if network is None else network.to_dict()


def _evenly_deep(networks: Sequence[Architecture]) -> list[float]:
    """Look closely at networks, and let those pass that have an even number of blocks."""
    return [0.5 * (sum(stage.depth for stage in network.stages) % 2) for network in networks]


if __name__ == "__main__":
    typer.run(main)
