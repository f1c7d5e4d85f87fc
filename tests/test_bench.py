"""The benchmark: its contenders do the same work, and its figures are what they say."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from harness.bench import gpu
from harness.bench.contenders import CONTENDERS as CONTENDERS_OF_WORKS
from harness.bench.filed import work_of
from harness.bench.gpu import Row, load, measured
from harness.bench.measure import operations
from harness.bench.page import Measured, write_page
from harness.bench.rounds import _rounds, choose_works, summary
from harness.bench.stacks import CONTENDERS, MODELS, Case, measure
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


STUDY = """
dataset = "digits"
[compare]
width = [16, 32]
[tune]
lr = { low = 1e-2, high = 1e-1, log = true }
[fixed]
depth = 3
epochs = 5
batch_size = 32
optimizer = "adamw"
[budget]
trials = 4
seeds = 2
"""


def test_a_study_of_ones_own_is_a_work(write_study: Callable[..., Path], command: Callable[..., Done]) -> None:
    """Both contenders train its values, with what lies nearest to the default of what is tuned."""
    folder = write_study(STUDY)
    work = work_of(str(folder))
    assert (work.trainings, work.figure, work.contenders) == (4, "test_accuracy", "aefgi")
    assert [work.config(width).lr for width in work.depths] == [0.01, 0.01]
    assert {work.config(width).patience for width in work.depths} == {6}
    one, other = (CONTENDERS_OF_WORKS[letter](work, torch.device("cpu"))() for letter in "ag")
    assert len(one) == len(other) == 4
    assert min(*one, *other) > 0.8
    figures = pd.DataFrame(_rounds(work, "a", 1, "cpu", print, once_above=10))
    assert figures["test_accuracy"][0] == pytest.approx(sum(one) / len(one))
    other_folder = write_study(STUDY.replace("epochs = 5", 'epochs = 5\nschedule = "cosine"'), "cosine")
    done = command("bench", "--works", str(other_folder), "--contenders", "a")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the bare loop does not have schedule, so there is no comparison" in done.stderr


def test_the_published_cnn_is_a_work() -> None:
    work = work_of("cnn")
    assert (work.name, work.trainings, work.depths) == ("cnn", 2, ((64, 128),))
    assert choose_works("cnn,digits", "cpu") == ["cnn", "digits"]


def test_jax_trains_the_same_models() -> None:
    pytest.importorskip("jax", reason="an extra: pip install 'harness-studies[bench]'")
    timings = pd.DataFrame(_rounds(WORKS["tiny"], "aj", 1, "cpu", print, once_above=10))
    accuracy = timings["test_accuracy"]
    assert accuracy.min() > 0.85
    assert accuracy.max() - accuracy.min() < 0.04


def test_mistakes_are_told_in_a_line(command: Callable[..., Done]) -> None:
    with pytest.raises(UserError, match="--works: must be of mnist, "):
        choose_works("minst", "cpu")
    assert "layers" not in choose_works("", "cpu")
    assert "layers" in choose_works("", "cuda")
    done = command("bench", "--contenders", "xyz")
    assert done.returncode == 2
    assert done.stderr.strip().startswith("harness: --contenders: must be letters of abcdefg")


@pytest.mark.parametrize("contender", CONTENDERS)
def test_stacks_are_timed_by_whole_epochs(contender: str) -> None:
    if contender == "JAX":
        pytest.importorskip("jax", reason="an extra: pip install 'harness-studies[bench]'")
    case = Case(contender, size=2, seconds=0.0, steps=2)
    known = measure(case, torch.device("cpu"))
    assert known["model_steps_per_second"] == pytest.approx(2 * 1000 / known["ms_a_step"])
    assert known.get("peak_mib", 1) > 0  # of JAX torch cannot tell
    assert "peak_gpu_mib" not in known


def test_made_up_images_are_bytes_for_whole_steps() -> None:
    for model in MODELS:
        case = Case("harness", model, steps=3)
        data = case.data(torch.device("cpu"))
        assert data.inputs.dtype == torch.uint8
        assert len(data.train) == 3 * case.config.batch_size


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_row_of_the_gpu_has_a_key_of_its_own(device: str) -> None:
    every = [row for part in gpu.PARTS for row in gpu.rows(part, device)]
    assert [key for key, count in Counter(row.key for row in every).items() if count > 1] == []
    assert {row.part for row in every} == {*gpu.PARTS}
    if device == "cuda":
        steps = [row for row in every if row.part == "steps"]
        assert {row.size for row in steps} == {1, 8, 32, 128, 512}
        assert {(row.model, row.precision) for row in steps if row.what == "harness"} == {
            (model, precision) for model in ("mlp", "cnn") for precision in ("fp32", "tf32", "bf16")
        }
        assert {row.what for row in every if row.part == "tests"} >= {"test_step.py", "test_gpu.py", "test_train.py"}
        assert {row.size for row in every if row.part == "layers"} == {1, 10}


@pytest.mark.parametrize(
    ("script", "outcome", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9", ""),
        ("raise RuntimeError('CUDA out of memory')", "out of memory", "RuntimeError: CUDA out of memory"),
        ("raise SystemExit(3)", "failed (3)", ""),
        ("import time; time.sleep(9)", "too slow", "not done in 1 s"),
        ("print('{\"ms_a_step\": 1}')", "done", None),
    ],
)
def test_what_becomes_of_a_row_is_told(script: str, outcome: str, said: str | None) -> None:
    known = measured(Row("steps", "harness", ("-c", script)), 1.0 if outcome == "too slow" else 60.0)
    assert (known["outcome"], known.get("said")) == (outcome, said)
    skipped = measured(Row("steps", "JAX", ("-c", script), needs=("no_such_package.module",)), 60.0)
    assert skipped == {"outcome": "skipped", "said": "no_such_package.module is not here"}


def test_the_page_of_the_gpu_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part at the sizes of a GPU, with what its processes would say."""
    ran: list[Row] = []

    def process(row: Row, folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
        ran.append(row)
        if row.size == 512 and row.model == "cnn":
            return subprocess.CompletedProcess([], 1, "", "torch.OutOfMemoryError: CUDA out of memory")
        rate = 1000.0 * row.size
        step = {"first_s": 2.0, "ms_a_step": 1.0, "model_steps_per_second": rate, "peak_gpu_mib": 100 + row.size}
        work = {"seconds": 2.0, "models": 10, "test_accuracy": 0.9, "peak_gpu_mib": 300}
        said = {"steps": json.dumps(step), "works": json.dumps(work), "tests": "9 passed"}
        return subprocess.CompletedProcess([], 0, said.get(row.part, ""), "")

    monkeypatch.setattr(gpu, "_run", process)
    monkeypatch.setattr("harness.bench.gpu_page.machine", lambda device: "Measured on a GPU.")
    said: list[str] = []
    page, left = gpu.bench("h200", ["works"], "cuda", 1.0, tmp_path, said.append)
    whole = [row for part in gpu.PARTS for row in gpu.rows(part, "cuda")]
    assert len(ran) == len([row for row in whole if row.part == "works"])
    page, left = gpu.bench("h200", gpu.PARTS, "cuda", 0.0, tmp_path, said.append)
    assert left == len(whole) - len(ran)  # no time for any
    page, left = gpu.bench("h200", gpu.PARTS, "cuda", 1.0, tmp_path, said.append)
    assert left == 0
    assert Counter(row.key for row in ran).most_common(1)[0][1] == 1  # none twice
    assert {row.key for row in whole} == {*load(tmp_path / "gpu-h200.csv")}
    assert any(line.startswith("steps harness cnn K=512 bf16: out of memory") for line in said)
    text = page.read_text()
    assert "| test_gpu.py | done | 9 passed |" in text
    assert "| mlp | tf32 | harness | 128 | 1.000 | 128,000 | 128.0 | 2.0 | 228 |" in text
    assert "| steps harness cnn K=512 fp32 | out of memory | torch.OutOfMemoryError: CUDA out of memory |" in text
    assert "| steps JAX mlp K=8 fp32 | skipped |" in text or "| mlp | fp32 | JAX | 8 |" in text
    assert "| harness | 2.0 | 18,000 | 90.00 | 300 |" in text
    assert text.index("| 1 | 0.0 |") < text.index("| 10 | 0.0 |")


def test_without_a_gpu_that_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "has_cuda", lambda: False)
    assert gpu.main([]) == 2
    assert gpu.main(["--parts", "stepps"]) == 2
    one, two = capsys.readouterr().err.splitlines()
    assert one == "harness: torch sees no CUDA GPU on this machine; --device cpu tries the same at small sizes"
    assert "steps" in two


@pytest.mark.soak
def test_all_parts_of_the_gpus_benchmark_run_on_a_cpu(tmp_path: Path) -> None:
    page, left = gpu.bench("cpu", gpu.PARTS, "cpu", 10.0, tmp_path, print)
    assert left == 0
    assert {one["outcome"] for one in load(tmp_path / "gpu-cpu.csv").values()} <= {"done", "skipped"}
    assert "| studies/layers |" not in page.read_text()
