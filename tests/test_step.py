"""The step of a stack, as it is and as a CUDA graph would run it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from harness.bench.own import Asking, Closed
from harness.parts.data import Data, load
from harness.training.cohort import Cohort
from harness.training.loop import train
from harness.training.step import CapturedStep, Step, renew
from harness.trial import Outcome, Trial

from .conftest import make_trial


class FakeStream:
    def __init__(self, *arguments: Any) -> None: ...

    def wait_stream(self, other: Any) -> None: ...


class FakeGraph:
    """Replays by running the step again on the indices that the graph would find in its memory."""

    replays = 0

    def __init__(self, step: CapturedStep) -> None:
        self.step = step

    def replay(self) -> None:
        FakeGraph.replays += 1
        assert self.step.batch is not None
        self.step.run(self.step.batch)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams where there is no GPU."""
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())


def outcomes(trials: list[Trial], data: Data) -> list[Outcome]:
    return [event for _, event in train(trials, data) if isinstance(event, Outcome)]


@pytest.mark.usefixtures("streams")
def test_a_captured_step_trains_as_the_plain_one(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is needed to see that every batch is trained on once, whichever of the three ways it takes."""
    trials = [make_trial(k, seed=k, dropout=0.2, epochs=3, batch_size=100) for k in range(2)]
    plain = outcomes(trials, digits)

    def capture(step: CapturedStep) -> bool:
        step.graph = FakeGraph(step)  # type: ignore[assignment]
        return True

    monkeypatch.setattr(CapturedStep, "capture", capture)
    monkeypatch.setattr("harness.training.loop.make_step", CapturedStep)
    captured = outcomes(trials, digits)
    assert FakeGraph.replays == 3 * 11 - CapturedStep.WARM_UP  # 1,150 images: eleven whole batches and a short one
    for one, two in zip(plain, captured, strict=True):
        assert [(e.number, e.figures) for e in one.history] == [(e.number, e.figures) for e in two.history]


@pytest.mark.usefixtures("streams")
def test_a_stack_that_shrinks_has_a_graph_of_its_own(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of its own, made behind steps that warm up again; while most still train the first one is kept."""
    trials = [make_trial(k, seed=k, epochs=2 * (k + 1), dropout=0.2, batch_size=100) for k in range(4)]
    made: list[CapturedStep] = []

    def capture(step: CapturedStep) -> bool:
        made.append(step)
        step.graph = FakeGraph(step)  # type: ignore[assignment]
        return True

    monkeypatch.setattr("harness.training.loop.COMPACT", {"cpu": 0.5})  # a GPU's
    monkeypatch.setattr(CapturedStep, "capture", capture)
    monkeypatch.setattr("harness.training.loop.make_step", Step)
    plain = outcomes(trials, digits)
    monkeypatch.setattr("harness.training.loop.make_step", CapturedStep)
    monkeypatch.setattr(FakeGraph, "replays", 0)
    captured = outcomes(trials, digits)
    assert [len(step.stack) for step in made] == [4, 2, 1]  # three still train as four; epochs 1 to 4, 5 and 6, 7 and 8
    assert FakeGraph.replays == (4 + 2 + 2) * 11 - 3 * CapturedStep.WARM_UP
    for one, two in zip(plain, captured, strict=True):
        assert [(e.number, e.figures) for e in one.history] == [(e.number, e.figures) for e in two.history]


@pytest.mark.usefixtures("streams")
def test_a_step_that_cannot_be_captured_is_told_and_trains_on(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise RuntimeError("this test captures nothing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", type("Graph", (), {"register_generator_state": refuse}))
    trials = [make_trial(epochs=3, dropout=0.2)]
    plain = outcomes(trials, digits)
    monkeypatch.setattr("harness.training.loop.make_step", CapturedStep)
    with pytest.warns(UserWarning, match="no CUDA graph, training goes on more slowly: this test"):
        [outcome] = outcomes(trials, digits)
    assert outcome["val_loss"] == plain[0]["val_loss"]


@pytest.mark.usefixtures("streams")
def test_a_failed_capture_takes_no_numbers_from_the_generators(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are those of a training that captures nothing, whatever had been drawn until then."""

    @contextlib.contextmanager
    def graph(made: Any) -> Iterator[None]:
        yield
        raise RuntimeError("the capture is not valid")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", type("Graph", (), {"register_generator_state": lambda *_: None}))
    monkeypatch.setattr(torch.cuda, "graph", graph)
    cohort = Cohort.of([make_trial(dropout=0.2)], digits)
    noise = [cohort.members[0].noise]
    step = CapturedStep(cohort.task, cohort.stack, cohort.optimizer(), cohort.training, noise)
    batch = next(cohort.batches())
    for _ in range(CapturedStep.WARM_UP):
        step(batch)
    step.batch, before = batch, noise[0].get_state()
    with pytest.warns(UserWarning, match="no CUDA graph"):
        assert not step.capture()
    assert noise[0].get_state().equal(before)


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize(("kind", "expected"), [(Closed, True), (Asking, False)])
def test_what_asks_the_host_is_not_captured(
    kind: Any, expected: bool, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture that fails halfway leaves traces, so it is not tried where the lane says that it would."""
    made: list[object] = []
    register = {"register_generator_state": lambda *_: None, "__init__": lambda graph: made.append(graph)}
    monkeypatch.setattr(torch.cuda, "CUDAGraph", type("Graph", (), register))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: contextlib.nullcontext())
    monkeypatch.setattr("harness.training.cohort.build", lambda *arguments: kind(64, 10))
    cohort = Cohort.of([make_trial(seed=seed) for seed in range(2)], digits)
    assert not cohort.stack.root.is_capturable  # which lane it takes is known behind a first batch
    noise = [member.noise for member in cohort.members]
    step = CapturedStep(cohort.task, cohort.stack, cohort.optimizer(), cohort.training, noise)
    for _ in range(CapturedStep.WARM_UP):
        step(next(cohort.batches()))
    step.batch = next(cohort.batches())
    assert step.stack.root.is_capturable is expected
    assert step.capture() is expected
    assert len(made) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU on this machine")
def test_on_a_gpu_the_step_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("digits", "cuda")
    made: list[CapturedStep] = []

    def make(*arguments: Any) -> CapturedStep:
        made.append(CapturedStep(*arguments))
        return made[-1]

    monkeypatch.setattr("harness.training.loop.make_step", make)
    trials = [make_trial(k, seed=k, dropout=0.2, epochs=3, batch_size=100) for k in range(2)]
    captured = outcomes(trials, data)
    assert made[0].graph is not None
    monkeypatch.setattr("harness.training.loop.make_step", Step)
    for one, two in zip(captured, outcomes(trials, data), strict=True):
        assert one["val_loss"] == pytest.approx(two["val_loss"], abs=1e-4)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_lower_precision_learns_as_well(precision: Any, data: Data) -> None:
    exact, lower = (
        outcomes([make_trial(stage="confirm", width=64, epochs=10, lr=3e-3, batch_size=32, precision=p)], data)[0]
        for p in ("fp32", precision)
    )
    assert lower["test_accuracy"] == pytest.approx(exact["test_accuracy"], abs=0.02)
    assert lower["test_accuracy"] > 0.93
    if precision == "bf16":
        assert lower["test_loss"] != exact["test_loss"]


def test_on_a_gpu_a_generator_gets_a_state_that_no_capture_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own state still takes itself to be captured, and would refuse to be set."""

    class FakeGenerator:
        def __init__(self, device: Any = None) -> None:
            self.device, self.own = torch.device("cuda"), [0]

        def set_state(self, state: Any) -> None:
            self.own[0] = state

        def graphsafe_get_state(self) -> list[int]:
            return self.own

        def graphsafe_set_state(self, own: list[int]) -> None:
            self.own = own

    captured = FakeGenerator()
    stuck = captured.own
    monkeypatch.setattr(torch, "Generator", FakeGenerator)
    renew(captured, 7)  # type: ignore[arg-type]
    assert captured.own == [7]
    assert captured.own is not stuck
    assert stuck == [0]
