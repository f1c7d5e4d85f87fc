import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorDeviceMismatchError, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness import catalogue
from harness.config import Config
from harness.errors import UserError
from harness.training.optim import SGD, Adam, StackOptimizer

from .reference import TORCH, MuonAndAdamW

RULES: dict[str, type[StackOptimizer]] = {
    name: catalogue.built_by("optimizer", name) for name in catalogue.names("optimizer")
}
Setting = tuple[float, float, float]  # lr, momentum, weight decay
SETTINGS: list[Setting] = [(1e-1, 0.0, 0.0), (1e-2, 0.9, 0.0), (3e-3, 0.5, 1e-1), (1e-3, 0.0, 1e-2)]
NAMES = ("lr", "momentum", "weight_decay")
SHAPES = [(5, 6), (5,), (2, 5), (2,), (3,)]  # of the 50 parameters
CONSTANTS: dict[str, list[float | None]] = {
    "beta1": [0.8, None, 0.95, 0.0],
    "beta2": [0.9, 0.99, None, 0.5],
    "eps": [1e-3, 1e-8, 1e-6, None],
    "alpha": [0.9, None, 0.5, 0.99],
    "rho": [0.5, None, 0.95, 0.9],
    "dampening": [0.5, 0.9, 0.1, 0.0],
    "muon_momentum": [0.95, 0.5, 0.8, 0.0],
}
OPTIONS = [
    *((name, "plain") for name in RULES),
    *((name, "constants") for name, rule in RULES.items() if rule.constants),
    *((name, option) for name, rule in RULES.items() for option in rule.options),
    *((name, "decay_biases") for name in RULES),
]

both_forms = pytest.mark.parametrize("readable", [True, False], ids=["numbers", "columns"])
"""A GPU's steps do not read the settings; their arithmetic is the same on a CPU."""


def _stacked(
    name: str, flat: Tensor, settings: Sequence[Setting], readable: bool | None = None, more: str = "plain"
) -> StackOptimizer:
    rule = RULES[name]
    columns: dict[str, list[float | None]] = {key: [_value(key, one) for one in settings] for key in rule.settings}
    if more == "constants":
        columns |= {key: CONSTANTS[key][: len(settings)] for key in rule.constants}
    options = {more: more != "decay_biases"} if more in (*rule.options, "decay_biases") else {}
    optimizer = rule(flat, columns, options, SHAPES if flat.shape[1] == 50 else [(4, 4), (4,)])
    if readable is not None:
        optimizer.readable = readable
    return optimizer


def _value(key: str, setting: Setting) -> float:
    return setting[0] / 3 if key == "adamw_lr" else setting[NAMES.index(key)]


class Alone:
    """One model by torch.optim: its parameters (P,) as tensors of their own shapes."""

    def __init__(self, name: str, start: Tensor, setting: Setting, row: int = 0, more: str = "plain") -> None:
        rule = RULES[name]
        pieces = start.split([math.prod(shape) for shape in SHAPES])
        self.parts = [piece.clone().view(shape).requires_grad_() for piece, shape in zip(pieces, SHAPES, strict=True)]
        keys: dict[str, Any] = {key: _value(key, setting) for key in rule.settings}
        if more == "constants":
            keys |= {key: CONSTANTS[key][row] for key in rule.constants if CONSTANTS[key][row] is not None}
            defaults = [rule.constants.get(f"beta{number}") for number in (1, 2)]
            betas = [keys.pop(f"beta{number}", default) for number, default in zip((1, 2), defaults, strict=True)]
            keys |= {} if betas[0] is None else {"betas": tuple(betas)}
        if more in rule.options and not (more == "nesterov" and not keys["momentum"]):  # which torch refuses
            keys[more] = True
        groups: Any = self.parts
        if more == "decay_biases" and name != "muon":
            groups = [
                {"params": self.parts[0:3:2]},
                {"params": [self.parts[i] for i in (1, 3, 4)], "weight_decay": 0.0},
            ]
        self.optimizer = TORCH[name](groups, **keys)
        if more == "decay_biases" and name == "muon":
            self.optimizer.others.param_groups[0]["weight_decay"] = 0.0

    def step(self, gradient: Tensor) -> None:
        pieces = gradient.split([math.prod(shape) for shape in SHAPES])
        for part, piece, shape in zip(self.parts, pieces, SHAPES, strict=True):
            part.grad = piece.clone().view(shape)
        self.optimizer.step()

    def set(self, key: str, value: float) -> None:
        if isinstance(self.optimizer, MuonAndAdamW):
            self.optimizer.set(key, value)
            return
        self.optimizer.param_groups[0][key] = value
        for part in self.parts if key == "momentum" else ():  # torch's RMSprop takes memory for it at first or never
            self.optimizer.state[part].setdefault("momentum_buffer", torch.zeros_like(part))

    @property
    def flat(self) -> Tensor:
        return torch.cat([part.detach().flatten() for part in self.parts])


def _schedules(name: str) -> list[tuple[str, Callable[[int], list[float]]]]:
    """For each setting of a rule what its value is at a step, for each of three models."""
    schedules: dict[str, Callable[[int], list[float]]] = {
        "lr": lambda step: [1e-2 * 0.9**step, 1e-2 * (step + 1) / 10, 1e-2],
        "adamw_lr": lambda step: [1e-2, 1e-2 * 0.8**step, 1e-2 * (step + 1) / 10],
        "momentum": lambda step: [0.0 if step < 8 else 0.9, 0.0, 0.0 if step < 12 else 0.02 * step],
        "weight_decay": lambda step: [0.0, 0.0 if step < 5 else 1e-1, 0.0],
    }
    return [(key, schedules[key]) for key in RULES[name].settings]


def _assert_equal(flat: Tensor, alone: Sequence[Alone], name: str, lr: Sequence[float], steps: int) -> None:
    """Muon's matrices are made orthogonal in bfloat16, batched here: a thousandth of a step's entries may differ."""
    for row, one in enumerate(alone):
        within = 1e-6 if name != "muon" else 2e-2 * lr[row] * steps
        torch.testing.assert_close(flat[row], one.flat, rtol=1e-5, atol=within)


@both_forms
@pytest.mark.parametrize("settings", [SETTINGS, SETTINGS[:1]], ids=["mixed", "plain"])
@pytest.mark.parametrize(("name", "more"), OPTIONS)
def test_equals_torch_step_for_step(name: str, more: str, settings: list[Setting], readable: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(len(settings), 50, generator=generator)
    alone = [Alone(name, flat[k], setting, k, more) for k, setting in enumerate(settings)]
    optimizer = _stacked(name, flat, settings, readable, more)
    for step in range(30):
        gradient = torch.randn(len(settings), 50, generator=generator)
        for one, slope in zip(alone, gradient, strict=True):
            one.step(slope)
        optimizer.step(gradient)
        _assert_equal(flat, alone, name, [setting[0] for setting in settings], step + 1)


@pytest.mark.parametrize(("name", "more"), [pair for pair in OPTIONS if pair[1] != "plain"])
def test_every_setting_changes_something(name: str, more: str) -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(4, 50, generator=generator), torch.randn(10, 4, 50, generator=generator)
    moved = []
    for what in ("plain", more):
        flat = start.clone()
        optimizer = _stacked(name, flat, [(1e-2, 0.5, 0.1)] * 4, None, what)
        for gradient in gradients:
            optimizer.step(gradient.clone())
        moved.append(flat)
    assert not torch.isclose(moved[0], moved[1], rtol=1e-6).all()


@both_forms
@pytest.mark.parametrize("name", RULES)
def test_a_changed_setting_counts_from_the_next_step_on(name: str, readable: bool) -> None:
    """All rows are equal at first and later each on its own: every setting moves, and those at zero come in late."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(3, 50, generator=generator)
    setting = (1e-2, 0.0, 0.0)
    alone = [Alone(name, row, setting) for row in flat]
    optimizer = _stacked(name, flat, [setting] * 3, readable)
    for step in range(25):
        gradient = torch.randn(3, 50, generator=generator)
        for key, schedule in _schedules(name) if step >= 3 else ():
            optimizer.set_column(key, torch.tensor(schedule(step), dtype=torch.float64)[:, None])
            for one, value in zip(alone, schedule(step), strict=True):
                one.set(key, value)
        for one, slope in zip(alone, gradient, strict=True):
            one.step(slope)
        optimizer.step(gradient)
        _assert_equal(flat, alone, name, [2e-2] * 3, step + 1)


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


@pytest.mark.parametrize(("name", "more"), OPTIONS)
def test_a_step_on_a_gpu_neither_waits_nor_mixes_devices(name: str, more: str) -> None:
    """Fake tensors claim to lie on a GPU; they have no values, so that whoever asks for one is found out."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        flat = torch.zeros(4, 50, device="cuda")
        optimizer = _stacked(name, flat, SETTINGS, None, more)
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
@pytest.mark.parametrize(("name", "more"), OPTIONS)
def test_going_on_with_some_rows_changes_nothing_for_them(name: str, more: str, readable: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(10, 3, 20, generator=generator)
    start = torch.randn(3, 20, generator=generator)
    settings = [(1e-2, 0.0, 0.0), (3e-2, 0.9, 0.1), (1e-1, 0.5, 0.0)]
    whole, part = start.clone(), start.clone()
    one, two = (_stacked(name, flat, settings, readable, more) for flat in (whole, part))
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


def test_what_torch_refuses_is_refused() -> None:
    Config(optimizer="adam", nesterov=True, dampening=0.5).check()
    with pytest.raises(UserError, match=r"^dampening: must be 0 with nesterov = true, got 0\.5$"):
        Config(optimizer="sgd", nesterov=True, dampening=0.5).check()
