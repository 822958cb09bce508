"""Kriging: the value at a place from measured values nearby, weighted by how values resemble each other at a distance.

Ordinary kriging with an exponential covariance (Cressie, Statistics for Spatial Data, 1993, chapter 3): at a measured
place it returns what was measured, far from all it returns the neighbours' mean, and several neighbours on one side
share the weight of one.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEIGHBOURS = 32
RANGE = 10.0
"""Distance over which values become unlike each other."""
NOISE = 1e-4
"""Share of the variance that is noise; it also keeps the equations solvable."""
_CHUNK = 1000


def krige(
    places: Floats,
    values: Floats,
    wanted: Floats,
    progress: Callable[[int], None] | None = None,
    *,
    without_itself: bool = False,
) -> Floats:
    """Return the values at `wanted`, shape (wanted,), from `values`, shape (places,).

    `places` and `wanted` have shapes (places, dimensions) and (wanted, dimensions); values resemble each other
    by the distances between them. `progress` is told how many more of them are done. `without_itself` leaves the
    nearest value out, which is that of the wanted place itself where `wanted` is `places`, all different.
    """
    from scipy.spatial import cKDTree

    first = 1 + without_itself
    if len(places) < first:
        return np.zeros(len(wanted))
    last = min(first + NEIGHBOURS, len(places) + 1)
    tree, found = cKDTree(places), np.empty(len(wanted))
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        distances, indices = tree.query(chunk, [*range(first, last)])
        found[start : start + _CHUNK] = _chunk(places[indices], values[indices], distances)
        if progress is not None:
            progress(len(chunk))
    return found


def _chunk(places: Floats, values: Floats, distances: Floats) -> Floats:
    """Return the values at some places; the arguments are their neighbours', shapes (n, k, d), (n, k) and (n, k)."""
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    covariance = np.exp(-apart / RANGE) + NOISE * np.eye(places.shape[1])
    resemblance = np.exp(-distances / RANGE)
    solved = np.linalg.solve(covariance, np.stack([np.ones_like(resemblance), resemblance], axis=-1))
    mean = (solved[..., 0] * values).sum(axis=1) / solved[..., 0].sum(axis=1)
    estimates: Floats = mean + (solved[..., 1] * (values - mean[:, None])).sum(axis=1)
    return estimates
