"""Measure everything that is published about a GPU, in pieces.

Exit code 0: all is done. 75: run the same command again to go on. `make gpu-results` does so until all is done.

    python -m benchmarks.gpu_results --output results/my-gpu
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.conditions import RESULTS
from benchmarks.gpu_results.options import Options
from benchmarks.gpu_results.running import go_on
from deepmad.profilers.backends import BACKENDS
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.errors import InputError

AGAIN = 75
"""The exit code of a piece that is over: "try again later", as sysexits.h calls it."""
MISUSE = 2
STANDARD = Options(Path())


def main(
    output: Annotated[Path | None, typer.Option(help="Folder (default: results/ and the device's name).")] = None,
    backends: Annotated[list[str] | None, typer.Option("--backend", help="The most important one first.")] = None,
    batches: Annotated[list[int] | None, typer.Option("--batch", help="Networks are designed for the first.")] = None,
    models: Annotated[list[str] | None, typer.Option("--model", help="Networks to compare.")] = None,
    factors: Annotated[list[float] | None, typer.Option("--factor", help="Throughput targets, as multiples.")] = None,
    precision: str = STANDARD.precision,
    space: Annotated[str, typer.Option(help="A preset or a space file.")] = STANDARD.space,
    networks: Annotated[int, typer.Option(help="Networks predicted and measured.")] = STANDARD.networks,
    probes: Annotated[int, typer.Option(help="Whole networks of a table, at the most.")] = STANDARD.probes,
    resolution: Annotated[int | None, typer.Option(help="Input side of other libraries' networks.")] = None,
    seconds: Annotated[float, typer.Option(help="Timing of one network.")] = STANDARD.seconds,
    solve_seconds: Annotated[float, typer.Option(help="Time of one solve.")] = STANDARD.solve_seconds,
    total_seconds: Annotated[float, typer.Option(help="Time of all pieces.")] = STANDARD.total_seconds,
    piece_seconds: Annotated[float, typer.Option(help="Time of this call.")] = STANDARD.piece_seconds,
    together: Annotated[bool, typer.Option("--together", help="All in one process: a crash ends the call.")] = False,
) -> None:
    """Measure everything that is published about a GPU; exit with 75 where the piece's time is over first."""
    given = {name: value for name, value in locals().items() if value is not None}
    asked: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        asked.setdefault("output", RESULTS / device_folder(asked.get("backends", STANDARD.backends)))
        done = go_on(Options(**asked), lambda text: print(text, flush=True))
    except (InputError, DeviceError) as error:
        print(f"error: {error}")
        raise typer.Exit(MISUSE) from error
    if not done:
        print(f"{asked['output']}: the piece is over; run again to go on")
        raise typer.Exit(AGAIN)
    print(f"{asked['output']}: all is done; steps.csv tells what was left out or failed")


def device_folder(backends: tuple[str, ...]) -> str:
    """Return the name of the device that the first back end runs on, as a folder's name."""
    for name in backends:
        if name not in BACKENDS:
            raise InputError(f"backend: {name!r} is unknown; choose from {', '.join(BACKENDS)}")
    return "-".join(BACKENDS[backends[0]].device().lower().replace("/", " ").split())


if __name__ == "__main__":
    typer.run(main)
