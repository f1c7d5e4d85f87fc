"""Statistics of small samples: one figure per seed. Pure functions of arrays; NaN where too little is known."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gammaln

CONFIDENCE = 0.95
RESAMPLES = 9999
Sample = NDArray[np.float64]


def mean_interval(sample: Sample) -> tuple[float, float]:
    """The 95 % BCa bootstrap interval of the mean (Efron, 1987); NaN for fewer than two values."""
    return _bootstrap(np.mean, sample)


def interquartile_mean(sample: Sample) -> float:
    """The mean without the lowest and the highest quarter, rounded down (Agarwal et al., 2021); NaN without values."""
    return float(stats.trim_mean(sample, 0.25)) if len(sample) else np.nan


def paired_p(gaps: Sample) -> float:
    """The exact two-sided Wilcoxon signed-rank p-value (Pratt, 1959) of paired differences.

    Exact over all 2^n signs, ties and zeros included, which scipy does by permutation.
    """
    if len(gaps) < 2 or not gaps.any():
        return 1.0 if len(gaps) else np.nan
    exact = stats.PermutationMethod(n_resamples=2 ** min(len(gaps), 14), rng=np.random.default_rng(0))
    return float(stats.wilcoxon(gaps, zero_method="pratt", method=exact).pvalue)


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


def _bootstrap(statistic: Callable[..., Any], sample: Sample) -> tuple[float, float]:
    if len(sample) < 2 or np.isnan(sample).any():
        return np.nan, np.nan
    if np.ptp(sample) == 0.0:
        return float(sample[0]), float(sample[0])
    found = stats.bootstrap(
        (sample,),
        statistic,
        confidence_level=CONFIDENCE,
        method="BCa",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
