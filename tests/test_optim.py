from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorDeviceMismatchError, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness import catalogue
from harness.training.optim import SGD, Adam, StackOptimizer


class NAdam(StackOptimizer):
    """A rule of one's own: torch.optim.NAdam's, with state that is no tensor of parameters."""

    settings = ("lr", "weight_decay")
    state_names = ("mean", "square")

    def __init__(self, flat: Tensor, settings: Mapping[str, Sequence[float]]) -> None:
        super().__init__(flat, settings)
        self.state["product"] = torch.ones(len(flat), 1, device=flat.device)

    def update(self, gradient: Tensor) -> None:
        gradient, lr = self.decayed(gradient), self.now["lr"]
        steps = self.steps.double()
        now, later = (0.9 * (1 - 0.5 * torch.pow(0.96, (steps + ahead) * 0.004)) for ahead in (0, 1))
        product = self.state["product"].mul_(now)
        mean = self.state["mean"].lerp_(gradient, 0.1)
        square = self.state["square"].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        root = square.div(1 - torch.pow(0.999, steps)).sqrt_().add_(1e-8)
        self.flat.sub_(lr * (1 - now) / (1 - product) * gradient / root)
        self.flat.sub_(lr * later / (1 - product * later) * mean / root)


RULES: dict[str, type[StackOptimizer]] = {
    **{name: catalogue.built_by("optimizer", name) for name in catalogue.names("optimizer")},
    "nadam": NAdam,
}
TORCH: dict[str, Any] = {
    **{name: catalogue.load(catalogue.part("optimizer", name).like) for name in catalogue.names("optimizer")},
    "nadam": torch.optim.NAdam,
}
Setting = tuple[float, float, float]  # lr, momentum, weight decay
SETTINGS: list[Setting] = [(1e-1, 0.0, 0.0), (1e-2, 0.9, 0.0), (3e-3, 0.5, 1e-1), (1e-3, 0.0, 1e-2)]
NAMES = ("lr", "momentum", "weight_decay")

both_forms = pytest.mark.parametrize("readable", [True, False], ids=["numbers", "columns"])
"""A GPU's steps do not read the settings; their arithmetic is the same on a CPU."""


def _stacked(name: str, flat: Tensor, settings: Sequence[Setting], readable: bool | None = None) -> StackOptimizer:
    columns = {key: [setting[NAMES.index(key)] for setting in settings] for key in RULES[name].settings}
    optimizer = RULES[name](flat, columns)
    if readable is not None:
        optimizer.readable = readable
    return optimizer


def _alone(name: str, start: Tensor, setting: Setting) -> tuple[Tensor, torch.optim.Optimizer]:
    parameter = start.clone().requires_grad_()
    keys: dict[str, Any] = {key: setting[NAMES.index(key)] for key in RULES[name].settings}
    return parameter, TORCH[name]([parameter], **keys)


def _schedules(name: str) -> list[tuple[str, Callable[[int], list[float]]]]:
    """For each setting of a rule what its value is at a step, for each of three models."""
    schedules: dict[str, Callable[[int], list[float]]] = {
        "lr": lambda step: [1e-2 * 0.9**step, 1e-2 * (step + 1) / 10, 1e-2],
        "momentum": lambda step: [0.0 if step < 8 else 0.9, 0.0, 0.0 if step < 12 else 0.02 * step],
        "weight_decay": lambda step: [0.0, 0.0 if step < 5 else 1e-1, 0.0],
    }
    return [(key, schedules[key]) for key in RULES[name].settings]


def _step_of_torch(alone: Sequence[tuple[Tensor, torch.optim.Optimizer]], gradient: Tensor) -> None:
    for (parameter, reference), slope in zip(alone, gradient, strict=True):
        parameter.grad = slope.clone()
        reference.step()


def _assert_equal(flat: Tensor, alone: Sequence[tuple[Tensor, torch.optim.Optimizer]]) -> None:
    expected = torch.stack([parameter.detach() for parameter, _ in alone])
    torch.testing.assert_close(flat, expected, rtol=1e-5, atol=1e-6)


@both_forms
@pytest.mark.parametrize("settings", [SETTINGS, SETTINGS[:1]], ids=["mixed", "plain"])
@pytest.mark.parametrize("name", RULES)
def test_equals_torch_step_for_step(name: str, settings: list[Setting], readable: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(len(settings), 50, generator=generator)
    alone = [_alone(name, flat[k], setting) for k, setting in enumerate(settings)]
    optimizer = _stacked(name, flat, settings, readable)
    for _ in range(30):
        gradient = torch.randn(len(settings), 50, generator=generator)
        _step_of_torch(alone, gradient)
        optimizer.step(gradient)
        _assert_equal(flat, alone)


@both_forms
@pytest.mark.parametrize("name", RULES)
def test_a_changed_setting_counts_from_the_next_step_on(name: str, readable: bool) -> None:
    """All rows are equal at first and later each on its own: every setting moves, and those at zero come in late."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(3, 50, generator=generator)
    setting = (1e-2, 0.0, 0.0)
    alone = [_alone(name, row, setting) for row in flat]
    optimizer = _stacked(name, flat, [setting] * 3, readable)
    for step in range(25):
        gradient = torch.randn(3, 50, generator=generator)
        for key, schedule in _schedules(name) if step >= 3 else ():
            optimizer.set_column(key, torch.tensor(schedule(step), dtype=torch.float64)[:, None])
            for (parameter, reference), value in zip(alone, schedule(step), strict=True):
                reference.param_groups[0][key] = value
                if key == "momentum":  # torch's RMSprop takes memory for it at the first step or never
                    reference.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        _step_of_torch(alone, gradient)
        optimizer.step(gradient)
        _assert_equal(flat, alone)


class Recording(TorchDispatchMode):
    """What a captured CUDA graph is, on a CPU: a step's operations, to be done again on the tensors of that time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(_tensors(result), _tensors(again), strict=True):
                old.copy_(new)


def _tensors(result: Tensor | Sequence[Tensor] | None) -> Sequence[Tensor]:
    return () if result is None else (result,) if isinstance(result, Tensor) else result


@pytest.mark.parametrize("in_place", [True, False], ids=["in-place", "set"])
@pytest.mark.parametrize("name", RULES)
def test_a_changed_setting_counts_in_a_recorded_step_too(name: str, in_place: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(3, 50, generator=generator), torch.randn(20, 3, 50, generator=generator)
    recorded, plain = start.clone(), start.clone()
    one, two = (_stacked(name, flat, [(1e-2, 0.0, 0.0)] * 3, readable=False) for flat in (recorded, plain))
    slope, recording = gradients[0].clone(), Recording()
    for step, gradient in enumerate(gradients):
        for key, schedule in _schedules(name):
            column = torch.tensor(schedule(step), dtype=torch.float64)[:, None]
            two.set_column(key, column)
            if in_place:
                one.columns[key].copy_(column)
            else:
                one.set_column(key, column)
        slope.copy_(gradient)
        if step == 0:
            with recording:
                one.step(slope)
        else:
            recording.replay()
        two.step(gradient)
        torch.testing.assert_close(recorded, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", RULES)
def test_a_step_on_a_gpu_neither_waits_nor_mixes_devices(name: str) -> None:
    """Fake tensors claim to lie on a GPU; they have no values, so that whoever asks for one is found out."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        flat = torch.zeros(4, 50, device="cuda")
        optimizer = _stacked(name, flat, SETTINGS)
        optimizer.step(torch.ones_like(flat))
        optimizer.set_column("lr", optimizer.columns["lr"] / 2)
        optimizer.step(torch.ones_like(flat))
        optimizer = optimizer.only(flat[[0, 3]], [0, 3])
        optimizer.step(torch.ones_like(optimizer.flat))
        kept = [*optimizer.columns.values(), *optimizer.now.values(), *optimizer.state.values(), optimizer.steps]
        assert {tensor.device.type for tensor in kept} == {"cuda"}


@pytest.mark.parametrize("mistake", ["waits", "mixes devices"])
def test_a_rule_that_is_wrong_on_a_gpu_is_found_out(mistake: str) -> None:
    class Wrong(StackOptimizer):
        def update(self, gradient: Tensor) -> None:
            lr = self.now["lr"]
            self.flat.sub_(gradient * (lr.max().item() if mistake == "waits" else torch.ones(3)))

    with FakeTensorMode(allow_non_fake_inputs=True):
        flat = torch.zeros(2, 3, device="cuda")
        optimizer = Wrong(flat, {"lr": [0.1, 0.2]})
        with pytest.raises((DataDependentOutputException, FakeTensorDeviceMismatchError)):
            optimizer.step(torch.ones_like(flat))


@both_forms
@pytest.mark.parametrize("name", RULES)
def test_going_on_with_some_rows_changes_nothing_for_them(name: str, readable: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(10, 3, 20, generator=generator)
    start = torch.randn(3, 20, generator=generator)
    settings = [(1e-2, 0.0, 0.0), (3e-2, 0.9, 0.1), (1e-1, 0.5, 0.0)]
    whole, part = start.clone(), start.clone()
    one, two = (_stacked(name, flat, settings, readable) for flat in (whole, part))
    for step, gradient in enumerate(gradients):
        one.step(gradient.clone())
        if step == 4:
            part = part[[0, 2]]
            two = two.only(part, [0, 2])
        two.step(gradient.clone() if step < 4 else gradient[[0, 2]])
    torch.testing.assert_close(part, whole[[0, 2]])


@both_forms
@pytest.mark.parametrize("name", RULES)
def test_the_rows_left_behind_stay_as_they_are(name: str, readable: bool) -> None:
    """All rows go on, in memory of their own: neither optimizer moves what is the other's."""
    generator = torch.Generator().manual_seed(0)
    flat, gradient = torch.randn(2, 2, 20, generator=generator)
    one = _stacked(name, flat, [(1e-2, 0.5, 0.1)] * 2, readable)
    one.step(gradient.clone())
    left = flat.clone()
    moved = flat.clone()
    two = one.only(moved, [0, 1])
    two.set_column("lr", torch.tensor([[1.0], [2.0]]))
    two.step(gradient.clone())
    assert torch.equal(flat, left)
    assert not torch.isclose(moved, left).any()
    again = left.clone()
    one.only(again, [0, 1]).step(gradient.clone())
    one.step(gradient.clone())
    torch.testing.assert_close(again, flat, rtol=0, atol=0)


@both_forms
@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_that_comes_in_late_is_the_same_in_any_company(name: str, readable: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(8, 2, 20, generator=generator)
    start = torch.randn(2, 20, generator=generator)
    stacked, single = start.clone(), start[:1].clone()
    both = _stacked(name, stacked, [(1e-2, 0.0, 0.0), (1e-2, 0.9, 0.0)], readable)
    alone = _stacked(name, single, [(1e-2, 0.0, 0.0)], readable)
    for step, gradient in enumerate(gradients):
        for optimizer in (both, alone) if step in (3, 5, 6) else ():
            optimizer.columns["momentum"][0] = 0.0 if step == 5 else 0.8
        both.step(gradient.clone())
        alone.step(gradient[:1].clone())
    torch.testing.assert_close(stacked[:1], single, rtol=0, atol=0)


def test_settings_that_are_not_the_rules_own_are_refused() -> None:
    flat = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"Adam takes .*'lr', 'weight_decay'.*got.*momentum"):
        Adam(flat, {"lr": [0.1, 0.1], "weight_decay": [0.0, 0.0], "momentum": [0.9, 0.9]})
    with pytest.raises(ValueError, match="SGD takes"):
        SGD(flat, {"lr": [0.1, 0.1]})
    with pytest.raises(RuntimeError, match="shape"):
        Adam(flat, {"lr": [0.1], "weight_decay": [0.0]})
