"""Boosted trees that correct a rough prediction of the cells of a grid by what was measured around each cell.

A library changes its algorithm from cell to cell, and the twins of a cell (the other batches, with and without
the addition, the next kernel, width or side) tell which one it took. A tree sees the twins' differences from the rough
prediction, never the cell's own value (gradient boosting: Friedman, Annals of Statistics, 2001).
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt

from deepmad.profilers.prediction.convolutions import Bools
from deepmad.profilers.prediction.rooflines import Floats

Columns = npt.NDArray[np.float32]

LOSSES = ("absolute_error", "squared_error")
"""A model of each; their mean is better than either."""
TREES, LEAVES, RATE, SMALLEST_LEAF, SHARE_OF_FEATURES = 400, 63, 0.07, 8, 0.3
ROWS_A_LEAF = 100
"""A tree has no more leaves than one for so many measured cells: small tables would be learnt by heart."""
FEWEST = 200
"""Fewer measured cells than this teach nothing: the rough prediction stays."""


def corrected(values: Floats, rough: Floats, features: Floats, twins: tuple[tuple[int, ...], ...]) -> Floats:
    """Return `values` with its NaN cells predicted: the rough ones, corrected.

    `values` and `rough` have one shape, rough cells being predictions made without their own value; `features` has
    that shape and one more dimension. `twins` are steps on the axes, as of `steps`.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, rough)
    if known.sum() < FEWEST or known.all():
        return filled
    learnt, holes = (_rows(chosen, values, rough, features, twins) for chosen in (known, ~known))
    for loss in LOSSES:
        filled[~known] += learnt_from(learnt, (values - rough)[known], loss)(holes) / len(LOSSES)
    return filled


def learnt_from(
    columns: Columns, targets: Floats, loss: str = LOSSES[0], trees: int = TREES, rate: float = RATE
) -> Callable[[Columns], Floats]:
    """Return what predicts targets, shape (rows,), from columns, shape (rows, columns); NaN is "not known".

    One thread does it: on a machine that is busy otherwise, several would wait for each other at every leaf.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    told = ~np.isnan(columns).all(axis=0)  # the trees refuse a column without any number
    model = HistGradientBoostingRegressor(
        loss=loss, max_iter=trees, learning_rate=rate, min_samples_leaf=SMALLEST_LEAF, l2_regularization=1.0,
        max_leaf_nodes=max(2, min(LEAVES, len(columns) // ROWS_A_LEAF)), max_features=SHARE_OF_FEATURES,
        early_stopping=False, random_state=0,
    )  # fmt: skip
    with threadpool_limits(limits=1, user_api="openmp"):
        model.fit(columns[:, told], targets)

    def predict(asked: Columns) -> Floats:
        with threadpool_limits(limits=1, user_api="openmp"):
            return np.asarray(model.predict(asked[:, told]), dtype=np.float64)

    return predict


def steps(dimensions: int, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, ...], ...]:
    """Return steps of one and two on every axis, and of one on both axes of each of `pairs`."""
    found = []
    for axis, step in product(range(dimensions), (-2, -1, 1, 2)):
        found.append(tuple(step if other == axis else 0 for other in range(dimensions)))
    for (first, second), one, two in product(pairs, (-1, 1), (-1, 1)):
        found.append(tuple(one * (axis == first) + two * (axis == second) for axis in range(dimensions)))
    return tuple(found)


def shifted(values: Floats, step: tuple[int, ...]) -> Floats:
    """Return for every cell the value of the cell one `step` further, NaN beyond the ends."""
    found = np.full(values.shape, np.nan)
    here, there = [], []
    for length, by in zip(values.shape, step, strict=True):
        size = max(0, length - abs(by))
        here.append(slice(max(0, -by), max(0, -by) + size))
        there.append(slice(max(0, by), max(0, by) + size))
    found[tuple(here)] = values[tuple(there)]
    return found


def _rows(
    chosen: Bools, values: Floats, rough: Floats, features: Floats, twins: tuple[tuple[int, ...], ...]
) -> Columns:
    """Return what the trees see of the chosen cells, shape (chosen, features); NaN where a twin was not measured."""
    around = [shifted(values, step)[chosen] - rough[chosen] for step in twins]
    columns = np.concatenate([np.stack([rough[chosen], *around], axis=-1), features[chosen]], axis=-1)
    return columns.astype(np.float32)
