"""Statistics of small samples against scipy.stats, which takes too long to import to be used."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from harness.analysis import samples as own
from harness.analysis.samples import Sample


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
    for sample in samples(3, 32):
        if np.ptp(sample) > 0:
            expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
            assert own.t_interval(sample) == pytest.approx(tuple(expected))
            compared += 1
    assert compared > 100


def test_the_p_value_is_scipys() -> None:
    for sample in samples(3, 12):
        gaps = sample - sample[0] / 2
        error = np.array([own.standard_error(gaps)])
        p = own.t_p(np.array([gaps.mean()]), error, np.array([len(gaps) - 1]))
        if np.ptp(gaps) > 0:
            assert p[0] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)


@pytest.mark.parametrize("sample", [[], [0.9], [0.9, 0.8], [0.9, 0.9, 0.9], [0.9, 0.8, np.nan], [0.1 + 0.2, 0.3, 0.3]])
def test_too_little_is_known_to_say_anything(sample: list[float]) -> None:
    """Below three values, and of values that are equal but for the rounding of sums: no interval, never of width 0."""
    assert np.isnan(own.t_interval(np.array(sample))).all()


def test_pooled_test_images_widen_the_interval() -> None:
    """By Nadeau and Bengio's factor: at n = 10 and a seventh tested 1.63 times."""
    sample = np.random.default_rng(0).normal(0.9, 0.01, 10)
    widths = [np.subtract(*own.t_interval(sample, overlap)[::-1]) for overlap in (0.0, 1 / 6)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt((1 / 10 + 1 / 6) / (1 / 10)))


def test_holm_gives_the_textbooks_figures() -> None:
    """0.01, 0.04, 0.03, 0.005 with four tests, as R's p.adjust documents it: 0.03, 0.06, 0.06, 0.02."""
    corrected = own.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])
    with_gap = own.holm(np.array([0.01, np.nan, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(with_gap, [0.03, np.nan, 0.06, 0.06, 0.02])


def test_interval_and_p_never_disagree() -> None:
    """What Holm tells apart from 0 has an interval without it, what he does not has one that holds it."""
    generator = np.random.default_rng(1)
    clear = 0
    for _ in range(300):
        n = np.full(6, generator.integers(3, 12), float)
        mean, error = generator.normal(0, 3, 6), generator.uniform(0.2, 2, 6)
        error[0] = np.nan if generator.random() < 0.3 else error[0]
        family = own.holm_family(mean, error, n)
        told = family.p_holm < 0.05
        known = ~np.isnan(error)
        outside = (family.low >= 0) | (family.high <= 0)
        assert (told == outside)[known].all()
        assert (family.low < family.high)[known].all()
        assert np.isnan(family.low[~known]).all()
        clear += told.sum()
    assert clear > 100


def test_what_can_be_detected_is_detected_in_four_of_five() -> None:
    generator = np.random.default_rng(2)
    n, comparisons = 5, 10
    shift = own.detectable(1 / np.sqrt(n), n, comparisons)
    draws = generator.normal(shift, 1, (20_000, n))
    t = np.abs(draws.mean(1)) / (draws.std(1, ddof=1) / np.sqrt(n))
    assert (t > own.critical(n - 1, 0.05 / comparisons)).mean() == pytest.approx(0.8, abs=0.01)
    assert np.isnan(own.detectable(np.nan, 5, 1))


def test_variance_is_divided_as_it_was_made() -> None:
    generator = np.random.default_rng(3)
    parts = []
    for _ in range(400):
        searches = generator.normal(0, 3, 5)
        parts.append(own.variance_components([search + generator.normal(0, 1, 4) for search in searches]))
    between, within = np.mean(parts, axis=0)
    assert between == pytest.approx(9, rel=0.1)
    assert within == pytest.approx(1, rel=0.1)
    assert np.isnan(own.variance_components([np.array([1.0, 2.0])])[0])
    assert np.isnan(own.variance_components([np.array([1.0]), np.array([2.0])])[1])


def test_spreads_are_compared_by_scipys_f() -> None:
    one, two = (np.random.default_rng(4).normal(0, sd, size) for sd, size in ((1, 6), (4, 9)))
    f = two.var(ddof=1) / one.var(ddof=1)
    assert own.spread_p(one, two) == pytest.approx(2 * stats.f.sf(f, 8, 5))
    assert np.isnan(own.spread_p(one, np.full(5, 0.3)))


def test_an_outlier_is_as_rare_as_grubbs_says() -> None:
    generator = np.random.default_rng(5)
    found = np.mean([own.outlier_p(generator.normal(0, 1, 8)) < 0.05 for _ in range(4000)])
    assert found == pytest.approx(0.05, abs=0.012)
    assert own.outlier_p(np.array([0.97, 0.971, 0.972, 0.969, 0.97, 0.971, 0.11])) < 1e-6


def test_ranks_are_compared_by_scipys_kruskal() -> None:
    generator = np.random.default_rng(6)
    values, groups = generator.integers(0, 9, 30).astype(float), generator.integers(0, 3, 30)
    expected = stats.kruskal(*(values[groups == group] for group in range(3))).pvalue
    assert own.explained_p(values, groups) == pytest.approx(expected)
    assert own.explained_p(values, np.zeros(30, int)) == own.explained_p(np.ones(30), groups) == 1.0


def test_the_interquartile_mean_is_scipys() -> None:
    for sample in samples(1, 32):
        assert own.interquartile_mean(sample) == stats.trim_mean(sample, 0.25)
    assert own.interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -100])) == pytest.approx(np.mean([2, 3, 4, 5]))
    assert np.isnan(own.interquartile_mean(np.array([])))


def test_expected_best_is_the_mean_over_all_draws() -> None:
    values = np.array([0.3, 0.9, 0.5, 0.7, 0.5])
    by_hand = [np.mean([max(draw) for draw in combinations(values, k)]) for k in range(1, 6)]
    np.testing.assert_allclose(own.expected_best(values), by_hand)
    assert len(own.expected_best(np.array([]))) == 0


def test_expected_best_of_many_is_a_number() -> None:
    curve = own.expected_best(np.random.default_rng(0).random(500))
    assert (np.diff(curve) > 0).all()
    assert curve[-1] == pytest.approx(np.random.default_rng(0).random(500).max())


def test_probability_of_improvement_is_mann_whitneys() -> None:
    generator = np.random.default_rng(0)
    one, two = generator.integers(0, 6, 9).astype(float), generator.integers(1, 8, 7).astype(float)
    expected = stats.mannwhitneyu(two, one).statistic / (9 * 7)
    assert own.probability_of_improvement(one, two) == pytest.approx(expected)
    assert own.probability_of_improvement(one, one) == 0.5
    assert np.isnan(own.probability_of_improvement(one, np.array([])))


def test_the_noise_floor_of_mnist() -> None:
    assert 100 * own.noise_floor(0.985, 10_000) == pytest.approx(0.12, abs=0.005)
