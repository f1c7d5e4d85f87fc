"""Learning rates that change: each schedule against torch's own class, step for step, alone and in company."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import catalogue
from harness.config import Config
from harness.journal.records import Records
from harness.parts.data import Data
from harness.tracking.mlflow.entries import epoch_metrics, outcome_metrics
from harness.training.cohort import Cohort
from harness.training.loop import Trainer, train
from harness.training.optim import SGD, Adam, StackOptimizer
from harness.training.schedule import Schedule, factors, is_constant
from harness.trial import Epoch, Outcome, Trial

from .conftest import Done, make_trial
from .reference import scheduler, train_alone

STEPS = 7  # an epoch
WARM_UPS = [0.0, 0.5, 2.0]
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "constant": [{}],
    "step": [{"step_every": 3, "lr_decay": 0.3}, {"step_every": 1, "lr_decay": 0.9}],
    "multistep": [{"milestones": (2, 5), "lr_decay": 0.2}, {"milestones": (4, 4, 1)}, {}],
    "exponential": [{"lr_decay": 0.7}],
    "cosine": [{}, {"final_lr_share": 0.1}],
    "cosine_restarts": [{"restart_every": 2}, {"restart_every": 1, "restart_growth": 2, "final_lr_share": 0.2}],
    "linear": [{"final_lr_share": 0.3}, {"final_lr_share": 0.0}],
    "onecycle": [{"final_lr_share": 1e-3}, {"final_lr_share": 0.01, "initial_lr_share": 0.5, "peak_at": 0.6}],
    "inverse_sqrt": [{}, {"timescale": 2.5}],
    "inverse_scaling": [{}, {"lr_power": 0.25}],
}


def configs(every: str, warmup: float) -> list[Config]:
    """All settings, for trainings of two lengths."""
    return [
        Config(schedule=name, schedule_every=every, warmup=warmup, epochs=epochs, lr=0.2, optimizer="sgd", **values)
        for name in catalogue.names("schedule")
        for values in SETTINGS[name]
        for epochs in (8, 5)
    ]


def rates_of_torch(config: Config) -> list[float]:
    """The learning rates of all steps of a training."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.lr)
    following = scheduler(optimizer, config, STEPS)
    rates = []
    for number in range(int(config.epochs) * STEPS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if config.schedule_every == "step" or (number + 1) % STEPS == 0:
            following.step()
    return rates


@pytest.mark.filterwarnings("ignore:.*epoch parameter in `scheduler.step.*")
@pytest.mark.parametrize("warmup", WARM_UPS)
@pytest.mark.parametrize("every", catalogue.knob("schedule_every").choices)
def test_every_schedule_is_torchs(every: str, warmup: float) -> None:
    for config in configs(every, warmup):
        ours = 0.2 * factors(config, STEPS, 0, int(config.epochs) * STEPS)
        torch.testing.assert_close(
            torch.from_numpy(ours), torch.tensor(rates_of_torch(config), dtype=torch.float64), rtol=1e-9, atol=1e-12
        )


def test_every_schedule_moves_but_the_constant_one() -> None:
    for name in catalogue.names("schedule"):
        config = Config(schedule=name, **SETTINGS[name][0])
        assert is_constant(config) == (len(set(factors(config, STEPS, 0, 20 * STEPS))) == 1) == (name == "constant")
    assert not is_constant(Config(warmup=0.1))


@pytest.mark.parametrize("readable", [True, False], ids=["numbers", "columns"])
@pytest.mark.parametrize("rule", [SGD, Adam])
def test_a_stack_of_all_schedules_steps_as_each_alone(rule: type[StackOptimizer], readable: bool) -> None:
    every = [*configs("step", 0.5), *configs("epoch", 0.0)]
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(len(every), 20, generator=generator)
    alone = [
        (row.clone().requires_grad_(), factors(config, STEPS, 0, 5 * STEPS))
        for row, config in zip(flat, every, strict=True)
    ]
    torchs = [catalogue.load(f"torch.optim:{rule.__name__}")([parameter], lr=0.2) for parameter, _ in alone]
    columns = {"lr": [0.2] * len(every), "weight_decay": [0.0] * len(every), "momentum": [0.0] * len(every)}
    schedule = Schedule(every, STEPS, flat.device)
    optimizer = rule(flat, {name: columns[name] for name in rule.settings}, {}, (), schedule)
    optimizer.readable = readable
    rows = list(range(len(every)))
    for number in range(5 * STEPS):
        assert optimizer.schedule is not None
        if number % STEPS == 0:
            optimizer.schedule.begin(number // STEPS)
        if number == 2 * STEPS + 3:  # in the middle of an epoch
            rows = rows[::2]
            optimizer = optimizer.only(optimizer.flat[::2].clone(), rows)
        gradient = torch.randn(len(every), 20, generator=generator)
        for row, ((parameter, shares), one) in enumerate(zip(alone, torchs, strict=True)):
            one.param_groups[0]["lr"] = 0.2 * shares[number]
            parameter.grad = gradient[row].clone()
            one.step()
        optimizer.step(gradient[rows].clone())
        expected = torch.stack([alone[row][0].detach() for row in rows])
        torch.testing.assert_close(optimizer.flat, expected, rtol=1e-5, atol=1e-5)


def test_a_part_has_its_own_place_and_begins_where_the_whole_stood() -> None:
    whole = Schedule(configs("step", 0.0), STEPS, torch.device("cpu"))
    whole.next()
    part = whole.only([0, 4])
    torch.testing.assert_close(part.next(), whole.next()[[0, 4]])
    part.begin(1)
    assert whole.table[0, 2] == 1.0
    assert part.rates() == [None, pytest.approx(0.2 * 0.9)]


def test_behind_the_last_step_nothing_breaks() -> None:
    """A plan times as many steps as it likes."""
    schedule = Schedule(configs("step", 0.0), STEPS, torch.device("cpu"))
    first = schedule.next()
    for _ in range(STEPS - 1):
        schedule.next()
    assert torch.equal(schedule.next(), first)


def of(number: int, **config: Any) -> Trial:
    names = ["cosine", "constant", "onecycle", "step"]
    more = {"schedule": names[number], "warmup": [0.5, 0.0, 0.0, 1.0][number], "step_every": 1, "final_lr_share": 0.01}
    more["schedule_every"] = ["step", "epoch"][number % 2]
    return make_trial(
        number, seed=number // 2 + 1, stage="confirm", **{"epochs": 4, "lr": 3e-3, "batch_size": 100, **more, **config}
    )


@pytest.mark.filterwarnings("ignore:.*epoch parameter in `scheduler.step.*")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_stack_with_schedules_agrees_with_a_plain_torch_loop(optimizer: str, digits: Data) -> None:
    trials = [of(number, optimizer=optimizer, epochs=[4, 3, 4, 5][number]) for number in range(4)]
    ended = {trial.number: event for trial, event in train(trials, digits) if isinstance(event, Outcome)}
    for trial in trials:
        *history, final = train_alone(trial, digits)
        outcome = ended[trial.number]
        assert outcome.epochs == len(history)
        for epoch, expected in zip(outcome.history, history, strict=True):
            assert epoch["val_loss"] == pytest.approx(expected["val_loss"], abs=2e-4)
            assert epoch.figures.get("learning_rate") == pytest.approx(expected.get("learning_rate"))
        assert outcome["test_loss"] == pytest.approx(final["test_loss"], abs=2e-4)


def test_the_learning_rate_is_a_figure_where_it_changes(digits: Data) -> None:
    epochs = [(trial.number, event) for trial, event in train([of(0), of(1)], digits) if isinstance(event, Epoch)]
    assert all(("learning_rate" in epoch.figures) == (number == 0) for number, epoch in epochs)
    rates = [epoch["learning_rate"] for number, epoch in epochs if number == 0]
    assert rates[0] > rates[-1] > 0
    assert catalogue.figure("learning_rate").words == "learning rate"


def test_the_company_may_have_other_schedules(digits: Data) -> None:
    assert len({of(number).config.shape for number in range(4)}) == 1
    cohort = Cohort.of([of(0), of(2)], digits)
    trainer = Trainer(cohort, cohort.optimizer())
    assert trainer.optimizer.schedule is not None
    assert trainer.optimizer.schedule.steps == 12  # 1,150 images
    assert Cohort.of([of(1)], digits).optimizer().schedule is None  # costs nothing


STUDY = """
dataset = "digits"
[compare]
schedule = ["constant", "cosine"]
[tune]
lr = { low = 1e-3, high = 1e-1, log = true }
optimizer = ["adam", "lion"]
beta2 = { low = 0.9, high = 0.999 }
[fixed]
width = 8
epochs = 3
final_lr_share = 0.1
ema = 0.5
[budget]
trials = 3
searches = 1
seeds = 1
[search]
folds = 2
"""


def test_a_study_keeps_the_learning_rate_and_replays(
    write_study: Callable[[str], Path], command: Callable[..., Done]
) -> None:
    folder = write_study(STUDY)
    done = command("run", "studies/mine", "--offline")
    assert done.returncode == 0, done.stderr
    known = Records(folder / "journal.log").all
    assert len(known) == 8
    for record in known:
        outcome, changes = record.outcome, record.trial.config.schedule == "cosine"
        assert outcome is not None
        assert ("learning_rate" in outcome.figures) == changes
        rates = [epoch["learning_rate"] for epoch in outcome.history if changes]
        assert rates == sorted(rates, reverse=True)
        assert [metric.key for metric in epoch_metrics(outcome.history[0])].count("learning_rate") == changes
        assert [metric.key for metric in outcome_metrics(outcome)].count("best/learning_rate") == changes
    for which in (("--trial", "1"), ("--seed", str(known[-1].trial.seed))):
        done = command("replay", "studies/mine", "cosine", *which)
        assert done.returncode == 0, done.stderr
        assert "learning_rate" in done.stdout
