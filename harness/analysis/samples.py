"""Statistics of small samples: one figure per seed. Pure functions of arrays; NaN where too little is known.

Intervals and the signed-rank test are those of scipy.stats, to the last bit (the tests compare), without its import:
half a second, where a report whose pictures have not changed takes one.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, ndtri

CONFIDENCE = 0.95
RESAMPLES = 9999
Sample = NDArray[np.float64]


def mean_interval(sample: Sample) -> tuple[float, float]:
    """The 95 % BCa bootstrap interval of the mean (Efron, 1987); NaN for fewer than two values."""
    if len(sample) < 2 or np.isnan(sample).any():
        return np.nan, np.nan
    if np.ptp(sample) == 0.0:
        return float(sample[0]), float(sample[0])
    draws = np.random.default_rng(0).integers(0, len(sample), (RESAMPLES, len(sample)))
    means = sample[draws].mean(axis=1)
    low, high = (_quantile(means, share) for share in _bca_shares(sample, means))
    return low, high


def _bca_shares(sample: Sample, means: Sample) -> list[float]:
    """Which quantiles of the resamples' `means` bound the interval: bias-corrected and accelerated."""
    mean, n = sample.mean(), float(len(sample))
    below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / (2 * len(means))
    bias = float(ndtri(below))
    without = np.array([np.delete(sample, place).mean() for place in range(len(sample))])
    pull = (n - 1) * (without.mean() - without)
    acceleration = 1 / 6 * ((pull**3).sum() / n**3) / ((pull**2).sum() / n**2) ** (3 / 2)
    tail = float(ndtri((1 - CONFIDENCE) / 2))
    return [float(ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))) for z in (tail, -tail)]


def _quantile(values: Sample, share: float) -> float:
    """Interpolated between the two values that lie around it; NaN for a share that is none."""
    if np.isnan(share):
        return np.nan
    ordered, last = np.sort(values), len(values) - 1
    place = share * len(values) + (1 - share) - 1
    weight = (place + 1) % 1
    below, above = (ordered[int(np.clip(np.floor(place) + step, 0, last))] for step in (0, 1))
    return float((1 - weight) * below + weight * above)


def interquartile_mean(sample: Sample) -> float:
    """The mean without the lowest and the highest quarter, rounded down (Agarwal et al., 2021); NaN without values."""
    cut, end = len(sample) // 4, len(sample) - len(sample) // 4
    return float(np.partition(sample, (cut, end - 1))[cut:end].mean()) if len(sample) else np.nan


def paired_p(gaps: Sample) -> float:
    """The exact two-sided Wilcoxon signed-rank p-value (Pratt, 1959) of paired differences.

    Exact over all 2^n signs, ties and zeros included: rank by rank, the chance of each sum of positive ranks.
    """
    if not len(gaps) or np.isnan(gaps).any():
        return np.nan
    ranks = _doubled_ranks(np.abs(gaps))
    chances = np.zeros(ranks.sum() + 1)
    chances[0] = 1.0
    for rank in ranks[gaps != 0]:
        chances[rank:] = (chances[rank:] + chances[: len(chances) - rank]) / 2
        chances[:rank] /= 2
    seen = ranks[gaps > 0].sum()
    return float(min(1.0, 2 * min(chances[: seen + 1].sum(), chances[seen:].sum())))


def _doubled_ranks(values: Sample) -> NDArray[np.int64]:
    """Twice the ranks, from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (2 * np.cumsum(count) - count + 1)[place]


def holm(p: Sample) -> Sample:
    """Holm's step-down correction (Holm, 1979): p-values that keep the family-wise error rate."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def probability_of_improvement(first: Sample, second: Sample) -> float:
    """How often a run of the second is better than a run of the first, ties counted half (Agarwal et al., 2021).

    0.5 is no difference, 1 is every run of the one better than every run of the other; NaN without runs.
    """
    if not len(first) or not len(second):
        return np.nan
    return float((np.sign(second[:, None] - first).mean() + 1) / 2)


def smallest_sample(comparisons: int) -> int:
    """The fewest seeds at which one of so many paired comparisons could be significant at 5 % after Holm's correction.

    With n pairs the exact signed-rank test's smallest two-sided p-value is 2 / 2^n.
    """
    n = 2
    while comparisons * 2.0 / 2**n >= 1 - CONFIDENCE:
        n += 1
    return n


def noise_floor(accuracy: float, images: int) -> float:
    """The binomial standard error of an accuracy that was measured on so many images."""
    return float(np.sqrt(accuracy * (1 - accuracy) / images)) if images else np.nan


def expected_best(values: Sample) -> Sample:
    """The expected best of k values drawn without replacement, for k = 1 to n (Tang et al., 2020): unbiased.

    The i-th smallest of n values is the best of k in C(i - 1, k - 1) of C(n, k) draws.
    """
    return _shares(len(values)) @ np.sort(values)


@cache
def _shares(n: int) -> NDArray[np.float64]:
    """The share (n, n) of draws of k (row k - 1) whose best is the i-th smallest value (column i - 1)."""
    i = np.arange(1, n + 1)
    k = i[:, None]
    reached = i >= k
    ways = gammaln(i) - gammaln(k) - gammaln(np.where(reached, i - k, 0) + 1)
    draws = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.where(reached, np.exp(ways - draws), 0.0)


def expected_best_interval(values: Sample) -> tuple[Sample, Sample]:
    """The 95 % percentile bootstrap band of `expected_best`; right only where the values are independent draws."""
    generator = np.random.default_rng(0)
    curves = [expected_best(generator.choice(values, len(values))) for _ in range(200)]
    low, high = np.quantile(curves, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high
