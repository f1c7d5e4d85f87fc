"""Folds in the search: what is held out, what a trial comes to, and that nothing else changes."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import optuna
import pytest
import torch

from harness import environment
from harness.analysis import find, read_results
from harness.analysis.luck import is_close, noise_of_validation
from harness.checks import check_folds
from harness.console import Progress
from harness.crews.folds import Folds, outcome_of_folds
from harness.crews.grouping import group_trials
from harness.crews.how import How
from harness.crews.local import Local
from harness.driver import Driver
from harness.errors import UserError
from harness.journal import Ledger, Records, hold
from harness.journal.sampling import make_pruner
from harness.parts.data import Data
from harness.parts.folds import partition
from harness.replay import Wanted, replay
from harness.report.methods import methods
from harness.study.file import read_study
from harness.study.notes import notes
from harness.study.study import Study
from harness.training.cohort import Cohort
from harness.training.loop import train
from harness.trial import Begun, Epoch, Fold, FoldsEnded, Outcome, Status, Told, Trial

from .conftest import SMALL, make_trial

Write = Callable[[str], Path]
FOLDS = SMALL.replace("generation = 3", "generation = 3\nfolds = 3")


class StoppedError(Exception):
    """Stands for a kill."""


def drive(study: Study, folder: Path, data: Data, events: int | None = None) -> Ledger:
    """Run a study as `harness run` does, without MLflow; stopped after so many events."""
    left = iter(range(events or 10**9))

    class Stopped(Driver):
        def take(self, trial: Trial, event: Told) -> None:
            super().take(trial, event)
            if next(left, None) is None:
                raise StoppedError

    facts = environment.describe([data], data.inputs.device)
    known = {"digits": data}
    journal = folder / study.journal
    with hold(journal), Progress(study, quiet=True) as progress:
        ledger = Ledger(study, journal, facts)
        Stopped(ledger, MagicMock(), progress, known, Local(known, How())).run()
    return ledger


def table(journal: Path) -> list[dict[str, object]]:
    runs = read_results(journal).runs.drop(columns=["started", "ended", "seconds"])
    return json.loads(runs.to_json(orient="records"))  # type: ignore[no-any-return]


def rows_of(trials: Sequence[Trial], data: Data) -> list[tuple[set[int], set[int], set[int]]]:
    cohort = Cohort.of(trials, data)
    feeds = (cohort.training, cohort.held_out, cohort.tests)
    return [tuple(set(feed.rows[row].tolist()) for feed in feeds) for row in range(len(trials))]  # type: ignore[misc]


# What is held out


@pytest.mark.parametrize(("size", "of"), [(1437, 5), (100, 7), (12, 2), (10, 10)])
def test_parts_are_equal_and_classes_shared_out(size: int, of: int) -> None:
    labels = np.random.default_rng(1).choice(4, size, p=[0.6, 0.2, 0.1, 0.1])
    parts = partition(labels, size, of, seed=3)
    assert Counter(parts[parts >= 0].tolist()) == dict.fromkeys(range(of), size // of)
    assert (parts == -1).sum() == size % of
    for label in range(4):
        counts = [((parts == part) & (labels == label)).sum() for part in range(of)]
        assert max(counts) - min(counts) <= 1
    assert (partition(labels, size, of, seed=4) != parts).any()
    assert (partition(labels, size, of, seed=3) == parts).all()
    plain = partition(None, size, of, seed=3)
    assert Counter(plain[plain >= 0].tolist()) == dict.fromkeys(range(of), size // of)


@pytest.mark.parametrize("split", ["fixed", "pooled"])
def test_folds_hold_out_every_image_once_and_no_test_image(split: str, write_study: Write, digits: Data) -> None:
    fixed = [f"fixed.split={split}", "search.folds=5", "search.repeats=2"]
    study = read_study(write_study(FOLDS), fixed)
    config = study.config(1, {})
    rows = rows_of(study.trainings(study.search_trial(1, 0, 0, config)), digits)
    images = set.union(*(train | val for train, val, _ in rows))
    for repeat in (rows[:5], rows[5:]):
        held_out = [val for _, val, _ in repeat]
        assert len(set.union(*held_out)) == sum(map(len, held_out)) == len(images) - len(images) % 5
        for train_rows, val, test in repeat:
            assert not train_rows & val
            assert not test & (train_rows | val)
            assert train_rows | val == images
    assert {frozenset(val) for _, val, _ in rows[:5]} != {frozenset(val) for _, val, _ in rows[5:]}
    assert len({frozenset(test) for _, _, test in rows}) == 1  # of pooled images one part is held out of the search
    alone = rows_of([study.search_trial(1, 0, 0, config)], digits)[0]
    assert alone[2] == rows[0][2]


def test_they_are_the_same_for_all_trials_and_levels_and_others_for_another_search(
    write_study: Write, digits: Data
) -> None:
    study = read_study(write_study(FOLDS), ["budget.searches=2"])

    def held_out(level: int, search: int, number: int) -> list[set[int]]:
        trial = study.search_trial(level, search, number, study.config(level, {"lr": 0.01 * (number + 1)}))
        return [val for _, val, _ in rows_of(study.trainings(trial), digits)]

    assert held_out(1, 0, 0) == held_out(1, 0, 5) == held_out(2, 0, 3)
    assert held_out(1, 1, 0) != held_out(1, 0, 0)
    assert held_out(1, 1, 0) == held_out(2, 1, 1)


def test_every_training_has_a_seed_of_its_own(write_study: Write) -> None:
    settings = ["search.repeats=4", "budget.searches=3", "budget.seeds=30"]
    study = read_study(write_study(FOLDS), settings)
    config = study.config(1, {})
    members = [study.trainings(study.search_trial(1, search, 0, config)) for search in range(3)]
    seeds = [member.seed for own in members for member in own]
    seeds += [member.fold.seed for own in members for member in own[::3] if member.fold]
    seeds += [trial.seed for search in range(3) for trial in study.confirmations(1, config, search)]
    seeds += [study.search_seed(search) for search in range(3)]
    assert len(seeds) == len(set(seeds)) == 36 + 12 + 30 + 3
    assert [member.seed for member in members[0]] == [
        member.seed for member in study.trainings(study.search_trial(2, 0, 7, study.config(2, {})))
    ]
    confirmation = study.confirmations(1, config)[0]
    assert study.trainings(confirmation) == [confirmation]


def test_without_folds_a_trial_is_its_own_training(small: Study) -> None:
    trial = small.search_trial(1, 0, 0, small.config(1, {}))
    assert small.trainings(trial) == [trial]
    folds = Folds([trial], small.trainings)
    outcome = Outcome("finished", "", 1.0, 2.0)
    assert [*folds.take(trial, outcome)] == [(trial, outcome)]
    assert "folds" not in outcome.record()  # journals stay as they were


def test_the_folds_of_a_trial_stay_together(write_study: Write, digits: Data) -> None:
    study = read_study(write_study(FOLDS), ["search.folds=5"])
    trials = [study.search_trial(2, 0, number, study.config(2, {"lr": 0.1 / (number + 1)})) for number in range(7)]
    members = Folds(trials, study.trainings).members
    assert [len(group) for group in group_trials(members, digits, 12)] == [10, 10, 10, 5]
    assert [len(group) for group in group_trials(members, digits, 3)] == [5] * 7
    assert [member for group in group_trials(members, digits, 12) for member in group] == members


# What a trial comes to


def fold_outcome(status: Status = "finished", best: int = 2, epochs: int = 3, accuracy: float = 0.5) -> Outcome:
    history = tuple(Epoch(number, {"val_accuracy": accuracy}, 1.0 + number) for number in range(1, epochs + 1))
    known = {"val_loss": 1 - accuracy, "val_accuracy": accuracy}
    return Outcome(status, f"it {status}", 1.0, 2.0, 0.5, 10, best, known, history=history)


def test_figures_are_means_and_folds_are_kept() -> None:
    folds = [fold_outcome(best=2, accuracy=0.5), fold_outcome(best=3, accuracy=0.75, epochs=6)]
    outcome = outcome_of_folds(folds, folds[0].history)
    assert outcome.status == "finished"
    assert outcome["val_accuracy"] == 0.625
    assert (outcome.best_epoch, outcome.epochs, outcome.seconds) == (3, 5, 1.0)  # halves up
    assert [fold["val_accuracy"] for fold in outcome.folds] == [0.5, 0.75]
    again = Outcome.from_record(json.loads(json.dumps(outcome.record())))
    assert again == outcome


@pytest.mark.parametrize(
    ("statuses", "status", "reason"),
    [
        (("finished", "pruned", "pruned"), "pruned", "it pruned"),
        (("pruned", "diverged", "pruned"), "diverged", "fold 1: it diverged"),
        (("failed", "diverged", "finished"), "failed", "fold 0: it failed"),
        (("finished", "finished", "finished"), "finished", "all 3 folds came to their end"),
    ],
)
def test_the_worst_fold_says_what_became_of_the_trial(statuses: Sequence[Status], status: str, reason: str) -> None:
    outcome = outcome_of_folds([fold_outcome(one) for one in statuses], ())
    assert (outcome.status, outcome.reason) == (status, reason)


def begun_folds(study: Study) -> tuple[Folds, Trial, Sequence[Trial]]:
    trial = study.search_trial(1, 0, 0, study.config(1, {}))
    folds = Folds([trial], study.trainings)
    members = folds.of[trial]
    told = [event for member in members for event in folds.take(member, Begun(1.0))]
    assert told == [(trial, Begun(1.0))]
    return folds, trial, members


def epoch(number: int, value: Any) -> Epoch:
    return Epoch(number, {"val_accuracy": value}, 10.0 * number)


def test_an_epoch_is_told_once_all_folds_have_it_also_when_they_train_apart(write_study: Write) -> None:
    folds, trial, members = begun_folds(read_study(write_study(FOLDS)))
    for number in (1, 2):
        for member in members[:2]:
            assert not [*folds.take(member, epoch(number, 0.1 * number))]
    assert [*folds.take(members[2], epoch(1, 0.4))] == [(trial, epoch(1, pytest.approx(0.2)))]
    [(_, second)] = folds.take(members[2], epoch(2, 0.8))
    assert isinstance(second, Epoch)
    assert second["val_accuracy"] == pytest.approx(0.4)
    assert not [*folds.take(members[2], epoch(3, 0.8))]  # the others have ended by then
    for member in members[:2]:
        assert [type(told).__name__ for _, told in folds.take(member, fold_outcome())] == ["FoldsEnded"]
    [(_, ended), (_, outcome)] = folds.take(members[2], fold_outcome())
    assert isinstance(ended, FoldsEnded)
    assert list(ended.figures) == [0, 1, 2]
    assert isinstance(outcome, Outcome)
    assert [one.number for one in outcome.history] == [1, 2]


def test_trained_again_it_is_told_anew(write_study: Write) -> None:
    folds, trial, members = begun_folds(read_study(write_study(FOLDS)))
    first = [told for member in members for told in folds.take(member, epoch(1, 0.5))]
    assert first == [(trial, epoch(1, 0.5))]
    again = [told for member in members for told in folds.take(member, Begun(2.0))]
    assert again == [(trial, Begun(2.0))]
    assert [told for member in members for told in folds.take(member, epoch(1, 0.5))] == first


def test_one_verdict_stops_all_folds_and_a_lost_fold_stops_the_others(write_study: Write) -> None:
    folds, trial, members = begun_folds(read_study(write_study(FOLDS)))
    asked = []

    def ask(which: Trial) -> bool:
        asked.append(which)
        return len(asked) == 2

    stop = folds.stop_as(ask)
    for verdict in (False, True):
        for member in members:
            list(folds.take(member, epoch(1 + verdict, 0.5)))
        assert [stop(member) for member in members] == [verdict] * 3
    assert asked == [trial] * 2
    list(folds.take(members[1], fold_outcome("diverged")))
    assert stop(members[0])
    assert stop(members[2])
    assert asked == [trial] * 2  # nobody need be asked


def test_a_trial_is_the_mean_of_what_its_folds_come_to_alone(write_study: Write, digits: Data) -> None:
    study = read_study(write_study(FOLDS), ["budget.trials=2", "search.pruner=none"])
    ledger = drive(study, write_study(FOLDS), digits)
    searched = [(trial, outcome) for trial, outcome in ledger.recorded() if trial.stage == "search"]
    assert len(searched) == 4
    for trial, outcome in searched[:2]:
        assert trial.fold is None
        alone = [[event for _, event in train([member], digits)][-1] for member in study.trainings(trial)]
        for name in ("val_loss", "val_accuracy", "train_loss"):
            assert outcome[name] == pytest.approx(np.mean([one[name] for one in alone]), rel=1e-4)
        assert [fold.best_epoch for fold in outcome.folds] == [one.best_epoch for one in alone]  # type: ignore[union-attr]
    assert len({member.seed for member in study.trainings(searched[0][0])}) == 3


# The whole study


def test_a_study_that_was_stopped_goes_on_to_the_same_table(write_study: Write, digits: Data, tmp_path: Path) -> None:
    study = read_study(write_study(FOLDS))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    drive(study, whole, digits)
    for events in (15, 40, 30):
        with pytest.raises(StoppedError):
            drive(study, cut, digits, events)
    drive(study, cut, digits)
    expected = table(whole / study.journal)
    assert table(cut / study.journal) == expected
    assert sum(row["stage"] == "search" for row in expected) == 12
    assert all(row["fold2_best_epoch"] for row in expected if row["status"] == "finished" and row["stage"] == "search")


def test_pruned_trials_stop_all_their_folds_and_replay_the_same(
    write_study: Write, digits: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_study(FOLDS)
    study = read_study(folder, ["budget.trials=9", "search.generation=3"])
    drive(study, folder, digits)
    records = [record for record in Records(folder / study.journal).all if record.trial.stage == "search"]
    pruned = [r for r in records if r.outcome and r.outcome.status == "pruned"]
    finished = [r for r in records if r.outcome and r.outcome.status == "finished"]
    assert pruned
    for record in pruned:
        assert record.outcome
        ends = {fold.epochs for fold in record.outcome.folds if fold.status == "pruned"}
        assert ends == {len(record.outcome.history)} or "finished" in {fold.status for fold in record.outcome.folds}
    for record in (pruned[0], finished[-1]):
        wanted = Wanted(study.level_name(record.trial.level), trial=record.trial.number, together=True)
        assert replay(study, folder, wanted, tolerance=0.0).is_same
        assert "equal to the last bit" in capsys.readouterr().out
        assert replay(study, folder, replace(wanted, together=False), tolerance=1e-3).is_same
        assert "in a stack of 3" in capsys.readouterr().out


def test_the_wilcoxon_pruner_compares_folds_as_optuna_does(write_study: Write, tmp_path: Path) -> None:
    """The ledger's verdicts are those of Optuna's pruner on a study of its own, fold by fold."""
    study = read_study(
        write_study(FOLDS),
        ["search.folds=5", "search.repeats=2", "search.pruner=wilcoxon", "search.sampler=random", "budget.trials=6"],
    )
    ledger = Ledger(study, tmp_path / "j.log", {"git_commit": "abc"})
    own = optuna.create_study(direction="maximize", pruner=make_pruner(study))
    random, verdicts = np.random.default_rng(0), []
    while trials := [trial for trial in ledger.generation() if trial.level == 1]:
        ours = []
        for trial in trials:
            values = 0.8 + 0.05 * random.standard_normal(10) - 0.2 * (trial.number % 2)
            theirs = own.ask()
            folds = Folds([trial], study.trainings)
            together = folds.of[trial]
            ledger.report(trial, epoch(1, 0.9))  # epochs are not its business
            for number in random.permutation(10).tolist():
                told = folds.take(together[number], fold_outcome(accuracy=float(values[number])))
                for ended in (one for _, one in told if isinstance(one, FoldsEnded)):
                    ledger.report_folds(trial, ended)
                theirs.report(float(values[number]), number)
                verdicts.append((ledger.should_prune(trial), theirs.should_prune()))
            ours.append((trial, theirs, values))
        for trial, theirs, values in ours:
            outcome = fold_outcome(accuracy=float(values.mean()))
            ledger.record(trial, outcome)
            own.tell(theirs, float(values.mean()))
        for trial in ledger.generation():
            if not ledger.is_recorded(trial):
                ledger.record(trial, fold_outcome())
        ledger.close_generation()
    assert all(one == other for one, other in verdicts)
    assert any(one for one, _ in verdicts)
    assert not all(one for one, _ in verdicts)


@pytest.mark.parametrize("folds", [1, 3])
def test_refit_trains_on_all_images_for_the_winners_best_epochs(
    folds: int, write_study: Write, digits: Data, tmp_path: Path
) -> None:
    study = read_study(write_study(FOLDS), [f"search.folds={folds}", "search.refit=all", "budget.trials=3"])
    ledger = drive(study, tmp_path, digits)
    known = list(ledger.recorded())
    records = Records(tmp_path / study.journal)
    for level in study.levels:
        winner = records.searches[level, 0].winner()
        [best] = [o for t, o in known if (t.level, t.stage, t.number) == (level, "search", winner)]
        confirmed = [(t, o) for t, o in known if (t.level, t.stage) == (level, "confirm")]
        assert len(confirmed) == 2
        if folds > 1:
            assert best.best_epoch == int(np.mean([fold.best_epoch for fold in best.folds]) + 0.5) >= 1
        for trial, outcome in confirmed:
            assert outcome.epochs == outcome.best_epoch == best.best_epoch
            assert np.isnan(outcome["val_loss"])
            assert trial.config.validation == 0.0
            assert rows_of([trial], digits)[0][0] == set(range(digits.trainable))
    text = " ".join(methods(study))
    assert "training and validation images together" in text
    assert "split, initialisation" not in text
    assert find(read_results(tmp_path / study.journal)).answer


def test_by_default_a_winner_is_confirmed_as_ever(write_study: Write, tmp_path: Path, digits: Data) -> None:
    ledger = drive(read_study(write_study(FOLDS), ["budget.trials=3"]), tmp_path, digits)
    confirmed = [(t, o) for t, o in ledger.recorded() if t.stage == "confirm"]
    assert confirmed
    assert all(t.config.validation == 0.2 and np.isfinite(o["val_loss"]) and not o.folds for t, o in confirmed)


# What the file may say, and what is told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["search.folds=0"], "search.folds: should be greater than or equal to 1, got 0"),
        (["search.folds=1", "search.repeats=2"], "search.repeats: there are no folds to repeat (search.folds = 1)"),
        (["search.refit=some"], "search.refit: must be one of split, all, got 'some'"),
        (["search.refit=all", "fixed.validation=0.1"], "fixed.validation: has no effect"),
        (["tune.validation=[0.1, 0.2]"], "tune.validation: the images to choose by cannot be tuned"),
    ],
)
def test_a_mistake_is_one_line(changes: list[str], told: str, write_study: Write) -> None:
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        read_study(write_study(FOLDS), changes)
    assert told in str(error.value)


def test_folds_need_a_search_and_something_else_to_compare(write_study: Write) -> None:
    compared = FOLDS.replace("depth = [1, 2]", "validation = [0.1, 0.2]")
    with pytest.raises(UserError, match=r"compare\.validation: of search\.folds each holds out its own part"):
        read_study(write_study(compared))
    with pytest.raises(UserError, match=r"compare\.validation: of search\.folds each holds out its own part"):
        read_study(write_study(compared.replace("validation =", "depth = [1, 2]\nvalidation =")))
    start, end = FOLDS.index("[tune]"), FOLDS.index("[fixed]")
    with pytest.raises(UserError, match=r"search\.folds: there is no \[tune\] to search over, got 3"):
        read_study(write_study(FOLDS[:start] + FOLDS[end:]))


def test_each_class_needs_an_image_for_each_fold(write_study: Write, digits: Data) -> None:
    study = read_study(write_study(FOLDS), ["search.folds=5"])
    check_folds(study, {"digits": digits})
    labels = digits.targets.clone()
    labels[torch.nonzero(labels[: digits.trainable] == 3)[4:, 0]] = 0
    with pytest.raises(UserError, match="the rarest class of digits has 4 training images, fewer than 5 folds"):
        check_folds(study, {"digits": replace(digits, targets=labels)})


def test_what_cannot_stop_a_trial_is_told(write_study: Write) -> None:
    folder = write_study(FOLDS)
    told = list(notes(read_study(folder, ["search.pruner=wilcoxon"])))
    assert any("compares trials by their 3 folds" in note for note in told)
    enough = read_study(folder, ["search.pruner=wilcoxon", "search.folds=5"])
    assert not any("wilcoxon" in note for note in notes(enough))


def test_methods_and_tables_tell_of_folds(write_study: Write, digits: Data) -> None:
    folder = write_study(FOLDS)
    study = read_study(folder, ["search.repeats=2", "budget.trials=3"])
    text = " ".join(methods(study))
    assert "means over 3 folds, drawn 2 times, of the images that are no test images" in text
    assert "folds" not in " ".join(methods(read_study(folder, ["search.folds=1"])))
    drive(study, folder, digits)
    trials = find(read_results(folder / study.journal)).trials
    folds = trials[[f"fold{number}_val_accuracy" for number in range(6)]]
    assert trials["val_accuracy"].to_numpy() == pytest.approx(folds.mean(axis=1).to_numpy())
    best = trials[[f"fold{number}_best_epoch" for number in range(6)]].astype(float).mean(axis=1)
    assert (trials["best_epoch"].astype(float) - best).abs().max() <= 0.5


def test_mlflow_has_the_means_and_each_fold() -> None:
    from harness.tracking.mlflow.entries import outcome_metrics

    outcome = outcome_of_folds([fold_outcome(accuracy=0.5), fold_outcome(accuracy=0.75)], ())
    known = {metric.key: metric.value for metric in outcome_metrics(outcome)}
    assert known["best/val_accuracy"] == 0.625
    assert (known["fold0/val_accuracy"], known["fold1/val_accuracy"]) == (0.5, 0.75)


def test_dropout_of_equal_seeds_is_drawn_once_and_is_what_each_has_alone(digits: Data) -> None:
    """Rows of two seeds, with and without dropout, end as they do alone."""
    trials = [
        make_trial(number, seed=1 + number % 2, depth=3, dropout=rate, epochs=2)
        for number, rate in enumerate((0.3, 0.2, 0.0, 0.5, 0.1))
    ]
    together = {trial: event for trial, event in train(trials, digits) if isinstance(event, Outcome)}
    for trial in trials:
        [alone] = [event for _, event in train([trial], digits) if isinstance(event, Outcome)]
        assert together[trial]["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-4)
    assert Fold(number=7, of=5, seed=1).part == 2


@pytest.mark.parametrize(("gaps", "close"), [([0.02, 0.02, 0.03, 0.02], False), ([0.06, -0.04, 0.05, 0.02], True)])
def test_the_runner_up_is_compared_fold_by_fold(
    gaps: list[float], close: bool, write_study: Write, digits: Data
) -> None:
    """0.0225 points in the mean both times: once far beyond one standard error, once within it."""
    folder = write_study(FOLDS)
    study = read_study(folder, ["search.folds=4", "budget.trials=3", "search.pruner=none"])
    drive(study, folder, digits)
    results = read_results(folder / study.journal)
    runs = results.runs
    trials = runs[(runs["stage"] == "search") & (runs["level"] == 0)].copy()
    names = [f"fold{number}_val_accuracy" for number in range(4)]
    second = np.array([0.5, 0.6, 0.7, 0.8])
    for row, values in zip(trials.index, (second + gaps, second, second - 0.3), strict=True):
        trials.loc[row, names] = values
        trials.loc[row, "val_accuracy"] = values.mean()
    error = np.std(gaps, ddof=1) * np.sqrt(1 / 4 + 1 / 3)
    assert (np.mean(gaps) <= error) == close
    assert is_close(results, trials) == close
    assert set(noise_of_validation(results)) == {0, 1}
