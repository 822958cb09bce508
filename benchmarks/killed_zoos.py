"""Kills runs of `deepmad zoo` at random moments, and looks whether the zoo ends as one does that nothing disturbs.

A zoo of the small space is made twice without a kill. The first time networks are timed for real, each in a new
process, and the first time of each is recorded; the second time that record is replayed, which gives the zoo to compare
with and the time that an undisturbed run takes. A replayed time takes as long as `--pause` says, so that kills hit
measurements as well as designs and files. The latency tables are measured before, and not killed;
benchmarks.killed_builds does that.

Then, all by replay: some zoos are killed once each, at a moment that is uniform over the time of the undisturbed run,
and go on to their end. And one zoo is killed again and again until it is finished. A kill is a SIGKILL of the process
and its group; all processes that it started have to be gone soon after. At the end every file is compared with that of
the undisturbed zoo, byte for byte but for dates and seconds of solving in zoo.json and the solution files. One line a
kill goes into results/killed_zoos.csv. Leave the checkout as it is meanwhile: zoo.json tells its commit.

    python -m benchmarks.killed_zoos
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer
import yaml

from benchmarks.conditions import write_results
from benchmarks.zoo_content import content, differences
from deepmad.engine.answers.solutions import Measured
from deepmad.profilers.building.building import build_table
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.tables.table_files import Key
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space
from deepmad.zoo.journal import FOLDER
from deepmad.zoo.making import News, make_zoo
from deepmad.zoo.measuring import timed_apart
from deepmad.zoo.verifying import Timing

ROOT = Path(__file__).parents[1]
SMALL, REFERENCE = ROOT / "examples" / "small.yaml", ROOT / "examples" / "deepmad-r50.json"
PROGRAM = "import sys; from benchmarks.killed_zoos import work; work(*sys.argv[1:])"
PROBE_TIMER = Timer(seconds=0.05, warmup_seconds=0.0)
TIMED_SECONDS = 0.3
"""How long a network is timed for the record."""
PATIENCE_SECONDS = 10.0
"""How long the processes of a killed run may take to end; they look once a second whether it lives."""
AGAIN_SHARE = 0.3
"""The longest time to a kill of the zoo that is killed again and again, as a share of an undisturbed run."""


def main(
    kills: Annotated[int, typer.Option(help="Zoos that are killed once.")] = 10,
    again: Annotated[int, typer.Option(help="Most kills of the zoo that is killed again and again.")] = 10,
    targets: Annotated[int, typer.Option(help="Networks of each of the two devices.")] = 6,
    pause: Annotated[float, typer.Option(help="Seconds that a replayed measurement takes.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
) -> None:
    """Kill zoos, let them go on, compare them with an undisturbed one, and write one line a kill."""
    rng, rows = np.random.default_rng(seed), list[dict[str, object]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, recording = folder / "whole", folder / "recording"
        program = Program(_spec(folder, targets), folder / "recorded.jsonl", pause)
        recorded = program.record(recording)
        seconds = program.finish(whole)
        assert not differences(whole, recording), f"the replay differs: {differences(whole, recording)}"
        files = len(content(whole))
        print(f"undisturbed: {seconds:.1f} s, {files} files, {recorded} networks timed", flush=True)
        for number, row in enumerate(_all_kills(program, whole, seconds, kills, again, rng), start=1):
            rows.append({"kill": number, **row})
            print(rows[-1], flush=True)
        entries = json.loads((whole / "zoo.json").read_text(encoding="utf-8"))["entries"]
    notes = {
        "zoo": f"{len(entries)} networks on two devices, one of them measured; {files} files",
        "recorded": f"{recorded} networks, each timed in a new process; a replayed time takes {pause:g} s",
        "undisturbed_seconds": round(seconds, 2),
        "kills": f"{len(rows)}, of which {sum(bool(row['equal']) for row in rows)} led to the undisturbed zoo",
    }
    print(f"written to {write_results('killed_zoos', rows, notes)}")
    assert all(row["equal"] for row in rows), "a killed zoo did not end as the undisturbed one"


def _spec(folder: Path, targets: int) -> Path:
    """Measure the tables of both devices and write the spec of the zoo; return its path."""
    table = folder / "small.sqlite"
    for batch in (1, 2):
        build_table(load_space(str(SMALL)), table, batch=batch, networks=24, short=24, timer=PROBE_TIMER)
    devices = [{"name": "one", "table": str(table), "batch": 1}]
    devices.append({"name": "two", "table": str(table), "batch": 2, "measure": False})
    spec = {
        "format": "deepmad/zoo@1",
        "title": "killed",
        "spaces": [str(SMALL)],
        "devices": devices,
        "targets": {"relative": {"from": 1.1, "to": 2, "count": targets}},
        "solver": {"deterministic_limit": 2.0, "workers": 1, "gap": 0.0},
        "verify": {"measure": True, "rounds": 4},
        "references": [str(REFERENCE)],
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def _all_kills(
    program: "Program", whole: Path, seconds: float, kills: int, again: int, rng: np.random.Generator
) -> Iterator[dict[str, object]]:
    """Yield a line a kill: those of the zoos that are killed once, then those of the one killed again and again."""
    for number in range(kills):
        yield _killed_once(program, whole, whole.parent / f"once{number}", seconds, rng)
    yield from _killed_again(program, whole, whole.parent / "again", seconds, again, rng)


def _killed_once(
    program: "Program", whole: Path, folder: Path, seconds: float, rng: np.random.Generator
) -> dict[str, object]:
    """Return the line of a zoo that is killed once; where it came to its end before, another one is."""
    hit, tries = None, 0
    while hit is None:
        tries += 1
        hit = program.kill(folder / str(tries), float(rng.uniform(0, seconds)))
    return _line("once", hit, seconds) | _end(program, whole, folder / str(tries))


def _killed_again(
    program: "Program", whole: Path, folder: Path, seconds: float, kills: int, rng: np.random.Generator
) -> list[dict[str, object]]:
    """Return the lines of a zoo that is killed again and again, at most `kills` times, until it is finished."""
    hits = list[Hit]()
    while len(hits) < kills and (hit := program.kill(folder, float(rng.uniform(0, AGAIN_SHARE * seconds)))):
        hits.append(hit)
    end = _end(program, whole, folder)
    return [_line("again", hit, seconds) | end for hit in hits]


def _line(how: str, hit: "Hit", seconds: float) -> dict[str, object]:
    """Return what is told of a kill, `seconds` being those of an undisturbed run."""
    told = asdict(hit) | {"seconds": round(hit.seconds, 3)}
    return {"how": how, "share": round(hit.seconds / seconds, 3), **told}


def _end(program: "Program", whole: Path, folder: Path) -> dict[str, object]:
    """Let a killed zoo go on to its end; return what is told of that."""
    seconds = program.finish(folder)
    differs = differences(whole, folder)
    return {"resumed_seconds": round(seconds, 2), "equal": not differs, "differs": " ".join(differs)}


@dataclass(frozen=True)
class Hit:
    """A kill that hit a running process, so many `seconds` after its start.

    `said` is the last line that the run had told, nothing where it had told none yet; `steps` are the finished ones in
    the journal, of all runs in the folder; `unfinished` counts the files that were being written.
    """

    seconds: float
    steps: int
    unfinished: int
    said: str


@dataclass(frozen=True)
class Program:
    """A program that makes the zoo of a spec, or goes on with it, and takes the times of networks from a record.

    A time that is replayed takes `pause` seconds.
    """

    spec: Path
    recorded: Path
    pause: float = 0.0

    def record(self, folder: Path) -> int:
        """Make the zoo here with times that are measured and recorded; return how many there are."""
        timing = Recorded(self.recorded, partial(timed_apart, seconds=TIMED_SECONDS))
        make_zoo(self.spec, folder, timing=timing)
        return len(timing.times)

    def finish(self, folder: Path) -> float:
        """Let it run to its end; return the seconds that took."""
        began = time.monotonic()
        assert self._started(folder).wait() == 0, "the zoo was not made"
        return time.monotonic() - began

    def kill(self, folder: Path, seconds: float) -> Hit | None:
        """Let it run for so many seconds, then kill it; None where it has ended by then."""
        began, process = time.monotonic(), self._started(folder)
        try:
            assert process.wait(timeout=seconds) == 0, "the zoo was not made"
        except subprocess.TimeoutExpired:
            lived, others = time.monotonic() - began, psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGKILL)
        else:
            return None
        if process.wait() != -signal.SIGKILL:  # it came to its end at this very moment
            return None
        _wait_for_the_end_of(others)
        return Hit(lived, *_steps(folder), _last_line(_log(folder)))

    def _started(self, folder: Path) -> "subprocess.Popen[bytes]":
        """Start it, in a process group of its own; what it tells goes into a file."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = [str(self.spec), str(folder), str(self.recorded), str(self.pause)]
        with _log(folder).open("wb") as stream:
            return subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *arguments],
                cwd=ROOT,
                stdout=stream,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # two solves share the cores
                start_new_session=True,
            )


def _wait_for_the_end_of(processes: list[psutil.Process]) -> None:
    """Return as soon as none of the processes runs any more; one that nobody has waited for is a zombie by then."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while any(map(_runs, processes)):
        assert time.monotonic() < ends, "processes of a killed run live on"
        time.sleep(0.05)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _log(folder: Path) -> Path:
    """Return the file of what a run tells."""
    return folder.with_name(f"{folder.name}.log")


def _last_line(log: Path) -> str:
    """Return the last whole line in a file, nothing where there is none."""
    whole = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return whole[-1].rstrip() if whole else ""


def _steps(folder: Path) -> tuple[int, int]:
    """Return how many steps are finished in a zoo's journal, and how many files in both folders are not whole."""
    files = [path for place in (folder, folder / FOLDER) if place.is_dir() for path in place.iterdir()]
    hidden = [path for path in files if path.is_file() and path.name.startswith(".")]
    whole = [path for path in files if path.parent.name == FOLDER and path.suffix == ".json" and path not in hidden]
    return len(whole), len(hidden)


def work(spec: str, folder: str, recorded: str, pause: str) -> None:
    """Do what the program does: make the zoo by replay, and tell every line of news."""

    def tell(news: News) -> None:
        if news.line:
            print(news.line, flush=True)

    make_zoo(spec, folder, timing=Recorded(Path(recorded), pause=float(pause)), tell=tell)


@dataclass(frozen=True)
class Recorded:
    """Times of networks in a file: the first of a network under its conditions stands for all later ones.

    So a run that goes on after a kill is told what the killed one was told, however often it asks. A network that is
    not in the file is timed by `take`, and recorded; where there is none, it raises a `LookupError`: the run has gone
    another way than the recorded one.
    """

    path: Path
    take: Timing | None = None
    pause: float = 0.0
    times: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.times.update(json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines())

    def __call__(self, key: Key, network: Architecture | str) -> Measured:
        """Return the recorded time of a network."""
        name = _named(key, network)
        if name in self.times:
            time.sleep(self.pause)
        elif self.take is not None:
            self.times[name] = asdict(self.take(key, network))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, self.times[name]]) + "\n")
        else:
            raise LookupError(f"no time was recorded of {name}")
        return Measured(**self.times[name])


def _named(key: Key, network: Architecture | str) -> str:
    """Return conditions and network as a text, the network without its name."""
    what = replace(network, name="").to_dict() if isinstance(network, Architecture) else network
    return json.dumps([asdict(key), what], sort_keys=True)


if __name__ == "__main__":
    typer.run(main)
