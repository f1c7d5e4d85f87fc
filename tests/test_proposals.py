"""A proposal takes about the same whatever the history, and is what Optuna's own sampler and pruner would have said."""

import cProfile
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.analysis.search import _lanes
from harness.config import Config
from harness.journal import Ledger, sampling
from harness.journal.file import EPOCH, open_journal, open_to_read
from harness.journal.history import History
from harness.journal.lines import DamagedError, Lines
from harness.journal.pruning import Judge
from harness.journal.sampling import distributions_of, make_history, make_pruner, propose
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Level

from .conftest import SMALL
from .test_search import ENVIRONMENT, drive, made_up

Write = Callable[[str], Path]
SEED = 7
STUDY = """
dataset = "digits"
[compare]
depth = [2]
[tune]
lr = { low = 3e-4, high = 1e-1, log = true }
dropout = { low = 0.0, high = 0.5, step = 0.1 }
width = { low = 8, high = 64, log = true }
batch_size = [16, 32, 64]
optimizer = ["sgd", "adam"]
momentum = { low = 0.0, high = 0.95, when = { optimizer = "sgd" } }
[budget]
trials = 20000
seeds = 2
"""
STEPPED = [line for line in STUDY.splitlines(keepends=True) if line.startswith(("dropout", "width"))]
PLAIN = STUDY.replace("".join(STEPPED), "")  # Optuna's estimator of the best 25 calls Python for each step of a number
CHOICES = STUDY.partition("lr =")[0] + 'batch_size = [16, 32, 64]\nactivation = ["relu", "tanh"]\n[budget]\nseeds = 2\n'


def made(study: Study, count: int, running: int = 0) -> list[FrozenTrial]:
    """Trials of all kinds at random, the last of them running."""
    draw, trials = random.Random(count), list[FrozenTrial]()
    for number in range(count):
        values: dict[str, Any] = {
            "lr": 10 ** draw.uniform(-3.5, -1),
            "dropout": draw.randrange(6) / 10,
            "width": draw.randint(8, 64),
        }
        values |= {"batch_size": draw.choice([16, 32, 64]), "optimizer": draw.choice(["sgd", "adam"])}
        values |= {"momentum": draw.uniform(0, 0.95)} if values["optimizer"] == "sgd" else {}
        params = {key: values.get(key, "relu") for key in study.space(2) if key in values or key == "activation"}
        kinds = [TrialState.COMPLETE] * 6 + [TrialState.PRUNED] * 3 + [TrialState.FAIL]
        state = TrialState.RUNNING if number >= count - running else draw.choice(kinds)
        steps = draw.randint(0, 5) if state == TrialState.PRUNED else 6
        trial = create_trial(
            state=state,
            value=round(draw.random(), 2) if state == TrialState.COMPLETE else None,  # some are equal
            params=params,
            distributions=distributions_of(study, 2, params),
            intermediate_values={step: round(draw.random(), 2) for step in range(steps)},
        )
        trial.number = trial._trial_id = number
        trials.append(trial)
    return trials


def weighed(config: Config) -> int:
    """Some proposals are infeasible."""
    return int(config.width)


def optunas(study: Study, level: Level, history: History, draw: tuple[int, ...]) -> FrozenTrial:
    """Optuna's sampler as it is."""
    return sampling._ask(study, level, history, TPESampler(seed=sampling._seed(draw)), draw)


def calls(function: Callable[[], object]) -> int:
    """How many functions were called meanwhile, those in C not counted."""
    profile = cProfile.Profile(builtins=False)
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize(
    ("text", "count", "running", "metric"),
    [
        (STUDY, 9, 0, "accuracy"),
        (STUDY, 60, 3, "accuracy"),
        (STUDY, 900, 4, "loss"),
        (STUDY + "[constraint]\nparameters = { high = 50 }\n", 400, 2, "accuracy"),
        (CHOICES, 700, 0, "accuracy"),
    ],
)
def test_what_is_proposed_is_what_optuna_proposes(
    text: str, count: int, running: int, metric: str, write_study: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(write_study(text)).model_copy(update={"metric": metric})
    known = made(study, count, running)

    def proposals() -> list[tuple[dict[str, Any], dict[str, Any]]]:
        weigh = weighed if study.constraint.parameters else None
        return [(one.params, one.system_attrs) for one in propose(study, 2, SEED, known, 12, weigh)]

    ours = proposals()
    monkeypatch.setattr(sampling, "tpe", optunas)
    assert ours == proposals()


def test_a_history_that_was_kept_proposes_as_a_new_one(write_study: Write) -> None:
    """Trials that were proposed by it and have come to an end, or run still, and some of somebody else's."""
    study = read_study(write_study(STUDY + "[constraint]\nparameters = { high = 50 }\n"))
    known, kept = made(study, 300), make_history(study)
    for told in (100, 110, 150, 300):
        kept_ones = propose(study, 2, SEED, known[:told], 10, weighed, kept)
        assert [one.params for one in kept_ones] == [
            one.params for one in propose(study, 2, SEED, known[:told], 10, weighed)
        ]
        before = made(study, 310)[told : told + 10]
        for place, asked in enumerate(kept_ones[:10]):  # what came of them is another matter
            known[told + place : told + place + 1] = [_ended(asked, before[place])] if told < 300 else []


def _ended(asked: FrozenTrial, like: FrozenTrial) -> FrozenTrial:
    return create_trial(
        state=like.state,
        value=like.value,
        params=asked.params,
        distributions=asked.distributions,
        user_attrs=asked.user_attrs,
        system_attrs=asked.system_attrs,
        intermediate_values=like.intermediate_values,
    )


def test_a_proposal_takes_no_more_steps_for_a_long_history(write_study: Write) -> None:
    study, steps = read_study(write_study(PLAIN)), list[int]()
    for count in (500, 5000):
        known, history = made(study, count), make_history(study)
        propose(study, 2, SEED, known, 1, None, history)
        steps.append(calls(lambda known=known, history=history: propose(study, 2, SEED, known, 10, None, history)))  # type: ignore[misc]
    assert steps[1] < 1.25 * steps[0]  # of ten times the history


def test_a_trial_takes_no_more_steps_for_a_long_history(write_study: Write, tmp_path: Path) -> None:
    """Asked for, reported, judged and told, all that the driver does with it."""
    study, steps = read_study(write_study(PLAIN)), list[int]()
    ledger = Ledger(study.model_copy(update={"fixed": {**study.fixed, "epochs": 4}}), tmp_path / "j.log", ENVIRONMENT)

    def generation() -> None:
        for trial in ledger.generation():
            outcome = made_up(trial)
            for epoch in outcome.history:
                ledger.report(trial, epoch)
                ledger.should_prune(trial)
            ledger.record(trial, outcome)
        ledger.close_generation()

    for _ in range(30):
        steps.append(calls(generation))
    assert steps[-1] < 1.2 * steps[4]


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_median_pruner_judges_as_optunas(metric: str, write_study: Write) -> None:
    study = read_study(write_study(STUDY)).model_copy(update={"metric": metric})
    for count in (0, 4, 12, 200):
        search = optuna.create_study(direction=sampling.direction(study), pruner=make_pruner(study))
        search.add_trials(made(study, count))
        judge, verdicts = Judge(search), list[bool]()
        for trial in made(study, 90, running=90):
            for step in range(len(trial.intermediate_values) + 1):
                so_far = create_trial(state=TrialState.RUNNING)
                so_far.intermediate_values = dict(list(trial.intermediate_values.items())[:step])
                verdicts.append(judge.stops(so_far))
                assert verdicts[-1] == search.pruner.prune(search, so_far)
        assert any(verdicts) == (count > 4)


def test_choices_are_where_optuna_has_them(write_study: Write) -> None:
    study = read_study(write_study(CHOICES))
    history = make_history(study)
    history.learn(made(study, 40), lambda frozen: [frozen])
    space = distributions_of(study, 2, study.space(2))
    assert all(isinstance(domain, CategoricalDistribution) for domain in space.values())
    table = history.table(space)
    best, others = table.divided(4)
    assert (len(best), table.common()) == (4, ["activation", "batch_size"])
    assert set(table.observed(others, ["batch_size"])["batch_size"]) == {0.0, 1.0, 2.0}


def test_a_reader_takes_no_figures_of_epochs_apart_and_sees_that_they_are_whole(
    write_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, read = tmp_path / "journal.log", list[bytes]()
    drive(read_study(write_study(SMALL)), journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    epochs = [number for number, line in enumerate(lines) if line.startswith(EPOCH)]
    assert len(epochs) > len(lines) / 3
    usual = Lines.read

    def noted(self: Lines, text: bytes) -> dict[str, Any]:
        read.append(text)
        return usual(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(Lines, "read", noted)
        storage, _ = open_to_read(journal)
    assert len(read) == len(lines) - len(epochs)
    whole = open_journal(journal)
    for one in whole.get_all_studies():
        for ours, theirs in zip(
            storage.get_all_trials(one._study_id), whole.get_all_trials(one._study_id), strict=True
        ):
            assert (ours.user_attrs, ours.state, ours.value) == (theirs.user_attrs, theirs.state, theirs.value)
    journal.write_bytes(
        b"".join([*lines[: epochs[3]], lines[epochs[3]].replace(b"0.", b"1."), *lines[epochs[3] + 1 :]])
    )
    with pytest.raises(DamagedError, match=f"line {epochs[3] + 1} is damaged"):
        open_to_read(journal)


def test_lanes_are_the_first_that_are_free() -> None:
    draw = random.Random(0)
    runs = pd.DataFrame({"started": sorted(draw.uniform(0, 50) for _ in range(300))})
    runs["ended"] = [began + draw.uniform(0, 3) for began in runs["started"]]
    ends, expected = list[float](), list[int]()
    for started, ended in zip(runs["started"], runs["ended"], strict=True):
        lane = next((number for number, end in enumerate(ends) if end <= started), len(ends))
        ends[lane : lane + 1] = [ended]
        expected.append(lane)
    assert _lanes(runs) == expected
