"""Gives the command line bad inputs, and looks whether each ends as it should.

Every input is a valid one with a change in one place: a file of every format that deepmad reads, or an option or an
argument of a command. A case is a fault where it ends in a traceback, hangs or dies, has an exit code that is not
documented, where its error is not one line that names the value or the place, where a change that can mean nothing is
taken without a word, where control characters reach the screen, or where a file is left half-made. One line for each
kind of input and change goes into results/bad_inputs.csv. The same seed gives the same cases.

    python -m benchmarks.bad_inputs --cases 1000 --seed 1
"""

import random
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bad_inputs.bases import BASES, Base, make_all
from benchmarks.bad_inputs.judging import faults, listing
from benchmarks.bad_inputs.options import FILES, changed_line
from benchmarks.bad_inputs.runner import Ran, Worker
from benchmarks.bad_inputs.values import Wanted
from benchmarks.conditions import write_results

LINES_SHARE, APART_SHARE = 0.3, 0.02
"""The share of cases that change the command line, and of those that run in a process of their own."""


@dataclass(frozen=True)
class Case:
    """A bad input in a folder: the command line, its kind, what was changed how and where, and what is expected."""

    number: int
    kind: str
    change: str
    place: str
    arguments: tuple[str, ...]
    wanted: Wanted
    named: tuple[str, ...]


def main(
    cases: Annotated[int, typer.Option(help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 1,
    limit: Annotated[float, typer.Option(help="Seconds after which a case hangs.")] = 20.0,
    only: Annotated[list[int] | None, typer.Option(help="Only the case of this number; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only cases of this kind of input.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder for the files and the output of faulty cases.")] = None,
) -> None:
    """Try bad inputs, and write how they ended."""
    rows: Counter[tuple[str, str, str]] = Counter()
    whole = only is None and kind is None
    with tempfile.TemporaryDirectory(prefix="bad-") as name:
        home = Path(name)
        (home / "good").mkdir()
        make_all(home / "good")
        worker = Worker(home, limit)
        try:
            for number in only or range(cases):
                case = _drawn(number, seed, home)
                if kind is not None and case.kind != kind:
                    continue
                ran, found = _tried(case, home / "case", worker)
                ends = found or ["refused" if ran.code in (2, 3) else "taken"]
                rows.update((case.kind, case.change, end) for end in ends)
                if found or only:
                    _tell(case, ran, found)
                if found and keep is not None:
                    _keep(keep / str(number), home / "case", case, ran, found)
        finally:
            worker.close()
    faulty = sum(count for (_, _, end), count in rows.items() if end not in ("refused", "taken"))
    lines = [
        {"input": kind, "change": change, "end": end, "cases": count}
        for (kind, change, end), count in sorted(rows.items())
    ]
    print(f"{sum(rows.values())} ends, {faulty} faults")
    if whole:
        notes = {"cases": cases, "faults": faulty}
        print(f"written to {write_results('bad_inputs', lines, notes)}")
    raise typer.Exit(1 if faulty else 0)


def _drawn(number: int, seed: int, home: Path) -> Case:
    """Return a case, its files in the folder `case`."""
    random_ = random.Random(f"{seed} {number}")
    folder, good = home / "case", home / "good"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "folder").mkdir(parents=True)
    if random_.random() < LINES_SHARE:
        for name in FILES:
            _copy(good / name, folder / name)
        line = changed_line(random_)
        return Case(number, "command line", line.kind, line.place, line.arguments, line.wanted, line.named)
    base = random_.choices(BASES, [one.weight for one in BASES])[0]
    for name in (base.file.split("/")[0], *base.beside):
        _copy(good / name, folder / name)
    return _changed_file(number, base, folder, random_)


def _changed_file(number: int, base: Base, folder: Path, random_: random.Random) -> Case:
    """Return a case in which a file is changed."""
    path = folder / base.file
    if "{" in base.file:  # a step of a zoo's journal, by what it begins with
        path = random_.choice(sorted(path.parent.glob(f"{path.name.strip('{}')}-*")))
    changed = base.change(path.read_bytes(), random_)
    path.write_bytes(changed.content)
    command = random_.choice(base.commands)
    named = tuple(filter(None, (path.name, "zoo" if base.kind == "zoo folder" else "", changed.value)))
    if "--table" in command:  # what lies outside a table is told of the option
        named = (*named, "--table")
    if base.kind == "zoo spec" and changed.place == "file":  # what was damaged may be the name of another file
        named = ()
    return Case(number, base.kind, changed.kind, changed.place, command, changed.wanted, named)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _tried(case: Case, folder: Path, worker: Worker) -> tuple[Ran, list[str]]:
    """Run a case; return what became of it, and what is wrong with that."""
    before = listing(folder)
    ran = worker.run(folder, list(case.arguments), apart=_apart(case))
    return ran, faults(ran, case.arguments, case.wanted, case.named, before, listing(folder))


def _apart(case: Case) -> bool:
    """Whether a case runs in a process of its own; a NUL is in no command line."""
    return random.Random(case.number).random() < APART_SHARE and not any("\0" in one for one in case.arguments)


def _tell(case: Case, ran: Ran, found: list[str]) -> None:
    """Print one line about a case."""
    last = (ran.err.strip().splitlines() or [""])[-1][:160]
    line = " ".join(one[:40] for one in case.arguments)
    what = f"{case.kind}, {case.change} in {case.place}"
    end = f"{', '.join(found) or 'good'} (exit code {ran.code}, {ran.seconds:.1f} s)"
    print(f"{case.number}: {end}: {what}: {line!r}: {last!r}", flush=True)


def _keep(target: Path, folder: Path, case: Case, ran: Ran, found: list[str]) -> None:
    """Keep what is needed to look into a fault."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    (target / "told.txt").write_text(
        f"{found}\n{case}\n--- out\n{ran.out[:20000]}\n--- err\n{ran.err[-20000:]}", encoding="utf-8", errors="replace"
    )


if __name__ == "__main__":
    typer.run(main)
