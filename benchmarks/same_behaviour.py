"""Two checkouts side by side: whether they answer the same commands with the same bytes.

For a change that is to change nothing. Both checkouts run every command in turns, with the same Python: `show`,
`compare`, `schema`, `table import`, `show` and `export`, `design` with one worker and a deterministic limit for all
presets and the example spaces, without a latency table and, where TinyNAS's published times are given, within a latency
by them, and a zoo whose measurements are replayed. Seconds, dates and commits are left out; all else is compared byte
for byte. Ends with exit code 1 where something differs; both outputs are then left beside each other in OUT.

    python -m benchmarks.same_behaviour BEFORE AFTER --published conv_data.out.fp16
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer

from benchmarks.conditions import write_results
from deepmad.cli.schema import NAMES
from deepmad.search_spaces.spaces import presets

ARCHITECTURES = ("deepmad-r18.json", "deepmad-r50.json", "deepmad-29m-224.json", "deepmad-50m.json")
SPACES = ("small.yaml", "strides.yaml", "mixed.yaml")
TABLE = "v100.sqlite"
KEY = ("--backend", "tensorrt", "--precision", "fp16", "--batch", "64")
EXACTLY = ("--workers", "1", "--deterministic-limit", "3", "--json")
TIGHTER = 0.8
"""The limit on latency, as a share of what the network designed without one is predicted to take."""
PASSING = (
    (re.compile(r'("seconds"|"solve_seconds"): [-+.e0-9]+'), r"\1: 0"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?"), "DATE"),
    (re.compile(r'"commit": "[^"]*"'), '"commit": ""'),
)
"""What no two runs share."""
ZOO = """
import json, sys
from pathlib import Path
from benchmarks.zoo_content import content
from deepmad.zoo.making import make_zoo
from tests.zoo_parts import Replay, build_small, spec_of, written

here = Path.cwd()
table = here / "small.sqlite"
if not table.exists():
    build_small(table, 1)
spec = written(here, spec_of(Path("small.sqlite"), spaces=["small.yaml"], verify={"measure": True, "rounds": 3}))
make_zoo("spec.yaml", "zoo", timing=Replay(table, 1.1))
for name, held in sorted(content(here / "zoo").items()):
    print(name, held if isinstance(held, str) else None if held is None else held.hex())
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout, the folder in which its commands run, and what came of those that ran."""

    code: Path
    folder: Path
    known: dict[tuple[str, ...], tuple[int, str]] = field(default_factory=dict)

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Return exit code and standard output of Python with these arguments; standard error is not compared."""
        if tuple(arguments) not in self.known:
            self.known[tuple(arguments)] = self._run(arguments)
        return self.known[tuple(arguments)]

    def _run(self, arguments: Sequence[str]) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(self.code), "DEEPMAD_COMMIT": "", "COLUMNS": "120"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout


def main(
    before: Annotated[Path, typer.Argument(help="The checkout to compare with.")],
    after: Annotated[Path, typer.Argument(help="The changed checkout.")],
    published: Annotated[Path | None, typer.Option(help="TinyNAS's published times of convolutions, fp16.")] = None,
    only: Annotated[str, typer.Option(help="Commands that hold this text.")] = "",
) -> None:
    out = Path(mkdtemp(prefix="same_behaviour-"))
    pair = [Checkout(code.resolve(), out / name) for name, code in (("before", before), ("after", after))]
    for checkout in pair:
        shutil.copytree(before / "examples", checkout.folder)
    rows: list[dict[str, object]] = []
    for arguments in commands(pair[0], None if published is None else published.resolve()):
        told = "a zoo, measurements replayed" if arguments[1] == ZOO else shlex.join(arguments[1:])
        if only not in told and "import" not in told:
            continue
        rows.append(compared(pair, arguments, told, len(rows)))
        print(rows[-1], flush=True)
    versions = {name: _commit(checkout.code) for name, checkout in zip(("before", "after"), pair, strict=True)}
    print(f"written to {write_results('same_behaviour', rows, versions)}")
    different = sum(row["equal"] != "yes" for row in rows)
    if different:
        print(f"{different} of {len(rows)} differ; the outputs are in {out}")
    else:
        shutil.rmtree(out)
    raise typer.Exit(code=int(different > 0))


def commands(before: Checkout, published: Path | None) -> Iterator[list[str]]:
    """Yield what is compared, as arguments of Python; a latency to keep comes from the network designed before."""

    def deepmad(*arguments: str) -> list[str]:
        return ["-m", "deepmad", *arguments]

    yield from (deepmad("schema", name) for name in NAMES)
    yield from (deepmad("show", name, *form) for name in ARCHITECTURES for form in ((), ("--json",)))
    yield from (deepmad("compare", *ARCHITECTURES, *form) for form in ((), ("--json",)))
    table: tuple[str, ...] = ()
    if published is not None:
        source = ("--from", "tinynas", "--device", "V100", "--precision", "fp16")
        yield deepmad("table", "import", str(published), *source, "-o", TABLE)
        yield deepmad("table", "show", TABLE)
        for form in ("csv", "json"):
            yield deepmad("table", "export", TABLE, "--to", form, "-o", f"table.{form}")
            yield ["-c", f"print(open('table.{form}').read())"]
        table = ("--table", TABLE, *KEY)
    for space in (*presets(), *SPACES):
        yield deepmad("design", space, *EXACTLY)
        if table:
            yield deepmad("design", space, *EXACTLY, *table)
            _, text = before.run(deepmad("design", space, *EXACTLY, *table))
            seconds = json.loads(text)["predicted"]["latency_seconds"]
            yield deepmad("design", space, *EXACTLY, *table, "--latency", f"{TIGHTER * seconds:.6g}")
    yield ["-c", ZOO]


def compared(pair: Sequence[Checkout], arguments: list[str], told: str, place: int) -> dict[str, object]:
    """Run one command in both checkouts; return whether they agree, with their exit codes and seconds."""
    found, seconds = [], []
    for checkout in pair:
        began = time.perf_counter()
        code, text = checkout.run(arguments)
        seconds.append(round(time.perf_counter() - began, 1))
        for pattern, held in PASSING:
            text = pattern.sub(held, text)
        found.append((code, text))
        (checkout.folder / f"{place:03}.txt").write_text(f"{told}\n{code}\n{text}", encoding="utf-8")
    (code, text), (_, other) = found
    return {
        "command": told,
        "equal": "yes" if found[0] == found[1] else "no",
        "exit_before": code,
        "exit_after": found[1][0],
        "characters_before": len(text),
        "characters_after": len(other),
        "seconds_before": seconds[0],
        "seconds_after": seconds[1],
    }


def _commit(code: Path) -> str:
    """Return what git says of a checkout."""
    asked = ["git", "-C", str(code), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    typer.run(main)
