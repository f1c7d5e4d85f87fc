import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import catalogue
from harness.analysis.results import read_results
from harness.errors import UserError
from harness.journal import Ledger, hold, put_aside
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Epoch, Outcome, Trial

from .conftest import SMALL

ENVIRONMENT = {"git_commit": "abc"}


def figures(train_loss: float, train: float, val_loss: float, val: float, metric: str = "accuracy") -> dict[str, float]:
    return {"train_loss": train_loss, f"train_{metric}": train, "val_loss": val_loss, f"val_{metric}": val}


def made_up(trial: Trial) -> Outcome:
    """An outcome that depends on the trial's config alone: best near lr = 0.02."""
    lr, epochs, metric = trial.config.lr, trial.config.epochs, trial.config.metric
    accuracy = max(0.1, 0.95 - abs(lr - 0.02) * 5) + (trial.number + 1 if trial.stage == "confirm" else 0) / 1000
    if catalogue.measure(metric).better == "lower":
        accuracy = 1 - accuracy
    history = tuple(
        Epoch(e, figures(1 / e, 0.5, 1 / e, accuracy * e / epochs, metric), 1000.0 + e) for e in range(1, epochs + 1)
    )
    known = {"val_loss": 1 - accuracy, f"val_{metric}": accuracy, f"train_{metric}": accuracy}
    if trial.stage == "confirm":
        known[f"test_{metric}"] = accuracy - 0.01
    best = max(1, epochs - 1)
    return Outcome("finished", "made up", 1000.0, 1010.0, 1.0, 10, best, known, history=history)


class KilledError(Exception):
    """Stands for kill -9: nothing after it is written."""


def drive(
    study: Study,
    journal: Path,
    shuffle: int | None = None,
    kill_at: Iterator[int] | None = None,
    outcome_of: Callable[[Trial], Outcome] = made_up,
) -> list[Trial]:
    """What driver.Driver does, with made-up outcomes, in any order, killed after any number of writes."""
    writes = iter(kill_at) if kill_at else None
    trained = []

    def alive() -> None:
        if writes is not None and next(writes, 0) < 0:
            raise KilledError

    ledger = Ledger(study, journal, ENVIRONMENT)
    while trials := ledger.generation():
        for trial in order(trials, shuffle):
            outcome = outcome_of(trial)
            for epoch in outcome.history:
                alive()
                ledger.report(trial, epoch)
                if ledger.should_prune(trial):
                    outcome = Outcome("pruned", "pruned", 1.0, 2.0, history=outcome.history[: epoch.number])
                    break
            alive()
            ledger.record(trial, outcome)
            trained.append(trial)
        ledger.close_generation()
    for trial in order(ledger.confirmations(), shuffle):
        if not ledger.is_recorded(trial):
            alive()
            ledger.record(trial, outcome_of(trial))
            trained.append(trial)
    return trained


def order(trials: list[Trial], shuffle: int | None) -> list[Trial]:
    return trials if shuffle is None else random.Random(shuffle).sample(trials, len(trials))


def table(journal: Path) -> list[dict[str, Any]]:
    runs = read_results(journal).runs
    return json.loads(runs.drop(columns=["started", "ended"]).to_json(orient="records"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_every_level_gets_the_budget_and_the_study_repeats(
    sampler: str, write_study: Callable[[str], Path], tmp_path: Path
) -> None:
    study = read_study(write_study(SMALL), [f"search.sampler={sampler}", "budget.trials=13"])
    tables = []
    for attempt in range(3):
        journal = tmp_path / f"{attempt}.log"
        drive(study, journal, shuffle=attempt)  # in whatever order they come back
        tables.append(table(journal))
    assert tables[0] == tables[1] == tables[2]
    for level in (0, 1):
        rows = [row for row in tables[0] if row["level"] == level]
        assert sum(row["stage"] == "search" for row in rows) == 13
        assert sum(row["stage"] == "confirm" for row in rows) == 2
        assert len({row["lr"] for row in rows if row["stage"] == "search"}) > 6


def test_levels_start_alike(small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "j.log")
    rows = [row for row in table(tmp_path / "j.log") if row["stage"] == "search"]
    first, second = ([row["lr"] for row in rows if row["level"] == level][:6] for level in (0, 1))
    assert first == second  # the same seed and, in this made-up world, the same history


def test_grid_visits_every_point_once(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    text = 'dataset="digits"\n[compare]\ndepth=[2]\n[tune]\nwidth=[8,16]\nlr={low=0.1,high=0.3,step=0.1}\n'
    study = read_study(write_study(text + '[budget]\ntrials=6\nseeds=1\n[search]\nsampler="grid"\n'))
    drive(study, tmp_path / "j.log")
    points = {(row["width"], round(row["lr"], 6)) for row in table(tmp_path / "j.log") if row["stage"] == "search"}
    assert points == {(width, lr) for width in (8, 16) for lr in (0.1, 0.2, 0.3)}


def test_momentum_is_asked_for_only_with_sgd(small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "j.log")
    rows = [row for row in table(tmp_path / "j.log") if row["stage"] == "search"]
    assert {row["optimizer"] for row in rows} == {"sgd", "adam"}
    assert all(row["momentum"] == 0.0 for row in rows if row["optimizer"] == "adam")
    assert any(row["momentum"] > 0.0 for row in rows if row["optimizer"] == "sgd")


@pytest.mark.parametrize("pruner", ["median", "hyperband", "wilcoxon"])
def test_pruners_stop_trials(pruner: str, write_study: Callable[[str], Path], tmp_path: Path) -> None:
    study = read_study(write_study(SMALL), [f"search.pruner={pruner}", "budget.trials=24", "search.sampler=random"])
    drive(study, tmp_path / "j.log")
    search = [row for row in table(tmp_path / "j.log") if row["stage"] == "search"]
    assert 0 < sum(row["status"] == "pruned" for row in search) < len(search)
    for level in (0, 1):
        best = max(
            (r for r in search if r["level"] == level and r["status"] == "finished"), key=lambda r: r["val_accuracy"]
        )
        assert best["winner"]


def test_no_pruner_stops_nothing(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    drive(read_study(write_study(SMALL), ["search.pruner=none", "budget.trials=24"]), tmp_path / "j.log")
    assert all(row["status"] == "finished" for row in table(tmp_path / "j.log"))


@pytest.mark.parametrize("seed", range(12))
def test_killed_anywhere_it_ends_with_the_same_table(seed: int, small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "whole.log")
    journal = tmp_path / "killed.log"
    chance = random.Random(seed)
    for _ in range(100):
        try:
            drive(small, journal, kill_at=iter(-1 if chance.random() < 0.05 else 0 for _ in range(10**6)))
            break
        except KilledError:
            if chance.random() < 0.5:  # in the middle of a line
                journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"worker')
    assert table(journal) == table(tmp_path / "whole.log")


def test_a_trial_run_again_is_judged_by_the_epochs_of_this_run(
    write_study: Callable[[str], Path], tmp_path: Path
) -> None:
    study = read_study(write_study(SMALL), ["budget.trials=12", "search.sampler=random"])
    ledger = Ledger(study, tmp_path / "j.log", ENVIRONMENT)
    for _ in range(3):
        for trial in ledger.generation():
            ledger.record(trial, made_up(trial))
            for epoch in made_up(trial).history:
                ledger.report(trial, epoch)
        ledger.close_generation()
    same = figures(1.0, 0.5, 1.0, 0.5)  # good at first, then left behind
    flat = [Epoch(number, same, 1.0) for number in (1, 2, 3, 4)]
    verdicts: list[list[bool]] = []
    for _ in range(2):  # the second time as after a kill, with the first run's epochs in the journal
        ledger = Ledger(study, tmp_path / "j.log", ENVIRONMENT)
        trial = ledger.generation()[0]
        verdicts.append([])
        for epoch in flat:
            ledger.report(trial, epoch)
            verdicts[-1].append(ledger.should_prune(trial))
    assert verdicts[0] == verdicts[1]
    assert not verdicts[0][0]
    assert verdicts[0][3]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_cut_at_any_line_it_ends_with_the_same_table(share: float, small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "whole.log")
    lines = (tmp_path / "whole.log").read_bytes().splitlines(keepends=True)
    journal = tmp_path / "cut.log"
    journal.write_bytes(b"".join(lines[: int(share * len(lines))]))
    drive(small, journal)
    assert table(journal) == table(tmp_path / "whole.log")


def test_finished_means_nothing_to_train(small: Study, tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    assert len(drive(small, journal)) == 2 * (6 + 2)
    before = table(journal)
    assert drive(small, journal) == []
    assert table(journal) == before


def test_a_larger_budget_goes_on(small: Study, write_study: Callable[[str], Path], tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    drive(small, journal)
    larger = read_study(write_study(SMALL), ["budget.trials=9", "budget.seeds=3"])
    assert len(drive(larger, journal)) >= 2 * (3 + 1)
    rows = table(journal)
    assert sum(row["stage"] == "search" for row in rows) == 18
    assert sum(row["stage"] == "confirm" for row in rows) == 6


def test_an_edited_study_is_refused_with_the_difference(
    small: Study, write_study: Callable[[str], Path], tmp_path: Path
) -> None:
    journal = tmp_path / "j.log"
    drive(small, journal)
    edited = read_study(write_study(SMALL), ["epochs=9", "tune.lr.high=0.05"])
    with pytest.raises(UserError) as caught:
        Ledger(edited, journal, ENVIRONMENT)
    told = str(caught.value)
    assert "fixed.epochs was 4, is 9" in told
    assert "tune.lr.high was 0.1, is 0.05" in told
    assert "--fresh" in told
    assert put_aside(journal) == tmp_path / "j.old1.log"
    Ledger(edited, journal, ENVIRONMENT)


def test_a_smaller_budget_is_refused(small: Study, write_study: Callable[[str], Path], tmp_path: Path) -> None:
    drive(small, tmp_path / "j.log")
    with pytest.raises(UserError, match=r"budget\.trials was 6, is 2"):
        Ledger(read_study(write_study(SMALL), ["budget.trials=2"]), tmp_path / "j.log", ENVIRONMENT)


def test_a_new_question_needs_no_new_journal(small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "j.log")
    assert drive(small.model_copy(update={"question": "Why?"}), tmp_path / "j.log") == []


def test_the_second_driver_gets_a_plain_message(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    imports = "import sys\nfrom pathlib import Path\nfrom harness.journal.file import hold\n"
    script = imports + "with hold(Path(sys.argv[1])): pass"
    with hold(journal):
        done = subprocess.run([sys.executable, "-c", script, journal], capture_output=True, text=True, check=False)
    assert "is running this study; wait for it or stop it" in done.stderr
    with hold(journal):
        pass  # free again


def test_a_journal_can_be_read_before_anything_is_done(small: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="never ran"):
        read_results(tmp_path / "none.log")
    ledger = Ledger(small, tmp_path / "j.log", ENVIRONMENT)
    assert read_results(tmp_path / "j.log").runs.empty
    ledger.generation()
    runs = read_results(tmp_path / "j.log").runs
    assert (runs["status"] == "waiting").all()
    assert len(runs) == 6


def test_failed_and_diverged_trials_count_and_never_win(small: Study, tmp_path: Path) -> None:
    ledger = Ledger(small, tmp_path / "j.log", ENVIRONMENT)
    while trials := ledger.generation():
        for trial in trials:
            status = ["failed", "diverged", "finished"][trial.number % 3]
            ledger.record(trial, made_up(trial) if status == "finished" else Outcome(status, "why", 1.0, 2.0))  # type: ignore[arg-type]
        ledger.close_generation()
    runs = read_results(tmp_path / "j.log").runs
    assert runs["status"].value_counts().to_dict() == {"failed": 4, "diverged": 4, "finished": 4}
    assert set(runs[runs["winner"].astype(bool)]["status"]) == {"finished"}


def test_without_a_winner_there_is_nothing_to_confirm(small: Study, tmp_path: Path) -> None:
    ledger = Ledger(small, tmp_path / "j.log", ENVIRONMENT)
    while trials := ledger.generation():
        for trial in trials:
            ledger.record(trial, Outcome("failed", "all of them", 1.0, 2.0))
        ledger.close_generation()
    assert ledger.confirmations() == []
