"""What commands print: results on standard output, everything else on standard error."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

DONE, MISSED, MISUSE, DEVICE_FAILED, CONTRADICTED, INTERRUPTED = 0, 1, 2, 3, 4, 130


def out() -> Console:
    """Return the console of results; wide where it is no terminal, so that lines stay whole."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def err() -> Console:
    """Return the console of progress, warnings and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def emit_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def warn(message: str) -> None:
    """Print a one-line warning."""
    err().print(f"warning: {message}", style="yellow", markup=False)


def say(message: str) -> None:
    """Print a line about what is going on."""
    err().print(message, markup=False)


class Bar:
    """A progress bar on standard error; without a terminal, a line now and then."""

    def __init__(self, progress: Progress | None, what: str, total: float) -> None:
        self.progress, self.what, self.total = progress, what, total
        self.task = progress.add_task(what, total=total, note="") if progress else None
        self.said = -1.0

    def update(self, completed: float, note: str) -> None:
        """Show how much of the total is done, with a note beside it."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=min(completed, self.total), note=note)
        elif completed >= self.said + self.total / 10 or self.said < 0:
            self.said = completed
            say(f"{self.what}: {note}")


@contextmanager
def bar(what: str, total: float) -> Iterator[Bar]:
    """Yield a progress bar for `what`, gone when the block ends."""
    console = err()
    if not console.is_terminal:
        yield Bar(None, what, total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, what, total)
