"""How far the test images themselves are luck: what others of their kind would have changed.

A confirmation keeps which images it put into their class. Of R runs and N images that is a table of bits: its column
means say how hard each image is, and their variance over N is what drawing other images would add to the variance of
the mean. Where journals do not have the bits, and for measures that are other shares of images, the binomial variance
stands for it, which is more.
"""

import numpy as np
from numpy.typing import NDArray

from harness import catalogue
from harness.analysis.results import Results
from harness.analysis.samples import Sample, critical, noise_floor, satterthwaite, standard_error
from harness.analysis.units import by_unit, mean_of, overlap, sample_of, test_images
from harness.study.notes import FEWEST


def error(results: Results, row: int) -> float:
    """The standard error that other test images would add to a level's mean; NaN where it cannot be told."""
    study = results.study
    easy = _easiness(results, row)
    if easy is not None:
        return _error(easy)
    if not study.measure.binomial:
        return np.nan
    return noise_floor(mean_of(results, row, _figure(results)), test_images(results, row))


def interval(results: Results, row: int) -> tuple[float, float]:
    """The 95 % interval of a level's mean for new test images; NaN where it cannot be told.

    The luck of runs and of images add up: t sqrt(s^2 / n + s_images^2), with Satterthwaite's degrees of freedom.
    """
    if overlap(results.study, row) > 0:  # each seed has drawn its own
        return np.nan, np.nan
    return _interval(sample_of(results, row, _figure(results)), error(results, row), test_images(results, row))


def interval_of_difference(results: Results, first: int, second: int) -> tuple[float, float]:
    """The same of the difference of two levels, second minus first: most images are as hard for both."""
    one, two = _easiness(results, first), _easiness(results, second)
    if one is None or two is None or len(one) != len(two) or overlap(results.study, first) > 0:
        return np.nan, np.nan
    samples = (
        (by_unit(results, second, _figure(results)) - by_unit(results, first, _figure(results)))
        .dropna()
        .to_numpy(float)
    )
    return _interval(samples, _error(two - one), len(one))


def _interval(sample: Sample, of_images: float, images: int) -> tuple[float, float]:
    if len(sample) < FEWEST or not images or np.isnan(of_images):
        return np.nan, np.nan
    of_runs = float(np.nan_to_num(standard_error(sample)))
    half = critical(satterthwaite(of_runs**2, len(sample) - 1, of_images**2, images - 1)) * np.hypot(of_runs, of_images)
    return float(sample.mean() - half), float(sample.mean() + half)


def _figure(results: Results) -> str:
    return f"test_{results.study.metric}"


def _easiness(results: Results, row: int) -> Sample | None:
    """How often each test image was put into its class by a level's runs (N,); None where that was not kept."""
    study = results.study
    if study.metric != catalogue.task().metric or overlap(results.study, row) > 0:
        return None
    runs: list[NDArray[np.bool_]] = [hits for (level, _, _), hits in results.hits.items() if level == row]
    if not runs or len({len(hits) for hits in runs}) > 1:
        return None
    return np.asarray(np.mean(runs, axis=0, dtype=float))


def _error(by_image: Sample) -> float:
    return float(by_image.std(ddof=1) / np.sqrt(len(by_image))) if len(by_image) > 1 else np.nan
