"""Whether designs keep their time limit: wall time over it, memory, and how long the command line stays silent.

Each input is designed by `deepmad design` in a process of its own, quiet and beside busy loops: spaces that are wide,
long, of many kinds, of open strides or tiny, budgets that nothing meets, many networks at once, evolution, fronts, and
latency tables (with invented times). Those named come first, then random ones from a seed. A design keeps its limit
where it ends within it and 2 s, or 10 % of it. With `--checkout`, the named designs of other checkouts take turns with
those of this one; what an earlier version refuses (exit code 2) is no design there. One line a run goes into
results/limits.csv.

    python -m benchmarks.limits
"""

import shutil
import subprocess
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.conditions import RESULTS, write_csv
from benchmarks.limits.inputs import Input, convolution_times, named_inputs, random_inputs
from benchmarks.limits.running import Course, busy_loops, run
from deepmad.profilers.importing.importing import import_table

ROOT = Path(__file__).parents[2]
ROOM_SECONDS, ROOM_SHARE = 2.0, 0.1
"""What a design may take beyond its limit: the larger of these seconds and this share of the limit."""
MEGABYTE = 1e6
REFUSED = 2
"""The exit code of a command line that does not know an option, or a space's field."""


def main(
    busy: Annotated[list[int], typer.Option(help="Busy loops beside the designs; repeatable.")] = [0, 4],  # noqa: B006 - typer copies it
    only: Annotated[
        list[str] | None, typer.Option(help="Only inputs of this name, which may be a pattern like 'top*'; repeatable.")
    ] = None,
    checkout: Annotated[
        list[Path] | None, typer.Option(help="The folder of another checkout, for the named inputs; repeatable.")
    ] = None,
    spaces: Annotated[
        Path | None, typer.Option(help="A folder of space files, designed too, within --time-limit.")
    ] = None,
    time_limit: Annotated[float, typer.Option(help="The limit of the designs of --spaces, in seconds.")] = 90.0,
    workers: Annotated[int, typer.Option(help="Workers of every design.")] = 2,
    patience: Annotated[float, typer.Option(help="Seconds over the limit after which a design is killed.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 1,
    output: Annotated[Path, typer.Option(help="File to write.")] = RESULTS / "limits.csv",
) -> None:
    """Run every input in every checkout, beside so many busy loops, and write a line a run."""
    named = list(named_inputs())
    inputs = [*named, *(_in_folder(spaces, time_limit) if spaces else ()), *random_inputs(seed)]
    chosen = [one for one in inputs if only is None or any(fnmatchcase(one.name, name) for name in only)]
    assert chosen, f"no input is called so; there are {', '.join(one.name for one in inputs)}"
    rows, places = list[dict[str, object]](), list[Path]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if any(one.table for one in chosen):
            _import(folder)
        for one in chosen:
            for loops in busy:
                for place in [ROOT, *((checkout or ()) if one in named else ())]:
                    with busy_loops(loops):
                        rows.append(_line(one, loops, place, _course(one, place, folder, workers, patience)))
                    places.append(place)
                    print(rows[-1], flush=True)
    own = [row for row, place in zip(rows, places, strict=True) if place == ROOT]
    kept = sum(bool(row["kept"]) for row in own)
    room = f"{ROOM_SECONDS:g} s or {ROOM_SHARE:.0%}"
    notes = {
        "limits": f"{kept} of {len(own)} designs of this version ended within their limit and {room}",
        "workers": workers,
    }
    write_csv(output, rows, notes)
    print(f"written to {output}")


def _in_folder(folder: Path, seconds: float) -> list[Input]:
    """Return a design for every space file of a folder."""
    return [Input(path.stem, str(path.resolve()), (), seconds) for path in sorted(folder.glob("*.yaml"))]


def _import(folder: Path) -> None:
    """Make the latency table of an invented device."""
    times = folder / "times.txt"
    times.write_text(convolution_times(), encoding="utf-8")
    import_table(times, "tinynas", device="invented", precision="fp32", output=folder / "table.sqlite")


def _course(one: Input, checkout: Path, folder: Path, workers: int, patience: float) -> Course:
    """Run one input in a checkout."""
    solution = folder / ("front.csv" if "--front" in one.options else "solution.json")
    words = [*one.command(folder), "--workers", str(workers)]
    words += ["--table", str(folder / "table.sqlite")] if one.table else []
    return run(words, checkout.resolve(), solution, one.seconds + patience)


def _line(one: Input, busy: int, checkout: Path, course: Course) -> dict[str, object]:
    """Return a line of the results."""
    over = course.seconds - one.seconds
    found = course.solution
    counts = found.get("row_counts") or {}
    return {
        "input": one.name,
        "options": " ".join(one.options),
        "limit_seconds": one.seconds,
        "busy_loops": busy,
        "commit": _commit(checkout),
        "seconds": round(course.seconds, 2),
        "over_seconds": round(over, 2),
        "kept": None
        if course.code == REFUSED
        else course.code is not None and over <= max(ROOM_SECONDS, ROOM_SHARE * one.seconds),
        "told_seconds": _rounded(found.get("seconds")),
        "peak_megabytes": round(course.peak / MEGABYTE),
        "first_line_seconds": _rounded(course.first_line),
        "longest_silence_seconds": _rounded(course.longest_silence),
        "exit_code": "none in time" if course.code is None else course.code,
        "status": "refused" if course.code == REFUSED else found.get("status"),
        "objective": _rounded(found.get("objective")),
        "gap_percent": None if found.get("gap") is None else round(100 * found["gap"], 3),
        "networks": 1 + len(found.get("alternatives") or ()) if found.get("architecture") else None,
        "rows_not_looked_at": counts.get("not_looked_at"),
        "last_line": course.error[:160] if course.code else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _commit(checkout: Path) -> str:
    """Return what git calls the commit of a checkout; its folder's name is nobody's business."""
    git = shutil.which("git")
    if git is None:
        return ""
    words = [git, "describe", "--always", "--dirty"]
    return subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    typer.run(main)
