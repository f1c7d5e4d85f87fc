"""Statistics of small samples against scipy.stats, to the last bit; it takes too long to import to be used."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from harness.analysis.samples import CONFIDENCE, RESAMPLES, Sample, interquartile_mean, mean_interval, paired_p


def samples(least: int, most: int) -> Iterator[Sample]:
    """Of all kinds: from a distribution, rounded so that values are equal, and shares of 360 images."""
    generator = np.random.default_rng(0)
    for size in range(least, most):
        yield generator.normal(0.3, 1, size)
        yield generator.uniform(0.9, 0.95, size)
        yield np.round(generator.normal(0.3, 1, size), 1)
        yield np.round(generator.uniform(0.9, 0.95, size) * 360) / 360


def test_the_interval_is_scipys() -> None:
    compared = 0
    for sample in samples(2, 32):
        if np.ptp(sample) == 0:
            continue
        generator = np.random.default_rng(0)
        keys = {"confidence_level": CONFIDENCE, "n_resamples": RESAMPLES, "method": "BCa", "rng": generator}
        assert mean_interval(sample) == tuple(stats.bootstrap((sample,), np.mean, **keys).confidence_interval)
        compared += 1
    assert compared > 100


def test_the_interquartile_mean_is_scipys() -> None:
    for sample in samples(1, 32):
        assert interquartile_mean(sample) == stats.trim_mean(sample, 0.25)


def test_the_p_value_is_that_of_all_signs() -> None:
    """scipy tries them one by one."""
    for sample in samples(2, 9):
        gaps = sample - 0.9 if sample.min() > 0.85 else np.round(sample)
        if gaps.any():
            every = stats.PermutationMethod(n_resamples=2 ** len(gaps))
            assert paired_p(gaps) == stats.wilcoxon(gaps, zero_method="pratt", method=every).pvalue


@pytest.mark.parametrize("size", [15, 30, 100])
def test_the_p_value_of_many_is_exact(size: int) -> None:
    gaps = np.random.default_rng(size).normal(0.3, 1, size)
    assert paired_p(gaps) == pytest.approx(stats.wilcoxon(gaps, method="exact").pvalue, rel=1e-12)


def test_too_little_is_known_to_say_anything() -> None:
    assert np.isnan(mean_interval(np.array([0.9]))).all()
    assert np.isnan(mean_interval(np.array([0.9, np.nan]))).all()
    assert mean_interval(np.array([0.9, 0.9])) == (0.9, 0.9)
    assert np.isnan(paired_p(np.array([])))
    assert np.isnan(paired_p(np.array([0.1, np.nan])))
    assert paired_p(np.array([0.1])) == paired_p(np.zeros(5)) == 1
    assert np.isnan(interquartile_mean(np.array([])))
