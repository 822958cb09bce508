"""What commands print: results on standard output, everything else on standard error.

Texts appear as they are: `[bold]` and `:one:` in a name are letters of it, and what would steer a terminal is shown
escaped. Everything printed comes through `Screen`, tables through `plain_table`, which both use `as_text`.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.text import Text

from deepmad.cli.silence import SILENCE, Work

DONE, MISSED, MISUSE, DEVICE_FAILED, CONTRADICTED, NO_MEMORY, PIPE_CLOSED = 0, 1, 2, 3, 4, 5, 141

LONGEST = 600
"""Letters of an error's line."""


def as_text(line: str) -> Text:
    """Return a line as it is to be read: no markup, no emoji, each character that is not printable as its escape."""
    return Text("".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line))


class Screen(Console):
    """A console that prints every line of text as `as_text` has it."""

    def print(self, *lines: Any, **options: Any) -> None:
        """Print lines of text, or what rich draws."""
        super().print(*(as_text(line) if isinstance(line, str) else line for line in lines), **options)
        SILENCE.broken()


def out() -> Screen:
    """Return the console of results; wide where it is no terminal, so that lines stay whole."""
    return Screen(highlight=False, width=None if sys.stdout.isatty() else 160)


def err() -> Screen:
    """Return the console of progress, warnings and errors."""
    return Screen(stderr=True, highlight=False, soft_wrap=True)


class Waits:
    """Prints for whom measurements wait, once for all that wait for the same."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, step: str, *, lasting: bool = False) -> None:
        """Take a step of a measurement; those that do not last are too short for a line."""
        if lasting and step not in self._told:
            self._told.add(step)
            say(step)


class Working:
    """Shows the steps of work that goes on: on a terminal in place, elsewhere with a line now and then."""

    def __init__(self, work: Work, status: Status, *, in_place: bool) -> None:
        self._work, self._status, self._in_place = work, status, in_place

    def tell(self, step: str, *, lasting: bool = False) -> None:
        """Take the step that is done now; a `lasting` one is printed at once."""
        self._work.what = step
        self._status.update(as_text(step))
        if lasting and not self._in_place:
            say(step)


@contextmanager
def working(what: str) -> Iterator[Working]:
    """Yield what shows that work goes on until the block ends, beginning with `what`."""
    console = err()
    with SILENCE.at(what, moving=console.is_terminal) as work, console.status(as_text(what)) as status:
        yield Working(work, status, in_place=console.is_terminal)


def emit_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def one_line(message: str) -> str:
    """Return a message as one line; of a very long one, the beginning and the end."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def warn(message: str) -> None:
    """Print a one-line warning."""
    err().print(f"warning: {message}", style="yellow")


def say(message: str) -> None:
    """Print a line about what is going on."""
    err().print(message)


class Bar:
    """A progress bar on standard error; without a terminal, a line now and then."""

    def __init__(self, progress: Progress | None, what: str, total: float) -> None:
        self.progress, self.what, self.total = progress, what, total
        self.task = progress.add_task(as_text(what).plain, total=total, note="") if progress else None
        self.said = -1.0

    def update(self, completed: float, note: str) -> None:
        """Show how much of the total is done, with a note beside it."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=min(completed, self.total), note=as_text(note).plain)
            return
        SILENCE.noted(note)
        if completed >= self.said + self.total / 10 or self.said < 0:
            self.said = completed
            say(f"{self.what}: {note}")


@contextmanager
def bar(what: str, total: float) -> Iterator[Bar]:
    """Yield a progress bar for `what`, gone when the block ends."""
    console = err()
    if not console.is_terminal:
        with SILENCE.at(what):
            yield Bar(None, what, total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with SILENCE.at(what, moving=True), Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, what, total)
