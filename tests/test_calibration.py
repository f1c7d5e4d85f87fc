"""Whether the report's claims are true: coverage, error rates, power, false alarms, on figures as training gives them.

The quick forms; `make soak` repeats whole studies on the digits and prints what docs/fairness.md holds.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.analysis import read_results
from harness.analysis.samples import Sample, detectable, t_interval
from harness.parts.data import Data
from harness.study.file import read_study

from . import calibration
from .calibration import NOISE, STUDIES, World, alarms, coverage, differences, pure_noise, study_again, told_apart
from .conftest import SMALL, Tell
from .soak import times
from .test_search import drive

Write = Callable[[str], Path]
WORLDS = {
    "MNIST": World((9780.0,) * 5),
    "digits": World((340.0,) * 5, images=359, searches=2.0, seeds=1.5),
    "searches that differ much": World((9780.0,) * 5, searches=40.0),
}


def covered(interval_of: Callable[[Sample], tuple[float, float]], n: int, world: World, repetitions: int) -> float:
    """How often an interval over n searches of two seeds holds the true mean."""
    generator, hits = np.random.default_rng(n), 0
    truth = np.mean([world.draw(generator, 50, 50)[0].mean() for _ in range(200)])
    for _ in range(repetitions):
        low, high = interval_of(world.draw(generator, n, 2)[0].mean(axis=1))
        hits += low < truth < high
    return hits / repetitions


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_what_it_says(name: str, n: int) -> None:
    assert 0.93 <= covered(t_interval, n, WORLDS[name], 3000) <= 0.97


def test_the_check_fails_with_the_bootstrap() -> None:
    """As intervals were before: scipy's BCa, which is what they were equal to."""

    def bootstrap(sample: Sample) -> tuple[float, float]:
        return tuple(stats.bootstrap((sample,), np.mean, n_resamples=999, method="BCa", rng=0).confidence_interval)

    assert covered(bootstrap, 5, WORLDS["MNIST"], 400) < 0.9


@pytest.mark.parametrize("name", WORLDS)
def test_equal_values_are_told_apart_in_one_of_twenty_studies_at_most(name: str) -> None:
    generator, world = np.random.default_rng(0), WORLDS[name]
    wrong = np.mean([told_apart(world.draw(generator, 5, 2)).any() for _ in range(2000)])
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


def test_values_that_differ_in_their_spread_are_not_told_apart_more_often() -> None:
    generator = np.random.default_rng(0)
    draws = [
        np.concatenate([World((9780.0,), searches=sd, seeds=sd).draw(generator, 5, 2) for sd in (4, 8, 8, 12, 24)])
        for _ in range(2000)
    ]
    assert np.mean([told_apart(draw).any() for draw in draws]) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(("searches", "pairs"), [(5, 1), (5, 10), (10, 10)])
def test_what_is_called_detectable_is_detected(searches: int, pairs: int) -> None:
    """In 80 % of studies, whether or not the other values differ: two values of which one is better by that much."""
    world, generator = World((9700.0, 9700.0), searches=9.0, seeds=6.0), np.random.default_rng(1)
    error = np.sqrt(2 * (9.0**2 + 6.0**2 / 2) / searches)  # of a difference, in images
    better = World((9700.0, 9700.0 + detectable(error, searches, pairs)), searches=9.0, seeds=6.0)
    border = stats.t.ppf(1 - 0.05 / pairs / 2, searches - 1)
    units = [better.draw(generator, searches, 2).mean(axis=2) for _ in range(3000)]
    t = [abs(stats.ttest_rel(one[1], one[0]).statistic) for one in units]
    assert np.mean(np.array(t) > border) == pytest.approx(0.8, abs=0.03)
    assert world.images == better.images


def test_flags_are_false_alarms_in_one_of_ten_studies_at_most(write_study: Write, tmp_path: Path) -> None:
    """Where nothing makes a difference; of the larger budget where doubling it brings half of what matters."""
    drive(read_study(write_study(SMALL)), tmp_path / "journal.log")
    template = read_results(tmp_path / "journal.log")
    study, generator = read_study(write_study(NOISE)), np.random.default_rng(0)
    seen = alarms([pure_noise(study, template, generator, sd=2.5e-3) for _ in range(30)])
    assert (seen <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 30)).all(), seen
    wide = alarms([pure_noise(study, template, generator, sd=20e-3) for _ in range(5)])
    assert wide["larger budget"] == 1.0  # where it would bring something the flag is there


def test_whole_studies_cover_one_another(digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick form: nothing searched, twelve times."""
    monkeypatch.chdir(tmp_path)
    folder = Path("studies")
    several = [study_again("nothing searched", number, folder, digits) for number in range(12)]
    assert coverage(differences(several)) >= 10 / 12
    assert len({tuple(one.results.runs["seed"]) for one in several}) == 12


@pytest.mark.soak
@pytest.mark.parametrize("name", STUDIES)
def test_whole_studies_cover_one_another_forty_times(
    name: str, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    monkeypatch.chdir(tmp_path)
    several = [study_again(name, number, Path("studies"), digits) for number in range(max(3, times(40)))]
    held, itself = coverage(differences(several)), calibration.apart_from_itself(several)
    tell(f"coverage of the difference {held:.0%}, told apart from itself {itself:.1%}", studies=len(several))
    if len(several) < 40:
        return  # too few to tell
    assert held >= 0.9
    assert itself <= (0.06 if "trials" in name else 0.1)  # where nothing is searched ten seeds differ by themselves
