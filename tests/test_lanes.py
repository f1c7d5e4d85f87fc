"""Models that users write (zoo.py), in stacks and each alone: the same weights, buffers and figures, by every lane.

The table in docs/own-models.md is what is found here; HARNESS_GOLDEN=1 writes it anew.
"""

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.numpy
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import catalogue, checks
from harness.analysis.results import read_results
from harness.config import Config
from harness.crews.how import How
from harness.driver import before_first_trial, hire
from harness.errors import UserError
from harness.parts.data import Data, load
from harness.parts.models import build, input_shape, likeness
from harness.parts.own import load_class
from harness.parts.preparing import floats
from harness.report.methods import methods
from harness.study.file import read_study
from harness.study.own import parse
from harness.study.study import Study
from harness.training.cohort import NOISE, generator
from harness.training.loop import train
from harness.training.stack import Stack
from harness.trial import Epoch, Fold, Outcome, Trial

from .conftest import ROOT, Done, clean_environment
from .reference import train_alone
from .test_folds import drive
from .test_kill import figures

ZOO = ROOT / "tests" / "zoo.py"
PAGE = ROOT / "docs" / "own-models.md"
BEGIN, END = "<!-- table of tests/test_lanes.py: begin -->", "<!-- end -->"

WEIGHT = NATS = 1e-4  # float32 sums in another order, amplified over some dozens of steps
SIZES = {"train": 320, "val": 80, "test": 100, "untrained": 100}
ALL = ("sgd", "adam", "adamw", "rmsprop")  # of the others some take signs, which make of any rounding a whole step
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # pytest makes errors of it
CONVOLVED = "convolutions are faster"
RANDOM = "random numbers of its own"


@dataclass(frozen=True)
class Expected:
    """The lane that a model takes, with a pattern of the reason; by which optimizers it is trained here."""

    lane: str
    reason: str = ""
    optimizers: tuple[str, ...] = ALL
    rate: str = ""  # the parameter that differs from network to network of a stack: a dropout rate


MODELS = {
    "Plain": Expected("general"),
    "Layers": Expected("fast", rate="p"),
    "MixedLayers": Expected("fast", optimizers=("adam", "sgd"), rate="p"),
    "Inside": Expected("general", optimizers=("adamw",), rate="p"),
    "Convolved": Expected("each", CONVOLVED),
    "Signal": Expected("each", CONVOLVED, optimizers=("sgd",)),
    "BatchNormed": Expected("general"),
    "PatchNormed": Expected("general", optimizers=("rmsprop",)),
    "ConvolvedNormed": Expected("each", CONVOLVED, optimizers=("adam",)),
    "LayerNormed": Expected("general"),
    "GroupNormed": Expected("general", optimizers=("sgd",)),
    "RootNormed": Expected("general", optimizers=("rmsprop",)),
    "Embedded": Expected("general", optimizers=("adamw",)),
    "Attending": Expected("general"),
    "Scaled": Expected("general", optimizers=("adam",)),
    "Encoder": Expected("each", RANDOM, optimizers=("adam",)),
    "Gated": Expected("each", "Batching rule not implemented"),
    "LongShort": Expected("each", "Batching rule not implemented", optimizers=("adam",)),
    "Residual": Expected("general", optimizers=("adamw", "sgd")),
    "Tied": Expected("general", optimizers=("rmsprop", "sgd")),
    "Repeated": Expected("general", optimizers=("adam",)),
    "Gain": Expected("general", optimizers=("adamw",)),
    "Frozen": Expected("general", optimizers=("sgd",)),
    "Centred": Expected("general"),
    "Replaced": Expected("each", "under torch.vmap its figures are others", optimizers=("adam",)),
    "Dropped": Expected("general", rate="p"),
    "DroppedChannels": Expected("general", optimizers=("adam",), rate="p"),
    "Functional": Expected("each", RANDOM),
    "Noisy": Expected("each", RANDOM, optimizers=("rmsprop",)),
    "Branching": Expected("each", "data-dependent control flow", optimizers=("sgd",)),
    "Single": Expected("general", optimizers=("adam",)),
    "Clamped": Expected("each", "data-dependent control flow", optimizers=("adam",)),
    "Normed": Expected("general", optimizers=("adam",)),
    "Spectral": Expected("each", "Batching rule not implemented", optimizers=("sgd",)),
    "Shifted": Expected("each", RANDOM, optimizers=("sgd",)),
    "Hooked": Expected("general", optimizers=("sgd",)),
}


@cache
def few() -> Data:
    """Some of the digits: enough to learn from, few enough for many trainings."""
    digits = load("digits", "cpu")
    rows = [*range(400), *range(digits.trainable, digits.trainable + 100)]
    return replace(digits, inputs=digits.inputs[rows], targets=digits.targets[rows], trainable=400)


def own_of(name: str) -> catalogue.OwnModel:
    return parse(ZOO.read_text(), "zoo.py", name).own


def trials_of(name: str, optimizer: str, **config: Any) -> list[Trial]:
    """Three that differ in all that may differ inside a stack; with two optimizers seeds are equal, as in a search."""
    scale, rate = {"sgd": 3.0, "rmsprop": 0.3}.get(optimizer, 1.0), MODELS[name].rate
    trials = []
    for k in range(3):
        values = {
            "dataset": "digits",
            "optimizer": optimizer,
            "lr": scale * [3e-3, 2e-2, 1e-2][k],
            "momentum": [0.0, 0.5, 0.3][k] if optimizer in ("sgd", "rmsprop") else 0.0,
            "weight_decay": [0.0, 1e-3, 1e-4][k],
            "batch_size": 64,
            "epochs": [3, 6, 4][k],
            "patience": [3, 1, 2][k],
            **({rate: [0.0, 0.3, 0.1][k]} if rate else {}),
            **config,
        }
        seed = 1 if optimizer in ("adamw", "rmsprop") else 1 + k // 2
        trials.append(Trial(name, "confirm", k, seed, Config(own_of(name), **values)))
    return trials


def outcomes(trials: list[Trial]) -> dict[int, Outcome]:
    return {trial.number: event for trial, event in train(trials, few()) if isinstance(event, Outcome)}


@dataclass
class Found:
    """The lane of a model, why, and the largest difference between a stack and each alone."""

    lane: str
    reason: str
    weights: float = 0.0
    loss: float = 0.0  # nats
    images: int = 0  # on the other side of the border between two classes
    ended: set[str] = field(default_factory=set)

    def add(self, one: Outcome, other: Outcome) -> None:
        """Compare two outcomes, which must be of the same epochs."""
        for what in ("status", "reason", "epochs", "best_epoch", "parameters"):
            assert getattr(one, what) == getattr(other, what)
        assert one.weights is not None
        assert other.weights is not None
        assert list(one.weights) == list(other.weights)
        for name, weight in one.weights.items():
            gap = (weight.double() - other.weights[name].double()).abs().max()
            self.weights = max(self.weights, float(gap))
        figures = [(one.figures, other.figures)]
        figures += [(mine.figures, theirs.figures) for mine, theirs in zip(one.history, other.history, strict=True)]
        for mine, theirs in figures:
            assert list(mine) == list(theirs)
            for name, value in mine.items():
                images, _, measure = name.partition("_")
                if measure == "loss":
                    self.loss = max(self.loss, abs(value - theirs[name]))
                elif measure == "accuracy":
                    self.images = max(self.images, round(abs(value - theirs[name]) * SIZES[images]))
        self.ended.add(other.reason)

    @property
    def row(self) -> tuple[str, str]:
        """Its cells in the table: what is found on any machine, and the differences of this one."""
        return f"{self.lane} | {self.reason}", f"{_rounded_up(self.weights)} | {_rounded_up(self.loss)}"


def _rounded_up(gap: float) -> str:
    return f"1e{math.ceil(math.log10(gap))}" if gap else "0"


@cache
def found(name: str) -> Found:
    """What comes of a model by all of its optimizers."""
    result = Found(*lane_of(name))
    for optimizer in MODELS[name].optimizers:
        trials = trials_of(name, optimizer)
        assert len({likeness(trial.config.shape, (1, 8, 8), 10) for trial in trials}) == 1  # they may share a stack
        together = outcomes(trials)
        for trial in trials:
            result.add(together[trial.number], outcomes([trial])[trial.number])
    return result


def lane_of(name: str) -> tuple[str, str]:
    """How a stack of it is trained, in words as in `Expected`, and why."""
    config, data = Config(own_of(name), dataset="digits"), few()
    networks = [build(config, data.shape, data.outputs, seed) for seed in range(2)]
    stack = Stack.of(networks, shape=input_shape(config, data.shape))
    stack(floats(data, data.inputs[:64])[None], [generator(seed, NOISE, torch.device("cpu")) for seed in range(2)])
    opaque = list(checks._opaque(stack.root))
    if opaque == [stack.root]:
        return opaque[0].lane.name, opaque[0].lane.reason
    return "; ".join(["fast", *(f"{type(layer.like).__name__} {layer.lane.name}" for layer in opaque)]), ""


@pytest.mark.parametrize("name", MODELS)
def test_a_stack_equals_each_alone(name: str) -> None:
    one = found(name)
    assert one.lane == MODELS[name].lane, one.reason
    assert re.search(MODELS[name].reason, one.reason)
    assert bool(one.reason) == (one.lane == "each")
    assert one.weights <= WEIGHT
    assert one.loss <= NATS
    assert one.images <= 1


def test_some_stop_early_and_some_do_not() -> None:
    ended = {name: found(name).ended for name in MODELS}
    assert any("epoch limit" in reason for reasons in ended.values() for reason in reasons)
    for lane in ("general", "each"):
        assert any("no lower" in r for name in MODELS if found(name).lane == lane for r in ended[name]), lane


def test_the_table_says_what_is_found() -> None:
    """Lanes and reasons are those of the page; the differences are of the machine that wrote it."""
    rows = {load_class(own_of(name)).__doc__ or "": found(name).row for name in MODELS}
    before, rest = PAGE.read_text().split(BEGIN)
    stored, after = rest.split(END)
    if os.environ.get("HARNESS_GOLDEN"):
        lines = ["| a model with | lane | why | weights | loss |", "| --- | --- | --- | --- | --- |"]
        lines += [f"| {what} | {lane} | {gaps} |" for what, (lane, gaps) in rows.items()]
        stored = "\n".join(["", "", *lines, "", ""])
        PAGE.write_text(BEGIN.join([before, END.join([stored, after])]))
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in stored.split("\n")[4:-2]]
    assert {what: f"{lane} | {why}" for what, lane, why, _, _ in cells} == {what: row[0] for what, row in rows.items()}
    assert all(float(weights) <= WEIGHT and float(loss) <= NATS for *_, weights, loss in cells)


@pytest.mark.parametrize("name", ["Residual", "BatchNormed", "Attending", "Convolved", "Gated", "Tied", "Frozen"])
def test_a_stack_agrees_with_a_plain_torch_loop(name: str) -> None:
    for optimizer in MODELS[name].optimizers[:2]:
        trials = trials_of(name, optimizer)
        together = outcomes(trials)
        for trial in trials:
            *history, final = train_alone(trial, few())
            outcome = together[trial.number]
            assert len(history) == outcome.epochs
            for epoch, expected in zip([*outcome.history, outcome], [*history, final], strict=True):
                for figure, value in expected.items():
                    within = NATS if figure.endswith("loss") else 1.01 / SIZES[figure.partition("_")[0]]
                    assert epoch.figures[figure] == pytest.approx(value, abs=within), figure


@pytest.mark.parametrize("name", MODELS)
def test_a_stack_evaluates_as_the_module_does(name: str) -> None:
    config, data = Config(own_of(name), dataset="digits"), few()
    networks = [build(config, data.shape, data.outputs, seed).eval() for seed in range(3)]
    stack = Stack.of(networks, shape=input_shape(config, data.shape))
    x = floats(data, data.inputs[:50])
    with torch.no_grad():
        expected = torch.stack([network(x.view(-1, *input_shape(config, data.shape))) for network in networks])
    torch.testing.assert_close(stack(x[None]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("models", [1, 2])
def test_dropout_in_place_changes_what_it_is_given(models: int) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))
            self.drop = nn.Dropout(0.5, inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = x * self.gain
            self.drop(y)
            return y

    noise = [generator(seed, NOISE, torch.device("cpu")) for seed in range(models)]
    y = Stack.of([InPlace() for _ in range(models)])(torch.ones(1, 50, 40), noise)
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert (y == 0.0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def loss_of(outcome: Outcome, trial: Trial) -> float:
    """That of the test images by the user's own class with the weights of an outcome."""
    data, config = few(), trial.config
    own = own_of(str(trial.level))
    network = load_class(own)(data.shape if own.shaped else data.features, data.outputs)
    saved = safetensors.numpy.save({name: value.numpy() for name, value in (outcome.weights or {}).items()})
    network.load_state_dict(safetensors.torch.load(saved))  # strict: no name is missing, none too many
    images = floats(data, data.test.inputs).view(-1, *input_shape(config, data.shape))
    return F.cross_entropy(network.eval()(images), data.test.targets).item()


@pytest.mark.parametrize("name", ["BatchNormed", "Replaced", "Tied", "Repeated", "Gated"])
def test_the_best_epochs_weights_and_buffers_fit_the_users_class(name: str) -> None:
    trials = trials_of(name, "adam", epochs=40, patience=2, lr=5e-2)
    for number, outcome in outcomes(trials).items():
        assert outcome.best_epoch == outcome.epochs - 2  # what the last epochs did was taken back
        assert loss_of(outcome, trials[number]) == pytest.approx(outcome["test_loss"], abs=NATS)


@pytest.mark.parametrize("name", ["BatchNormed", "Dropped", "Centred", "Gated", "Functional"])
def test_those_that_are_pruned_leave_the_others_as_they_are(name: str) -> None:
    trials = trials_of(name, "adam", epochs=6, patience=6)
    reached = dict[int, int]()
    together = dict[int, Outcome]()

    def stop(trial: Trial) -> bool:
        return trial.number == 0 and reached[0] == 2

    for trial, event in train(trials, few(), stop):
        if isinstance(event, Epoch):
            reached[trial.number] = event.number
        else:
            together[trial.number] = event
    assert (together[0].status, together[0].epochs) == ("pruned", 2)
    apart = Found("", "")
    for trial in trials[1:]:
        apart.add(together[trial.number], outcomes([trial])[trial.number])
    assert apart.weights <= WEIGHT
    assert apart.loss <= NATS


STUDY = """
dataset = "digits"
model = "net.py:BatchNormed"
[compare]
hidden = [4, 8]
[tune]
lr = { low = 1e-3, high = 3e-2, log = true }
[fixed]
epochs = 4
patience = 2
batch_size = 128
[budget]
trials = 4
searches = 1
seeds = 2
[search]
generation = 2
"""


def test_a_study_that_is_killed_ends_alike_and_can_be_replayed(
    write_study: Callable[..., Path], command: Callable[..., Done], tmp_path: Path, digits: Data
) -> None:
    """kill -9 in the middle; then replays in the stack that it was in, and alone."""
    undisturbed, killed = (write_study(STUDY, name) for name in ("undisturbed", "killed"))
    for folder in (undisturbed, killed):
        (folder / "net.py").write_text(ZOO.read_text())
    drive(read_study(undisturbed), undisturbed, digits)
    journals = [folder / "journal.log" for folder in (undisturbed, killed)]
    half = journals[0].stat().st_size // 2
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "studies/killed", "--offline", "--quiet"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not (journals[1].exists() and journals[1].stat().st_size > half):
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    drive(read_study(killed), killed, digits)
    pd.testing.assert_frame_equal(*(figures(read_results(journal)) for journal in journals), check_exact=True)

    exactly = command("replay", "studies/killed", "8", "--trial", "2", "--stack", "--tolerance", "0")
    assert exactly.returncode == 0, exactly.stdout + exactly.stderr
    alone = command("replay", "studies/killed", "8", "--trial", "2")
    assert alone.returncode == 0, alone.stdout + alone.stderr


REFUSED = {
    "inplace": ("x.mul_(2.0)", "changes its input in place, which others see"),
    "kept": ("self.seen = x", r"changes seen in its forward pass; what changes must be a buffer"),
    "counted": ("self.count = getattr(self, 'count', 0) + 1; x = x / self.count", "other outputs for the same images"),
    "shape": ("self.mean = x.mean(0)[:2].detach()", r"gives its buffer mean another shape: \(1,\), then \(2,\)"),
    "list": ("x = self.loose[0](x)", "keeps a tensor in loose that is neither parameter nor buffer.*nn.ModuleList"),
    "python": ("x = x * random.random() if self.training else x", "draws random numbers from Python or NumPy"),
    "numpy": ("x = x * np.random.rand() if self.training else x", "draws random numbers from Python or NumPy"),
    "generator": ("x = x + torch.rand(1, generator=self.source) if self.training else x", "changes source in"),
    "lock": ("with self.lock: pass", "cannot be copied, as a stack must: TypeError: cannot pickle '_thread.lock'"),
    "lazy": ("x = self.lazy(x)", "has lazy.weight without a size: lazy layers cannot be used"),
    "frozen": ("self.head.weight.requires_grad_(False)", r"RuntimeError: .* does not require grad"),
}
PARTS = {
    "shape": "self.register_buffer('mean', torch.zeros(1))",
    "list": "self.loose = [nn.Linear(inputs, inputs)]",
    "generator": "self.source = torch.Generator()",
    "lock": "self.lock = threading.Lock()",
    "lazy": "self.lazy = nn.LazyLinear(inputs)",
}


def check(study: Study, data: Mapping[str, Data]) -> None:
    """What `harness run` looks at before the first trial."""
    checks.check_models(study, data)
    checks.lanes(study, data)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_stack_can_hold_is_refused_before_the_first_trial(
    name: str, write_study: Callable[..., Path], digits: Data
) -> None:
    line, message = REFUSED[name]
    folder = write_study(STUDY.replace(":BatchNormed", ""))
    (folder / "net.py").write_text(
        "import random, threading\nimport numpy as np\nimport torch\nfrom torch import nn\n\n"
        "class Net(nn.Module):\n    def __init__(self, inputs, outputs, hidden: int = 4):\n        super().__init__()\n"
        f"        self.head = nn.Linear(inputs, outputs)\n        {PARTS.get(name, 'pass')}\n\n"
        f"    def forward(self, x):\n        {line}\n        return self.head(x)\n"
    )
    study, data = read_study(folder), {"digits": digits}
    with pytest.raises(UserError, match=message) as told:
        check(study, data)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["BatchNormed", "Branching"])
def test_folds_are_trained_side_by_side(name: str) -> None:
    """Of one seed, each on images of its own."""
    trials = [
        replace(trial, stage="search", seed=1, fold=Fold(number, 3, 0))
        for number, trial in enumerate(trials_of(name, "adam"))
    ]
    together, apart = outcomes(trials), Found("", "")
    for trial in trials:
        apart.add(together[trial.number], outcomes([trial])[trial.number])
    assert apart.weights <= WEIGHT
    assert apart.loss <= NATS


ROWS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs, outputs, hidden: int = 4):
        super().__init__()
        self.read = nn.GRU(inputs, hidden)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.head(self.read(x[None])[0][0])
"""


def test_the_lane_is_told_recorded_and_reported(write_study: Callable[..., Path], digits: Data) -> None:
    folder = write_study(STUDY.replace(":BatchNormed", ""))
    (folder / "net.py").write_text(ROWS)
    study, data, said = read_study(folder), {"digits": digits}, list[str]()
    with closing(hire(How(), data)) as workplace:
        facts = before_first_trial(study, folder, data, torch.device("cpu"), workplace, said.append)
    assert study.own
    said.remove("checking models on the data …")
    assert said[0] == f"runs {folder}/net.py (sha256 {study.own.sha256[:12]})"
    lane = "Net: one network after the other (torch.vmap: Batching rule not implemented for aten::gru.input)"
    assert said[1:] == [lane]
    assert facts["lanes"] == lane  # recorded in the journal, and a tag of every run in MLflow
    assert any(lane in sentence for sentence in methods(study, facts))
