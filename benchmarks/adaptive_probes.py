"""Compares choosing probes where the predictor errs with drawing them, offline on tables that are measured already.

Of a table's whole networks a random part is set aside to be predicted; from the others, probes are chosen until
there are enough: at random, or in rounds by `choose_networks`. The short probes are used throughout. One row a table
and way of choosing goes into results/adaptive_probes.csv, with means over random splits.

    python -m benchmarks.adaptive_probes TABLE.sqlite... --splits 20
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.conditions import write_results
from deepmad.profilers.building.planning import choose_networks
from deepmad.profilers.prediction.accuracy import accuracy
from deepmad.profilers.prediction.prediction import fit_probes, network_nanoseconds, probe_seconds
from deepmad.profilers.prediction.rows import Row
from deepmad.profilers.tables.table_files import open_table, text

MEASURES = ("mean_absolute_percentage_error", "percentile_90_percent", "within_10_percent", "within_5_percent")


def main(
    tables: Annotated[list[Path], typer.Argument(help="Built tables with one series each.")],
    splits: Annotated[int, typer.Option(help="Random splits of each table.")] = 20,
    test: Annotated[int, typer.Option(help="Whole networks set aside to be predicted.")] = 25,
    first: Annotated[int, typer.Option(help="Whole networks drawn before the first round.")] = 25,
    last: Annotated[int, typer.Option(help="Whole networks in the end.")] = 45,
    step: Annotated[int, typer.Option(help="Whole networks chosen in a round.")] = 10,
) -> None:
    """Compare the ways of choosing on every table."""
    found = []
    for path in tables:
        with open_table(path) as file:
            (series,) = file.series()
            rows = file.rows(series.key)
        errors = [_split(rows, np.random.default_rng(seed), test, first, last, step) for seed in range(splits)]
        for way in errors[0]:
            values = np.array([one[way] for one in errors])
            differences = values[:, 0] - np.array([one["random"] for one in errors])[:, 0]
            conditions = {"table": path.name, "way": way, "networks": first if way == "first" else last}
            means = dict(zip(MEASURES, map(float, values.mean(axis=0)), strict=True))
            deviation = float(differences.std() / np.sqrt(splits))
            compared = {"error_above_random": float(differences.mean()), "standard_error": deviation}
            found.append(conditions | {"splits": splits} | means | compared)
            print(found[-1], flush=True)
    print(f"written: {write_results('adaptive_probes', found)}")


def _split(
    rows: list[Row], rng: np.random.Generator, test: int, first: int, last: int, step: int
) -> dict[str, tuple[float, ...]]:
    """Return the errors on the networks set aside, by the way in which the others were chosen."""
    seconds = {text(row.architecture): float(found) for row, found in zip(rows, probe_seconds(rows), strict=True)}
    whole, short = [row for row in rows if not row.short], [row for row in rows if row.short]
    shuffled = [whole[index] for index in rng.permutation(len(whole))]
    aside, pool = shuffled[:test], shuffled[test:]
    chosen, left = pool[:first], pool[first:]
    while len(chosen) < last:
        wanted = choose_networks([*chosen, *short], [row.architecture for row in left], min(step, last - len(chosen)))
        chosen = chosen + [row for row in left if row.architecture in wanted]
        left = [row for row in left if row.architecture not in wanted]
    ways = {"first": pool[:first], "random": pool[:last], "chosen": chosen}
    return {way: _errors([*used, *short], aside, seconds) for way, used in ways.items()}


def _errors(used: list[Row], aside: list[Row], seconds: dict[str, float]) -> tuple[float, ...]:
    """Return the `MEASURES` of the networks set aside, predicted by a fit on the rows used."""
    fit = fit_probes(used)
    predicted = np.array([network_nanoseconds(fit, row.architecture) / 1e9 for row in aside])
    measured = np.array([seconds[text(row.architecture)] for row in aside])
    errors = predicted / measured - 1
    found = accuracy(errors) | {"percentile_90_percent": 100 * float(np.quantile(np.abs(errors), 0.9))}
    return tuple(found[name] for name in MEASURES)


if __name__ == "__main__":
    typer.run(main)
