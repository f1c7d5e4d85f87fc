import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness import catalogue
from harness.config import Config
from harness.parts.models import Residual, build
from harness.parts.tasks import cross_entropy
from harness.training.layers import ByAutograd, Dropout, fast_form
from harness.training.stack import Stack


@pytest.mark.parametrize("activation", catalogue.names("activation"))
def test_forward_and_gradient_are_those_of_the_networks(activation: str) -> None:
    config = Config(widths=(7, 5), activation=activation)
    networks = [build(config, (6,), 3, seed) for seed in range(4)]
    stack = Stack.of(networks)
    x, y = torch.randn(4, 8, 6), torch.randint(0, 3, (4, 8))
    logits = stack(x)
    loss, hits, slope = cross_entropy(logits, y)
    gradient = stack.backward(slope)
    for k, network in enumerate(networks):
        alone = network.eval()(x[k])
        torch.testing.assert_close(logits[k], alone, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(loss[k] / 8, F.cross_entropy(alone, y[k]), rtol=1e-5, atol=1e-6)
        assert hits[k] == (alone.argmax(1) == y[k]).sum()
        expected = torch.autograd.grad(F.cross_entropy(alone, y[k]), list(network.parameters()))
        torch.testing.assert_close(gradient[k], torch.cat([g.flatten() for g in expected]), rtol=1e-4, atol=1e-6)


def test_one_input_for_all() -> None:
    stack = Stack.of([build(Config(depth=3, width=7), (6,), 3, seed) for seed in range(3)])
    x = torch.randn(1, 8, 6)
    torch.testing.assert_close(stack(x).clone(), stack(x.repeat(3, 1, 1)))


def test_rows_are_networks() -> None:
    networks = [build(Config(depth=3, width=7), (6,), 3, seed) for seed in range(3)]
    stack = Stack.of(networks)
    for row, network in enumerate(networks):
        state = stack.state_dict(row)
        assert list(state) == list(network.state_dict())
        assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    part = stack[[2, 0]]
    assert len(part) == 2
    assert torch.equal(part.flat[0], stack.flat[2])


def test_a_step_on_flat_moves_the_layers() -> None:
    stack = Stack.of([build(Config(depth=2, width=7), (6,), 3, 0)])
    before = stack(torch.ones(1, 1, 6)).clone()
    stack.flat.mul_(2.0)
    assert not torch.equal(before, stack(torch.ones(1, 1, 6)))


def test_the_seed_alone_initialises() -> None:
    torch.manual_seed(5)
    one = build(Config(), (6,), 3, seed=1)
    state = torch.random.get_rng_state()
    two = build(Config(), (6,), 3, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's random numbers were used
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_dropout_has_each_networks_rate_and_keeps_the_mean() -> None:
    networks = [build(Config(depth=2, width=4000, dropout=rate), (6,), 3, 0) for rate in (0.0, 0.25, 0.5)]
    stack = Stack.of(networks)
    hidden = torch.ones(3, 4, 4000)
    noise = [torch.Generator().manual_seed(k) for k in range(3)]
    layer = next(layer for layer in stack.layers if isinstance(layer, Dropout))
    dropped = layer.forward(hidden, noise)
    share = (dropped == 0).float().mean((1, 2))
    torch.testing.assert_close(share, torch.tensor([0.0, 0.25, 0.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(dropped.mean((1, 2)), torch.ones(3), atol=0.04, rtol=0)
    back = layer.backward(torch.ones(3, 4, 4000))
    assert back is not None
    assert torch.equal(back, dropped)  # the same are dropped on the way back
    x = torch.randn(1, 4, 6)
    still = stack(x).clone()
    assert torch.equal(stack(x), still)  # off unless there is noise
    assert not torch.equal(stack(x, noise), still)


def test_what_is_dropped_does_not_depend_on_the_company() -> None:
    networks = [build(Config(depth=2, width=16, dropout=0.5), (6,), 3, seed) for seed in range(3)]
    x = torch.randn(1, 4, 6)
    together = Stack.of(networks)(x, [torch.Generator().manual_seed(k) for k in range(3)])
    alone = Stack.of(networks[2:])(x, [torch.Generator().manual_seed(2)])
    torch.testing.assert_close(together[2:], alone)


@pytest.mark.parametrize("like", [nn.CELU(), nn.LogSigmoid(), nn.AvgPool1d(2)], ids=str)
def test_a_layer_without_a_form_of_its_own_is_run_by_autograd(like: nn.Module) -> None:
    assert fast_form(like, "fp32") is ByAutograd
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(6, 8), like, nn.Flatten(), nn.LazyLinear(3)) for _ in range(3)]
    x, y = torch.randn(3, 5, 6), torch.randint(0, 3, (3, 5))
    alone = [network(x[k]) for k, network in enumerate(networks)]
    stack = Stack.of(networks)
    _, _, slope = cross_entropy(stack(x), y)
    gradient = stack.backward(slope)
    for k, network in enumerate(networks):
        expected = torch.autograd.grad(F.cross_entropy(alone[k], y[k]), list(network.parameters()))
        torch.testing.assert_close(gradient[k], torch.cat([g.flatten() for g in expected]), rtol=1e-4, atol=1e-6)


class Halves(nn.Module):
    """No parameters, and an end whose slope its output tells: the next layer must not write into it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x / 2)


@pytest.mark.parametrize("shared", [True, False])
def test_layers_of_a_users_own_stand_between_fast_ones(shared: bool) -> None:
    torch.manual_seed(0)
    networks = [nn.Sequential(Halves(), nn.Linear(6, 8), Halves(), nn.ReLU(), nn.Linear(8, 3)) for _ in range(3)]
    stack = Stack.of(networks)
    x, slope = torch.randn(1 if shared else 3, 5, 6), torch.randn(3, 5, 3)
    noise = [torch.Generator() for _ in networks]
    assert stack(x, noise).shape == (3, 5, 3)
    gradient = stack.backward(slope.clone())
    for k, network in enumerate(networks):
        expected = torch.autograd.grad(network(x[k % len(x)]), list(network.parameters()), slope[k])
        torch.testing.assert_close(gradient[k], torch.cat([g.flatten() for g in expected]), rtol=1e-4, atol=1e-6)


SHARED, DROPPED = nn.Tanh(), nn.Dropout(0.0)


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([SHARED, nn.Linear(8, 8), SHARED], id="one that stands in two places"),
        pytest.param([DROPPED, nn.Linear(8, 8), DROPPED], id="a dropout that stands in two places"),
        pytest.param([nn.Sequential(nn.ReLU(), nn.Identity()), nn.Sigmoid()], id="one behind another"),
        pytest.param([nn.Sigmoid(), nn.Tanh()], id="one behind another that needs its output"),
        pytest.param([Residual(nn.Tanh(), nn.Linear(8, 8))], id="one that an identity goes around"),
    ],
)
def test_activations_in_place_leave_what_others_need(layers: list[nn.Module]) -> None:
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(6, 8), *layers, nn.Linear(8, 3)) for _ in range(2)]
    x, slope, stack = torch.randn(2, 5, 6), torch.randn(2, 5, 3), Stack.of(networks)
    outputs = stack(x, [torch.Generator() for _ in networks])
    for k, network in enumerate(networks):
        torch.testing.assert_close(outputs[k], network(x[k]))
    gradient = stack.backward(slope.clone())
    for k, network in enumerate(networks):
        expected = torch.autograd.grad(network(x[k]), list(network.parameters()), slope[k])
        torch.testing.assert_close(gradient[k], torch.cat([g.flatten() for g in expected]), rtol=1e-4, atol=1e-6)


def test_a_layer_whose_settings_the_fast_lane_does_not_know_is_left_to_the_others() -> None:
    assert fast_form(nn.Linear(3, 2), "fp32") is not None
    for like in (nn.GELU(approximate="tanh"), nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(2)):
        assert fast_form(like, "fp32") in (None, ByAutograd), like
    hooked = nn.Linear(3, 2)
    hooked.register_forward_hook(lambda module, args, output: output * 2)
    tied = nn.Linear(3, 3)
    frozen = nn.Linear(3, 2).requires_grad_(False)
    assert [fast_form(like, "fp32") for like in (hooked, nn.Sequential(tied, tied), frozen)] == [None, None, None]
