from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from harness import stats
from harness.search.results import Results, read_results
from harness.study import Published, Study

from .test_search import drive


@pytest.fixture
def results(small: Study, tmp_path: Path) -> Results:
    drive(small, tmp_path / "journal.log")
    return read_results(tmp_path / "journal.log")


def with_tests(results: Results, *levels: list[float]) -> Results:
    """The same study with these test accuracies, a list for each level."""
    confirm = results.runs[results.runs["stage"] == "confirm"].iloc[0].to_dict()
    rows = [
        {**confirm, "level": place, "number": number, "seed": number + 1, "test_accuracy": value}
        for place, values in enumerate(levels)
        for number, value in enumerate(values)
    ]
    search = results.runs[results.runs["stage"] == "search"]
    return replace(results, runs=pd.concat([search, pd.DataFrame(rows)], ignore_index=True))


def test_compare_table_counts_what_the_journal_holds(results: Results) -> None:
    table = stats.compare_table(results)
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
    study = results.study.model_copy(update={"published": Published(source="x", test_accuracy=(0.9125, 0.90))})
    table = stats.published_table(replace(results, study=study))
    assert table["published"].tolist() == [0.9125, 0.90]
    assert table["n"].tolist() == [4, 1]
    assert table["mean"].tolist() == pytest.approx([0.915, 0.95])
    assert table["difference"].tolist() == pytest.approx([0.0025, 0.05])
    assert table["verdict"].tolist() == ["inside the interval", "higher by 5.00 points; one seed has no interval"]
    assert (table["low"][0], table["high"][0]) == stats.mean_interval(np.array(sample))
    study = results.study.model_copy(update={"published": Published(source="x", test_accuracy=(0.99, 0.9))})
    assert stats.published_table(replace(results, study=study))["verdict"][0] == "lower by 7.50 points"
    nothing = replace(results, study=study, runs=results.runs[results.runs["stage"] == "search"])
    assert stats.published_table(nothing)["verdict"].tolist() == ["not measured"] * 2


def test_class_table_adds_the_seeds_up(results: Results) -> None:
    counts = {(0, 0): ((8, 2), (0, 10)), (0, 1): ((6, 4), (1, 9)), (1, 0): ((0, 0), (5, 5))}
    table = stats.class_table(replace(results, confusions=counts)).set_index(["level", "true", "predicted"])
    assert table["count"].tolist() == [14, 6, 1, 19, 0, 0, 5, 5]
    assert table["share"].tolist() == pytest.approx([0.7, 0.3, 0.05, 0.95, 0, 0, 0.5, 0.5])


def test_differences_have_their_units() -> None:
    words = [stats.difference_in_words(name, 1.0) for name in ("test_accuracy", "val_loss", "seconds", "best_epoch")]
    assert words == ["100.00 points", "1.0000 nats", "1.0 s", "1.0 epochs"]


def test_mean_interval_covers_the_true_mean() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        low, high = stats.mean_interval(generator.normal(5.0, 1.0, 20))
        hits += low < 5.0 < high
    assert hits >= 52  # nominally 57; 52 is more than three standard deviations below


def test_mean_interval_of_next_to_nothing() -> None:
    assert np.isnan(stats.mean_interval(np.array([0.5]))).all()
    assert np.isnan(stats.mean_interval(np.array([]))).all()
    assert stats.mean_interval(np.array([0.5, 0.5, 0.5])) == (0.5, 0.5)


def test_holm_gives_the_textbooks_figures() -> None:
    """0.01, 0.04, 0.03, 0.005 with four tests, as R's p.adjust documents it: 0.03, 0.06, 0.06, 0.02."""
    corrected = stats.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02])


def test_signed_rank_is_exact_over_all_signs() -> None:
    gaps = np.array([0.3, -0.1, 0.5, 0.2, 0.7, 0.4])
    ranks = scipy_stats.rankdata(np.abs(gaps))
    observed = abs((ranks * np.sign(gaps)).sum())
    sums = [abs((ranks * signs).sum()) for signs in product([-1, 1], repeat=6)]
    by_hand = np.mean([total >= observed - 1e-9 for total in sums])
    assert stats._signed_rank(gaps) == pytest.approx(by_hand)
    assert stats._signed_rank(np.zeros(5)) == 1.0


def test_paired_table_takes_differences_seed_by_seed(results: Results) -> None:
    table = stats.paired_table(with_tests(results, [0.90, 0.80, 0.70], [0.91, 0.82, 0.73]))
    assert len(table) == 1
    assert table["difference"][0] == pytest.approx(0.02)
    assert table["n"][0] == 3


def test_the_answer_claims_no_more_than_the_data_carry(results: Results) -> None:
    base = [0.90, 0.91, 0.92, 0.89, 0.90, 0.91, 0.93, 0.88]
    clear = stats.answer(with_tests(results, base, [value + 0.02 + 0.001 * i for i, value in enumerate(base)]))
    assert clear.startswith("depth=2 had the highest mean test accuracy, 92.85 %")
    assert "told apart from depth 1" in clear
    assert "cannot" not in clear
    noisy = stats.answer(with_tests(results, base, [value + (-0.01) ** (i + 1) for i, value in enumerate(base)]))
    assert "cannot be told apart" in noisy
    three = stats.answer(with_tests(results, base[:3], [value + 0.05 for value in base[:3]]))
    assert "cannot be told apart" in three  # three pairs can never be significant
    assert "one run has no spread" in stats.answer(with_tests(results, [0.9], [0.8]))
    assert "No answer yet" in stats.answer(with_tests(results))


def test_what_is_missing_is_said(results: Results) -> None:
    assert stats.caveats(results) == []
    told = stats.caveats(with_tests(results, [0.9]))
    assert "depth=1: 1 of 2 confirmation runs finished." in told
    assert "depth=2: 0 of 2 confirmation runs finished." in told


def test_trainings_that_were_cut_short_are_told(results: Results) -> None:
    runs = results.runs.copy()
    confirmed = (runs["stage"] == "confirm") & (runs["level"] == 1)
    runs.loc[confirmed, "best_epoch"] = runs.loc[confirmed, "epochs"]
    [told] = stats.caveats(replace(results, runs=runs))
    assert told.startswith("depth=2: 2 of 2 confirmation runs were at their best when the limit of 4 epochs ended them")


def test_failures_are_told_with_their_reason(results: Results) -> None:
    runs = results.runs.copy()
    runs.loc[0, ["status", "reason"]] = ["failed", "Traceback\n  at line 3\nValueError: it broke"]
    told = stats.caveats(replace(results, runs=runs))
    assert told == ["depth=1: 1 of 6 search trials failed or diverged, the first with: ValueError: it broke"]


def test_learning_table_has_mean_and_range(results: Results) -> None:
    table = stats.learning_table(results)
    assert set(table["kind"]) == {"train", "val"}
    assert (table["low"] <= table["mean"]).all()
    first = table[(table["level"] == 0) & (table["kind"] == "train") & (table["epoch"] == 2)].iloc[0]
    assert first["mean"] == pytest.approx(0.5)
