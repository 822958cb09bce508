"""How commands end before their time: signals, full disks, closed pipes, too little memory, all of them real."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.killed_builds import SPACE
from deepmad.cli.app import run
from deepmad.engine.answers.progress import OutOfMemoryError, Progress
from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.problems import Problem
from deepmad.engine.solvers.evolution.solving import evolve
from deepmad.engine.solvers.settings import Evolution
from deepmad.profilers.measuring.isolation import Broken, call_apart
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.files import PART, check_writable, write_bytes, write_text
from deepmad.zoo.journal import FOLDER
from tests.catalogue import EXAMPLES, small_space
from tests.tiny_tables import build_quickly
from tests.zoo_parts import spec_of, written

ROOT = Path(__file__).parents[1]
SMALL, R18 = str(EXAMPLES / "small.yaml"), str(EXAMPLES / "deepmad-r18.json")
PATIENCE_SECONDS = 120
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores, and hands that down
from deepmad.cli import main
main()
"""
ENDS = [(signal.SIGINT, 130, "interrupted: "), (signal.SIGTERM, 143, "terminated: ")]
EVOLVE = ["--solver", "evolution", "--population", "16", "--time-limit", "60", "--gap", "0"]
"""Without a terminal progress is told after every tenth of the time limit: with a longer one a test waits longer."""


def started(*arguments: object) -> "subprocess.Popen[str]":
    """Start a command line as a user would, in a group of its own."""
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)


def ended(number: signal.Signals, ready: Callable[[str], bool], *arguments: object) -> tuple[int, str]:
    """Start a command line, send it a signal once a line that it tells is `ready`; return exit code and last line."""
    with started(*arguments) as process:
        assert process.stderr is not None
        assert any(map(ready, process.stderr)), "it ended before"
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in errors
    return process.returncode, errors.splitlines()[-1]


def has_network(line: str) -> bool:
    return "objective" in line and "none yet" not in line


@pytest.mark.parametrize(("number", "code", "word"), ENDS)
def test_a_design_that_is_ended_says_where_its_best_network_is(
    number: signal.Signals, code: int, word: str, tmp_path: Path
) -> None:
    path = tmp_path / "solution.json"
    line = f"{word}the best network by then is in {path}"
    options = ("--workers", 1, "--gap", 0, "--time-limit", 20, "-o", path)  # long before the proof it has a network
    assert ended(number, has_network, "design", "b0", *options) == (code, line)
    assert json.loads(path.read_text(encoding="utf-8"))["architecture"] is not None


def has_front(line: str) -> bool:
    return "highest objective" in line and "none yet" not in line


def test_a_front_that_is_terminated_is_written_with_the_bounds_proven_by_then(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    options = ("--front", "macs", "--workers", 2, "--time-limit", 30, "-o", path)
    code, line = ended(signal.SIGTERM, has_front, "design", "mbv2", *options)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert (code, line) == (143, f"terminated: the {len(rows)} networks by then are in {path}")
    assert rows
    assert all(float(row["objective"]) <= float(row["bound"] or "inf") for row in rows)
    assert path.with_suffix(".svg").exists()


def test_an_evolution_whose_workers_get_the_signal_too_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """As services and batch jobs send it: to all processes at once, the program being one of the last."""
    path, checkpoint = tmp_path / "solution.json", tmp_path / "evolution.json"
    options = (*EVOLVE, "--workers", 2, "--islands", 2, "--checkpoint", checkpoint, "-o", path)
    with started("design", SMALL, *options) as process:
        assert process.stderr is not None
        assert any(map(has_network, process.stderr))
        for one in psutil.Process(process.pid).children(recursive=True):
            one.terminate()
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    kept = f"the best network by then is in {path}; the same command goes on from {checkpoint}"
    assert (process.returncode, errors.splitlines()[-1]) == (143, f"terminated: {kept}")
    assert {one.name for one in tmp_path.iterdir()} == {path.name, checkpoint.name}


def test_an_evolution_on_ray_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = tmp_path / "solution.json"
    options = (*EVOLVE, "--workers", 1, "--on", "ray", "-o", path)
    code, line = ended(signal.SIGTERM, has_network, "design", SMALL, *options)
    assert (code, line) == (143, f"terminated: the best network by then is in {path}")


def test_a_worker_that_alone_is_terminated_ends() -> None:
    def wait() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
        signal.pause()

    assert call_apart(wait) == Broken("its process died: exit code 143")


@pytest.mark.usefixtures("brief_times")
@pytest.mark.parametrize(("number", "code", "word"), ENDS[1:])
def test_a_build_that_is_ended_says_that_the_same_command_goes_on(
    number: signal.Signals, code: int, word: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE, encoding="utf-8")
    path = tmp_path / "table.sqlite"
    line = f"{word}what was measured is stored in {path}; the same command goes on"
    command = ("table", "build", tmp_path / "tiny.yaml", "-o", path)
    assert ended(number, lambda told: " probes" in told, *command) == (code, line)
    assert probes(path) > 0
    assert run([*map(str, command), "--minutes", "0"]) == 0


def probes(path: Path) -> int:
    """Return how many probes a table file holds; SQLite finds no fault in it."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (count,) = connection.execute("SELECT COUNT(*) FROM probes").fetchone()
    return int(count)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a latency table of the tiny space, with the space beside it."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "tiny.yaml").write_text(SPACE, encoding="utf-8")
    build_quickly(folder / "table.sqlite")
    return folder / "table.sqlite"


def zoo_spec(folder: Path, table: Path, count: int) -> Path:
    """Write the spec of a zoo of the tiny space with so many targets; return its path."""
    targets = {"relative": {"from": 1.05, "to": 1.5, "count": count}}
    return written(folder, spec_of(table, spaces=[str(table.parent / "tiny.yaml")], targets=targets))


@pytest.mark.parametrize(("number", "code", "word"), ENDS[:1])
def test_a_zoo_that_is_ended_says_that_the_same_command_goes_on(
    number: signal.Signals, code: int, word: str, table: Path, tmp_path: Path
) -> None:
    spec, folder = zoo_spec(tmp_path, table, 12), tmp_path / "zoo"
    line = f"{word}0 of 12 networks are finished in {folder}; the same command goes on"
    assert ended(number, lambda told: ": solved" in told, "zoo", spec, "-o", folder) == (code, line)
    document = json.loads((folder / "zoo.json").read_text(encoding="utf-8"))
    assert not document["finished"]
    assert document["entries"]


@pytest.mark.parametrize(("number", "code", "word"), ENDS[1:])
def test_a_command_that_keeps_nothing_ends_with_a_word(
    number: signal.Signals, code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeping = "import time\ndef net():\n    print('asleep', flush=True)\n    time.sleep(600)\n"
    (tmp_path / "mine.py").write_text(sleeping, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    assert ended(number, lambda told: "asleep" in told, "measure", "mine:net") == (code, word.removesuffix(": "))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root mounts a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def enlarge(disk: Path) -> None:
    """Make a disk large."""
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)


def fill(disk: Path) -> None:
    """Use all space of a disk."""
    with (disk / "filling").open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))


def the_error(told: str) -> str:
    """Return the one line that tells an error."""
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("design", "r50", "--time-limit", "1000", "-o"), "out.json"),
        (("design", "r18", "--front", "macs", "--time-limit", "1000", "-o"), "out.csv"),
        (("design", "r18", "--solver", "evolution", "--time-limit", "1000", "--checkpoint"), "out.json"),
        (("export", R18, "--to", "torch", "-o"), "out.pt2"),
        (("export", R18, "--to", "onnx", "-o"), "out.onnx"),
        (("measure", R18, "--seconds", "1000", "-o"), "out.csv"),
        (("zoo", "examples/cpu.yaml", "-o"), "out"),
        (("table", "build", "r18", "-o"), "out.sqlite"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_full_disk_is_told_before_the_work(
    command: tuple[str, ...], name: str, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(disk)
    assert run([*command, str(disk / name)]) == 2
    line = the_error(capsys.readouterr().err)
    assert str(disk / name) in line
    assert "No space left on device" in line or "disk is full" in line
    assert [one.name for one in disk.iterdir() if one.is_file()] == ["filling"]


@pytest.mark.parametrize("to", ["torch", "onnx", "weights"])
def test_an_export_that_a_disk_has_no_room_for_leaves_the_old_file(
    to: str, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = disk / "network"
    path.write_text("old", encoding="utf-8")
    assert run(["export", R18, "--to", to, "-o", str(path)]) == 2
    assert "No space left on device" in the_error(capsys.readouterr().err)
    assert path.read_text(encoding="utf-8") == "old"
    assert [one.name for one in disk.iterdir()] == ["network"]


def test_a_full_disk_under_a_checkpoint_costs_no_result(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, checkpoint = tmp_path / "solution.json", disk / "evolution.json"
    (disk / "filling").write_bytes(bytes(50_000))
    options = ["--solver", "evolution", "--workers", "1", "--population", "100", "--generations", "30"]
    assert run(["design", SMALL, *options, "--checkpoint", str(checkpoint), "-o", str(path)]) == 0
    assert capsys.readouterr().err.count("tries again after every epoch") == 1
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["architecture"] is not None
    assert "No space left on device" in document["message"]
    assert [one.name for one in disk.iterdir()] == ["filling"]


def test_a_checkpoint_is_written_again_once_there_is_room(disk: Path) -> None:
    space, checkpoint = small_space(), disk / "evolution.json"
    warnings = []

    def report(progress: Progress) -> None:
        if progress.doing.endswith("generation 10"):
            fill(disk)
        if progress.warning is not None:
            warnings.append(progress.warning)
            (disk / "filling").unlink()

    settings = Evolution(generations=40, population=16, workers=1, checkpoint=checkpoint)
    solution = evolve(Problem(space, Budget.of(space)), settings, report=report)
    assert len(warnings) == 1
    assert json.loads(checkpoint.read_text(encoding="utf-8"))["islands"][0]["generation"] == 40
    assert "space" not in solution.message


@pytest.mark.usefixtures("brief_times")
def test_a_build_on_a_full_disk_keeps_what_it_has_told(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(SPACE, encoding="utf-8")
    path = disk / "table.sqlite"
    command = ["table", "build", str(tmp_path / "tiny.yaml"), "-o", str(path), "--minutes"]
    assert run([*command, "10"]) == 2
    assert f"{path}: cannot be written" in the_error(capsys.readouterr().err)
    enlarge(disk)
    assert run([*command, "0"]) == 0
    assert probes(path) > 0


def test_a_zoo_on_a_full_disk_goes_on_once_there_is_room(
    table: Path, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, folder = zoo_spec(tmp_path, table, 2), disk / "zoo"
    assert run(["zoo", str(spec), "-o", str(folder)]) == 2
    assert "No space left on device" in the_error(capsys.readouterr().err)
    steps = {path.name: path.read_bytes() for path in (folder / FOLDER).glob("*.json")}
    assert steps
    enlarge(disk)
    assert run(["zoo", str(spec), "-o", str(folder)]) == 0
    assert {name: (folder / FOLDER / name).read_bytes() for name in steps} == steps
    assert json.loads((folder / "zoo.json").read_text(encoding="utf-8"))["finished"]


KILLED = """
import os, sys
from pathlib import Path
from deepmad.search_spaces.files import write_text
os.fsync = lambda descriptor: {moment}
write_text(Path(sys.argv[1]), "theirs")
"""


def test_what_a_killed_run_was_writing_goes_with_the_next_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED.format(moment="os.kill(os.getpid(), 9)"), str(tmp_path / "one.json")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert [one.name.startswith(PART) for one in tmp_path.iterdir()] == [True]
    write_text(tmp_path / "other.json", "mine")
    assert [one.name for one in tmp_path.iterdir()] == ["other.json"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    command = [sys.executable, "-c", KILLED.format(moment="print(flush=True) or input()"), str(path)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write_text(path, "mine")
        assert path.read_text(encoding="utf-8") == "mine"
        process.communicate("\n", timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert path.read_text(encoding="utf-8") == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_while_a_file_is_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever a test before this one left
    try:
        with pytest.raises(KeyboardInterrupt):
            write_text(tmp_path / "one.json", "text")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list(tmp_path.iterdir())


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text(encoding="utf-8") == "text"
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        check_writable(tmp_path / "pipe")
        write_bytes(tmp_path / "pipe", b"text")
        assert reader.communicate(timeout=PATIENCE_SECONDS)[0] == b"text"
    assert (tmp_path / "pipe").is_fifo()


def test_standard_output_that_takes_no_more_is_told_in_a_line_or_not_at_all() -> None:
    command = [sys.executable, "-m", "deepmad", "show", R18, "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    closed = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (closed.returncode, closed.stderr) == (141, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    line = b"error: standard output cannot be written (No space left on device); free some space\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_a_lack_of_memory_leaves_the_best_network() -> None:
    space, looks = small_space(), []

    def screen(networks: list[Architecture]) -> list[float]:
        looks.append(len(networks))
        return [0.0] * len(networks) if len(looks) == 1 else [float(len(bytearray(2**62)))]

    settings = Evolution(generations=200, population=16, workers=1, islands=1)
    with pytest.raises(OutOfMemoryError) as caught:
        evolve(Problem(space, Budget.of(space)), settings, screen=screen)  # type: ignore[arg-type]
    assert caught.value.solution.architecture is not None


LITTLE_MEMORY = """
import resource, sys
import deepmad.cli.app, deepmad.engine.solvers.evolution.solving
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**25,) * 2)
sys.exit(deepmad.cli.app.run(sys.argv[1:]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells what a process maps")
def test_a_lack_of_memory_is_one_line_and_exit_code_5(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LITTLE_MEMORY, "design", SMALL, "--solver", "evolution", "--generations", "5"]
    command += ["--population", "100000", "--workers", "1", "-o", str(tmp_path / "solution.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert the_error(done.stderr) == "error: not enough memory: no network was found by then"
