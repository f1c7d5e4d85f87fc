"""Ray for real: several workers, one of them killed in the middle, and two nodes of which one goes away."""

import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # read when Ray is imported

import ray
from ray.cluster_utils import Cluster as Nodes

from harness.analysis.results import read_results
from harness.crews.checkpoints import Checkpoints
from harness.crews.grouping import group_trials
from harness.crews.how import How
from harness.crews.local import Here
from harness.crews.ray import Cluster
from harness.crews.schedule import train_all
from harness.errors import UserError
from harness.parts.data import Data
from harness.trial import Epoch, Outcome, Trial

from .conftest import SMALL, Done, make_trial
from .test_kill import figures
from .test_lanes import trials_of

Write = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def trials() -> list[Trial]:
    """Some of two shapes, one of which is pruned."""
    return [make_trial(k, seed=k, width=[8, 16][k % 2], lr=0.1 / (k + 1), epochs=8, patience=8) for k in range(8)]


def figures_of(outcome: Outcome) -> tuple[object, ...]:
    """What has nothing to do with clocks."""
    history = [(epoch.number, epoch.figures) for epoch in outcome.history]
    weights = {name: value.tolist() for name, value in (outcome.weights or {}).items()}
    return outcome.status, outcome.reason, outcome["val_accuracy"], history, weights


def trained(crew: Cluster | Here, data: Data, disturb: Callable[[], None] = lambda: None) -> dict[int, Outcome]:
    """The first outcome of every trial; `disturb` is called once, after the first epoch."""
    calls = iter([disturb])

    def stop(trial: Trial) -> bool:
        next(calls, lambda: None)()
        return trial.number == 4 and reached.get(4, 0) >= 3

    reached: dict[int, int] = {}
    found: dict[int, Outcome] = {}
    for trial, event in train_all(group_trials(trials(), data, size=2), crew, stop, retries=1):
        if isinstance(event, Epoch):
            reached[trial.number] = event.number
        elif isinstance(event, Outcome):
            found.setdefault(trial.number, event)
    return found


@pytest.fixture(scope="module")
def undisturbed(digits: Data) -> dict[int, Outcome]:
    return trained(Here({"digits": digits}), digits)


def test_a_worker_killed_in_the_middle_changes_nothing(digits: Data, undisturbed: dict[int, Outcome]) -> None:
    def kill_one() -> None:
        [process, *_] = [re.search(r"process (\d+) ", crew._names[actor]) for actor in crew._at_work.values()]
        assert process is not None
        os.kill(int(process[1]), signal.SIGKILL)

    with closing(Cluster({"digits": digits}, How(workers=2))) as crew:
        outcomes = trained(crew, digits, kill_one)
    assert max(outcome.retries for outcome in outcomes.values()) == 1
    assert {k: figures_of(o) for k, o in outcomes.items()} == {k: figures_of(o) for k, o in undisturbed.items()}
    assert outcomes[4].status == "pruned"


def test_a_killed_worker_costs_what_came_since_its_checkpoint(
    digits: Data, undisturbed: dict[int, Outcome], tmp_path: Path
) -> None:
    """The driver keeps it, and here another worker on the same machine goes on; nothing is trained or told anew."""
    said: list[str] = []
    keeping = Checkpoints(tmp_path / "checkpoints", {}, {"digits": digits.fingerprint}, 0.0, said.append)
    began: list[int] = []
    found: dict[int, Outcome] = {}
    with closing(Cluster({"digits": digits}, How(workers=1))) as crew:

        def stop(trial: Trial) -> bool:
            if len(list(tmp_path.glob("checkpoints/*"))) and not began.count(-1) and epochs[trial.number] >= 4:
                [actor] = crew._at_work.values()
                process = re.search(r"process (\d+) ", crew._names[actor])
                assert process is not None
                began.append(-1)
                os.kill(int(process[1]), signal.SIGKILL)
            return trial.number == 4 and epochs[4] >= 3

        epochs: dict[int, int] = {}
        groups = group_trials(trials(), digits, size=2)
        for trial, event in train_all(groups, crew, stop, retries=1, keeping=keeping):
            if isinstance(event, Epoch):
                epochs[trial.number] = event.number
            elif isinstance(event, Outcome):
                found.setdefault(trial.number, event)
            else:
                began.append(trial.number)
    assert len(began) == 8 + 1 + 2
    assert [line.partition(" (")[0] for line in said] == ["2 trainings go on from their checkpoint"]
    assert {k: figures_of(o) for k, o in found.items()} == {k: figures_of(o) for k, o in undisturbed.items()}


@pytest.fixture
def two_nodes() -> Iterator[Nodes]:
    """A head without a processor, and two machines with one each, all on loopback."""
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=1)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


def test_a_node_that_goes_away_changes_nothing(digits: Data, undisturbed: dict[int, Outcome], two_nodes: Nodes) -> None:
    with closing(Cluster({"digits": digits}, How(ray=two_nodes.address))) as crew:
        assert crew.workers == 2

        def remove_one() -> None:
            assert len(crew._at_work) >= 1
            two_nodes.remove_node(sorted(two_nodes.worker_nodes, key=str)[0], allow_graceful=False)

        outcomes = trained(crew, digits, remove_one)
    assert {k: figures_of(o) for k, o in outcomes.items()} == {k: figures_of(o) for k, o in undisturbed.items()}


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.soak), pytest.param(4, marks=pytest.mark.soak)]
)
def test_a_study_is_the_same_on_several_workers_and_on_none(
    workers: int, write_study: Write, command: Callable[..., Done], tmp_path: Path
) -> None:
    def table(name: str, *how: str) -> pd.DataFrame:
        folder = write_study(SMALL, name)
        done = command("run", f"studies/{name}", "--offline", "--quiet", *how)
        assert done.returncode == 0, done.stderr
        return figures(read_results(folder / "journal.log"))

    pd.testing.assert_frame_equal(table("here"), table("there", "--workers", str(workers)))


def test_a_worker_trains_a_users_model_from_its_text(digits: Data) -> None:
    """It has no file, and the same lanes are found there as here."""

    def first(crew: Cluster | Here) -> dict[tuple[object, int], tuple[object, ...]]:
        groups = group_trials([*trials_of("BatchNormed", "adam"), *trials_of("Functional", "adam")], digits, size=3)
        told = train_all(groups, crew, lambda trial: False, retries=0)
        return {(t.level, t.number): figures_of(event) for t, event in told if isinstance(event, Outcome)}

    with closing(Cluster({"digits": digits}, How(workers=1))) as crew:
        there = first(crew)
    assert len(there) == 6
    assert there == first(Here({"digits": digits}))


def test_an_address_where_no_cluster_answers(digits: Data) -> None:
    with pytest.raises(UserError, match=r"--ray 127\.0\.0\.1:1: no Ray cluster answers there"):
        Cluster({"digits": digits}, How(ray="127.0.0.1:1"))


def test_a_gpu_that_ray_does_not_see(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutGpus:
        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 8.0}

    monkeypatch.setattr("harness.crews.ray._start_ray", lambda workers, address: WithoutGpus())
    with pytest.raises(UserError, match="--device cuda: Ray sees no GPU"):
        Cluster({"digits": digits}, How(device="cuda", workers=1))
