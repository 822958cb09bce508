"""Max-plus products of matrices, by the order of their maxima."""

import numpy as np

from deepmad.engine.solvers.bounds.tables import Array

_STEP = 32
"""Rows between those whose maxima are looked for among all."""


def max_plus(left: Array, right: Array) -> Array:
    """Return (rows, columns): max over k of left[row, k] + right[k, column].

    `left` is finite and its second differences are all of one sign, as those of products of two monotone vectors are;
    `right` may be -inf. Then the place of the maximum moves one way as the rows go on: between two rows it lies between
    theirs. A place is off only where two are equal but for rounding.
    """
    rows, columns = len(left), right.shape[1]
    best, every = np.empty((rows, columns)), np.arange(columns)
    ends = [*range(0, rows - 1, _STEP), rows - 1]
    places = [(left[end][:, None] + right).argmax(0) for end in ends]
    for index, first in enumerate(ends):
        after = min(index + 1, len(ends) - 1)
        block = slice(first, ends[after] + 1)
        low, count = np.minimum(places[index], places[after]), np.abs(places[after] - places[index])
        part = left[block].take(low, axis=1) + right[low, every]
        chosen = every
        for further in range(1, int(count.max()) + 1):
            chosen = chosen[count[chosen] >= further]
            at = low[chosen] + further
            found = left[block].take(at, axis=1) + right[at, chosen]
            part[:, chosen] = np.maximum(part[:, chosen], found)
        best[block] = part
    return best
