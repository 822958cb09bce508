"""Many calls at once: one catalogue for processes of this machine and for a real Ray."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from deepmad.search_spaces.errors import InputError
from deepmad.tasks import Done, Failed, Outcome, Tasks, open_tasks
from tests.catalogue import ROOT

PATIENCE_SECONDS = 60.0
"""How long something is waited for that comes at once unless it never does."""
HANG_SECONDS = 60.0
LIMIT_SECONDS = 5.0
"""A limit for calls that hang; the others need a fraction of it, on a machine that is busy too."""
TOO_LONG = f"took longer than {LIMIT_SECONDS:g} s"
SCRIPT = """
import os, sys, time
from pathlib import Path
from deepmad.tasks import open_tasks

folder = Path(sys.argv[1])

def hang(name):
    path = folder / name
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)
    time.sleep(60)

open_tasks("local", workers=2).run_in_order(hang, ["one", "two"])
"""
NAMED = """
import multiprocessing
from deepmad.tasks import open_tasks

def hold(_):
    multiprocessing.held = multiprocessing.RLock()  # as tqdm does, which PyTorch's exporter uses

with open_tasks("local", workers=2) as tasks:
    tasks.run_in_order(hold, [1, 2])
"""


@pytest.fixture(scope="module", params=["local", "ray"])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a place to run; a Ray is started for these tests alone."""
    if request.param == "ray":
        pytest.importorskip("ray", exc_type=ImportError)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        yield request.param


@pytest.fixture(scope="module")
def tasks(place: str) -> Iterator[Tasks]:
    """Yield three workers, which the tests of a place share as its users would."""
    with open_tasks(place, workers=3) as tasks:
        yield tasks


def told(outcomes: Sequence[Outcome[Any]]) -> list[Any]:
    """Return the values, and the reasons where there are none."""
    return [outcome.value if isinstance(outcome, Done) else outcome.reason for outcome in outcomes]


def inverse(number: int) -> float:
    """Return 1 / number; raises in two lines for 0."""
    if number == 0:
        raise ValueError("0 has no inverse\nand never had")
    return 1 / number


INVERSES = [-0.5, -1.0, "0 has no inverse", 1.0, 0.5, 1 / 3, 0.25]


def wait_until(holds: Callable[[], bool]) -> None:
    """Return as soon as something holds; fails where it never does."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Return whether a process runs; a dead one that nobody waited for, as in a container, does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def noted(*paths: Path) -> list[int]:
    """Return the process numbers that calls noted in files, once all are there."""
    wait_until(lambda: all(path.exists() for path in paths))
    return [int(path.read_text(encoding="utf-8")) for path in paths]


def note(path: Path, pid: int) -> None:
    """Write a process number such that the file never holds a part of it."""
    path.with_suffix(".new").write_text(str(pid), encoding="utf-8")
    path.with_suffix(".new").rename(path)


# It needs a Ray with a single core, so it comes before the Ray of the others.
def test_one_worker_gives_the_results_of_three(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_tasks(place, workers=1) as alone:
        assert alone.workers == 1
        assert told(alone.run_in_order(inverse, range(-2, 5))) == INVERSES
        assert told(alone.run_in_order(inverse, range(-2, 5), seconds=PATIENCE_SECONDS)) == INVERSES
    with pytest.raises(InputError, match="closed"):
        alone.run_in_order(inverse, [1])
    assert not list(tmp_path.iterdir())  # where Ray would leave a token, which later ones would ask others for


def test_every_call_has_one_outcome(tasks: Tasks) -> None:
    outcomes = list(tasks.run(inverse, range(-2, 5)))
    assert sorted(index for index, _ in outcomes) == list(range(7))
    assert told([outcome for _, outcome in sorted(outcomes, key=lambda pair: pair[0])]) == INVERSES
    assert all(outcome.seconds >= 0 for _, outcome in outcomes)
    assert list(tasks.run(inverse, [])) == []


def test_a_hang_is_killed_and_the_others_finish(tasks: Tasks, tmp_path: Path) -> None:
    def hang_at_three(item: int) -> int:
        if item == 3:
            (tmp_path / "hangs").write_text(str(os.getpid()), encoding="utf-8")
            time.sleep(HANG_SECONDS)
        return item

    outcomes = told(tasks.run_in_order(hang_at_three, range(8), seconds=LIMIT_SECONDS))
    assert outcomes == [0, 1, 2, TOO_LONG, 4, 5, 6, 7]
    [pid] = noted(tmp_path / "hangs")
    wait_until(lambda: not runs(pid))


def test_calls_that_are_not_over_when_the_time_is_fail(tasks: Tasks) -> None:
    late = tasks.run_in_order(time.sleep, [0.0], until=time.monotonic() - 1.0)
    assert [isinstance(one, Failed) and one.reason for one in late] == ["the time was over"]
    outcomes = dict(tasks.run(time.sleep, [HANG_SECONDS] * 5, until=time.monotonic() + 0.5))
    assert {one.reason for one in outcomes.values() if isinstance(one, Failed)} == {"the time was over"}
    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    assert [type(one) for one in tasks.run_in_order(abs, [-1], until=time.monotonic() + 60.0)] == [Done]


def test_a_call_that_ran_too_long_while_nobody_looked_fails_too(tasks: Tasks) -> None:
    outcomes = tasks.run(time.sleep, [0.0, 1.5], seconds=1.0)
    assert next(outcomes)[0] == 0
    time.sleep(2.0)
    index, outcome = next(outcomes)
    assert (index, told([outcome])) == (1, ["took longer than 1 s"])


def test_a_killed_worker_loses_no_result(tasks: Tasks, tmp_path: Path) -> None:
    def die_once(item: int) -> int:
        marker = tmp_path / str(item)
        if item % 4 == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item

    assert told(tasks.run_in_order(die_once, range(10))) == [item * item for item in range(10)]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_call_that_kills_every_worker_fails_and_the_others_do_not(tasks: Tasks, tmp_path: Path) -> None:
    def die_at_two(item: int) -> int:
        if item == 2:
            with (tmp_path / "deaths").open("a", encoding="utf-8") as deaths:
                deaths.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    first, second, died, last = told(tasks.run_in_order(die_at_two, range(4), seconds=PATIENCE_SECONDS))
    assert (first, second, last) == (0, 1, 3)
    assert died.startswith("its process died: ")
    assert "\n" not in died
    assert (tmp_path / "deaths").read_text(encoding="utf-8") == "xxx"


def test_calls_share_nothing(tasks: Tasks) -> None:
    kept: list[int] = []

    def grow(item: list[int]) -> int:
        kept.append(1)
        item.append(1)
        return len(kept) + len(item)

    items: list[list[int]] = [[], [], []]
    assert told(tasks.run_in_order(grow, items)) == [2, 2, 2]
    assert (kept, items) == ([], [[], [], []])


def test_what_cannot_travel_is_told(tasks: Tasks) -> None:
    lock = threading.Lock()
    with pytest.raises(InputError, match="the function cannot be sent"):
        tasks.run_in_order(lambda _: lock, [1])
    items: list[object] = [1, lock]
    fine, unsent = told(tasks.run_in_order(lambda item: item, items))
    assert fine == 1
    assert unsent.startswith("its input cannot be sent")
    [value] = told(tasks.run_in_order(lambda _: threading.Lock(), [1]))
    assert value.startswith("its value cannot be sent")
    [ended] = told(tasks.run_in_order(sys.exit, [7]))
    assert "7" in ended


def test_a_run_that_is_given_up_leaves_no_call_behind(tasks: Tasks, tmp_path: Path) -> None:
    def hang_but_first(item: int) -> None:
        if item:
            note(tmp_path / str(item), os.getpid())
            time.sleep(HANG_SECONDS)
        wait_until(lambda: all((tmp_path / name).exists() for name in ("1", "2")))

    outcomes = tasks.run(hang_but_first, range(3))
    assert next(outcomes)[0] == 0
    with pytest.raises(InputError, match="not over"):
        tasks.run_in_order(inverse, [1])
    outcomes.close()  # type: ignore[attr-defined]  # a generator's: what a loop does that is left early
    pids = noted(tmp_path / "1", tmp_path / "2")
    wait_until(lambda: not any(map(runs, pids)))
    assert told(tasks.run_in_order(inverse, [1, 2])) == [1.0, 0.5]


def test_a_local_call_is_killed_with_what_it_started(tmp_path: Path) -> None:
    def start_and_hang(_: None) -> None:
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({HANG_SECONDS})"])
        (tmp_path / "child").write_text(str(child.pid), encoding="utf-8")
        time.sleep(HANG_SECONDS)

    with open_tasks("local", workers=2) as two:
        assert told(two.run_in_order(start_and_hang, [None], seconds=LIMIT_SECONDS)) == [TOO_LONG]
    [pid] = noted(tmp_path / "child")
    wait_until(lambda: not runs(pid))


def test_one_local_worker_without_a_limit_is_this_process_and_else_a_kept_one() -> None:
    with open_tasks("local", workers=1) as alone:
        assert told(alone.run_in_order(lambda _: os.getpid(), [0])) == [os.getpid()]
        elsewhere = told(alone.run_in_order(lambda _: os.getpid(), [0, 1], seconds=PATIENCE_SECONDS))
        again = told(alone.run_in_order(lambda _: os.getpid(), [0], seconds=PATIENCE_SECONDS))
    assert set(elsewhere) == set(again) != {os.getpid()}
    wait_until(lambda: not runs(again[0]))


def test_what_a_finished_call_left_running_ends_with_the_tasks(tmp_path: Path) -> None:
    def start(_: None) -> None:
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({HANG_SECONDS})"])
        (tmp_path / "child").write_text(str(child.pid), encoding="utf-8")

    with open_tasks("local", workers=2) as two:
        two.run_in_order(start, [None])
    [pid] = noted(tmp_path / "child")
    wait_until(lambda: not runs(pid))


def test_workers_give_back_what_has_a_name() -> None:
    """Python tells of every named semaphore that a killed process leaves behind, when the program ends."""
    done = subprocess.run([sys.executable, "-c", NAMED], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_local_workers_end_with_the_program(end: signal.Signals, tmp_path: Path) -> None:
    # In a group of its own, so that the signal reaches the program alone, and with an interrupt that is not ignored,
    # as it would be in the background of a shell.
    command = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler){SCRIPT}"
    program = subprocess.Popen([sys.executable, "-c", command, str(tmp_path)], stderr=subprocess.PIPE, process_group=0)
    workers = noted(tmp_path / "one", tmp_path / "two")
    program.send_signal(end)
    _, errors = program.communicate(timeout=PATIENCE_SECONDS)
    assert program.returncode != 0
    assert (b"KeyboardInterrupt" in errors) == (end == signal.SIGINT)
    wait_until(lambda: not any(map(runs, workers)))


@pytest.mark.parametrize(
    ("on", "workers", "message"),
    [
        ("cluster", 2, "local, ray or ray://HOST:PORT"),
        ("local", 0, "workers: 0"),
        ("ray://nowhere", 2, "ray://HOST:PORT"),
        ("ray://127.0.0.1:1", 2, "no Ray answers there"),
    ],
)
def test_a_place_that_is_none_is_told(on: str, workers: int, message: str) -> None:
    if on.startswith("ray"):
        pytest.importorskip("ray", exc_type=ImportError)
    with pytest.raises(InputError, match=message):
        open_tasks(on, workers)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_told(seconds: float) -> None:
    with open_tasks("local", workers=2) as two, pytest.raises(InputError, match="seconds"):
        two.run(inverse, [1], seconds=seconds)


def test_without_ray_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as Python marks a module that is not there
    with pytest.raises(InputError, match=r"pip install 'deepmad\[ray\]'"):
        open_tasks("ray", 2)
