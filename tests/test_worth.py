"""What tuning was worth: the defaults as the first trial of every search, and trained with the confirmations' seeds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from harness import report
from harness.analysis import Findings, find, read_results
from harness.catalogue import Value
from harness.errors import UserError
from harness.journal import Ledger, Records
from harness.journal.ablation import in_order, path
from harness.journal.sampling import propose
from harness.report.methods import methods
from harness.study.file import read_study
from harness.study.space import Choice, Range, nearest_in
from harness.study.study import Study
from harness.tracking.keys import Keys
from harness.trial import Outcome, Trial

from .conftest import SMALL, Done
from .test_search import ENVIRONMENT, drive, made_up

Write = Callable[..., Path]
SEVERAL = ["budget.searches=3", "budget.seeds=6"]
FULL = [*SEVERAL, "budget.ablation=true"]


def by_config(trial: Trial) -> Outcome:
    """Accuracy is 0.5, and 0.01 more for each tenfold of lr above its default, 0.1 less for sgd; seeds are noise."""
    gain = 0.1 * np.log10(trial.config.lr / 1e-3) - 0.1 * (trial.config.optimizer == "sgd")
    noise = 0.002 * np.random.default_rng(trial.seed).normal()
    known = {"val_loss": 1.0, "val_accuracy": 0.5 + gain, "train_accuracy": 0.5 + gain}
    if trial.is_tested:
        known["test_accuracy"] = 0.5 + gain + noise
    return replace(made_up(trial), figures=known, history=())


def by_sgd(trial: Trial) -> Outcome:
    """Another outcome: sgd is the better one, so its momentum matters too."""
    known = dict(by_config(trial).figures)
    gain = 0.3 * (trial.config.optimizer == "sgd")
    return replace(by_config(trial), figures={name: value + gain for name, value in known.items()})


class StoppedError(Exception):
    """Stands for a kill."""


def whole(
    study: Study, journal: Path, outcome_of: Callable[[Trial], Outcome] = by_config, most: int | None = None
) -> list[Trial]:
    """What driver.Driver does, ablations too; stopped after so many of these. What was trained of them."""
    drive(study, journal, outcome_of=outcome_of)
    ledger, trained = Ledger(study, journal, ENVIRONMENT), list[Trial]()
    for trial in ledger.ablations():
        if ledger.is_recorded(trial):
            continue
        if len(trained) == most:
            raise StoppedError
        ledger.record(trial, outcome_of(trial))
        trained.append(trial)
    assert Ledger(study, journal, ENVIRONMENT).is_over()
    return trained


def studied(write: Write, changes: list[str], name: str = "mine", text: str = SMALL) -> tuple[Study, Path]:
    folder = write(text, name)
    return read_study(folder, changes), folder / "journal.log"


@pytest.mark.parametrize(
    ("domain", "value", "nearest"),
    [
        (Range(low=1e-4, high=1e-1, log=True), 1e-3, 1e-3),
        (Range(low=1e-2, high=1e-1, log=True), 1e-3, 1e-2),
        (Range(low=1, high=4), 9, 4),
        (Range(low=0.0, high=0.5, step=0.2), 0.31, 0.4),
        (Range(low=0.0, high=0.5, step=0.2), 0.9, 0.4),
        (Range(low=16, high=64, step=16), 39, 32),
        (Choice(values=(64, 256)), 128, 64),
        (Choice(values=(64, 256)), 256, 256),
        (Choice(values=("adam", "sgd")), "adam", "adam"),
        (Choice(values=("sgd", "rmsprop")), "adam", None),
        (Choice(values=((10,), (20, 10))), None, None),
    ],
    ids=str,
)
def test_defaults_are_moved_into_the_space(domain: Choice | Range, value: Value, nearest: Value) -> None:
    assert nearest_in(domain, value) == nearest


def proposals(study: Study, count: int, search: int = 0) -> list[optuna.trial.FrozenTrial]:
    return propose(study, study.levels[0], study.search_seed(search), [], count)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_every_search_begins_with_the_defaults(sampler: str, write_study: Write) -> None:
    study, _ = studied(write_study, [*SEVERAL, f"search.sampler={sampler}"])
    for search in range(3):
        first, second = proposals(study, 2, search)
        assert first.params == {"lr": 1e-3, "optimizer": "adam"}  # momentum means nothing to adam
        assert first.user_attrs == {"given": "defaults"}
        assert second.user_attrs == {}
        assert second.params != first.params


def test_proposals_are_the_same_in_one_piece_or_in_several(write_study: Write) -> None:
    study, _ = studied(write_study, SEVERAL)
    at_once, one_by_one = proposals(study, 4), list[optuna.trial.FrozenTrial]()
    for _ in range(4):
        one_by_one += propose(study, study.levels[0], study.search_seed(0), one_by_one, 1)
    assert [known.params for known in at_once] == [known.params for known in one_by_one]


def test_no_point_of_a_sobol_sequence_is_left_out(write_study: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = studied(write_study, [*SEVERAL, "search.sampler=qmc"])
    with_it = proposals(study, 5)
    monkeypatch.setattr("harness.journal.sampling.given_points", lambda study, level, scale: [])
    assert [known.params for known in proposals(study, 4)] == [known.params for known in with_it[1:]]


def test_where_the_defaults_are_no_trial(write_study: Write) -> None:
    study, _ = studied(write_study, SEVERAL)
    counted = study.model_copy(update={"seeding": "counted"})
    assert proposals(counted, 1)[0].user_attrs == {}
    text = SMALL.replace('["sgd", "adam"]', '["sgd", "rmsprop"]')
    other, _ = studied(write_study, SEVERAL, "other", text)
    assert proposals(other, 1)[0].user_attrs == {}
    assert any("no trial of the searches" in line for line in methods(other))
    grid = [f"tune.{key}={values}" for key, values in (("lr", "[0.1, 0.001]"), ("momentum", "[0.0, 0.5]"))]
    grid = [*SEVERAL, "search.sampler=grid", *grid]
    third, _ = studied(write_study, grid, "third")
    assert {len({json.dumps(one.params) for one in proposals(third, 8)})} == {8}
    assert any("a grid has all its points" in line for line in methods(third))


def test_the_methods_say_where_the_first_trial_lies(write_study: Write) -> None:
    study, _ = studied(write_study, SEVERAL)
    assert "The first trial of every search is the defaults of all that is tuned." in methods(study)
    moved, _ = studied(write_study, [*FULL, "tune.lr.low=0.01"])
    said = " ".join(methods(moved))
    assert "or the nearest values of the space (lr = 0.01 for 0.001)" in said
    assert "one tuned hyperparameter after the other takes the winner's value" in said


def test_what_depends_on_another_comes_after_it(write_study: Write) -> None:
    study, _ = studied(write_study, FULL)
    assert in_order(study.tune, {}) == ["lr", "optimizer", "momentum"]
    assert in_order(study.tune, {"momentum": 0.7, "lr": 0.2, "optimizer": 0.1}) == ["optimizer", "momentum", "lr"]


def test_the_path_leads_from_the_defaults_to_the_winner(write_study: Write) -> None:
    study, _ = studied(write_study, [*FULL, "tune.lr.low=0.01"])
    winner = study.config(2, {"lr": 0.05, "optimizer": "sgd", "momentum": 0.5})
    steps = path(study, 2, winner, ["optimizer", "momentum", "lr"])
    assert [key for key, _ in steps] == ["", "optimizer", "momentum", "lr"]
    assert steps[0][1] == study.config(2, {})  # lr = 0.001, which the search could not choose
    assert [config.optimizer for _, config in steps] == ["adam", "sgd", "sgd", "sgd"]
    assert [config.lr for _, config in steps] == [0.001, 0.001, 0.001, 0.05]
    assert steps[-1][1] == winner


@pytest.mark.parametrize("key", ["ablation", "confirm_defaults"])
def test_it_has_the_seeds_of_the_confirmations(key: str, write_study: Write) -> None:
    study, journal = studied(write_study, [*SEVERAL, f"budget.{key}=true"])
    trained = whole(study, journal, by_sgd)
    confirmed = {
        (trial.level, trial.search, trial.number): trial
        for trial in Ledger(study, journal, ENVIRONMENT).confirmations()
    }
    assert trained
    for trial in trained:
        winner = confirmed[trial.level, trial.search, trial.number]
        assert (trial.seed, trial.pool) == (winner.seed, winner.pool)
        assert trial.config != winner.config
    defaults = [trial for trial in trained if trial.config == study.config(trial.level, {})]
    assert len(defaults) == len(confirmed)
    between = {trial.config.optimizer for trial in set(trained) - set(defaults)}
    assert between == ({"sgd", "adam"} if key == "ablation" else set())
    assert len(set(trained)) == len(trained)


def test_every_run_has_a_key_and_a_name_of_its_own(write_study: Write) -> None:
    """In a store a training of the defaults is not taken for the confirmation whose seed it has."""
    study, journal = studied(write_study, FULL)
    whole(study, journal, by_sgd)
    trials = [trial for trial, _ in Ledger(study, journal, ENVIRONMENT).recorded()]
    assert {trial.stage for trial in trials} == {"search", "confirm", "ablation"}
    keys = Keys(study, ())
    assert len({keys[trial] for trial in trials}) == len(trials)
    names = {study.run_name(trial) for trial in trials if trial.stage == "ablation"}
    assert not names & {study.run_name(trial) for trial in trials if trial.stage != "ablation"}


def test_a_replay_knows_its_company(write_study: Write) -> None:
    """All that is trained between defaults and winners is at work together, and nothing else."""
    study, journal = studied(write_study, FULL)
    whole(study, journal, by_sgd)
    records = Records(journal)
    own = [record for record in records.all if record.trial.stage == "ablation"]
    assert records.company(own[0]) == Ledger(study, journal, ENVIRONMENT).ablations()
    confirmed = next(record for record in records.all if record.trial.stage == "confirm")
    assert {trial.stage for trial in records.company(confirmed)} == {"confirm"}


def test_what_is_asked_for_later_changes_nothing_else(write_study: Write) -> None:
    """A finished study goes on with `ablation`: it trains that alone, and all other tables stay as they are."""
    study, journal = studied(write_study, SEVERAL)
    drive(study, journal, outcome_of=by_config)
    before, names = find(read_results(journal)), {known.study_name for known in opened(journal)}
    assert not [name for name in names if "ablation" in name]
    more, _ = studied(write_study, FULL)
    trained = whole(more, journal)
    after = find(read_results(journal))
    assert {trial.stage for trial in trained} == {"ablation"}
    assert not whole(more, journal)
    for name in ("table", "pairs", "seeds", "trials", "measures", "timeline"):
        pd.testing.assert_frame_equal(getattr(before, name), getattr(after, name))
    assert before.worth["n"].tolist() == [0, 0]
    assert after.worth["n"].tolist() == [3, 3]


def opened(journal: Path) -> list[optuna.study.StudySummary]:
    from harness.journal.file import open_journal

    return optuna.get_all_study_summaries(open_journal(journal))


@pytest.mark.parametrize("most", [0, 1, 5])
def test_stopped_it_goes_on_to_the_same_table(most: int, write_study: Write) -> None:
    study, journal = studied(write_study, FULL)
    with pytest.raises(StoppedError):
        whole(study, journal, most=most)
    assert find(read_results(journal)).ablation["n"].max() <= 3  # can be read at any time
    rest = whole(study, journal)
    again, other = studied(write_study, FULL, "other")
    trained = whole(again, other)
    assert rest == trained[most:]
    one, two = find(read_results(journal)), find(read_results(other))
    pd.testing.assert_frame_equal(one.ablation, two.ablation)
    pd.testing.assert_frame_equal(one.worth, two.worth)


def found(write: Write, changes: list[str] = FULL, outcome_of: Callable[[Trial], Outcome] = by_config) -> Findings:
    study, journal = studied(write, changes)
    whole(study, journal, outcome_of)
    return find(read_results(journal))


def test_gains_are_those_of_the_hyperparameters(write_study: Write) -> None:
    """By construction lr brings 0.1 for each tenfold, and nothing else does; seeds are the same, so noise is not."""
    findings = found(write_study)
    table, winners = findings.worth, findings.results.runs
    winners = winners[winners["winner"] & (winners["stage"] == "search")]
    for row, cells in enumerate(table.to_dict("records")):
        own = winners[winners["level"] == row]
        gain = (0.1 * np.log10(own["lr"] / 1e-3) - 0.1 * (own["optimizer"] == "sgd")).mean()
        assert cells["gain"] == pytest.approx(gain)
        assert cells["default_val"] == pytest.approx(0.5)
        assert cells["winner_val"] == pytest.approx(0.5 + gain)
        assert cells["winner_test"] == pytest.approx(findings.table["test_accuracy"][row])
        assert cells["winner_test"] - cells["default_test"] == pytest.approx(gain)
    steps = findings.ablation
    assert steps.groupby("level")["gain"].sum().tolist() == pytest.approx(table["gain"].tolist())
    brought = steps[steps["hyperparameter"] == "lr"]
    assert brought["gain"].tolist() == pytest.approx(table["gain"].tolist())
    assert brought["changed"].tolist() == [3, 3]
    assert steps.groupby("level")["mean"].last().tolist() == pytest.approx(findings.table["test_accuracy"].tolist())


def test_a_step_that_changes_nothing_is_not_trained_and_brings_nothing(write_study: Write) -> None:
    findings = found(write_study)
    idle = findings.ablation[findings.ablation["changed"] == 0]
    assert set(idle["hyperparameter"]) == {"", "optimizer", "momentum"}
    after = idle[idle["hyperparameter"] != ""]
    assert (after["gain"] == 0).all()
    assert after["low"].isna().all()
    records = Records(Path("studies/mine/journal.log")).all
    trained = {record.trial.config for record in records if record.trial.stage == "ablation"}
    assert len(trained) == 2  # the defaults of both depths: from there lr leads to the winner


def test_failed_ones_are_missing_and_spoil_nothing(write_study: Write) -> None:
    def outcome(trial: Trial) -> Outcome:
        ended = by_config(trial)
        fails = trial.stage == "ablation" and trial.search == 1
        return Outcome("failed", "it broke", 1.0, 2.0) if fails else ended

    findings = found(write_study, outcome_of=outcome)
    assert findings.worth["n"].tolist() == [2, 2]
    assert findings.worth["low"].isna().all()
    assert findings.table["seeds"].tolist() == [6, 6]


def test_a_search_with_a_new_winner_has_new_ones(write_study: Write) -> None:
    """What was trained between the defaults and an earlier winner does not count, but the defaults still do."""
    few, journal = studied(write_study, [*FULL, "budget.trials=3"])
    whole(few, journal)
    before = {record.trial for record in Records(journal).all if record.trial.stage == "ablation"}
    more, _ = studied(write_study, [*FULL, "budget.trials=9"])
    new = whole(more, journal)
    assert not before & set(new)
    current = [r.trial for r in Records(journal).all if r.current and r.trial.stage == "ablation"]
    assert set(current) == set(Ledger(more, journal, ENVIRONMENT).ablations())


def test_one_search_counts_seeds(write_study: Write) -> None:
    findings = found(write_study, ["budget.searches=1", "budget.seeds=4", "budget.confirm_defaults=true"])
    assert findings.worth["n"].tolist() == [4, 4]
    assert findings.ablation.empty


@pytest.mark.parametrize("key", ["ablation", "confirm_defaults"])
def test_without_a_search_there_is_nothing_to_ask(key: str, write_study: Write) -> None:
    folder = write_study('dataset = "digits"\n[compare]\ndepth = [1, 2]\n')
    with pytest.raises(UserError, match=f"budget.{key}: there is no \\[tune\\] whose worth could be measured"):
        read_study(folder, [f"budget.{key}=true"])


def test_the_page_says_what_it_was_worth(write_study: Write, tmp_path: Path) -> None:
    folder = report.write(found(write_study), tmp_path / "report")
    text = (folder / "report.md").read_text()
    assert "## What tuning was worth" in text
    assert "| depth | step | value | changed | test % |" in text
    assert (folder / "plots" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(folder / "tables" / "ablation.csv")) == 8
    assert "nan" not in text.lower()


def test_without_ablation_the_page_has_the_validation_figures(write_study: Write, tmp_path: Path) -> None:
    folder = report.write(found(write_study, SEVERAL), tmp_path / "report")
    text = (folder / "report.md").read_text()
    assert "| depth | default, validation % | winner, validation % |" in text
    assert not (folder / "plots" / "ablation.png").exists()


TINY = """
dataset = "digits"
[compare]
depth = [2]
[tune]
lr = { low = 1e-2, high = 1e-1, log = true }
[fixed]
width = 8
epochs = 1
[budget]
trials = 2
searches = 2
seeds = 2
ablation = true
"""


def test_it_is_really_trained_and_read_again(write_study: Write, command: Callable[..., Done]) -> None:
    folder = write_study(TINY)
    assert command("run", "studies/mine", "--offline").returncode == 0
    records = [record for record in Records(folder / "journal.log").all if record.trial.stage == "ablation"]
    assert len(records) == 2
    for record in records:
        assert record.trial.config.lr == 1e-3
        assert record.outcome is not None
        assert record.outcome["test_accuracy"] > 0
        assert record.outcome.examples == ()
    size = (folder / "journal.log").read_text().count("seed_number")
    assert command("run", "studies/mine", "--offline").returncode == 0
    assert (folder / "journal.log").read_text().count("seed_number") == size
