"""How well scores rank networks: Spearman's correlation, nDCG, regret; overall and at equal MACs.

Scores are arrays (networks, scores) and accuracies (networks,), for both the larger the better. Results are arrays
(scores,), NaN where something is undefined, as the correlation of a score that is the same for all networks.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import ndcg_score

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

MOST_BANDS, LEAST_BANDS, LEAST_IN_BAND = 20, 4, 28
TOP_SHARE = 0.1
"""The share of the networks, the first ones by score, that nDCG looks at."""
SHUFFLES = 20
"""Random orders of networks of equal score over which regret is averaged."""


def band_count(networks: int) -> int:
    """Return into how many bands of MACs so many networks are parted; 0 where they are too few for bands."""
    count = min(MOST_BANDS, networks // LEAST_IN_BAND)
    return count if count >= LEAST_BANDS else 0


def bands(macs: Floats, count: int) -> list[Places]:
    """Return the networks in bands of MACs, about as many in each, from the smallest on."""
    return list(np.array_split(np.argsort(macs, kind="stable"), count))


def spearman(scores: Floats, accuracy: Floats) -> Floats:
    """Return Spearman's rank correlation of every score with the accuracy."""
    return _correlation(rankdata(scores, axis=0), rankdata(accuracy))


def partial_spearman(scores: Floats, accuracy: Floats, macs: Floats) -> Floats:
    """Return the partial rank correlation of every score with the accuracy, given MACs."""
    given = rankdata(macs)
    return _correlation(_residual(rankdata(scores, axis=0), given), _residual(rankdata(accuracy)[:, None], given)[:, 0])


def spearman_at_equal_macs(scores: Floats, accuracy: Floats, macs: Floats) -> Floats:
    """Return the mean of Spearman's correlation over bands of MACs; the partial one where networks are few."""
    count = band_count(len(macs))
    if not count:
        return partial_spearman(scores, accuracy, macs)
    return _mean([spearman(scores[band], accuracy[band]) for band in bands(macs, count)])


def ndcg(scores: Floats, accuracy: Floats) -> Floats:
    """Return the normalised discounted cumulative gain of the first tenth by every score.

    A network's gain is its accuracy, from 0 for the lowest to 1 for the highest; equal scores share their gain.
    """
    span = np.ptp(accuracy)
    if not span:
        return np.full(scores.shape[1], np.nan)
    gain = ((accuracy - accuracy.min()) / span)[None]
    first = max(1, round(TOP_SHARE * len(accuracy)))
    return np.array([ndcg_score(gain, column[None], k=first) for column in scores.T], dtype=np.float64)


def ndcg_at_equal_macs(scores: Floats, accuracy: Floats, macs: Floats) -> Floats:
    """Return the mean of nDCG over bands of MACs; NaN where networks are too few for bands."""
    count = band_count(len(macs))
    if not count:
        return np.full(scores.shape[1], np.nan)
    return _mean([ndcg(scores[band], accuracy[band]) for band in bands(macs, count)])


def regret(
    scores: Floats, accuracy: Floats, within: Sequence[Places], kept: NDArray[np.bool_], top: int, seed: int
) -> Floats:
    """Return how much accuracy is lost by taking the best of the `top` networks by score, in the mean over limits.

    `within` holds, for every limit, the networks that keep it; only those `kept` may be taken, and the loss is counted
    from the most accurate of all within the limit. Limits within which none is kept are left out. Networks of equal
    score come in random order, over which the mean is taken.
    """
    rng = np.random.default_rng(seed)
    lost = []
    for places in within:
        choice = places[kept[places]]
        if not len(choice):
            continue
        best = np.zeros(scores.shape[1])
        for _ in range(SHUFFLES):
            shuffled = rng.permutation(choice)
            order = np.argsort(-scores[shuffled], axis=0, kind="stable")[:top]
            best += accuracy[shuffled[order]].max(axis=0) / SHUFFLES
        lost.append(accuracy[places].max() - best)
    return np.mean(lost, axis=0) if lost else np.full(scores.shape[1], np.nan)


def bootstrapped(
    scores: Floats, accuracy: Floats, macs: Floats, resamples: int, seed: int
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return the ends of 95 % intervals of Spearman's correlation: overall, and at equal MACs.

    Networks are drawn with replacement, and bands are formed anew among those drawn. Draws that leave a figure
    undefined are left out of its interval.
    """
    rng, overall, at_equal = np.random.default_rng(seed), [], []
    for _ in range(resamples):
        drawn = rng.integers(len(accuracy), size=len(accuracy))
        overall.append(spearman(scores[drawn], accuracy[drawn]))
        at_equal.append(spearman_at_equal_macs(scores[drawn], accuracy[drawn], macs[drawn]))
    return _interval(overall), _interval(at_equal)


def _interval(drawn: Sequence[Floats]) -> tuple[Floats, Floats]:
    stacked = np.stack(drawn)
    told = np.isfinite(stacked).any(axis=0)
    ends = np.full((2, stacked.shape[1]), np.nan)
    ends[:, told] = np.nanquantile(stacked[:, told], (0.025, 0.975), axis=0)
    return ends[0], ends[1]


def _mean(rows: Sequence[Floats]) -> Floats:
    """Return the mean over bands, those left out in which a score tells nothing; NaN where that is all of them."""
    stacked = np.stack(rows)
    known = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, stacked, 0).sum(axis=0) / known.sum(axis=0)
    return mean


def _residual(ranks: Floats, given: Floats) -> Floats:
    """Return what is left of columns of ranks after a linear fit on the ranks of MACs."""
    centred, of = ranks - ranks.mean(axis=0), given - given.mean()
    left: Floats = centred - of[:, None] * (of @ centred) / (of @ of)
    return np.where(np.abs(left).max(axis=0) < 1e-6, 0.0, left)


def _correlation(columns: Floats, with_: Floats) -> Floats:
    """Return Pearson's correlation of every column with an array (networks,); NaN for a constant one."""
    centred, of = columns - columns.mean(axis=0), with_ - with_.mean()
    norms = np.sqrt((centred**2).sum(axis=0) * (of @ of))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(norms > 0, (of @ centred) / norms, np.nan)
    return found
