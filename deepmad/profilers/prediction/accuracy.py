"""How well predictions meet measurements, and which rows are held out to find that out."""

from typing import Any

import numpy as np
import numpy.typing as npt

from deepmad.profilers.prediction.stored import mapping, number, whole

MIN_HELD_OUT = 10
"""Predictions that a statement on accuracy needs."""


def accuracy(errors: npt.ArrayLike) -> dict[str, float]:
    """Return the shares of relative errors (predicted - measured) / measured within 10 % and 5 %, and their mean."""
    sizes = np.abs(np.asarray(errors, dtype=np.float64))
    return {
        "within_10_percent": float(np.mean(sizes <= 0.10)),
        "within_5_percent": float(np.mean(sizes <= 0.05)),
        "mean_absolute_percentage_error": float(100 * np.mean(sizes)),
    }


def held_out_document(stored: Any) -> dict[str, Any] | None:
    """Return a stored `accuracy` and what was held out. Raises `ValueError` or `KeyError` where it is none."""
    if stored is None:
        return None
    held = {name: whole(count) for name, count in mapping(stored).items() if name in ("rows", "networks")}
    names = ("within_10_percent", "within_5_percent", "mean_absolute_percentage_error")
    return held | {name: number(stored[name]) for name in names}


def conformal_interval(errors: npt.ArrayLike) -> tuple[float, float] | None:
    """Return the bounds of measured over predicted that a new network keeps with 95 %, by the errors held out.

    The ranks are those of split conformal prediction (Lei et al., JASA 2018), which promise that much whatever
    the distribution; they need 39 networks.
    """
    ratios = np.sort(1 / (1 + np.asarray(errors, dtype=np.float64)))
    outside = int((len(ratios) + 1) * 0.025)
    return (float(ratios[outside - 1]), float(ratios[-outside])) if outside else None


def random_fifth(count: int) -> npt.NDArray[np.bool_]:
    """Return a mask of `count` entries that is True for a fifth of them; the same one every time (seed 0)."""
    mask: npt.NDArray[np.bool_] = np.random.default_rng(0).permutation(count) < count // 5
    return mask
