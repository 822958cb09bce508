"""Whether the objective ranks networks as training does.

Networks whose accuracy other people measured are rebuilt as layer records, scored by the package, and ranked by each
score; beside the objective and its parts stand plain counts. The measurements are no part of this project. DATA is a
folder with one folder for each data set, whose files come from where its reader in `benchmarks/ranking/` says; one that
is absent is skipped:

    python -m benchmarks.ranking DATA

Everything is told for all networks, for those under a limit on rho, and for those above it, overall and at equal MACs:
the mean over bands of MACs, or the partial rank correlation where networks are too few for bands. Regret is what is
lost by taking the network, or the best of ten, that a score puts first among those within a limit on MACs and rho.

A further data set is one file with a `DataSet`, whose function reads a folder into `Trained` networks (networks.py),
and a place in DATA_SETS. Counts that the data tells are given with the networks, and checked before anything is ranked.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.conditions import write_results
from benchmarks.ranking import statistics
from benchmarks.ranking.archai_face import ARCHAI_FACE
from benchmarks.ranking.nas_bench_macro import NAS_BENCH_MACRO
from benchmarks.ranking.networks import DataSet, Trained, check_counts
from benchmarks.ranking.picture import plot
from benchmarks.ranking.pycls_zoo import PYCLS_ZOO
from benchmarks.ranking.scores import Floats, score_table
from benchmarks.ranking.timm_results import TIMM_RESULTS
from deepmad.search_spaces.errors import InputError

DATA_SETS = (NAS_BENCH_MACRO, ARCHAI_FACE, PYCLS_ZOO, TIMM_RESULTS)
CAPS = (0.5, 0.3)
"""Limits on rho: those of the presets."""
FEWEST = 12
"""Networks below which a scope tells nothing."""
FEWEST_LIMITS = 8
"""Limits on MACs for regret, where networks are too few for bands."""
CEILING = "one training against the others"
EVERYTHING = "all"
"""The scope of all networks; another one that holds all of them is not told again."""
Row = dict[str, Any]


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets, a folder each.")],
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of an interval.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of resamples and of orders of equal scores.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Data sets to read; all of them where none is named.")] = None,
) -> None:
    """Rank the networks of every data set, and write results/ranking.csv and .svg."""
    rows: list[Row] = []
    notes: dict[str, object] = {"settings": f"{resamples} resamples, seed {seed}"}
    for data_set in DATA_SETS:
        if only and data_set.name not in only:
            continue
        try:
            networks = data_set.read(data / data_set.name)
            agreeing = check_counts(networks)
        except (OSError, ImportError, InputError) as problem:
            print(f"{data_set.name}: skipped: {problem}")
            notes[data_set.name] = f"skipped: {problem}"
            continue
        notes[data_set.name] = f"{data_set.source}; {len(networks)} networks, {agreeing} counts of the data confirmed"
        print(f"{data_set.name}: {notes[data_set.name]}", flush=True)
        for row in ranked(data_set, networks, resamples, seed):
            rows.append(row)
            print(" ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        write_results("ranking", rows, notes)  # a data set takes minutes
    if not rows:
        raise typer.Exit(2)
    print(f"written to {write_results('ranking', rows, notes)}")
    print(f"written to {plot(rows)}")


def ranked(data_set: DataSet, networks: list[Trained], resamples: int, seed: int) -> Iterator[Row]:
    """Yield a row for every score and scope of a data set."""
    table = score_table(networks)
    accuracy = np.array([network.accuracy for network in networks])
    rho, macs = -table["-rho"], table["MACs"]
    count = statistics.band_count(len(networks)) or FEWEST_LIMITS
    ends = np.cumsum([len(band) for band in statistics.bands(macs, count)])
    order = np.argsort(macs, kind="stable")
    within = [order[:end] for end in ends if (rho[order[:end]] <= max(CAPS)).any()]
    scopes = {
        EVERYTHING: rho <= np.inf,
        **{f"rho <= {cap:g}": rho <= cap for cap in CAPS},
        f"rho > {CAPS[0]:g}": rho > CAPS[0],
    }
    scores = np.stack(list(table.values()), axis=1)
    for scope, kept in scopes.items():
        if kept.sum() < FEWEST or (kept.all() and scope != EVERYTHING):
            continue
        found = _figures(scores, accuracy, macs, within, kept, seed)
        intervals = statistics.bootstrapped(scores[kept], accuracy[kept], macs[kept], resamples, seed)
        for place, name in enumerate(table):
            ends_of = {
                f"{which}_{end}": values[place]
                for which, pair in zip(("spearman", "spearman_equal_macs"), intervals, strict=True)
                for end, values in zip(("low", "high"), pair, strict=True)
            }
            row = {what: values[place] for what, values in found.items()}
            yield _row(data_set, scope, kept, within, name, row | ends_of)
        trainings = np.array([network.trainings for network in networks])
        if trainings.shape[1:] and trainings.shape[1] > 1:
            alone = [
                _figures(one[:, None], np.delete(trainings, which, axis=1).mean(axis=1), macs, within, kept, seed)
                for which, one in enumerate(trainings.T)
            ]
            means = {what: float(np.mean([found[what][0] for found in alone])) for what in alone[0]}
            yield _row(data_set, scope, kept, within, CEILING, means)


def _figures(
    scores: Floats, accuracy: Floats, macs: Floats, within: list[statistics.Places], kept: Any, seed: int
) -> dict[str, Floats]:
    """Return the figures of the scores among the networks `kept`, arrays (scores,)."""
    inside = scores[kept], accuracy[kept]
    return {
        "spearman": statistics.spearman(*inside),
        "spearman_equal_macs": statistics.spearman_at_equal_macs(*inside, macs[kept]),
        "ndcg": statistics.ndcg(*inside),
        "ndcg_equal_macs": statistics.ndcg_at_equal_macs(*inside, macs[kept]),
        "regret_top1": statistics.regret(scores, accuracy, within, kept, 1, seed),
        "regret_top10": statistics.regret(scores, accuracy, within, kept, 10, seed),
    }


COLUMNS = (
    "spearman", "spearman_low", "spearman_high",
    "spearman_equal_macs", "spearman_equal_macs_low", "spearman_equal_macs_high",
    "ndcg", "ndcg_equal_macs", "regret_top1", "regret_top10",
)  # fmt: skip


def _row(
    data_set: DataSet, scope: str, kept: Any, within: list[statistics.Places], score: str, found: dict[str, Any]
) -> Row:
    """Return a row of the results; what is undefined is left empty."""
    networks = int(kept.sum())
    count = statistics.band_count(networks)
    figures = {name: found.get(name, np.nan) for name in COLUMNS}
    return {
        "data_set": data_set.name,
        "scope": scope,
        "networks": networks,
        "score": score,
        "equal_macs_by": f"{count} bands" if count else "partial correlation",
        "limits": sum(bool(kept[places].any()) for places in within),
        **{name: "" if np.isnan(value) else round(float(value), 4) + 0.0 for name, value in figures.items()},
        "unit_of_regret": data_set.unit,
    }


if __name__ == "__main__":
    typer.run(main)
