"""Measurements on the same cores take turns: real processes, which wait for each other, are killed and interrupted."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from deepmad.cli.app import run
from deepmad.profilers.building.building import Progress, build_table
from deepmad.profilers.measuring import turns
from deepmad.profilers.measuring.isolation import call_apart
from deepmad.profilers.measuring.measurements import measure, measure_all, measure_apart
from deepmad.profilers.measuring.requests import Request
from deepmad.profilers.measuring.timing import Timer
from deepmad.profilers.measuring.turns import places_of, turn
from tests.catalogue import ROOT, one_block, small_space

QUICK = Timer(seconds=0.01, min_repeats=2, warmup_seconds=0.0)
HERE = (0,)
OTHER = """
import os, sys
if os.fork():
    os._exit(0)  # so that the other is no child of the tests' process, for which it would measure
print(os.getpid(), flush=True)
from pathlib import Path
from deepmad.profilers.measuring import turns
turns.TOLD_SECONDS = 0.0
places = [int(place) for place in sys.argv[1].split(",")]
told = lambda step, lasting=False: print("waits", flush=True) if lasting else None
with turns.turn(places, told, folder=Path(sys.argv[2]) if sys.argv[2:] else None):
    print("measures", flush=True)
    sys.stdin.readline()
print("ended", flush=True)
sys.stdin.readline()
"""

NESTED = """
from pathlib import Path
from deepmad.profilers.measuring.turns import turn
with turn((0,), folder=Path('{folder}')):
    print('had')
"""


class Other:
    """Another process, which takes a turn and holds it until it is let go."""

    def __init__(self, places: Sequence[int], folder: Path | None = None) -> None:
        arguments = [",".join(map(str, places)), *([str(folder)] if folder else [])]
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = int(self.says())

    def says(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.communicate()

    def go_on(self) -> None:
        """Let it take its next step."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def measuring(places: Sequence[int], folder: Path | None = None) -> Iterator[Other]:
    """Yield another process that measures."""
    other = Other(places, folder)
    try:
        assert other.says() == "measures"
        yield other
    finally:
        other.end()


class Lines(list[str]):
    """What is told; the first line that lasts lets the other process go on."""

    def __init__(self, other: Other) -> None:
        super().__init__()
        self.other = other

    def __call__(self, step: str, *, lasting: bool = False) -> None:
        if lasting:
            self.append(step)
            self.other.go_on()


@pytest.fixture(autouse=True)
def told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TOLD_SECONDS", 0.0)


def test_a_turn_waits_for_the_one_before_and_says_for_whom(tmp_path: Path) -> None:
    with measuring(HERE, tmp_path) as other:
        lines = Lines(other)
        with turn(HERE, lines, folder=tmp_path) as unseen:
            assert unseen is None
            assert other.says() == "ended"
        (line,) = lines
        assert line.startswith(f"waiting for process {other.pid} (")
        assert line.endswith("), which measures on the same cores")


def test_other_places_do_not_wait(tmp_path: Path) -> None:
    with measuring((0, 4), tmp_path) as other:
        lines = Lines(other)
        with turn((2,), lines, folder=tmp_path):
            assert lines == []
        with turn((2, 4), lines, folder=tmp_path):
            assert len(lines) == 1


def test_a_kill_ends_a_turn(tmp_path: Path) -> None:
    with measuring(HERE, tmp_path) as other:

        def kill(step: str, *, lasting: bool = False) -> None:
            if lasting and "waiting" in step:
                os.kill(other.pid, signal.SIGKILL)

        with turn(HERE, kill, folder=tmp_path):
            assert other.says() == ""  # it has ended


def test_a_wait_can_be_interrupted_and_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(step: str, *, lasting: bool = False) -> None:
        raise KeyboardInterrupt(step, lasting)

    with measuring(HERE, tmp_path) as other:
        with pytest.raises(KeyboardInterrupt), turn(HERE, interrupt, folder=tmp_path):
            raise AssertionError("it was not its turn")
        other.go_on()
        assert other.says() == "ended"
        with turn(HERE, interrupt, folder=tmp_path), measuring((2,), tmp_path):
            pass
        with measuring(HERE, tmp_path):  # nobody is next, and nobody measures
            pass


def test_who_ends_a_turn_and_wants_another_one_comes_after_those_who_wait(tmp_path: Path) -> None:
    with turn(HERE, folder=tmp_path):
        other = Other(HERE, tmp_path)
        assert other.says() == "waits"
    lines = Lines(other)
    with turn(HERE, lines, folder=tmp_path):
        assert [other.says(), other.says()] == ["measures", "ended"]
    other.end()


def test_turns_may_be_nested_and_hold_for_processes_started_in_them(tmp_path: Path) -> None:
    code = NESTED.format(folder=str(tmp_path))

    def nested(folder: Path) -> str:
        from deepmad.profilers.measuring.turns import turn

        with turn((0,), folder=folder):
            return "had"

    with turn(HERE, folder=tmp_path), turn(HERE, folder=tmp_path):
        waiting = Other(HERE, tmp_path)
        assert waiting.says() == "waits"  # it is next, which is no reason to wait for it
        with turn((0, 2), folder=tmp_path):
            assert call_apart(nested, tmp_path) == "had"
            shell = ["sh", "-c", f'{sys.executable} -c "{code}"; true']
            done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=True)
            assert done.stdout.strip() == "had"
    waiting.end()


def test_threads_of_a_process_take_turns_too(tmp_path: Path) -> None:
    told: list[str] = []
    held: list[bool] = []

    def second() -> None:
        with turn(HERE, lambda step, lasting=False: told.append(step), folder=tmp_path):  # noqa: ARG005
            held.append(True)

    with turn(HERE, folder=tmp_path):
        thread = Thread(target=second)
        thread.start()
        while not told:
            pass
        assert held == []
    thread.join()
    assert (told, held) == (["waiting for another measurement of this program"], [True])


def test_every_user_may_lock_the_file(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        with turn(HERE, folder=tmp_path):
            pass
    finally:
        os.umask(mask)
    assert (tmp_path / turns.LOCK_FILE).stat().st_mode & 0o777 == 0o666


def test_a_place_that_cannot_be_written_is_told_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with turn(HERE, folder=tmp_path / "nowhere") as unseen:
        assert unseen is not None
        assert f"{tmp_path}/nowhere/{turns.LOCK_FILE} cannot be locked (No such file or directory)" in unseen
    monkeypatch.setattr(turns, "LOCK_FILE", "no/such/folder/lock")
    found = measure(one_block("basic"), timer=QUICK)
    (told,) = [warning for warning in found.warnings if "another deepmad" in warning]
    assert "set TMPDIR to another folder" in told
    doubts: list[str] = []

    def heard(progress: Progress) -> None:
        doubts.extend(progress.doubts)

    build_table(small_space(), tmp_path / "t.sqlite", networks=1, short=1, timer=QUICK, progress=heard)
    assert any("another deepmad" in doubt for doubt in doubts)


def test_the_places_are_the_cores_that_may_be_used_or_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "allowed_cores", lambda: frozenset({1, 70}))
    assert places_of(["cpu", "cpu"]) == (2, 140)
    names = iter(["GPU-a", "GPU-a", "GPU-b"])
    monkeypatch.setattr(turns, "visible_gpu_uuid", lambda: next(names))
    first, same, other = (set(places_of(["cuda"])) for _ in range(3))
    assert first == same
    assert first.isdisjoint(other | set(places_of(["cpu"])))
    assert places_of([]) == ()


def test_measurements_wait_wherever_they_are_asked_for(tmp_path: Path) -> None:
    request = Request(one_block("basic"))
    for ask in (
        lambda tell: measure_all([request], timer=QUICK, tell=tell),
        lambda tell: measure_apart([request], QUICK, tell=tell),
        lambda tell: build_table(small_space(), tmp_path / "t.sqlite", networks=1, short=1, timer=QUICK, tell=tell),
    ):
        with measuring(places_of(["cpu"])) as other:
            lines = Lines(other)
            ask(lines)
            assert other.says() == "ended"
            assert len(lines) == 1


def test_a_wait_is_a_line_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(one_block("basic").to_dict()), encoding="utf-8")
    with measuring(places_of(["cpu"])) as other:
        lines = Lines(other)
        monkeypatch.setattr("deepmad.cli.output.say", lambda line: lines(line, lasting="waiting" in line))
        assert run(["measure", str(path), "--seconds", "0.01"]) == 0
        assert [line.startswith(f"waiting for process {other.pid}") for line in lines] == [True]
