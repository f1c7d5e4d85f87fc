from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from harness.analysis import Results, find, read_results
from harness.analysis.samples import (
    expected_best,
    expected_best_interval,
    holm,
    interquartile_mean,
    mean_interval,
    noise_floor,
    paired_p,
    probability_of_improvement,
    smallest_sample,
)
from harness.analysis.tables import front
from harness.analysis.words import verdict
from harness.catalogue import figure
from harness.figures import difference, interval, number, text
from harness.study.space import Choice, Range
from harness.study.study import Published, Study

from .test_search import drive

FEW = "2 seeds can never make a difference significant: at least 6 are needed for one comparison."


@pytest.fixture
def results(small: Study, tmp_path: Path) -> Results:
    drive(small, tmp_path / "journal.log")
    return read_results(tmp_path / "journal.log")


def published(test_accuracy: tuple[float, ...]) -> Published:
    return Published.model_validate({"source": "x", "test_accuracy": test_accuracy})


def verdicts(table: pd.DataFrame) -> list[str]:
    return [verdict(cells) for _, cells in table.iterrows()]


def with_tests(results: Results, *levels: list[float]) -> Results:
    """The same study with these test figures, a list for each level."""
    confirm, test = results.runs[results.runs["stage"] == "confirm"].iloc[0].to_dict(), f"test_{results.study.metric}"
    rows = [
        {**confirm, "level": row, "number": number, "seed": number + 1, test: value}
        for row, values in enumerate(levels)
        for number, value in enumerate(values)
    ]
    search = results.runs[results.runs["stage"] == "search"]
    return replace(results, runs=pd.concat([search, pd.DataFrame(rows)], ignore_index=True))


def test_compare_table_counts_what_the_journal_holds(results: Results) -> None:
    table = find(results).table
    assert list(table.columns[:15]) == [
        *("depth", "trials", "pruned", "failed", "seeds", "search_val_accuracy", "val_accuracy", "test_accuracy"),
        *("test_accuracy_low", "test_accuracy_high", "train_accuracy", "epochs", "seconds", "parameters"),
        "published_test_accuracy",
    ]
    assert table["depth"].tolist() == [1, 2]
    assert table["trials"].tolist() == [6, 6]
    assert table["seeds"].tolist() == [2, 2]
    confirmed = results.runs[(results.runs["stage"] == "confirm") & (results.runs["level"] == 0)]
    assert table["test_accuracy"][0] == pytest.approx(confirmed["test_accuracy"].mean())
    winner = results.runs[(results.runs["level"] == 0) & results.runs["winner"].astype(bool)].iloc[0]
    assert float(table["lr"][0]) == pytest.approx(winner["lr"], rel=1e-3)
    assert table["momentum"][0] == "" or table["optimizer"][0] == "sgd"


def test_published_figures_get_a_verdict(results: Results) -> None:
    sample = [0.90, 0.91, 0.92, 0.93]
    results = with_tests(results, sample, [0.95])
    study = results.study.model_copy(update={"published": published((0.9125, 0.90))})
    table = find(replace(results, study=study)).published
    assert table["published"].tolist() == [0.9125, 0.90]
    assert table["n"].tolist() == [4, 1]
    assert table["mean"].tolist() == pytest.approx([0.915, 0.95])
    assert table["difference"].tolist() == pytest.approx([0.0025, 0.05])
    assert verdicts(table) == ["inside the interval", "higher by 5.00 points; one seed has no interval"]
    assert (table["low"][0], table["high"][0]) == mean_interval(np.array(sample))
    study = results.study.model_copy(update={"published": published((0.99, 0.9))})
    assert verdicts(find(replace(results, study=study)).published)[0] == "lower by 7.50 points"
    nothing = replace(results, study=study, runs=results.runs[results.runs["stage"] == "search"])
    assert verdicts(find(nothing).published) == ["not measured"] * 2


def test_class_table_adds_the_seeds_up(results: Results) -> None:
    counts = {(0, 0): ((8, 2), (0, 10)), (0, 1): ((6, 4), (1, 9)), (1, 0): ((0, 0), (5, 5))}
    table = find(replace(results, confusions=counts)).classes.set_index(["level", "true", "predicted"])
    assert table["count"].tolist() == [14, 6, 1, 19, 0, 0, 5, 5]
    assert table["share"].tolist() == pytest.approx([0.7, 0.3, 0.05, 0.95, 0, 0, 0.5, 0.5])


def test_figures_have_their_units() -> None:
    units = [figure(name).unit for name in ("test_accuracy", "val_loss", "seconds", "best_epoch", "parameters")]
    assert [difference(1.0, unit) for unit in units] == ["100.00 points", "1.0000 nats", "1.0 s", "1.0 epochs", "1"]
    assert [text(1234.5678, unit) for unit in units[1:]] == ["1234.5678 nats", "1234.6 s", "1234.6 epochs", "1,235"]
    assert [number(0.0123, unit, "+") for unit in units[:3]] == ["+1.23", "+0.0123", "+0.012"]
    assert interval(0.91, 0.925, units[0]) == "91.00 to 92.50"
    unknown = [text(np.nan, units[0]), interval(np.nan, np.nan, units[0]), difference(np.nan, units[0])]
    assert unknown == ["–", "–", "–"]


def test_mean_interval_covers_the_true_mean() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        low, high = mean_interval(generator.normal(5.0, 1.0, 20))
        hits += low < 5.0 < high
    assert hits >= 52  # nominally 57; 52 is more than three standard deviations below


def test_mean_interval_of_next_to_nothing() -> None:
    assert np.isnan(mean_interval(np.array([0.5]))).all()
    assert np.isnan(mean_interval(np.array([]))).all()
    assert mean_interval(np.array([0.5, 0.5, 0.5])) == (0.5, 0.5)


def test_holm_gives_the_textbooks_figures() -> None:
    """0.01, 0.04, 0.03, 0.005 with four tests, as R's p.adjust documents it: 0.03, 0.06, 0.06, 0.02."""
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])


def test_signed_rank_is_exact_over_all_signs() -> None:
    gaps = np.array([0.3, -0.1, 0.5, 0.2, 0.7, 0.4])
    ranks = scipy_stats.rankdata(np.abs(gaps))
    observed = abs((ranks * np.sign(gaps)).sum())
    sums = [abs((ranks * signs).sum()) for signs in product([-1, 1], repeat=6)]
    by_hand = np.mean([total >= observed - 1e-9 for total in sums])
    assert paired_p(gaps) == pytest.approx(by_hand)
    assert paired_p(np.zeros(5)) == 1.0


def test_paired_table_takes_differences_seed_by_seed(results: Results) -> None:
    table = find(with_tests(results, [0.90, 0.80, 0.70], [0.91, 0.82, 0.73])).pairs
    assert len(table) == 1
    assert table["difference"][0] == pytest.approx(0.02)
    assert table["n"][0] == 3


def test_the_answer_claims_no_more_than_the_data_carry(results: Results) -> None:
    base = [0.90, 0.91, 0.92, 0.89, 0.90, 0.91, 0.93, 0.88]
    clear = find(with_tests(results, base, [value + 0.02 + 0.001 * i for i, value in enumerate(base)])).answer
    assert clear.startswith("depth=2 had the highest mean test accuracy, 92.85 %")
    assert "told apart from depth 1" in clear
    assert "cannot" not in clear
    noisy = find(with_tests(results, base, [value + (-0.01) ** (i + 1) for i, value in enumerate(base)])).answer
    assert "cannot be told apart" in noisy
    three = find(with_tests(results, base[:3], [value + 0.05 for value in base[:3]])).answer
    assert "cannot be told apart" in three  # three pairs can never be significant
    assert "one run has no spread" in find(with_tests(results, [0.9], [0.8])).answer
    assert "No answer yet" in find(with_tests(results)).answer


def test_what_is_missing_is_said(results: Results) -> None:
    assert find(results).flags == [FEW]
    told = find(with_tests(results, [0.9])).flags
    assert "depth=1: 1 of 2 confirmation runs finished." in told
    assert "depth=2: 0 of 2 confirmation runs finished." in told


def test_trainings_that_were_cut_short_are_told(results: Results) -> None:
    runs = results.runs.copy()
    confirmed = (runs["stage"] == "confirm") & (runs["level"] == 1)
    runs.loc[confirmed, "best_epoch"] = runs.loc[confirmed, "epochs"]
    _, told = find(replace(results, runs=runs)).flags
    assert told.startswith("depth=2: 2 of 2 confirmation runs were at their best when the limit of 4 epochs ended them")


def test_failures_are_told_with_their_reason(results: Results) -> None:
    runs = results.runs.copy()
    runs.loc[0, ["status", "reason"]] = ["failed", "Traceback\n  at line 3\nValueError: it broke"]
    told = find(replace(results, runs=runs)).flags
    reason = "depth=1: 1 of 6 search trials (17 %) failed or diverged, the first with: ValueError: it broke"
    assert told == [FEW, reason]


def test_trainings_repeated_for_a_lost_worker_are_told(results: Results) -> None:
    runs = results.runs.copy()
    runs.loc[[0, 1], "retries"] = [1, 2]
    [_, repeated] = find(replace(results, runs=runs)).flags
    assert repeated.startswith("depth=1: 2 of 6 search trials were trained again because a worker process was lost")
    assert "at most 2 times each" in repeated


def test_learning_table_has_mean_and_range(results: Results) -> None:
    table = find(results).learning
    assert set(table["kind"]) == {"train", "val"}
    assert (table["low"] <= table["mean"]).all()
    first = table[(table["level"] == 0) & (table["kind"] == "train") & (table["epoch"] == 2)].iloc[0]
    assert first["mean"] == pytest.approx(0.5)


def test_expected_best_is_the_mean_over_all_draws() -> None:
    values = np.array([0.3, 0.9, 0.5, 0.7, 0.5])
    by_hand = [np.mean([max(draw) for draw in combinations(values, k)]) for k in range(1, 6)]
    np.testing.assert_allclose(expected_best(values), by_hand)
    assert len(expected_best(np.array([]))) == 0


def test_expected_best_of_many_is_a_number() -> None:
    curve = expected_best(np.random.default_rng(0).random(500))
    assert (np.diff(curve) > 0).all()
    assert curve[-1] == pytest.approx(np.random.default_rng(0).random(500).max())


def test_the_band_of_expected_best_holds_the_curve() -> None:
    values = np.random.default_rng(0).random(30)
    low, high = expected_best_interval(values)
    assert (low <= expected_best(values)).all()
    assert (expected_best(values)[:-5] <= high[:-5] + 1e-9).all()
    assert (low < high).all()


def test_probability_of_improvement_is_mann_whitneys() -> None:
    generator = np.random.default_rng(0)
    one, two = generator.integers(0, 6, 9).astype(float), generator.integers(1, 8, 7).astype(float)
    expected = scipy_stats.mannwhitneyu(two, one).statistic / (9 * 7)
    assert probability_of_improvement(one, two) == pytest.approx(expected)
    assert probability_of_improvement(one, one) == 0.5
    assert np.isnan(probability_of_improvement(one, np.array([])))


def test_interquartile_mean_leaves_a_quarter_out_at_each_end() -> None:
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -100])) == pytest.approx(np.mean([2, 3, 4, 5]))
    assert np.isnan(interquartile_mean(np.array([])))


def test_the_noise_floor_of_mnist() -> None:
    assert 100 * noise_floor(0.985, 10_000) == pytest.approx(0.12, abs=0.005)


@pytest.mark.parametrize(("comparisons", "needed"), [(1, 6), (2, 7), (10, 9)])
def test_the_smallest_sample_is_the_first_that_can_be_significant(comparisons: int, needed: int) -> None:
    assert smallest_sample(comparisons) == needed
    p = [scipy_stats.wilcoxon(np.arange(1.0, n + 1), method="exact").pvalue for n in (needed - 1, needed)]
    assert comparisons * p[0] >= 0.05 > comparisons * p[1]


def test_gaps_are_taken_seed_by_seed(results: Results) -> None:
    results = with_tests(results, [0.9, 0.8], [0.7])
    runs = results.runs.assign(train_loss=0.1, test_loss=[0.3] * (len(results.runs) - 1) + [0.2], train_accuracy=0.95)
    table = find(replace(results, runs=runs)).gaps
    assert table["n"].tolist() == [2, 1]
    assert table["loss_gap"].tolist() == pytest.approx([0.2, 0.1])
    assert table["accuracy_gap"].tolist() == pytest.approx([0.1, 0.25])
    assert np.isnan(table["loss_gap_low"][1])


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("ece", -1)])
def test_the_front_holds_what_nothing_beats(metric: str, sign: int, small: Study) -> None:
    tests = [sign * value for value in (0.8, 0.7, 0.75, 0.8, np.nan)]
    table = pd.DataFrame({"seconds": [3.0, 1, 2, 4, 2], f"test_{metric}": tests})
    study = small.model_copy(update={"metric": metric})
    assert front(study, table, "seconds").index.tolist() == [1, 2, 0]


def test_tuning_table_follows_the_search(results: Results) -> None:
    table = find(results).tuning
    for level in (0, 1):
        own = table[table["level"] == level]
        runs = results.runs[(results.runs["level"] == level) & (results.runs["stage"] == "search")]
        values = runs["val_accuracy"].where(runs["status"] == "finished", 0.0).astype(float)
        assert own["k"].tolist() == [1, 2, 3, 4, 5, 6]
        assert own["best"].tolist() == pytest.approx(values.cummax().tolist())
        assert own["expected"].iloc[-1] == own["best"].iloc[-1] == pytest.approx(values.max())
    assert table["low"].isna().all()  # tpe's trials depend on one another
    independent = results.study.model_copy(
        update={"search": results.study.search.model_copy(update={"sampler": "random"})}
    )
    assert find(replace(results, study=independent)).tuning["low"].notna().all()


def test_lanes_of_the_timeline_do_not_overlap(results: Results) -> None:
    runs = results.runs.copy()
    runs["started"], runs["ended"] = 60.0 * (runs["number"] // 2), 60.0 * (runs["number"] // 2) + 90
    table = find(replace(results, runs=runs)).timeline
    assert len(table) == len(runs)
    for _, lane in table.sort_values("start").groupby(["level", "lane"]):
        assert (lane["start"].to_numpy()[1:] >= lane["end"].to_numpy()[:-1]).all()


def winner_with(results: Results, **values: float) -> Results:
    runs = results.runs.copy()
    for key, value in values.items():
        runs.loc[runs["winner"].astype(bool), key] = value
    return replace(results, runs=runs)


def test_a_winner_at_the_edge_is_told(results: Results) -> None:
    told = find(winner_with(results, lr=0.1)).flags
    assert told[-1].startswith("depth 1 and 2: the winners' lr = 0.1 lies at the upper end of what was searched")
    assert any("lr = 0.001 lies at the lower end" in note for note in find(winner_with(results, lr=0.001)).flags)
    assert find(winner_with(results, lr=0.01)).flags == [FEW]
    space = {"width": Choice(values=(8, 16, 32)), "dropout": Range(low=0.0, high=0.5)}
    study = results.study.model_copy(update={"tune": space})
    wide = find(winner_with(replace(results, study=study), width=32, dropout=0.0)).flags
    assert [note for note in wide if "width = 32 lies at the upper end" in note]
    assert not [note for note in wide if "dropout" in note]  # nothing lies below 0


def test_a_search_that_was_still_rising_is_told(results: Results) -> None:
    runs = results.runs.copy()
    search = (runs["stage"] == "search") & (runs["level"] == 0)
    runs.loc[search, "status"], runs.loc[search, "val_accuracy"] = "finished", [0.5, 0.6, 0.7, 0.7, 0.7, 0.9]
    told = find(replace(results, runs=runs)).flags
    assert told[-1].startswith("depth=1: its best trial was still rising at the end of the search, by 20.00 points")
    runs.loc[search, "val_accuracy"] = [0.9, 0.6, 0.7, 0.7, 0.7, 0.9]
    assert not [note for note in find(replace(results, runs=runs)).flags if note.startswith("depth=1")]


def test_unequal_budgets_overfitting_and_another_data_set_are_told(results: Results) -> None:
    fewer = replace(results, runs=results.runs.drop(index=0))
    assert (
        "The budgets are not equal yet: 5 to 6 search trials; a value with more trials had more chances."
        in find(fewer).flags
    )
    over = replace(results, runs=results.runs.assign(train_accuracy=1.0, test_accuracy=0.97))
    assert (
        "depth=2: training accuracy 100.00 % against 97.00 % on the test set: it overfits by 3.0 points."
        in find(over).flags
    )
    other = replace(results, study=results.study.model_copy(update={"written_for": "mnist"}))
    assert find(other).flags[0] == "Measured on digits; the study was written for mnist."
