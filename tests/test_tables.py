"""Tables in a stack: prepared by each model's own training rows alone, and trained as a plain loop trains them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

from harness.config import Config
from harness.crews.grouping import group_size
from harness.parts.data import Column, Data, Split, data_of
from harness.parts.models import build
from harness.parts.preparing import prepare
from harness.training.cohort import ORDER, Cohort, generator
from harness.training.loop import train
from harness.trial import Fold, Outcome, Trial

from .conftest import make_trial

COLUMNS = (Column("size"), Column("town", ("A", "B", "C")), Column("age"), Column("age is missing", ("no", "yes")))
REGRESSION: dict[str, Any] = {"task": "regression", "metric": "rmse", "batch_size": 32, "width": 16, "epochs": 3}


def table(task: str = "regression", rows: int = 300) -> Data:
    """Numbers of unlike sizes, a category, and ages of which some are missing; two targets, or three classes."""
    random = np.random.default_rng(0)
    size, age, town = random.lognormal(5, 1, rows), random.normal(40, 9, rows), random.integers(0, 3, rows)
    missing = random.random(rows) < 0.1
    target = np.log(size) + 0.05 * age + town + random.normal(0, 0.1, rows)
    age[missing] = np.nan
    inputs = torch.from_numpy(np.column_stack([size, np.eye(3)[town], age, missing]).astype(np.float32))
    if task == "classification":
        classes = torch.from_numpy(np.digitize(target, np.quantile(target, [0.6, 0.9])))
        return data_of("towns", Split(inputs, classes), None, (6,), classes="abc", columns=COLUMNS)
    targets = torch.from_numpy(np.column_stack([1e4 * target, -target]).astype(np.float32))
    return data_of("prices", Split(inputs, targets), None, (6,), target_names=("price", "minus"), columns=COLUMNS)


def trials_of(count: int, **values: Any) -> list[Trial]:
    return [make_trial(k, seed=k + 1, stage="confirm", **values) for k in range(count)]


def outcomes(trials: list[Trial], data: Data) -> list[Outcome]:
    found = {trial: event for trial, event in train(trials, data) if isinstance(event, Outcome)}
    return [found[trial] for trial in trials]


SCALERS = {
    "standard": StandardScaler(),
    "minmax": MinMaxScaler(),
    "quantile": QuantileTransformer(n_quantiles=192, output_distribution="normal", random_state=0),
}


@pytest.mark.parametrize("scaling", ["standard", "minmax", "quantile", "none"])
def test_numbers_are_filled_in_and_scaled_by_the_training_rows(scaling: str) -> None:
    data = table()
    train_rows = torch.stack([data.split(seed, 0.2).train for seed in (1, 2)])
    seen = prepare(data, Config(scaling=scaling, task="regression"), train_rows)
    raw = data.inputs.double().numpy()
    for model, rows in enumerate(train_rows.numpy()):
        mine = seen.inputs.view(2, len(raw), -1)[model]
        expected = raw.copy()
        expected[np.isnan(raw[:, 4]), 4] = np.nanmedian(raw[rows, 4])
        if scaling != "none":
            numbers = expected[:, [0, 4]]
            expected[:, [0, 4]] = SCALERS[scaling].fit(numbers[rows]).transform(numbers)
        np.testing.assert_allclose(mine.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("scaling", ["standard", "minmax", "quantile"])
def test_nothing_leaks_from_rows_that_a_model_does_not_train_on(scaling: str, folds: bool) -> None:
    """Whatever stands in validation and test rows, a model is prepared and trained the same."""
    data = table()
    trials = trials_of(2, **REGRESSION, scaling=scaling)
    if folds:
        trials = [replace(trial, fold=Fold(number, 3, seed=5)) for number, trial in enumerate(trials)]
    cohort = Cohort.of(trials, data)
    for trial, own in zip(trials, cohort.training.rows, strict=True):
        others = torch.ones(len(data.inputs), dtype=torch.bool)
        others[own] = False
        changed = replace(
            data,
            inputs=data.inputs.clone().masked_fill_(others[:, None], 1e6),
            targets=data.targets.clone().masked_fill_(others[:, None], -1e6),
        )
        one, two = (Cohort.of([trial], each) for each in (data, changed))
        assert torch.equal(one.training.rows, two.training.rows)
        for batch in one.training.rows.split(50, dim=1):
            for x, y in zip(one.training.cut(batch), two.training.cut(batch), strict=True):
                assert torch.equal(x, y)


def plainly(trial: Trial, data: Data) -> dict[str, list[float]]:
    """One model by torch and scikit-learn alone: losses of each epoch, and errors of the test rows."""
    config, (own, held_out, tests) = trial.config, data.split(trial.seed, trial.config.validation)
    raw = data.inputs.double().numpy().copy()
    raw[np.isnan(raw[:, 4]), 4] = np.nanmedian(raw[own.numpy(), 4])
    raw[:, [0, 4]] = StandardScaler().fit(raw[own.numpy()][:, [0, 4]]).transform(raw[:, [0, 4]])
    x, scaler = torch.from_numpy(raw.astype(np.float32)), StandardScaler().fit(data.targets[own].double().numpy())
    y = torch.from_numpy(scaler.transform(data.targets.double().numpy()).astype(np.float32))
    network = build(config, data.shape, data.outputs, trial.seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    order, found = generator(trial.seed, ORDER, torch.device("cpu")), {"val_loss": list[float](), "test": []}
    for _ in range(config.epochs):
        for batch in own[torch.randperm(len(own), generator=order)].split(config.batch_size):
            optimizer.zero_grad()
            F.mse_loss(network(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            found["val_loss"].append(F.mse_loss(network(x[held_out]), y[held_out]).item())
    with torch.no_grad():
        guess = scaler.inverse_transform(network(x[tests]).double().numpy())
    gaps = guess - data.targets[tests].double().numpy()
    return {**found, "test": [float(np.sqrt((gaps**2).mean(0)).mean()), float(np.abs(gaps).mean())]}


def test_a_stack_learns_a_table_as_each_model_would_alone() -> None:
    data, trials = table(), trials_of(3, **REGRESSION, patience=99)
    for trial, outcome in zip(trials, outcomes(trials, data), strict=True):
        expected = plainly(trial, data)
        assert outcome.best_epoch == 3, "else the weights that are tested are not the last ones"
        assert [epoch["val_loss"] for epoch in outcome.history] == pytest.approx(expected["val_loss"], rel=1e-4)
        assert [outcome["test_rmse"], outcome["test_mae"]] == pytest.approx(expected["test"], rel=1e-4)
        assert {"test_r2", "test_median_absolute_error", "untrained_rmse", "train_rmse", "val_rmse"} <= set(
            outcome.figures
        )
        assert "test_accuracy" not in outcome.figures
        assert (outcome.confusion, outcome.hits) == (None, "")
    first, second, _ = outcomes(trials, data)
    assert Outcome.from_record(first.record()).predictions == first.predictions
    [(truth, guess), minus] = first.predictions
    assert np.mean(np.square(np.subtract(truth, guess))) ** 0.5 > 100  # of the first target, in its own unit
    assert len(truth) == len(data.test) == len(minus[0])
    assert second.predictions == (), "one seed of a value is enough to look at"
    one, *worst = first.examples
    assert one.index == data.trainable
    assert [name for name, _ in one.row] == ["size", "town", "age", "age is missing"]
    assert {text for name, text in one.row if name == "town"} <= {"A", "B", "C"}
    unit = data.targets[: data.trainable].std(0).tolist()
    errors = [sum(((a - b) / s) ** 2 for a, b, s in zip(e.truth, e.guess, unit, strict=True)) for e in worst]
    assert errors == pytest.approx(sorted(errors, reverse=True), rel=0.2)


def test_classes_of_a_table_have_their_share_everywhere_and_may_count_alike() -> None:
    data, config = table("classification"), Config(class_weight="balanced")
    [trial] = trials_of(1, class_weight="balanced", epochs=2, label_smoothing=0.1)
    cohort = Cohort.of([trial], data)
    whole = torch.bincount(data.targets) / len(data.targets)
    for feed in (cohort.training, cohort.held_out, cohort.tests):
        mine = torch.bincount(data.targets[feed.rows[0]]) / len(feed)
        torch.testing.assert_close(mine, whole, atol=0.02, rtol=0)
    counts = torch.bincount(data.targets[cohort.training.rows[0]])
    weights = prepare(data, config, cohort.training.rows).weights
    assert weights is not None
    torch.testing.assert_close(weights[0] * counts, torch.full((3,), len(cohort.training) / 3))
    [outcome] = outcomes([trial], data)
    assert outcome["val_loss"] == pytest.approx(plain_loss(trial, data, outcome), rel=1e-4), "measured without weights"
    assert outcome.examples[0].row
    assert outcome.examples[0].pixels == ""


def plain_loss(trial: Trial, data: Data, outcome: Outcome) -> float:
    """The cross-entropy of the validation rows by the kept weights."""
    cohort = Cohort.of([trial], data)
    network = build(trial.config, data.shape, data.outputs, trial.seed).eval()
    network.load_state_dict(outcome.weights or {})
    x, y = cohort.held_out.cut(cohort.held_out.rows)
    with torch.no_grad():
        return F.cross_entropy(network(x[0]), y[0]).item()


def test_large_tables_bound_the_size_of_a_stack() -> None:
    data, [trial] = table(), trials_of(1, **REGRESSION)
    assert group_size(trial, data) == 16
    large = replace(data, inputs=torch.empty(40_000_000, 6, device="meta"))
    assert group_size(trial, large) == 1


IMAGE = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(1, -1) + 1


def images(count: int = 40) -> Data:
    rows = torch.cat([IMAGE] * count)
    return data_of(
        "marked", Split(rows, torch.zeros(count, dtype=torch.int64)), None, (2, 3, 4), white=1.0, classes="a"
    )


def changed(data: Data, seeds: list[int], **values: Any) -> torch.Tensor:
    """The first batch of training images (K, B, channels, rows, columns), of models with these seeds."""
    trials = [make_trial(k, seed=seed, batch_size=20, validation=0.0, **values) for k, seed in enumerate(seeds)]
    cohort = Cohort.of(trials, data)
    x, _ = cohort.training.cut(cohort.training.rows[:, :20], [member.noise for member in cohort.members])
    return x.expand(len(seeds), -1, -1).reshape(len(seeds), 20, *data.shape).clone()


def test_augmented_images_are_shifted_mirrored_and_cropped() -> None:
    data = images()
    plain = IMAGE.view(2, 3, 4).float()
    mirrored = plain.flip(2)
    seen = {tuple(image.flatten().tolist()) for image in changed(data, [1], augment_flip=True)[0]}
    assert seen == {tuple(one.flatten().tolist()) for one in (plain, mirrored)}
    padded = F.pad(plain, (1, 1, 1, 1))
    windows = {tuple(padded[:, y : y + 3, x : x + 4].flatten().tolist()) for y in range(3) for x in range(3)}
    shifted = {tuple(image.flatten().tolist()) for image in changed(data, [1, 2, 3], augment_shift=1).flatten(0, 1)}
    assert shifted <= windows
    assert len(shifted) > 6
    cropped = changed(data, [1], augment_crop=0.5)[0]
    assert (cropped[:, 1] - cropped[:, 0] == 12).all(), "channels stay together"
    assert (cropped.diff(dim=3) >= 0).all()
    assert (cropped.diff(dim=2) >= 0).all()
    assert cropped.min() >= 1
    assert any((image == image.flatten()[0]).sum() > 1 for image in cropped[:, 0]), "something is enlarged"


def test_what_a_model_draws_does_not_depend_on_its_company() -> None:
    data = images()
    for values in ({"augment_shift": 1, "augment_flip": True}, {"augment_crop": 0.5}):
        together = changed(data, [5, 6, 5], **values)
        assert torch.equal(together[0], together[2])
        assert not torch.equal(together[0], together[1])
        for place, seed in enumerate([5, 6]):
            assert torch.equal(together[place], changed(data, [seed], **values)[0])


def test_only_training_images_are_changed(digits: Data) -> None:
    values: dict[str, Any] = {"augment_shift": 1, "augment_flip": True, "epochs": 2, "dropout": 0.2}
    cohort = Cohort.of(trials_of(2, **values), digits)
    for feed in (cohort.held_out, cohort.tests, cohort.training.sample(10)):
        assert feed.augment is None
    alone = [outcomes([trial], digits)[0] for trial in trials_of(2, **values)]
    for one, two in zip(outcomes(trials_of(2, **values), digits), alone, strict=True):
        assert [epoch["val_loss"] for epoch in one.history] == pytest.approx(
            [epoch["val_loss"] for epoch in two.history], rel=1e-4
        )
    plain = outcomes(trials_of(1, epochs=2, dropout=0.2), digits)[0]
    assert not math.isclose(plain["val_loss"], alone[0]["val_loss"])


def test_given_splits_and_validation_rows_are_taken() -> None:
    data = table()
    splits = (torch.arange(0, 30), torch.arange(100, 130))
    given = replace(data, test_splits=splits, trainable=len(data.inputs))
    for pool, wanted in ((0, 0), (1, 1), (2, 0)):
        parts = given.split(7, 0.2, pool=pool)
        assert parts.test.tolist() == splits[wanted].tolist()
        assert sorted(torch.cat(parts).tolist()) == list(range(len(data.inputs)))
    fixed = replace(data, validation=50)
    first, second = (fixed.split(seed, 0.2) for seed in (1, 2))
    assert sorted(first.val.tolist()) == sorted(second.val.tolist()) == list(range(data.trainable - 50, data.trainable))
    assert sorted(torch.cat([first.train, first.val]).tolist()) == list(range(data.trainable))
    assert not len(fixed.split(1, 0.0).val)
