"""`deepmad zoo`: a family of networks along targets, for one or more devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live

from deepmad.cli.options import Json, written
from deepmad.cli.output import DONE, MISSED, as_text, emit_json, err, out, say
from deepmad.cli.render import plain_table
from deepmad.cli.silence import SILENCE
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from rich.table import Table

    from deepmad.zoo.making import News, Tell
    from deepmad.zoo.plan import Plan

AROUND_ROWS = 6
"""Lines of a terminal that the live table's head and the last news take."""
COLUMNS = ("network", "target", "status", "objective", "gap", "predicted", "measured")


def zoo(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A zoo's YAML file, see docs/zoo.md.")],
    output: Annotated[Path | None, written("Folder for all files of the zoo.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and how long it may take; do nothing.")
    ] = False,
    on: Annotated[
        str, typer.Option(help="Where networks are designed: local, ray, or ray://HOST:PORT (docs/machines.md).")
    ] = "local",
    json: Json = False,
) -> int:
    """Make networks along targets on latency or throughput; run it again to go on after a kill.

    Example: deepmad zoo examples/cpu.yaml -o zoo
    """
    from deepmad.zoo.making import make_zoo
    from deepmad.zoo.plan import plan_zoo

    if dry_run:
        plan = plan_zoo(spec, on)
        if json:
            emit_json(plan.to_dict())
        else:
            _print_plan(plan)
        return DONE
    if output is None:
        raise InputError("-o: give the folder for the zoo's files, or --dry-run")
    with _watching() as tell:
        document = make_zoo(spec, output, on=on, tell=tell)
    if json:
        emit_json(document)
    else:
        out().print(plain_table(COLUMNS, [_cells(record) for record in document["entries"]]))
    missed = _tell_missed(document)
    say(f"written to {output}")
    return MISSED if missed else DONE


def _tell_missed(document: dict[str, Any]) -> bool:
    """Tell why each target is not met, and which spaces have no network at all; return whether there is any."""
    missed = [record for record in document["entries"] if record["outcome"] != "met"]
    for record in missed:
        say(f"{record['outcome']}: {record['name']}: {record['message']}")
    for one in document["without_network"]:
        where = f"{one['space']} on {one['device']}"
        what = f"no network even without a target, so none for {one['targets']} relative one(s)"
        say(f"{one['outcome']}: {where}: {what}: {one['message']}")
    return bool(missed or document["without_network"])


def _print_plan(plan: "Plan") -> None:
    """Print the steps with their times, and the entries."""
    from deepmad.zoo.plan import GUESS

    out().print(plain_table(("step", "time"), [(step.what, step.duration) for step in (*plan.steps, plan.total)]))
    out().print(GUESS)
    out().print()
    columns = ("space", "device", "target")
    out().print(plain_table(columns, [[entry[column] for column in columns] for entry in plan.entries]))


@contextmanager
def _watching() -> "Iterator[Tell]":
    """Yield what shows the news: a table that changes in place, or plain lines where there is no terminal."""
    console = err()
    if not console.is_terminal:
        yield lambda news: say(news.line) if news.line else None
        return
    board = Board(max(1, console.size.height - AROUND_ROWS))
    live = Live(console=console, transient=True, get_renderable=board.shown, refresh_per_second=4)
    with SILENCE.at("making the zoo", moving=True), live:
        yield board.tell
    for line in board.lasting:
        say(line)


class Board:
    """The table of the entries as they stand, `height` of them at most; None is all."""

    def __init__(self, height: int | None = None) -> None:
        self.height = height
        self.rows: dict[str, list[str]] = {}
        self.line = ""
        self.lasting: list[str] = []

    def tell(self, news: "News") -> None:
        """Take what happened into the table."""
        from deepmad.zoo.making import WAITING

        self.line = news.line or self.line
        if news.lasting:
            self.lasting.append(news.line)
        for entry in news.entries:
            self.rows[entry.name] = [entry.name, human(entry.seconds, "seconds"), WAITING, "-", "-", "-", "-"]
        if news.entry is not None:
            row = self.rows[news.entry.name]
            row[2] = news.state
            if news.solution is not None:
                row[3:6] = _figures(news.solution.objective, news.solution.gap, news.solution.predicted)
            if news.record is not None:
                self.rows[news.entry.name] = _cells(news.record)

    def shown(self) -> "Table":
        """Return the table, the last line below it: where not all rows fit, those at work before the others."""
        from deepmad.zoo.making import SOLVING, TIMING

        rows = list(self.rows.values())
        ranked = sorted(range(len(rows)), key=lambda index: rows[index][2] not in (SOLVING, TIMING))
        table = plain_table(COLUMNS, [rows[index] for index in sorted(ranked[: self.height])])
        table.caption, table.caption_justify = as_text(self.line), "left"
        return table


def _figures(objective: float | None, gap: float | None, predicted: Any) -> list[str]:
    return [
        "-" if objective is None else f"{objective:,.1f}",
        "-" if gap is None else f"{gap:.2%}",
        "-" if predicted is None else human(predicted.latency_seconds, "seconds"),
    ]


def _cells(record: dict[str, Any]) -> list[str]:
    """Return an entry's row, from its document in zoo.json."""

    def seconds(speed: dict[str, Any] | None) -> str:
        return "-" if speed is None else human(speed["latency_seconds"], "seconds")

    figures = _figures(record["objective"], record["gap"], None)[:2]
    times = [seconds(record["predicted"]), seconds(record["measured"])]
    return [record["name"], seconds(record["target"]), record["outcome"], *figures, *times]
