"""Time to target: `[claim] reach`, when confirmation runs were there, and what the page says of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from harness import report
from harness.analysis import Findings, find, read_results
from harness.analysis.samples import median_interval
from harness.errors import UserError
from harness.study.file import read_study
from harness.study.settle import settled
from harness.study.study import About, Study
from harness.tracking.mlflow.entries import arrival_metrics
from harness.trial import Epoch, Outcome, Trial

from .conftest import SMALL, make_trial
from .test_search import drive, figures, made_up

Write = Callable[..., Path]
PLAIN = """
dataset = "digits"
[compare]
depth = [1, 2, 3]
[fixed]
epochs = 12
[budget]
seeds = 7
[claim]
reach = 90
"""


def arriving(trial: Trial) -> Outcome:
    """Of depth 1 seed k reaches exactly 90 %, as float32 has it, with epoch k + 1; of depth 2 four of seven do so with
    epoch 3, and the others stop after 5 + k; of depth 3 none does in its 12 epochs, and the last one fails.
    """
    at, last = trial.number + 1, 12
    if trial.level == 2:
        at, last = (3, 12) if trial.number < 4 else (99, 5 + trial.number)
    if trial.level == 3:
        at = 99
    there = float(np.float32(0.9))
    values = [there if epoch == at else 0.95 if epoch == at + 1 else 0.5 for epoch in range(1, last + 1)]
    history = tuple(Epoch(e, figures(1.0, 0.5, 1.0, value), 1000.0 + e) for e, value in enumerate(values, start=1))
    known = replace(made_up(trial), history=history, seconds=6.0)
    return replace(known, status="failed") if (trial.level, trial.number) == (3, 6) else known


def found(write: Write, folder: Path, text: str = PLAIN, overrides: tuple[str, ...] = ()) -> Findings:
    study = read_study(write(text), list(overrides))
    drive(study, folder / "journal.log", outcome_of=arriving)
    return find(read_results(folder / "journal.log"))


def test_when_runs_are_there_is_known_and_said(write_study: Write, tmp_path: Path) -> None:
    seen = found(write_study, tmp_path)
    table = seen.reach.set_index("depth")
    assert table["runs"].tolist() == [7, 7, 6]  # a failed training says nothing
    assert table["there"].tolist() == [7, 4, 0]
    assert table["epoch"].fillna(-1).tolist() == [4, 3, -1]
    assert table["seconds"].fillna(-1).tolist() == [2.0, 1.5, -1]  # of 6 s, 4 and 3 of 12 epochs
    assert table[["epoch_low", "epoch_high"]].loc[1].tolist() == [1, 7]
    assert table[["epoch_low", "epoch_high"]].loc[2].tolist() == [3, np.inf]
    assert table.loc[3, ["epoch_low", "epoch_high"]].isna().all()
    assert table["stopped_first"].fillna(-1).tolist() == [-1, 9, 12]
    assert table["stopped_last"].fillna(-1).tolist() == [-1, 11, 12]

    steps = seen.share_there
    first = steps[steps["level"] == 0].set_index("epoch")["share"]
    assert first[[0, 1, 4, 7, 12]].tolist() == pytest.approx([0, 1 / 7, 4 / 7, 1, 1])
    second = steps[steps["level"] == 1].set_index("epoch")
    assert second["share"].iloc[-1] == pytest.approx(4 / 7)  # those that stopped stay among those that are counted
    assert second.index[second["stopped"] > 0].tolist() == [9, 10, 11]

    folder = report.write(seen, tmp_path / "report")
    text = (folder / "report.md").read_text()
    assert "## Time to target" in text
    assert "The target is a validation accuracy of 90.00 % or more." in text
    assert "depth=2 has the lowest median, 3.0 epochs." in text
    assert "3 of 7 runs of depth=2, which ended after 9 to 11 epochs; 6 of 6 runs of depth=3, which ended" in text
    assert "| 2 | 7 | 4 | 57 % | 3.0 | 3.0 or more | 1.5 | 1.5 or more |" in text
    assert "| 3 | 6 | 0 | 0 % | – | – | – | – |" in text
    assert "nan" not in text.lower()
    assert (folder / "plots" / "reach.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(folder / "tables" / "reach.csv")) == 3
    seeds = pd.read_csv(folder / "tables" / "seeds.csv")
    assert seeds.loc[seeds["depth"] == 1, "reached_epoch"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert seeds.loc[seeds["depth"] == 2, "reached_seconds"].fillna(-1).tolist() == [1.5] * 4 + [-1] * 3


def test_searches_are_what_is_counted(write_study: Write, tmp_path: Path) -> None:
    text = (
        SMALL.replace("depth = [1, 2]", "depth = [1]").replace("epochs = 4", "epochs = 12")
        + PLAIN[PLAIN.index("[cl") :]
    )
    seen = found(write_study, tmp_path, text, ("budget.searches=2", "budget.seeds=6"))
    (row,) = seen.reach.to_dict("records")
    assert (row["runs"], row["n"], row["epoch"]) == (6, 2, 2)  # each search's runs are there with epochs 1, 2, 3
    assert np.isnan(row["epoch_low"])
    page = (report.write(seen, tmp_path / "report") / "report.md").read_text()
    assert "Medians are over searches, of each the median of its runs" in page
    assert "95 % interval of epoch" not in page


def test_without_a_target_nothing_is_said(write_study: Write, tmp_path: Path) -> None:
    seen = found(write_study, tmp_path, PLAIN.replace("[claim]\nreach = 90\n", ""))
    folder = report.write(seen, tmp_path / "report")
    assert "target" not in (folder / "report.md").read_text()
    assert not (folder / "tables" / "reach.csv").exists()
    assert not (folder / "plots" / "reach.png").exists()
    assert not any(name.startswith("reached") for name in seen.seeds)
    assert not seen.study.is_there(1.0)
    assert not seen.study.model_copy(update={"metric": "loss"}).is_there(0.0)


def test_the_report_takes_the_target_of_the_file(write_study: Write, tmp_path: Path) -> None:
    folder = write_study(PLAIN.replace("reach = 90", "matters = 1"))
    drive(read_study(folder), folder / "journal.log", outcome_of=arriving)
    later = report.findings_of(read_study(write_study(PLAIN)), folder)
    assert later.reach["there"].tolist() == [7, 4, 0]
    assert later.study.claim.matters == 1  # of its journal


def test_low_figures_are_reached_from_above(write_study: Write) -> None:
    study = read_study(write_study(PLAIN.replace("reach = 90", "reach = 0.5")), ["metric=loss"])
    assert [study.is_there(value) for value in (0.6, 0.5, 0.4, float("nan"))] == [False, True, True, False]


def test_a_confirmations_run_says_when_it_was_there(write_study: Write) -> None:
    study = read_study(write_study(PLAIN))
    trial = make_trial(number=4, stage="confirm", level=1)
    (metric,) = arrival_metrics(study, trial, arriving(trial))
    assert (metric.key, metric.value) == ("reached_epoch", 5)
    assert arrival_metrics(study, make_trial(stage="confirm", level=3), arriving(make_trial(level=3))) == []
    assert arrival_metrics(study, make_trial(number=4, level=1), arriving(trial)) == []  # of a search nothing is asked


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["claim.reach=0.97"], "claim.reach: accuracy is in percent, as tables show it: 97, got 0.97"),
        (["claim.reach=970"], "claim.reach: accuracy is at most 100 %, got 970"),
        (["claim.reach=-1"], "claim.reach: accuracy must be above 0, got -1"),
        (["validation=0"], "claim.reach: is of validation figures, and validation = 0 holds nothing out, got 90"),
        (["claim.reech=90"], "claim.reech: unknown key; did you mean reach?"),
    ],
)
def test_a_target_that_cannot_be_is_told(overrides: list[str], told: str, write_study: Write) -> None:
    with pytest.raises(UserError) as error:
        read_study(write_study(PLAIN), overrides)
    assert str(error.value).endswith(told)


def test_so_is_one_of_confirmations_without_validation(write_study: Write) -> None:
    with pytest.raises(UserError, match=r"claim.reach: .* search.refit = 'all' holds nothing out, got 90"):
        read_study(write_study(SMALL + "[claim]\nreach = 90\n"), ["search.refit=all", "search.folds=2"])


def test_and_one_whose_metric_the_data_tell(write_study: Write) -> None:
    study: Study = read_study(write_study(PLAIN)).model_copy(update={"task": "", "metric": "", "about": ()})
    about = About(name="t.csv", task="regression", things="rows")
    assert settled(study, [about]).reach == 90  # RMSE, in the target's unit
    low = study.model_copy(update={"claim": study.claim.model_copy(update={"reach": -3.0})})
    with pytest.raises(UserError, match=r"claim.reach: RMSE must be above 0, got -3"):
        settled(low, [about])


def test_the_medians_interval_covers_it() -> None:
    for n in range(1, 30):
        low, high = median_interval(np.arange(1.0, n + 1))
        if n < 6:
            assert np.isnan(low)
            continue
        outside = 2 * binom.cdf(low - 1, n, 0.5)  # the median lies beyond the value of that rank
        assert outside <= 0.05 < 2 * binom.cdf(low, n, 0.5)
        assert high == n + 1 - low
