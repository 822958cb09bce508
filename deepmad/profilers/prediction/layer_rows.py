"""Prediction from published times of blocks and of fused layers: the fit of `prediction` on rows of layers."""

from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

import numpy as np

from deepmad.profilers.prediction.accuracy import MIN_HELD_OUT, accuracy, random_fifth
from deepmad.profilers.prediction.coverage import POOLS, Coverage
from deepmad.profilers.prediction.features import Basis, terms
from deepmad.profilers.prediction.prediction import (
    FEMTOSECONDS,
    FOLDS,
    Prediction,
    Vector,
    feature_matrix,
    solve_costs,
)
from deepmad.profilers.prediction.rows import ImportedRow
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer

SIDES_APART = 1.4
"""Ratio of the sides whose costs are told apart: a table of all resolutions has more sides than it can tell apart."""


@dataclass(frozen=True)
class LayerRow:
    """Layers that were timed as one, in nanoseconds for one batch.

    `source` is the file they come from; `networks` is 1 where the time holds what a network costs whatever its
    layers.
    """

    source: str
    name: str
    layers: tuple[Layer, ...]
    nanoseconds: int
    networks: int = 0

    def stored(self) -> ImportedRow:
        """Return the row as a table file holds it; what a layer leaves at its default is left out."""
        layers = [
            {name: value for name, value in asdict(layer).items() if value != _DEFAULTS.get(name)}
            for layer in self.layers
        ]
        return ImportedRow(self.source, self.name, self.nanoseconds, {"layers": layers, "networks": self.networks})

    @staticmethod
    def of(row: ImportedRow) -> "LayerRow":
        """Return the row that `stored` made a table file's row of."""
        layers = tuple(Layer(**layer) for layer in row.content["layers"])
        return LayerRow(row.source, row.name, layers, row.nanoseconds, row.content["networks"])


_DEFAULTS = {field.name: field.default for field in fields(Layer) if field.default is not MISSING}


def fit_rows(rows: Sequence[LayerRow]) -> Prediction:
    """Return the predictor of the rows, each relative error of the same weight; the same rows give the same one.

    Raises `InputError` where no row has a convolution.
    """
    basis = _basis(rows)
    features, names = feature_matrix([_totals(row, basis) for row in rows])
    costs = solve_costs(features, _seconds(rows), np.ones(len(rows)))
    femtoseconds = [round(float(cost) * FEMTOSECONDS) for cost in costs]
    known = _with_all_pools(dict(zip(names[1:], femtoseconds[1:], strict=True)))
    covers = Coverage.of(layer for row in rows for layer in row.layers)
    return Prediction(basis, tuple(known.items()), femtoseconds[0], covers=covers)


def _basis(rows: Sequence[LayerRow]) -> Basis:
    basis = Basis.of_layers((layer for row in rows for layer in row.layers), SIDES_APART)
    if not basis.sides:
        raise InputError(f"{rows[0].source}: holds no time of a convolution, so no network can be priced by it")
    return basis


def _with_all_pools(costs: dict[str, int]) -> dict[str, int]:
    """Return the costs, and those of the first pool that is known for each that is not."""
    known = next((pool for pool in POOLS if f"{pool}.layers" in costs), None)
    stand_ins = {
        f"{pool}.{what}": costs[f"{known}.{what}"]
        for pool in POOLS
        for what in ("layers", "elements")
        if known and f"{pool}.layers" not in costs
    }
    return costs | stand_ins


def rows_accuracy(rows: Sequence[LayerRow]) -> dict[str, Any] | None:
    """Return how well a random fifth of the rows is predicted from the others; None for too few rows."""
    held_out = random_fifth(len(rows))
    if held_out.sum() < MIN_HELD_OUT:
        return None
    predicted, seconds = _predicted(rows, held_out), _seconds(rows)[held_out]
    return {"rows": int(held_out.sum()), **accuracy(predicted / seconds - 1)}


def networks_accuracy(rows: Sequence[LayerRow]) -> dict[str, Any] | None:
    """Return how well the sum of a source's rows is predicted from the other sources, in five folds.

    Every source is one network's profile. None for too few sources.
    """
    sources = sorted({row.source for row in rows})
    if len(sources) < MIN_HELD_OUT:
        return None
    number = np.array([sources.index(row.source) for row in rows])
    fold = (np.random.default_rng(0).permutation(len(sources)) % FOLDS)[number]
    predicted = np.zeros(len(rows))
    for held_out in range(FOLDS):
        predicted[fold == held_out] = _predicted(rows, fold == held_out)
    measured = np.bincount(number, _seconds(rows))
    return {"networks": len(sources), **accuracy(np.bincount(number, predicted) / measured - 1)}


def _predicted(rows: Sequence[LayerRow], held_out: np.ndarray) -> Vector:
    """Return the seconds of the rows of a mask, predicted from those outside it."""
    basis = _basis(rows)
    features, _ = feature_matrix([_totals(row, basis) for row in rows])
    used = ~held_out
    costs = solve_costs(features[used], _seconds(rows)[used], np.ones(int(used.sum())))
    seconds: Vector = features[held_out] @ costs
    return seconds


def _totals(row: LayerRow, basis: Basis) -> dict[str, int]:
    """Return the sum of each feature over the layers of a row."""
    total = {"network": row.networks}
    for layer in row.layers:
        for name, value in terms(layer, basis):
            total[name] = total.get(name, 0) + int(value)
    return total


def _seconds(rows: Sequence[LayerRow]) -> Vector:
    seconds: Vector = np.array([row.nanoseconds for row in rows]) / 1e9
    return seconds
