"""How well a latency table predicts networks that it has never seen, beside the noise floor.

Builds a table of a space (or goes on with one), draws random members of the space that are not in it,
predicts them, measures all of them twice, and writes one row a network to results/.

    python -m benchmarks.latency_accuracy --space r18 --networks 20 --seed 1
"""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import platformdirs
import typer

from benchmarks.conditions import write_results
from deepmad.engine.entropy import rho, scales
from deepmad.profilers.building import Progress, build_table
from deepmad.profilers.measurements import Measurement, Request, measure_all
from deepmad.profilers.probes import random_network
from deepmad.profilers.table_files import Key, open_table, text
from deepmad.profilers.tables import LatencyTable, describe_tables
from deepmad.profilers.timing import Timer
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import Space, load_space


def main(
    space: Annotated[str, typer.Option(help="A preset or a space file.")] = "r18",
    networks: Annotated[int, typer.Option(help="How many networks to draw.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the draw; the table's is its own.")] = 1,
    backend: str = "onnxruntime",
    precision: str = "fp32",
    batch: int = 1,
    threads: int = 1,
    seconds: Annotated[float, typer.Option(help="Seconds for each of the two measurements of a network.")] = 1.0,
    table: Annotated[Path | None, typer.Option(help="Table file to build or reuse; the cache's by default.")] = None,
) -> None:
    """Build a table, predict and measure random networks, and report the accuracy."""
    members, key = load_space(space), Key(backend, precision, batch, threads)
    cache = Path(platformdirs.user_cache_dir("deepmad", appauthor=False))
    path = table or cache / f"accuracy-{members.name}-{backend}-{precision}-b{batch}-t{threads}.sqlite"
    started = datetime.now(UTC)
    build_table(members, path, **asdict(key), progress=_report)
    built_in = (datetime.now(UTC) - started).total_seconds()
    drawn = draw(members, path, key, networks, seed)
    predictor = LatencyTable.load(path, **asdict(key))
    predicted = [predictor.predict(network) for network in drawn]
    requests = [Request(network, **asdict(key)) for network in drawn]
    first, second = (measure_all(requests, timer=Timer(seconds=seconds)) for _ in range(2))
    print(f"\n{members.name}: {predictor.device}, {key}; table built or checked in {built_in:.0f} s")
    _summary("held out of the table", describe_tables(path), key)
    times = [[item.seconds for item in found] for found in (first, second)]
    _line("predicted against the first measurement ", predicted, times[0])
    _line("predicted against the second measurement", predicted, times[1])
    _line("noise floor: first against second       ", times[0], times[1])
    doubtful = [item.warnings[0] for item in (*first, *second) if item.warnings]
    if doubtful:
        print(f"doubtful: {len(doubtful)} of {2 * len(drawn)} measurements, the first because {doubtful[0]}")
    name = f"latency_accuracy-{members.name}-{backend}-{precision}-b{batch}-t{threads}"
    print(f"written: {write_results(name, rows_of(drawn, predicted, first, second))}")


def draw(space: Space, path: Path, key: Key, count: int, seed: int) -> list[Architecture]:
    """Return random members of the space within its limits, rho included, that the table does not hold."""
    rng, found = np.random.default_rng(seed), list[Architecture]()
    with open_table(path) as file:
        held = file.done(key)
    while len(found) < count:
        network = random_network(space, rng, low=0.25)
        fits = space.limits.rho is None or rho(scales(network.parts())) <= space.limits.rho
        if fits and text(network) not in held and network not in found:
            found.append(network)
    return found


def rows_of(
    networks: list[Architecture], predicted: list[float], first: list[Measurement], second: list[Measurement]
) -> list[dict[str, object]]:
    """Return one row a network with its times in seconds and the conditions of its measurements."""
    return [
        {
            "predicted_seconds": expected,
            "first_seconds": one.seconds,
            "first_low": one.low,
            "first_high": one.high,
            "second_seconds": two.seconds,
            "second_low": two.low,
            "second_high": two.high,
            "relative_error": (expected - one.seconds) / one.seconds,
            **asdict(one.conditions),
            "load_before": one.before.load,
            "load_after": two.after.load,
            "warnings": "; ".join((*one.warnings, *two.warnings)),
            "architecture": json.dumps(network.to_dict()),
        }
        for network, expected, one, two in zip(networks, predicted, first, second, strict=True)
    ]


def _report(progress: Progress) -> None:
    print(f"\r{progress.done} of {progress.total} probes", end="", file=sys.stderr, flush=True)


def _summary(what: str, described: list[dict[str, object]], key: Key) -> None:
    for item in described:
        if asdict(key).items() <= item.items():
            print(f"{what}: {item['held_out']}, drift {item['drift']}")


def _line(what: str, found: list[float], true: list[float]) -> None:
    errors = np.array(found) / np.array(true) - 1
    print(
        f"{what}: within 10 % {np.mean(abs(errors) <= 0.1):.1%}, within 5 % {np.mean(abs(errors) <= 0.05):.1%}, "
        f"MAPE {100 * np.mean(abs(errors)):.2f} %, bias {100 * np.mean(errors):+.2f} %, n {len(errors)}"
    )


if __name__ == "__main__":
    typer.run(main)
