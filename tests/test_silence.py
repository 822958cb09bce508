"""No command stays silent for long: what is told, when, and when nothing has to be; by a clock that the tests set."""

import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

from deepmad.cli import output, silence
from deepmad.cli.silence import LONGEST_SILENCE, Silence, never_silent
from tests.catalogue import EXAMPLES, ROOT


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_is_due_after_each_silence_and_tells_the_innermost_work() -> None:
    clock = Clock()
    quiet = Silence(clock)
    with quiet.at("deepmad design"):
        assert quiet.due() is None
        clock.now = LONGEST_SILENCE
        assert quiet.due() == "deepmad design: 4 s so far"
        assert quiet.due() is None
        clock.now = 6.0
        with quiet.at("designing"):
            quiet.noted("best 3, gap 1 %")
            clock.now = 7.0
            quiet.broken()
            clock.now = 10.5
            assert quiet.due() is None
            clock.now = 11.0
            assert quiet.due() == "designing: 5 s so far; last best 3, gap 1 %"
        clock.now = 20.0
        assert quiet.due() == "deepmad design: 20 s so far"
    clock.now = 30.0
    assert quiet.due() is None


def test_nothing_is_due_while_something_moves_on_a_terminal() -> None:
    clock = Clock()
    quiet = Silence(clock)
    with quiet.at("deepmad zoo"):
        with quiet.at("making the zoo", moving=True), quiet.at("timing a network"):
            clock.now = 100.0
            assert quiet.due() is None
        assert quiet.due() == "deepmad zoo: 100 s so far"


def test_what_is_printed_breaks_the_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    quiet = Silence(clock)
    monkeypatch.setattr(output, "SILENCE", quiet)
    with quiet.at("deepmad table"), output.bar("importing", 1.0) as shown:
        shown.update(0.0, "0%")
        clock.now = 3.0
        shown.update(0.05, "5%")  # not a tenth more: it is kept, not said
        clock.now = 5.0
        assert quiet.due() == "importing: 5 s so far; last 5%"
        clock.now = 8.0
        output.say("a line")
        clock.now = 10.0
        assert quiet.due() is None


def test_the_thread_says_what_is_due_and_ends_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(silence, "LONGEST_SILENCE", 0.0)
    said, lines = threading.Event(), list[str]()

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    with never_silent("deepmad export", say):
        assert said.wait(60.0)
    assert lines[0] == "deepmad export: 0 s so far"
    count = len(lines)
    assert not any(thread.name == "never-silent" for thread in threading.enumerate())
    assert len(lines) == count


WAITING = """
import sys, threading
from deepmad.cli import app, main, output, silence
silence.LONGEST_SILENCE, silence.LOOK_SECONDS = 0.0, 0.001
say, said = output.say, threading.Event()
output.say = lambda line: (say(line), said.set())
app.run = lambda arguments, began: 0 if "--json" in arguments else int(not said.wait(60))
main()
"""


@pytest.mark.parametrize("json", [True, False])
def test_json_keeps_standard_error_quiet(json: bool) -> None:
    command = [sys.executable, "-c", WAITING, "show", str(EXAMPLES / "deepmad-r18.json"), *(["--json"] if json else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "" if json else done.stderr.startswith("deepmad show: 0 s so far\n")
