"""How long a latency table takes for many networks: `predict_all` beside a loop over `predict`.

The networks are random members of the space, each with many copies whose widths and depths were changed at random.

    python -m benchmarks.prediction_speed v100.sqlite built.sqlite --batch 1 --precision fp16 --precision fp32
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.conditions import write_results
from deepmad.profilers.building.probes import random_network
from deepmad.profilers.tables.tables import LatencyTable
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.spaces import load_space

COPIES = 100
"""Changed copies of a random network, which takes longer to draw than to predict."""


def main(
    tables: Annotated[list[Path], typer.Argument(help="Table files.")],
    precision: Annotated[list[str], typer.Option(help="The precision to take of each file, in their order.")],
    batch: Annotated[int, typer.Option(help="The batch to take of every file.")] = 1,
    space: Annotated[str, typer.Option(help="Space of the networks.")] = "r50",
    networks: Annotated[int, typer.Option(help="How many networks.")] = 10_000,
    alone: Annotated[int, typer.Option(help="How many of them the loop predicts, one by one.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the networks.")] = 0,
) -> None:
    """Predict the networks in both ways and report the time a network."""
    rng, chosen = np.random.default_rng(seed), load_space(space)
    drawn = [
        changed(network, rng)
        for network in (random_network(chosen, rng) for _ in range(-(-networks // COPIES)))
        for _ in range(COPIES)
    ][:networks]
    rows = []
    for path, one in zip(tables, precision, strict=True):
        table = LatencyTable.load(path, batch=batch, precision=one)
        table.predict(drawn[0])  # what is computed once and kept is not timed
        start = time.perf_counter()
        together = table.predict_all(drawn)
        between = time.perf_counter()
        one_by_one = [table.predict(network) for network in drawn[:alone]]
        end = time.perf_counter()
        milliseconds = 1e3 * (between - start) / networks
        milliseconds_alone = 1e3 * (end - between) / len(one_by_one)
        rows.append(
            {
                "table": "imported" if table.space == "any" else "built",
                "space": space,
                "precision": one,
                "batch": batch,
                "networks": networks,
                "predict_all_milliseconds_a_network": round(milliseconds, 4),
                "predict_milliseconds_a_network": round(milliseconds_alone, 4),
                "times_as_fast": round(milliseconds_alone / milliseconds, 1),
                "equal": together[:alone] == one_by_one,
            }
        )
        print(rows[-1], flush=True)
    print(f"written: {write_results('prediction_speed', rows)}")


def changed(network: Architecture, rng: np.random.Generator) -> Architecture:
    """Return a network with other widths and depths, near its own."""
    stages = tuple(
        replace(
            stage,
            out=max(8, stage.out + 8 * int(rng.integers(-4, 5))),
            width=max(8, stage.width + 8 * int(rng.integers(-4, 5))),
            depth=int(rng.integers(1, stage.depth + 2)),
        )
        for stage in network.stages
    )
    return replace(network, stages=stages)


if __name__ == "__main__":
    typer.run(main)
