"""The building blocks of the built-in models: what they are made of, how they begin, and their fast layers."""

import copy
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness import catalogue
from harness.config import Config
from harness.errors import UserError
from harness.parts.data import Data
from harness.parts.models import Residual, build, count_weights
from harness.parts.tasks import cross_entropy
from harness.study.file import read_study
from harness.training import convolutions
from harness.training.lanes import Opaque
from harness.training.layers import (
    BatchNorm,
    Conv2d,
    GlobalPool,
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    RMSNorm,
    SkipConnection,
    Softplus,
    fast_form,
)
from harness.training.loop import train
from harness.training.stack import Stack
from harness.trial import Outcome, Trial

from .conftest import make_trial
from .reference import train_alone

LOSS = 2e-4  # nats: float32 sums in another order, amplified over some hundred steps


def kinds(network: Iterable[nn.Module]) -> list[str]:
    """Its layers in short; those within an identity in brackets."""
    return [f"[{' '.join(kinds(one))}]" if isinstance(one, Residual) else type(one).__name__ for one in network]


OLD: dict[str, tuple[Config, tuple[int, ...], Callable[[], nn.Sequential]]] = {
    "mlp": (
        Config(depth=3, width=5, activation="tanh", dropout=0.2),
        (6,),
        lambda: nn.Sequential(
            *(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 3))
        ),
    ),
    "cnn": (
        Config(model="cnn", channels=(2, 4), kernel=2, width=5),
        (1, 8, 8),
        lambda: nn.Sequential(
            *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 2), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(2, 4, 2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(0.0), nn.Linear(5, 3)),
        ),
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_by_default_networks_are_what_they_were(name: str) -> None:
    """Journals, weights and replays of old studies go by these layers, names and initial weights."""
    config, inputs, old = OLD[name]
    torch.manual_seed(7)
    then, now = old(), build(config, inputs, 3, seed=7)
    assert str(now) == str(then)
    assert list(now.state_dict()) == list(then.state_dict())
    assert all(torch.equal(now.state_dict()[name], value) for name, value in then.state_dict().items())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"norm": "layer"}, "Linear LayerNorm ReLU Dropout Linear LayerNorm ReLU Dropout Linear"),
        (
            {"residual": True, "norm": "batch", "activation": "elu"},
            "Linear BatchNorm1d ELU Dropout [Linear BatchNorm1d ELU Dropout] Linear",
        ),
        ({"depth": 2, "residual": True, "norm": "rms"}, "Linear RMSNorm ReLU Dropout Linear"),
        (
            {"model": "cnn", "norm": "layer", "depth": 1},
            "Unflatten Conv2d GroupNorm MaxPool2d ReLU Conv2d GroupNorm MaxPool2d ReLU Flatten Linear",
        ),
        (
            {"model": "cnn", "channels": (4, 4), "residual": True, "padding": "same", "convs_per_pool": 2, "depth": 1},
            "Unflatten Conv2d ReLU [Conv2d ReLU] MaxPool2d [Conv2d ReLU] [Conv2d ReLU] MaxPool2d Flatten Linear",
        ),
        (
            {"model": "cnn", "channels": (4,), "stride": 2, "norm": "batch", "global_pool": True, "depth": 1},
            "Unflatten Conv2d BatchNorm2d MaxPool2d ReLU AdaptiveAvgPool2d Flatten Linear",
        ),
    ],
    ids=str,
)
def test_what_networks_are_made_of(config: dict[str, Any], expected: str) -> None:
    made = Config(**{"depth": 3, "width": 5, **config})
    network = build(made, (1, 16, 16), 3, seed=0)
    assert isinstance(network, nn.Sequential)
    assert " ".join(kinds(network)) == expected
    assert network(torch.randn(4, 256)).shape == (4, 3)
    assert count_weights(made.shape, (1, 16, 16), 3) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", [name for name in catalogue.names("initialisation") if name != "default"])
def test_weights_begin_as_the_rule_says(name: str) -> None:
    """The deviation of each layer's weights is that of the literature, times the gain of the activation behind it."""
    model: dict[str, Any] = {
        "model": "cnn",
        "channels": (200,),
        "kernel": 5,
        "pool": 1,
        "depth": 2,
        "width": 250,
        "activation": "tanh",
    }
    config = Config(**model, initialisation=name, global_pool=True)
    network = build(config, (3, 8, 8), 300, seed=0)
    convolution, hidden, last = (one for one in network.modules() if isinstance(one, nn.Conv2d | nn.Linear))
    for layer, gain, into, out in (
        (convolution, 5 / 3, 75, 5000),
        (hidden, 5 / 3, 200, 250),
        (last, 1.0, 250, 300),
    ):
        expected = {
            "xavier": gain * math.sqrt(2 / (into + out)),
            "kaiming": gain / math.sqrt(into),
            "lecun": 1 / math.sqrt(into),
            "orthogonal": gain / math.sqrt(max(into, len(layer.weight))),
            "truncated": 0.02 * 0.8796,  # what is left of a normal distribution's that is cut at twice it
        }[name.split("_")[0]]
        assert layer.weight.std(correction=0).item() == pytest.approx(expected, rel=0.03)
        assert layer.bias is not None
        assert not layer.bias.any()
        bounds = {"xavier_uniform": math.sqrt(3) * expected, "kaiming_uniform": math.sqrt(3) * expected}
        assert layer.weight.abs().max() <= {**bounds, "truncated_normal": 0.04}.get(name, math.inf)
    if name == "orthogonal":
        torch.testing.assert_close(last.weight.T @ last.weight, torch.eye(250), atol=1e-4, rtol=0)
    again = build(config, (3, 8, 8), 300, seed=0)
    assert all(torch.equal(one, two) for one, two in zip(network.parameters(), again.parameters(), strict=True))
    with torch.device("meta"):  # as weights are counted
        catalogue.built_by("model", "cnn")(config, (3, 8, 8), 300)


FAST: dict[str, tuple[type[Layer] | None, nn.Module, nn.Module, nn.Module]] = {
    "layer norm": (LayerNorm, nn.Linear(6, 5), nn.LayerNorm(5), nn.ReLU()),
    "layer norm of the input": (LayerNorm, nn.Identity(), nn.LayerNorm(6, eps=1e-3), nn.Identity()),
    "layer norm of images": (LayerNorm, nn.Unflatten(1, (2, 3)), nn.LayerNorm((2, 3)), nn.Tanh()),
    "group norm": (
        *(GroupNorm, nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2)), nn.GroupNorm(2, 4), nn.ReLU()),
    ),
    "batch norm": (BatchNorm, nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5, momentum=0.3), nn.ReLU()),
    "batch norm of the input": (BatchNorm, nn.Identity(), nn.BatchNorm1d(6), nn.GELU()),
    "batch norm of images": (
        *(BatchNorm, nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2)), nn.BatchNorm2d(4), nn.SiLU()),
    ),
    "linear without bias": (Linear, nn.Linear(6, 5), nn.Linear(5, 4, bias=False), nn.ReLU()),
    "strided convolution": (Conv2d, nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 3, (1, 2), (1, 2)), nn.ReLU()),
    "convolution without bias": (Conv2d, nn.Unflatten(1, (2, 1, 3)), nn.Conv2d(2, 4, 1, 2, bias=False), nn.ReLU()),
    "residual": (
        SkipConnection,
        nn.Linear(6, 5),
        Residual(nn.Linear(5, 5), nn.LayerNorm(5), nn.ReLU(), Residual(nn.Linear(5, 5), nn.Tanh())),
        nn.ReLU(),
    ),
    "residual of the input": (SkipConnection, nn.Identity(), Residual(nn.Linear(6, 6), nn.ReLU()), nn.ReLU()),
    "residual with a layer of the general lane": (
        *(
            SkipConnection,
            nn.Linear(6, 5),
            Residual(nn.Linear(5, 5), nn.LayerNorm(5, bias=False), nn.ReLU()),
            nn.Identity(),
        ),
    ),
    "root mean square norm": (RMSNorm, nn.Linear(6, 5), nn.RMSNorm(5, eps=1e-2), nn.ReLU()),
    "root mean square norm of the input": (RMSNorm, nn.Identity(), nn.RMSNorm(6, eps=1e-5), nn.Identity()),
    "root mean square norm of images": (RMSNorm, nn.Unflatten(1, (2, 3)), nn.RMSNorm(3, eps=1e-5), nn.Tanh()),
    "softplus": (Softplus, nn.Linear(6, 5), nn.Softplus(beta=2.0, threshold=1.0), nn.Identity()),
    "global pooling": (
        GlobalPool,
        nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, (1, 2))),
        *(nn.AdaptiveAvgPool2d(1), nn.ReLU()),
    ),
    "no running statistics": (None, nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.ReLU()),
    "cumulative statistics": (None, nn.Linear(6, 5), nn.BatchNorm1d(5, momentum=None), nn.ReLU()),
    "layer norm without bias": (None, nn.Linear(6, 5), nn.LayerNorm(5, bias=False), nn.ReLU()),
    "circular padding": (
        *(None, nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.ReLU()),
    ),
}


@pytest.mark.parametrize("grouped", [False, True], ids=["one by one", "in groups"])
@pytest.mark.parametrize("name", FAST)
def test_a_fast_layer_is_torchs(name: str, grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, gradients and running statistics over steps of training, and what an evaluation then says."""
    form, before, like, after = FAST[name]
    if grouped:
        monkeypatch.setattr(convolutions, "merged", list)
    assert fast_form(like, "fp32") is form
    torch.manual_seed(0)
    networks = [_filled(nn.Sequential(before, like, after, nn.Flatten()), row) for row in range(3)]
    networks = [nn.Sequential(*network, nn.Linear(network(torch.ones(2, 6)).shape[1], 3)) for network in networks]
    stack = Stack.of(networks)
    for step in range(3):
        shared = step == 1
        x, y = torch.randn(1 if shared else 3, 8, 6), torch.randint(0, 3, (3, 8))
        logits = stack(x, [torch.Generator()] * 3).clone()
        _, _, slope = cross_entropy(logits.clone(), y)
        gradient = stack.backward(slope)
        for row, network in enumerate(networks):
            alone = network.train()(x[row % len(x)])
            torch.testing.assert_close(logits[row], alone, rtol=1e-4, atol=1e-5)
            slopes = torch.autograd.grad(F.cross_entropy(alone, y[row]), list(network.parameters()))
            torch.testing.assert_close(
                gradient[row], torch.cat([one.flatten() for one in slopes]), rtol=1e-3, atol=1e-5
            )
            for parameter, one in zip(network.parameters(), slopes, strict=True):
                parameter.data.sub_(one, alpha=0.1)
        stack.flat.sub_(gradient, alpha=0.1)
    judged = stack(x).clone()
    for row, network in enumerate(networks):
        torch.testing.assert_close(judged[row], network.eval()(x[row % len(x)]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(stack.state_dict(row), dict(network.state_dict()), rtol=1e-4, atol=1e-5)


def _filled(network: nn.Sequential, seed: int) -> nn.Sequential:
    """A copy with other weights, of normalisation too."""
    torch.manual_seed(seed)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        nn.init.normal_(parameter, 0.3, 0.5)
    return other


def new(**config: Any) -> Trial:
    return make_trial(**{"stage": "confirm", "depth": 4, "width": 12, "batch_size": 100, "lr": 3e-3, **config})


CNN: dict[str, Any] = {"model": "cnn", "channels": (4, 4), "depth": 2, "width": 12}
BLOCKS: list[dict[str, Any]] = [
    # not relu: where all of its narrow layer is off there is nothing but rounding to be normalised
    *({"norm": name, "activation": "elu"} for name in catalogue.knob("norm").choices),
    {"residual": True},
    {"residual": True, "norm": "batch", "dropout": 0.2},
    {**CNN, "kernel": 3, "padding": "same", "convs_per_pool": 2, "residual": True, "norm": "batch"},
    {**CNN, "kernel": 3, "padding": "same", "stride": 2, "norm": "layer", "pool": 1, "global_pool": True},
]


@pytest.mark.parametrize("config", BLOCKS, ids=str)
def test_a_network_ends_alike_in_a_stack_and_by_a_plain_torch_loop(config: dict[str, Any], digits: Data) -> None:
    rules = catalogue.names("initialisation")
    trials = [
        new(number=row, seed=row // 2, initialisation=rule, **config) for row, rule in enumerate([*rules, "default"])
    ]
    assert len({trial.config.shape for trial in trials}) == 1  # how weights begin is each network's own
    together = {trial.number: event for trial, event in train(trials, digits) if isinstance(event, Outcome)}
    for trial in trials if not config.get("dropout") else ():
        *history, final = train_alone(trial, digits)
        for epoch, expected in zip(together[trial.number].history, history, strict=True):
            for name, value in expected.items():
                assert epoch[name] == pytest.approx(value, abs=0.011 if "accuracy" in name else LOSS), name
        assert together[trial.number]["test_loss"] == pytest.approx(final["test_loss"], abs=LOSS)
    [(_, alone)] = [(one, event) for one, event in train(trials[3:4], digits) if isinstance(event, Outcome)]
    assert alone["test_loss"] == pytest.approx(together[3]["test_loss"], abs=LOSS)


ALL = [
    *({"norm": norm, "residual": residual} for norm in catalogue.knob("norm").choices for residual in (False, True)),
    *({"activation": name} for name in catalogue.names("activation")),
    *({"model": "cnn", "channels": (4,), "norm": norm, "residual": True} for norm in ("none", "batch", "layer")),
    {"model": "cnn", "channels": (4,), "padding": "same", "convs_per_pool": 2, "global_pool": True, "residual": True},
]


@pytest.mark.parametrize("config", ALL, ids=str)
def test_built_in_models_are_fast_all_through(config: dict[str, Any]) -> None:
    """So that only users' models are tried in other lanes before the first trial."""
    for precision in catalogue.knob("precision").choices:
        waiting = [Stack.of([build(Config(depth=3, width=4, **config), (1, 8, 8), 3, 0)], precision=precision).root]
        for layer in waiting:
            assert not isinstance(layer, Opaque)
            waiting += layer.parts


def test_a_deep_network_learns_with_residuals_and_normalisation_only(digits: Data) -> None:
    deep = {"depth": 32, "width": 32, "epochs": 4, "batch_size": 50}
    plain, residual = (
        next(event for _, event in train([new(**{**deep, **config})], digits) if isinstance(event, Outcome))
        for config in ({}, {"residual": True, "norm": "layer"})
    )
    assert plain["test_accuracy"] < 0.2
    assert residual["test_accuracy"] > 0.8


def test_batch_normalisation_wants_two_images(digits: Data) -> None:
    rows = len(digits.split(1, 0.2)[0])
    with pytest.raises(UserError, match="norm: batch normalisation learns nothing from a batch of one image"):
        list(train([new(norm="batch", batch_size=rows - 1)], digits))


STUDY = """
dataset = "digits"
[compare]
residual = [false, true]
[fixed]
depth = 4
"""
CONTRADICTIONS = {
    "taper=halving": "residual: adds the input of a hidden layer to its output, so all must be as wide, got 128-64-32",
    "tune.taper=['constant', 'halving']": "residual: adds the input of a hidden layer to its output",
    "model=cnn norm=rms": "norm: 'rms' is not of convolutions (model = 'cnn'); must be one of none, batch, layer",
    "model=cnn padding=same kernel=4": "kernel: must be odd with padding = 'same', got 4",
    "model=cnn padding=full": "fixed.padding: must be one of valid, same, got 'full'",
    "norm=bacth": "fixed.norm: must be one of none, batch, layer, rms, got 'bacth'; did you mean batch?",
    "stride=2": "stride: only model = 'cnn' has it, and the study's model is 'mlp'",
}


@pytest.mark.parametrize("overrides", CONTRADICTIONS)
def test_values_that_contradict_each_other_are_told_before_training(
    overrides: str, write_study: Callable[[str], Path]
) -> None:
    folder = write_study(STUDY)
    with pytest.raises(UserError) as refused:
        read_study(folder, [overrides] if " [" in overrides or "'," in overrides else overrides.split())
    assert CONTRADICTIONS[overrides] in str(refused.value)


def test_what_a_condition_leaves_out_contradicts_nothing(write_study: Callable[[str], Path]) -> None:
    conditional = '[tune]\ntaper = { values = ["constant", "halving"], when = { residual = false } }\n'
    study = read_study(write_study(STUDY + conditional))
    assert study.levels == (False, True)
    with pytest.raises(UserError, match="must be as wide"):
        read_study(write_study(STUDY + conditional.replace("false", "true")))
