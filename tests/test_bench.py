"""The benchmark: its contenders do the same work, and its figures are what they say."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from harness.bench.measure import operations
from harness.bench.page import Measured, write_page
from harness.bench.rounds import _rounds, choose_works, summary
from harness.bench.work import WORKS
from harness.config import Config
from harness.errors import UserError
from harness.plots.bench import bench_figure

from .conftest import Done


@pytest.fixture(scope="module")
def timings() -> pd.DataFrame:
    """Of the bare loop and of ours; `make soak` has the others too."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # on a busy machine threads that wait for one another take much longer
        rows = _rounds(WORKS["tiny"], "afg", 1, "cpu", said.append, once_above=10)
    assert len(said) == 3
    return pd.DataFrame(rows)


@pytest.mark.soak
def test_the_rivals_train_the_same_models() -> None:
    timings = pd.DataFrame(_rounds(WORKS["tiny"], "abe", 1, "cpu", print, once_above=10))
    accuracy = timings["test_accuracy"]
    assert accuracy.min() > 0.85
    assert accuracy.max() - accuracy.min() < 0.04


def test_every_contender_trains_the_same_models(timings: pd.DataFrame) -> None:
    assert set(timings["models"]) == {WORKS["tiny"].trainings}
    accuracy = timings.set_index("contender")["test_accuracy"]
    assert accuracy.min() > 0.85
    assert accuracy.max() - accuracy.min() < 0.04  # their shuffles differ, nothing else
    assert accuracy["g"] == pytest.approx(accuracy["f"], abs=1e-3)  # these two train the very same


def test_ratios_are_to_the_bare_loop_of_the_round() -> None:
    rows = [("a", 1, 10.0), ("f", 1, 5.0), ("a", 2, 20.0), ("f", 2, 4.0), ("a", 3, 10.0), ("f", 3, 4.0)]
    made = [
        {"work": "digits", "contender": c, "round": r, "seconds": s, "models": 50, "test_accuracy": 0.9, "peak_mib": 1}
        for c, r, s in rows
    ]
    table = summary(pd.DataFrame(made)).set_index("contender")
    assert table.loc["a", "ratio"] == 1
    assert table.loc["f", ["ratio", "ratio_low", "ratio_high"]].tolist() == [0.4, 0.2, 0.5]
    assert table.loc["f", "models_per_hour"] == 3600 * 50 / 4


def test_operations_are_those_of_the_products() -> None:
    # 4-3-2: 12 and 6 weights; an image costs 2 x 18 forward, 2 x 18 for weights, 2 x 6 for the hidden layer's slopes
    assert operations(Config(widths=(3,)), 4, 2, trained=1, held_out=0) == 36 + 36 + 12
    assert operations(Config(widths=(3,)), 4, 2, trained=0, held_out=1) == 36


def test_page_and_plot(timings: pd.DataFrame, tmp_path: Path) -> None:
    throughput = pd.DataFrame(
        {
            "dataset": ["digits", "digits"],
            "K": [1, 2],
            "model_epochs_per_second": [10.0, 15.0],
            "share_of_matrix_rate": [0.1, 0.15],
            "matrix_gflops": [100.0, 100.0],
            "peak_mib": [500, 510],
        }
    )
    names = ("search_ms", "journal_ms", "tracking_in_the_driver_ms", "all_with_tracking_process_ms")
    table = summary(timings)
    answers = pd.DataFrame({"command": ["report"], "seconds": [2.0], "fewest": [1.94], "most": [2.1]})
    row = {"tuned": "lr", "one": 2.0, "five": 5.0, "ratio": 2.5, "fewest": 2.4, "most": 2.6}
    measured = Measured(table, throughput, dict.fromkeys(names, 1.0), answers, pd.DataFrame([row]))
    page = write_page(tmp_path, measured, "cpu").read_text()
    assert "| report | 2.0 | 1.9 to 2.1 |" in page
    assert "| lr | 2.0 | 5.0 | 2.50 | 2.40 to 2.60 |" in page
    assert "| bare torch loop | 1 |" in page
    assert "| digits | 2 | 15.0 | 15 % | 510 |" in page
    figure = bench_figure(table, throughput)
    assert [axes.get_title() for axes in figure.axes] == ["tiny", "model-epochs per second"]


def test_mistakes_are_told_in_a_line(command: Callable[..., Done]) -> None:
    with pytest.raises(UserError, match="--works: must be of mnist, "):
        choose_works("minst", "cpu")
    assert "layers" not in choose_works("", "cpu")
    assert "layers" in choose_works("", "cuda")
    done = command("bench", "--contenders", "xyz")
    assert done.returncode == 2
    assert done.stderr.strip().startswith("harness: --contenders: must be letters of abcdefg")
