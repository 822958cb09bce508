"""Terms of the integer program: what each cost is as a function of the widths, read from the layer records.

The records lie on the grid of an option of a stage (`costs.records`): c_in along the first axis, out along the second,
the inner width along the third. So every cost comes back as an array whose shape shows what it depends on, whatever
the block.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from deepmad.engine.costs.records import AXES
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Body, Count, Layer

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]
Terms = dict[Axes, Array]
"""A function of the widths as a sum: for each set of axes (0 c_in, 1 out, 2 width) an array over them."""


def on_grid(count: Count) -> Array:
    """Return a number of a record, or a cost, as an array over all axes of the grid."""
    array = np.asarray(count)
    return array if array.ndim else array.reshape((1,) * AXES)


def summed(body: Body, cost: Callable[[Layer], Count]) -> Terms:
    """Return a cost of a body as the sum over its layers.

    Raises `InputError` where a layer depends on more than two widths: such a table would not fit.
    """
    found: Terms = {}
    for layer in body.layers:
        array = on_grid(cost(layer))
        axes = tuple(axis for axis, length in enumerate(array.shape) if length > 1)
        if len(axes) > 2:
            raise InputError(f"{layer.operation}: depends on c_in, out and width at once; split it into two layers")
        found[axes] = found.get(axes, 0) + array.squeeze(tuple(set(range(AXES)) - set(axes)))
    return found


def difference(first: Terms, second: Terms) -> Terms:
    """Return first - second without the terms that cancel."""
    none = np.zeros((), dtype=np.int64)
    found = {axes: np.asarray(first.get(axes, none) - second.get(axes, none)) for axes in {**first, **second}}
    return {axes: array for axes, array in found.items() if np.any(array)}


def in_units(terms: Terms, unit: int) -> Terms:
    """Return a sum of terms in whole units that all its numbers are multiples of."""
    return {axes: np.asarray(array // unit) for axes, array in terms.items()}


def minimum(terms: Terms) -> int:
    """Return a lower bound on a sum of terms, term by term."""
    return sum(int(array.min()) for array in terms.values())


def maximum(terms: Terms) -> int:
    """Return an upper bound on a sum of terms, term by term."""
    return sum(int(array.max()) for array in terms.values())


LOG_UNIT = 2**24
"""One nat of ln w_l in the program: logarithms are whole multiples of 1 / LOG_UNIT, rounded up."""


def scaled_logs(terms: Terms) -> Terms:
    """Return logarithms in units of 1 / LOG_UNIT, rounded up so that no entropy is ever understated.

    The smallest value is rounded apart from the rest, so that tables that differ by a constant (two kernels,
    say) still do afterwards. The error is below 3 units a term.
    """
    found: Terms = {}
    for axes, array in terms.items():
        offset = array.min()
        found[axes] = _up(np.round(array - offset, 10)) + _up(offset)
    return found


def _up(logs: Array) -> Array:
    """Round up, with room for the rounding of floating point (below 1e-9 nats)."""
    return np.asarray(np.ceil(logs * LOG_UNIT + 0.02)).astype(np.int64)
