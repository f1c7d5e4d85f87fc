import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis import Results, find, read_results
from harness.analysis.samples import t_interval
from harness.analysis.tables import front
from harness.analysis.words import verdict
from harness.catalogue import figure
from harness.figures import difference, interval, number, text
from harness.study.published import Published
from harness.study.space import Choice, Range
from harness.study.study import Study

from .test_search import drive

ONCE = (
    "Each value is searched once: what its winner owes to the luck of that search no interval knows, and differences "
    "are between the winners that were found; budget.searches = 5 tells."
)
FEW = "With 2 seeds there are no intervals and no tests: at least 3 are needed."
ALWAYS = [ONCE, FEW]  # of the small study


@pytest.fixture
def results(small: Study, tmp_path: Path) -> Results:
    drive(small, tmp_path / "journal.log")
    return read_results(tmp_path / "journal.log")


def told_of(results: Results) -> list[str]:
    """The flags, but for that six trials are too few: of that there is a test of its own."""
    return [note for note in find(results).flags if "the second half" not in note]


def published(test_accuracy: tuple[float, ...]) -> Published:
    return Published.model_validate({"source": "x", "test_accuracy": test_accuracy})


def verdicts(table: pd.DataFrame) -> list[str]:
    return [verdict(cells, figure(cells["figure"]).unit) for _, cells in table.iterrows()]


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
    assert list(table.columns[:16]) == [
        *(
            "depth",
            "trials",
            "pruned",
            "failed",
            "searches",
            "seeds",
            "search_val_accuracy",
            "val_accuracy",
            "test_accuracy",
        ),
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
    assert verdicts(table) == ["as expected of a repetition", "higher by 5.00 points; no interval"]
    assert (table["low"][0], table["high"][0]) == pytest.approx(t_interval(np.array(sample)))
    half = stats.t.ppf(1 - 0.05 / 2 / 2, 3) * np.std(sample, ddof=1) * np.sqrt(1 / 4 + 1)  # two figures, one run each
    assert table["predicted_high"][0] - table["mean"][0] == pytest.approx(half)
    study = results.study.model_copy(update={"published": published((0.99, 0.9))})
    assert verdicts(find(replace(results, study=study)).published)[0] == "lower by 7.50 points"
    nothing = replace(results, study=study, runs=results.runs[results.runs["stage"] == "search"])
    assert verdicts(find(nothing).published) == ["not measured"] * 2


def test_class_table_adds_the_seeds_up(results: Results) -> None:
    counts = {(0, 0, 0): ((8, 2), (0, 10)), (0, 0, 1): ((6, 4), (1, 9)), (1, 0, 0): ((0, 0), (5, 5))}
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


def test_paired_table_takes_differences_seed_by_seed(results: Results) -> None:
    table = find(with_tests(results, [0.90, 0.80, 0.70], [0.91, 0.82, 0.73])).pairs
    assert len(table) == 1
    assert table["difference"][0] == pytest.approx(0.02)
    assert table["n"][0] == 3


def test_the_answer_claims_no_more_than_the_data_carry(results: Results) -> None:
    base = [0.90, 0.91, 0.92, 0.89, 0.90, 0.91, 0.93, 0.88]
    clear = find(with_tests(results, base, [value + 0.02 + 0.001 * i for i, value in enumerate(base)])).answer
    assert clear.startswith(
        "depth=2 had the highest mean test accuracy, 92.85 %, as found by one search (95 % interval "
    )
    assert "told apart from depth 1 (by 2.35 points, 2.15 to 2.55)." in clear
    assert "cannot" not in clear
    noisy = find(with_tests(results, base, [value + (-0.01) ** (i + 1) for i, value in enumerate(base)])).answer
    assert "depth 1 and 2 cannot be told apart." in noisy
    assert re.search(r"A true difference of 0\.\d\d points would have been seen in 80 % of such studies\.", noisy)
    two = find(with_tests(results, base[:2], [value + 0.05 for value in base[:2]])).answer
    assert "too few for an interval or a test" in two
    assert "(n = 1 seed, 1 of 2 runs missing, too few" in find(with_tests(results, [0.9], [0.8])).answer
    assert "no spread" in find(with_tests(results, [0.9] * 3, [0.8] * 3)).answer
    assert find(with_tests(results, base, base)).answer.startswith("depth 1 and 2 had the same highest mean")
    assert find(with_tests(results, base, [])).answer.endswith("depth 2 has no finished run.")
    assert "No answer yet" in find(with_tests(results)).answer


def test_what_is_missing_is_said(results: Results) -> None:
    assert told_of(results) == ALWAYS
    told = told_of(with_tests(results, [0.9]))
    assert "depth=1: 1 of 2 confirmation runs finished." in told
    assert "depth=2: 0 of 2 confirmation runs finished." in told


def test_trainings_that_were_cut_short_are_told(results: Results) -> None:
    runs = results.runs.copy()
    confirmed = (runs["stage"] == "confirm") & (runs["level"] == 1)
    runs.loc[confirmed, "best_epoch"] = runs.loc[confirmed, "epochs"]
    _, _, told = told_of(replace(results, runs=runs))
    assert told.startswith("depth=2: 2 of 2 confirmation runs were at their best when the limit of 4 epochs ended them")
    runs["best_epoch"] = runs["epochs"]
    *_, told = told_of(replace(results, runs=runs))
    assert told.startswith("depth 1 and 2: 4 of 4 confirmation runs were at their best"), "once for both"


def test_failures_are_told_with_their_reason(results: Results) -> None:
    runs = results.runs.copy()
    runs.loc[0, ["status", "reason"]] = ["failed", "Traceback\n  at line 3\nValueError: it broke"]
    told = told_of(replace(results, runs=runs))
    reason = "depth=1: 1 of 6 search trials (17 %) failed or diverged, the first with: ValueError: it broke"
    assert told == [*ALWAYS, reason]


def test_trainings_repeated_for_a_lost_worker_are_told(results: Results) -> None:
    runs = results.runs.copy()
    runs.loc[[0, 1], "retries"] = [1, 2]
    [_, _, repeated] = told_of(replace(results, runs=runs))
    assert repeated.startswith("depth=1: 2 of 6 search trials were trained again because a worker process was lost")
    assert "at most 2 times each" in repeated


def test_learning_table_has_mean_and_range(results: Results) -> None:
    table = find(results).learning
    assert set(table["kind"]) == {"train", "val"}
    assert (table["low"] <= table["mean"]).all()
    first = table[(table["level"] == 0) & (table["kind"] == "train") & (table["epoch"] == 2)].iloc[0]
    assert first["mean"] == pytest.approx(0.5)


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
        values = runs["val_accuracy"].fillna(runs["val_accuracy"].min()).astype(float)
        assert own["k"].tolist() == [1, 2, 3, 4, 5, 6]
        assert own["best"].tolist() == pytest.approx(values.cummax().tolist())
        assert own["expected"].iloc[-1] == own["best"].iloc[-1] == pytest.approx(values.max())
    assert table["low"].isna().all()  # one search


def test_the_band_of_the_search_is_that_of_its_repetitions(results: Results) -> None:
    runs = results.runs[results.runs["stage"] == "search"]
    several = pd.concat(
        [runs.assign(search=search, val_accuracy=runs["val_accuracy"] + shift) for search, shift in enumerate(SHIFTS)]
    )
    study = results.study.model_copy(update={"budget": results.study.budget.model_copy(update={"searches": 3})})
    table = find(replace(results, study=study, runs=several)).tuning
    one = find(results).tuning
    low, high = t_interval(np.array(SHIFTS))
    assert table["best"].tolist() == pytest.approx((one["best"] + np.mean(SHIFTS)).tolist())
    assert table["low"].tolist() == pytest.approx((one["best"] + low).tolist())
    assert table["high"].tolist() == pytest.approx((one["best"] + high).tolist())


SHIFTS = (0.0, 0.01, 0.05)


def test_lanes_of_the_timeline_do_not_overlap(results: Results) -> None:
    runs = results.runs.copy()
    runs["started"], runs["ended"] = 60.0 * (runs["number"] // 2), 60.0 * (runs["number"] // 2) + 90
    table = find(replace(results, runs=runs)).timeline
    assert len(table) == len(runs)
    for _, lane in table.sort_values("start").groupby(["level", "lane"]):
        assert (lane["start"].to_numpy()[1:] >= lane["end"].to_numpy()[:-1]).all()


def with_trials(results: Results, best: dict[str, float]) -> Results:
    """Search trials that are better the nearer their lr is to that of the winner, which is `best`."""
    generator, rows = np.random.default_rng(0), []
    first = results.runs[results.runs["stage"] == "search"].iloc[0].to_dict()
    for row, _ in enumerate(results.study.levels):
        for trial in range(40):
            lr = float(10 ** generator.uniform(-3, -1))
            value = 0.9 - 0.1 * abs(np.log10(lr) - np.log10(best["lr"]))
            rows.append(
                {
                    **first,
                    "level": row,
                    "depth": row + 1,
                    "number": trial,
                    "winner": False,
                    "lr": lr,
                    "val_accuracy": value,
                }
            )
        rows[-1] |= {**best, "winner": True, "val_accuracy": 0.95}
    table = pd.DataFrame(rows).assign(status="finished", optimizer="adam")
    return replace(results, runs=table.astype({"winner": bool}))


def edges(results: Results) -> list[str]:
    return [note for note in find(results).flags if " end of what was searched" in note]


def test_a_winner_at_the_edge_is_told_where_it_matters(results: Results) -> None:
    [told] = edges(with_trials(results, {"lr": 0.099}))
    assert told == (
        "depth 1 and 2: lr makes a difference, and the winners lie at the upper end of what was searched; something "
        "better may lie beyond."
    )
    assert "lower end" in edges(with_trials(results, {"lr": 0.00101}))[0]
    assert not edges(with_trials(results, {"lr": 0.01}))
    space = {"lr": results.study.tune["lr"], "width": Choice(values=(8, 16, 32)), "dropout": Range(low=0.0, high=0.5)}
    study = results.study.model_copy(update={"tune": space})
    wide = with_trials(replace(results, study=study), {"lr": 0.01, "width": 32, "dropout": 0.5})
    assert not edges(wide)  # whose values make no difference here
    runs = wide.runs.copy()
    runs["width"] = np.where(runs.groupby("level")["val_accuracy"].rank(pct=True) > 0.6, 32, 8)
    assert [note for note in edges(replace(wide, runs=runs)) if "width makes a difference" in note]


def test_a_search_that_still_brings_something_is_told(results: Results) -> None:
    runs = results.runs.copy()
    search = (runs["stage"] == "search") & (runs["level"] == 0)
    runs.loc[search, "status"], runs.loc[search, "val_accuracy"] = "finished", [0.5, 0.6, 0.7, 0.7, 0.7, 0.9]
    [told] = [note for note in find(replace(results, runs=runs)).flags if "second half" in note]
    assert told.startswith("depth 1 and 2: the second half of a search's 6 trials brought 1.44 to 10.00 points of val")
    runs.loc[search, "val_accuracy"] = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert not [
        note for note in find(replace(results, runs=runs)).flags if note.startswith("depth 1") and "second half" in note
    ]


def test_unequal_budgets_overfitting_and_another_data_set_are_told(results: Results) -> None:
    fewer = replace(results, runs=results.runs.drop(index=0))
    assert (
        "The budgets are not equal yet: 5 to 6 search trials; a value with more trials had more chances."
        in find(fewer).flags
    )
    runs = results.runs.assign(train_accuracy=1.0, test_accuracy=0.97, val_accuracy=0.97)
    assert not [note for note in find(replace(results, runs=runs)).flags if "overfit" in note]  # both alike
    runs.loc[runs["level"] == 1, "test_accuracy"] = 0.94
    [told] = [note for note in find(replace(results, runs=runs)).flags if "overfit" in note]
    assert told.startswith("Training is ahead of the test by 6.0 points for depth=2, by 3.0 points for depth=1:")
    counts = {(row, 0, 0): ((2000, 0), (0, 2000)) for row in (0, 1)}
    [far] = [note for note in find(replace(results, runs=runs, confusions=counts)).flags if "not of one kind" in note]
    assert far.startswith("depth=2: accuracy is 97.00 % on validation images and 94.00 % on test images")
    other = replace(results, study=results.study.model_copy(update={"written_for": "mnist"}))
    assert find(other).flags[0] == "Measured on digits; the study was written for mnist."


def test_what_the_spread_rests_on_is_told(results: Results) -> None:
    """Outliers, unequal spreads, no spread at all, nothing left to be better in."""
    usual = [0.950, 0.951, 0.949, 0.952, 0.948, 0.9505, 0.9495, 0.9515]
    collapsed = find(with_tests(results, [*usual[:-1], 0.11], usual)).flags
    assert [n for n in collapsed if n.startswith("depth=1: one of 8 confirmation runs measured 11.00 %, far from all")]
    wide = [0.95 + 40 * (value - 0.95) for value in usual]
    [spread] = [note for note in find(with_tests(results, usual, wide)).flags if "times as much" in note]
    assert spread.startswith("Runs of depth=2 spread 40.0 times as much as those of depth=1 (standard deviations 5.")
    equal = find(with_tests(results, usual, [0.95] * 8)).flags
    assert "depth 2: all runs measured the same; the test images are too few or too easy." in equal
    ceiling = replace(with_tests(results, usual, [1.0, 1.0, 0.999]), confusions={(1, 0, 0): ((50, 0), (0, 50))})
    assert "depth 2: within one image of perfect; there is nothing left to be better in." in find(ceiling).flags


def test_unequal_chances_are_told(results: Results) -> None:
    search = results.runs[results.runs["stage"] == "search"].iloc[0].to_dict()
    rows = [
        {**search, "level": row, "number": number, "status": "pruned" if number < pruned else "finished"}
        for row, pruned in enumerate((2, 22))
        for number in range(30)
    ]
    told = find(replace(results, runs=pd.DataFrame(rows))).flags
    assert (
        "The chances were not equal: 93 % of the trials of depth=1 came to their end, 27 % of those of depth=2; only "
        "such a trial can win." in told
    )


def test_a_lucky_winner_is_told_where_one_search_decides(results: Results) -> None:
    environment = {**results.environment, "data": "digits", "trainable": "1000"}
    known = with_trials(replace(results, environment=environment), {"lr": 0.01})
    known = replace(known, runs=known.runs.assign(val_accuracy=known.runs["val_accuracy"].clip(upper=0.91)))
    [told] = [note for note in find(known).flags if "is luck" in note]
    assert told.startswith("depth 1 and 2: the second best trial's validation accuracy lies within one standard error")
    runs = known.runs.assign(val_accuracy=np.where(known.runs["winner"], 0.99, 0.8))
    assert not [note for note in find(replace(known, runs=runs)).flags if "is luck" in note]


def test_other_readers_of_the_test_images_are_told(results: Results) -> None:
    told = told_of(replace(results, others=("a", "b")))
    assert told[-1].startswith("The same test images were read by 2 other studies of this folder (a, b): the best of")
