"""Statistics of small samples: one figure per search, or per seed. Pure functions; NaN where too little is known.

    low, high = t_interval(figures)                   # of their mean
    family = holm_family(means, errors, sizes)        # differences that are tested together

All rest on Student's t: whole studies repeated with fresh seeds have shown that its intervals cover what they say from
three values on, and the bootstrap's do not (docs/fairness.md). Distributions are those of scipy.special: scipy.stats
takes half a second to import, where a report whose pictures have not changed takes one.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, chdtrc, fdtrc, gammaln, nctdtr, ndtri, stdtr, stdtrit

from harness.study.notes import FEWEST

CONFIDENCE = 0.95
POWER = 0.8
EQUAL = 1e-9  # how far apart values may be that are the same but for the rounding of their sums
Sample = NDArray[np.float64]


def standard_error(sample: Sample, overlap: float = 0.0) -> float:
    """Of the mean; NaN for fewer than three values or where all are equal: then nothing is known of their spread.

    `overlap` is test over training images where each value has drawn its own from one pool: such values are not
    independent, and the variance of their mean is s^2 (1 / n + overlap) (Nadeau and Bengio, 2003).
    """
    if len(sample) < FEWEST or np.isnan(sample).any() or np.ptp(sample) < EQUAL:
        return np.nan
    return float(sample.std(ddof=1) * np.sqrt(1 / len(sample) + overlap))


def t_interval(sample: Sample, overlap: float = 0.0) -> tuple[float, float]:
    """Student's 95 % interval of the mean; see `standard_error`."""
    mean, half = sample.mean() if len(sample) else np.nan, critical(len(sample) - 1) * standard_error(sample, overlap)
    return float(mean - half), float(mean + half)


def median_interval(sample: Sample) -> tuple[float, float]:
    """The 95 % interval of the median from two of the values (Conover, 1999, section 3.2), whatever their distribution;
    NaN below six values. Values may be infinite: of what never came.
    """
    known = np.flatnonzero(bdtr(np.arange(len(sample) // 2), len(sample), 0.5) <= (1 - CONFIDENCE) / 2)
    if not len(known):
        return np.nan, np.nan
    ordered = np.sort(sample)
    return float(ordered[known[-1]]), float(ordered[-1 - known[-1]])


def critical(freedom: float, share: float = 1 - CONFIDENCE) -> float:
    """What |t| exceeds with a chance of `share`; NaN without degrees of freedom."""
    return float(stdtrit(freedom, 1 - share / 2)) if freedom > 0 else np.nan


def normal_quantile(share: float) -> float:
    """What a standard normal value lies below with that chance."""
    return float(ndtri(share))


def t_p(mean: Sample, error: Sample, freedom: Sample) -> Sample:
    """The two-sided p-values of means with those standard errors; NaN where an error is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isnan(error), np.nan, 2 * stdtr(freedom, -np.abs(mean / error)))


@dataclass(frozen=True)
class Family:
    """Means that are tested together: p-values, the same after Holm's correction, and simultaneous 95 % intervals."""

    p: Sample
    p_holm: Sample
    low: Sample
    high: Sample


def holm_family(mean: Sample, error: Sample, n: Sample, of: int = 0) -> Family:
    """Test means of n values with those standard errors against 0, all together.

    The intervals belong to Holm's test (Guilbaud, 2008; Strassburger and Bretz, 2008): of m means of which k are
    told apart from 0, the others have intervals at 1 - 0.05 / (m - k), which hold 0. Those of the k are at
    1 - 0.05 / m; where such a one would reach over 0 it ends there, 0 left out.

    `of` is how many there are, where these are but some, picked by what was measured: m is then that number. Whichever
    are picked, a false difference is told with 5 % at most, since one is told only where some mean that is 0 has a p
    below 0.05 / (how many are 0).
    """
    tested = ~np.isnan(error)
    p = t_p(mean, error, n - 1)
    size = max(int(tested.sum()), of)
    corrected = holm(p, size)
    clear = corrected < 1 - CONFIDENCE
    left = max(1, size - int(clear.sum()))
    shares = np.where(clear, 1 - CONFIDENCE, (1 - CONFIDENCE) * size / left) / max(1, size)
    half = np.array([critical(size - 1, share) for size, share in zip(n, shares, strict=True)]) * error
    low = np.where(clear & (mean > 0), np.maximum(mean - half, 0.0), mean - half)
    high = np.where(clear & (mean < 0), np.minimum(mean + half, 0.0), mean + half)
    return Family(p, corrected, low, high)


def holm(p: Sample, of: int = 0) -> Sample:
    """Holm's step-down correction (Holm, 1979): p-values that keep the family-wise error rate. NaN are not counted.

    `of` is the size of the family where these are but some of it.
    """
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    corrected = np.full_like(p, np.nan)
    times = max(of, len(order)) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * times), 1.0)
    return corrected


def detectable(error: float, n: int, comparisons: int) -> float:
    """The smallest true difference that one of so many comparisons finds with 80 % power, given its standard error.

    At the level of Bonferroni's correction, which is where Holm's begins. The power of a two-sided t-test is that of
    the noncentral t distribution.
    """
    if n < FEWEST or not error > 0:
        return np.nan
    border = critical(n - 1, (1 - CONFIDENCE) / comparisons)
    low, high = 0.0, 100.0 * border  # standard errors
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, n, border) > POWER else (middle, high)
    return high * error


def power(shift: float, n: int, border: float) -> float:
    """How often |t| of n values exceeds `border` where the true mean is `shift` standard errors away from 0."""
    found = 1 - nctdtr(n - 1, shift, border)  # the other side's share is nothing wherever power is more than that
    return float(found) if np.isfinite(found) else 1.0


def variance_components(groups: list[Sample]) -> tuple[float, float]:
    """The variance between groups, less what their members' spread explains, and that within them (one-way ANOVA).

    NaN for what cannot be told: between needs two groups, within a group of two. Groups may differ in size.
    """
    groups = [group for group in groups if len(group)]
    sizes = np.array([len(group) for group in groups], float)
    freedom = sizes.sum() - len(groups)
    within = float(sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom) if freedom else np.nan
    if len(groups) < 2:
        return np.nan, within
    total = np.concatenate(groups).mean()
    spread = sum(size * (group.mean() - total) ** 2 for size, group in zip(sizes, groups, strict=True))
    usual = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(groups) - 1)
    return max(0.0, float((spread / (len(groups) - 1) - np.nan_to_num(within)) / usual)), within


def satterthwaite(first: float, n: float, second: float, m: float) -> float:
    """The degrees of freedom of the sum of two variances of n and m (Satterthwaite, 1946)."""
    total = first**2 / n + second**2 / m
    return (first + second) ** 2 / total if total > 0 else np.nan


def interquartile_mean(sample: Sample) -> float:
    """The mean without the lowest and the highest quarter, rounded down (Agarwal et al., 2021); NaN without values."""
    cut, end = len(sample) // 4, len(sample) - len(sample) // 4
    return float(np.partition(sample, (cut, end - 1))[cut:end].mean()) if len(sample) else np.nan


def probability_of_improvement(first: Sample, second: Sample) -> float:
    """How often a run of the second is better than a run of the first, ties counted half (Agarwal et al., 2021).

    0.5 is no difference, 1 is every run of the one better than every run of the other; NaN without runs.
    """
    if not len(first) or not len(second):
        return np.nan
    return float((np.sign(second[:, None] - first).mean() + 1) / 2)


def noise_floor(accuracy: float, images: int) -> float:
    """The binomial standard error of an accuracy that was measured on so many images."""
    return float(np.sqrt(accuracy * (1 - accuracy) / images)) if images else np.nan


def spread_p(first: Sample, second: Sample) -> float:
    """The two-sided p-value of the F-test that two samples have the same variance; NaN where one has none."""
    if min(len(first), len(second)) < FEWEST or min(np.ptp(first), np.ptp(second)) < EQUAL:
        return np.nan
    a, b = sorted([first, second], key=lambda sample: -sample.var(ddof=1))
    return min(1.0, 2 * float(fdtrc(len(a) - 1, len(b) - 1, a.var(ddof=1) / b.var(ddof=1))))


def outlier_p(sample: Sample) -> NDArray[np.float64]:
    """The p-value of the value that lies farthest from the mean (Grubbs, 1950), two-sided; NaN where there is none.

    Of several samples, the columns of (n, samples), that of each; NaN in them are left out.
    """
    known = ~np.isnan(sample)
    n, values = known.sum(axis=0), np.where(known, sample, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = np.where(known, np.abs(sample - values.sum(axis=0) / n), 0.0)
        g = away.max(axis=0) / np.sqrt((away**2).sum(axis=0) / (n - 1))
        rest = (n - 1) ** 2 - n * g**2
        t = np.sqrt(np.where(rest > 0, n * (n - 2) * g**2 / rest, np.inf))
        p = np.minimum(1.0, 2 * n * stdtr(n - 2, -t))
    reach = np.where(known, sample, -np.inf).max(axis=0) - np.where(known, sample, np.inf).min(axis=0)
    return np.asarray(np.where((n > FEWEST) & (reach >= EQUAL), p, np.nan))


def explained_p(values: Sample, groups: NDArray[np.int64]) -> float:
    """The p-value that values are the same in all groups, by their ranks (Kruskal and Wallis, 1952; ties corrected)."""
    n, known = len(values), np.unique(groups)
    if len(known) < 2 or np.ptp(values) == 0:
        return 1.0
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    between = sum((groups == one).sum() * (ranks[groups == one].mean() - (n + 1) / 2) ** 2 for one in known)
    statistic = 12 / (n * (n + 1)) * between / (1 - (count**3 - count).sum() / (n**3 - n))
    return float(chdtrc(len(known) - 1, statistic))


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
