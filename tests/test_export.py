"""Models to take home: the folder gives what harness gave; weights kept beside the journal; votes."""

import csv
import hashlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from harness.analysis import find, read_results
from harness.analysis.vote import votes, wilson_interval
from harness.config import Config
from harness.crews.how import How
from harness.driver import run
from harness.errors import UserError
from harness.export.model import read_weights
from harness.export.predict import open_model, predict
from harness.export.write import Wish, describe, export, write
from harness.journal import Records
from harness.journal.records import Record
from harness.journal.weights import WeightFiles, folder_of
from harness.parts.data import Column, Data, Split, data_of
from harness.parts.models import build, input_shape
from harness.study.file import read_study
from harness.study.own import parse
from harness.study.study import Study
from harness.tracking import Tracker
from harness.training.cohort import Cohort
from harness.training.loop import train
from harness.training.stack import Stack
from harness.trial import Outcome, Trial, pack_classes, unpack_classes

from .conftest import ROOT, Done, clean_environment
from .test_tables import table

STUDY = """
dataset = "digits"
[compare]
depth = [1, 2]
[fixed]
width = 16
epochs = 4
lr = 0.01
[budget]
seeds = 3
"""
TOWNS = """
dataset = "towns.csv"
target = "price"
task = "{task}"
unit = "{unit}"
[compare]
scaling = ["standard", "quantile"]
[fixed]
width = 16
epochs = 3
[budget]
seeds = 2
"""


def quiet(line: str) -> None:
    """Nobody reads it."""


def towns() -> pd.DataFrame:
    """Sizes, some of them missing, towns and yes or no, of which some are missing; and a price."""
    random = np.random.default_rng(1)
    rows = 240
    size, town = random.lognormal(4, 0.5, rows), random.choice(["Aachen", "Bonn", "Celle"], rows)
    frame = pd.DataFrame({"size": size.round(1), "town": town, "garden": random.choice([True, False], rows)})
    frame["price"] = (3 * size + 20 * (town == "Bonn") + random.normal(0, 9, rows)).round(2)
    frame.loc[random.random(rows) < 0.1, "size"] = np.nan
    frame["garden"] = frame["garden"].where(random.random(rows) > 0.1, None)
    frame["price"] = frame["price"].where(frame["price"] != frame["price"].round(), frame["price"] + 0.01)
    return frame


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where three small studies have run to their end."""
    here = tmp_path_factory.mktemp("made")
    frame = towns()
    named = frame.assign(price=np.where(frame["price"] > frame["price"].median(), "dear", "cheap"))
    texts = {"plain": STUDY, "numbers": TOWNS.format(task="regression", unit="EUR")}
    texts["classes"] = TOWNS.format(task="classification", unit="")
    with chdir(here):
        for name, text in texts.items():
            folder = Path("studies") / name
            folder.mkdir(parents=True)
            (folder / "study.toml").write_text(text.replace('unit = ""\n', ""))
            (named if name == "classes" else frame).to_csv(folder / "towns.csv", index=False)
            run(read_study(folder), folder, Tracker(offline=True), How("cpu", offline=True, quiet=True), quiet)
    return here


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current folder."""
    shutil.copytree(made / "studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def take(name: str, wish: Wish, place: str = "out", say: Callable[[str], None] = quiet) -> Path:
    folder = Path("studies") / name
    export(read_study(folder), folder, wish, Path(place), say)
    return Path(place)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# The same figures


def images(shape: tuple[int, ...] = (1, 8, 8)) -> Data:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 17, (200, int(np.prod(shape))), generator=random, dtype=torch.uint8)
    labels = torch.arange(200) % 3
    return data_of("noise", Split(pixels, labels), None, shape, white=16.0, classes="abc", stratified=True)


def own_config(**values: Any) -> Config:
    source = (ROOT / "studies" / "own_model" / "net.py").read_text()
    return Config(parse(source, "nets/net.py").own, dataset="noise", epochs=2, **values)


def built_in(**values: Any) -> Config:
    return Config(**{"dataset": "noise", "epochs": 2, "width": 8, "batch_size": 32, **values})


def of_numbers(**values: Any) -> Config:
    return built_in(task="regression", metric="rmse", **values)


CONFIGS: dict[str, tuple[Config, Data]] = {
    "mlp": (built_in(depth=3, dropout=0.2, normalisation="standard"), images()),
    "mlp, batch norm and shortcuts": (built_in(depth=4, norm="batch", residual=True, activation="gelu"), images()),
    "mlp, layer norm": (built_in(depth=3, norm="layer", input_dropout=0.1, normalisation="half"), images()),
    "mlp, rms norm": (built_in(depth=3, norm="rms", activation="leaky_relu"), images()),
    "linear": (built_in(depth=1), images()),
    "cnn": (built_in(model="cnn", channels=(4, 8), kernel=2), images()),
    "cnn, all of it": (
        built_in(
            model="cnn",
            channels=(4, 4),
            padding="same",
            norm="batch",
            residual=True,
            convs_per_pool=2,
            global_pool=True,
        ),
        images((3, 8, 8)),
    ),
    "cnn, layer norm": (built_in(model="cnn", channels=(4,), norm="layer", stride=2, pool=1), images()),
    "own model": (own_config(blocks=2, width=8), images()),
    "table, standard": (built_in(scaling="standard"), table("classification")),
    "table, minmax": (built_in(scaling="minmax"), table("classification")),
    "table, quantile": (built_in(scaling="quantile"), table("classification")),
    "table, none": (built_in(scaling="none"), table("classification")),
    "table of categories": (
        built_in(),
        data_of(
            "colours",
            Split((torch.arange(120) % 2).float()[:, None], torch.arange(120) % 2),
            None,
            (1,),
            classes="ab",
            columns=(Column("colour", ("blue", "red")),),
        ),
    ),
    "regression": (of_numbers(loss="huber"), table("regression")),
}


def said_by_harness(trial: Trial, weights: Any, data: Data) -> Tensor:
    """What a stack makes of a run's test rows: probabilities, or numbers in the target's unit."""
    network = build(trial.config, data.shape, data.outputs, 0)
    network.load_state_dict(dict(weights))
    cohort = Cohort.of([trial], data)
    stack = Stack.of([network], "cpu", "fp32", input_shape(trial.config, data.shape))
    with torch.no_grad():
        y = stack(cohort.tests.cut(cohort.tests.rows)[0])[0].clone()
    unit = cohort.tests.seen.unit
    return y.softmax(1) if unit is None else y * unit[0][0] + unit[1][0]


def loaded(folder: Path) -> Any:
    """The model by the folder's own program."""
    found = importlib.util.spec_from_file_location("model", folder / "model.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.load()


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_folder_gives_what_harness_gave(kind: str, small: Study, tmp_path: Path) -> None:
    config, data = CONFIGS[kind]
    trials = [Trial(1, "confirm", number, 11 + number, config) for number in range(2)]
    done = {trial: event for trial, event in train(trials, data) if isinstance(event, Outcome)}
    from safetensors.numpy import save

    chosen = []
    for trial in trials:
        weights = done[trial].weights
        assert weights is not None
        packed = save({name: np.asarray(value) for name, value in weights.items()})
        outcome = replace(done[trial], weights_sha256=hashlib.sha256(packed).hexdigest())
        chosen.append((Record(trial, outcome, -1, True, *(2 * [None])), outcome, packed))  # type: ignore[arg-type]
    study = small.model_copy(update={"code": None})
    spec = describe(study, 1, chosen, data)
    folder = tmp_path / "out"
    if config.own:
        study = small.model_copy(update={"code": type("Of", (), {"own": config.own})()})
    write(folder, spec, chosen, study)
    model = loaded(folder)
    for run_of, trial in zip(model.runs, trials, strict=True):
        rows = Cohort.of([trial], data).tests.rows[0]
        with torch.no_grad():
            said = run_of(data.inputs[rows].float())
        expected = said_by_harness(trial, done[trial].weights, data)
        assert len(rows) > 20
        torch.testing.assert_close(said, expected, rtol=1e-6, atol=1e-6)
    both = model.predict(data.inputs.float())
    torch.testing.assert_close(both, torch.stack([run_of(data.inputs.float()) for run_of in model.runs]).mean(0))


def test_model_py_needs_torch_alone(here: Path) -> None:
    take("plain", Wish("depth=2", vote=True))
    script = (
        "import sys; sys.path.insert(0, 'out'); sys.modules['harness'] = sys.modules['safetensors'] = None\n"
        "import torch, model\n"
        "made = model.load(); x = torch.arange(64.).reshape(1, 1, 8, 8) % 17\n"
        "print(made.predict(x).tolist(), made.classes[3], len(made.runs))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=here, env=clean_environment() | {"PYTHONPATH": ""}, capture_output=True
    )
    x = torch.arange(64.0).reshape(1, 1, 8, 8) % 17
    assert done.stdout.decode().strip() == f"{open_model(Path('out'), quiet).predict(x).tolist()} 3 3", done.stderr


# From a study


def test_each_run_is_checked_against_its_record(here: Path) -> None:
    said: list[str] = []
    folder = take("plain", Wish("depth=2"), say=said.append)
    records = Records(Path("studies/plain/journal.log"))
    runs = [one for one in records.all if one.trial.level == 2 and one.outcome]
    best = max(runs, key=lambda one: one.outcome["val_accuracy"] if one.outcome else 0.0)
    spec = json.loads((folder / "model.json").read_text())
    assert [one["seed"] for one in spec["runs"]] == [best.trial.seed]
    assert spec["runs"][0]["config"] == json.loads(json.dumps(best.trial.config.record()))
    assert spec["outputs"]["classes"] == [str(digit) for digit in range(10)]
    assert "checked: the figures on the test images are those that were recorded" in said
    take("plain", Wish("2", seed=3))
    spec = json.loads((folder / "model.json").read_text())
    assert [one["seed"] for one in spec["runs"]] == [runs[2].trial.seed]
    assert len(list(folder.iterdir())) == 3
    weights = next(path for path in folder_of(records.journal).iterdir() if "depth=1-" in path.name)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"depth=1-seed-.*: is not what was kept of depth=1 seed"):
        take("plain", Wish("1", vote=True))


def test_what_is_wrong_is_told_in_a_line(here: Path) -> None:
    (here / "full").mkdir()
    (here / "full" / "thesis.tex").write_text("years of work")
    for wish, place, message in [
        (Wish("depth=9"), "out", "studies/plain: no depth=9 in this study; it has depth=1, depth=2"),
        (Wish("1", seed=99), "out", "no seed 99 of depth=1, which has seeds"),
        (Wish("1", seed=1, vote=True), "out", "export: --seed is one run and --vote all of them; give one of the two"),
        (Wish("1"), "/proc/out", "/proc/out: cannot be made: "),
        (Wish("1"), "full", "full: is there already, and holds no exported model; name another folder"),
        (
            Wish("1", format="onyx"),
            "out",
            "--format: must be one of onnx, torch.export, got 'onyx'; did you mean onnx?",
        ),
    ]:
        with pytest.raises(UserError) as caught:
            take("plain", wish, place)
        assert message in str(caught.value)
    assert (here / "full" / "thesis.tex").exists()
    shutil.rmtree(folder_of(Path("studies/plain/journal.log")))
    with pytest.raises(
        UserError, match=r"studies/plain/weights: the weights of depth=1 seed \d+ are not there any more"
    ):
        take("plain", Wish("1"))


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is not None, reason="what it needs is there")
def test_onnx_says_what_it_needs(here: Path) -> None:
    with pytest.raises(UserError, match=r"--format onnx needs onnxscript: pip install 'harness-studies\[onnx\]'"):
        take("plain", Wish("1", format="onnx"))


@pytest.mark.parametrize(("name", "level"), [("plain", "2"), ("classes", "quantile"), ("numbers", "standard")])
def test_torch_export_holds_the_preprocessing(name: str, level: str, here: Path) -> None:
    folder = take(name, Wish(level, vote=True, format="torch.export"))
    model = open_model(folder, quiet)
    x = torch.randint(0, 17, (7, *model.spec["inputs"]["shape"])).float()
    again = torch.export.load(folder / "model.pt2").module()
    torch.testing.assert_close(again(x), model(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "level"), [("plain", "2"), ("numbers", "standard")])
def test_onnx_holds_the_preprocessing(name: str, level: str, here: Path) -> None:
    """Not in the lock file: 45 MB of wheels (pip install onnx onnxscript onnxruntime) for one test."""
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folder = take(name, Wish(level, vote=True, format="onnx"))
    model = open_model(folder, quiet)
    x = torch.randint(0, 17, (7, *model.spec["inputs"]["shape"])).float()
    session = runtime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    [said] = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(said), model(x), rtol=1e-4, atol=1e-5)


# Predictions


def test_arrays_and_images_are_predicted(here: Path, command: Callable[..., Done]) -> None:
    assert command("export", "studies/plain", "2", "out", "--vote").returncode == 0
    digits = load_digits().images.astype(np.uint8)
    np.savez("new.npz", x=digits[:40])
    done = command("predict", "out", "new.npz")
    assert (done.returncode, done.stderr) == (0, "")
    table_of = rows_of(done.stdout)
    assert [*table_of[0]] == ["row", "class", *(f"p_{digit}" for digit in range(10))]
    said = open_model(Path("out"), quiet).predict(torch.from_numpy(digits[:40]).float())
    assert [row["class"] for row in table_of] == [str(one) for one in said.argmax(1).tolist()]
    shares = [[float(row[f"p_{digit}"]) for digit in range(10)] for row in table_of]
    torch.testing.assert_close(torch.tensor(shares), said, rtol=1e-5, atol=1e-6)
    (here / "scans" / "b").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b/c.png"]):
        white = np.rint(digits[number] * (255 / 16)).astype(np.uint8)
        Image.fromarray(white).save(here / "scans" / name)
    done = command("predict", "out", "scans", "--out", "said.csv")
    assert (done.returncode, done.stdout) == (0, "")
    found = rows_of(Path("said.csv").read_text())
    assert [row["file"] for row in found] == ["scans/a.png", "scans/b/c.png"]
    assert [row["class"] for row in found] == ["0", "1"]
    one = rows_of(command("predict", "out", "scans/a.png").stdout)
    assert [row["p_0"] for row in one] == [found[0]["p_0"]]


def test_tables_are_predicted_as_they_were_learned(here: Path) -> None:
    folder = take("classes", Wish("quantile", seed=1))
    file = Path("studies/classes/towns.csv")
    said = rows_of(predict(folder, file, quiet))
    assert [*said[0]] == ["row", "class", "p_cheap", "p_dear"]
    assert [row["row"] for row in said] == [str(number) for number in range(2, 242)]
    outcome = next(
        one.outcome for one in Records(Path("studies/classes/journal.log")).all if one.trial.level == "quantile"
    )
    assert outcome is not None
    tested = {example.index: example.probabilities for example in outcome.examples}
    for number, shares in tested.items():
        row = said[number - 2]
        assert [float(row["p_cheap"]), float(row["p_dear"])] == pytest.approx(shares, abs=2e-6)
    assert len(tested) > 1
    shuffled = pd.read_csv(file)[["town", "price", "garden", "size"]].drop(columns="price")
    shuffled.to_parquet("other.parquet")
    again = rows_of(predict(folder, Path("other.parquet"), quiet))
    assert [row["class"] for row in again] == [row["class"] for row in said]


def test_numbers_come_in_the_targets_unit(here: Path) -> None:
    folder = take("numbers", Wish("standard", seed=2))
    file = Path("studies/numbers/towns.csv")
    said = np.array([float(row["price"]) for row in rows_of(predict(folder, file, quiet))])
    true = pd.read_csv(file)["price"].to_numpy()
    assert 20 < np.abs(said - true).mean() < 200  # of prices about 180, after three epochs
    spec = json.loads((folder / "model.json").read_text())
    assert spec["outputs"] == {"targets": ["price"], "unit": "EUR"}
    assert np.std(said - true) == pytest.approx(spec["runs"][0]["figures"]["test_rmse"], rel=0.6)


def test_what_does_not_fit_is_told_in_a_line(here: Path) -> None:
    towns_of, digits_of = take("classes", Wish("standard"), "towns"), take("plain", Wish("2"), "digits")
    frame = pd.read_csv("studies/classes/towns.csv")
    frame.rename(columns={"town": "twon"}).to_csv("twon.csv", index=False)
    frame.assign(town=["Aachen"] * 239 + ["Ulm"]).to_csv("ulm.csv", index=False)
    frame.assign(size=["large", *frame["size"][1:]]).to_csv("large.csv", index=False)
    frame.assign(town=[None, *frame["town"][1:]]).to_csv("nowhere.csv", index=False)
    Image.fromarray(np.zeros((9, 8), np.uint8)).save("tall.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("colour.png")
    np.savez("wide.npz", x=np.zeros((2, 9, 9), np.uint8))
    np.savez("bright.npz", x=np.full((2, 8, 8), 0.5))
    np.savez("numbers.npz", x=np.zeros((2, 4)))
    for folder, file, message in [
        (towns_of, "twon.csv", "twon.csv: has no column town, which the model learned from; did you mean twon?"),
        (
            towns_of,
            "ulm.csv",
            "ulm.csv, row 241, column town: is 'Ulm', and in training it was one of Aachen, Bonn, Celle",
        ),
        (towns_of, "large.csv", "large.csv, row 2, column size: must be a number, got 'large'"),
        (towns_of, "nowhere.csv", "nowhere.csv, row 2, column town: is missing, and in training it was one of Aachen"),
        (towns_of, "numbers.npz", "x has rows of shape (4,); the model takes (8,)"),
        (towns_of, "tall.png", "tall.png: the model takes a table (.csv, .tsv, .parquet, .feather) or arrays (.npz)"),
        (towns_of, "none.csv", "none.csv: there is no such file"),
        (digits_of, "tall.png", "tall.png is 8x9; the model takes images of 8x8"),
        (digits_of, "colour.png", "colour.png is in colour (RGB); the model takes grey images"),
        (digits_of, "wide.npz", "wide.npz: x has rows of shape (1, 9, 9); the model takes (1, 8, 8)"),
        (digits_of, "bright.npz", "bright.npz: x must have pixels as in training, whole numbers from 0 to 16"),
        (Path("studies"), "ulm.csv", "studies: holds no exported model (no model.json); harness export writes one"),
    ]:
        with pytest.raises(UserError) as caught:
            predict(folder, Path(file), quiet)
        assert message in str(caught.value)


def test_a_folder_that_was_changed_is_refused(here: Path) -> None:
    folder = take("plain", Wish("2"))
    (folder / "model.py").write_text("raise SystemExit('harness runs its own')")
    assert open_model(folder, quiet).classes[0] == "0"
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace('"Linear"', '"Linaer"'))
    with pytest.raises(
        UserError, match=r"out: cannot be read as an exported model: ValueError: model.json has a layer Li"
    ):
        open_model(folder, quiet)
    (folder / "model.json").write_text(text)
    weights = folder / "weights-1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"weights-1.safetensors is not what model.json says: its sha256 is another"):
        open_model(folder, quiet)


def test_only_predict_executes_a_model_of_the_users(here: Path, tmp_path: Path) -> None:
    folder = Path("studies/mine")
    folder.mkdir()
    code = (ROOT / "studies" / "own_model" / "net.py").read_text()
    mark = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()\n"
    (folder / "net.py").write_text(code + mark)
    text = STUDY.replace("depth = [1, 2]", "blocks = [1, 2]").replace("epochs = 4", "epochs = 1")
    (folder / "study.toml").write_text('model = "net.py"\n' + text.replace("seeds = 3", "seeds = 1"))
    run(read_study(folder), folder, Tracker(offline=True), How("cpu", offline=True, quiet=True), quiet)
    (tmp_path / "ran").unlink()
    said: list[str] = []
    place = take("mine", Wish("blocks=2"), say=said.append)
    assert not (tmp_path / "ran").exists()
    np.savez("new.npz", x=load_digits().images[:3].astype(np.uint8))
    from harness.parts.own import load_class

    load_class.cache_clear()
    here_said: list[str] = []
    assert len(rows_of(predict(place, Path("new.npz"), here_said.append))) == 3
    assert (tmp_path / "ran").exists()
    assert here_said == [f"runs out/network.py (sha256 {hashlib.sha256((code + mark).encode()).hexdigest()[:12]})"]
    (place / "network.py").write_text(code)
    with pytest.raises(UserError, match=r"out/network.py: has sha256 \w+, and the model was trained with"):
        predict(place, Path("new.npz"), quiet)
    (folder / "net.py").write_text(code)
    with pytest.raises(UserError, match=r"export: studies/mine/net.py is not what the record was trained with"):
        take("mine", Wish("blocks=2", format="torch.export"))


def test_what_export_says_it_runs_is_what_it_runs(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    def marks(name: str) -> str:
        return f"__import__('pathlib').Path({str(tmp_path / name)!r}).touch()\n"

    text = STUDY.replace('"digits"', '"data.py"\nmodel = "net.py"').replace("depth = [1, 2]", "blocks = [1]")
    folder = write_study(text.replace("epochs = 4", "epochs = 1")).relative_to(Path.cwd())
    (folder / "net.py").write_text((ROOT / "studies" / "own_model" / "net.py").read_text() + marks("net.py.ran"))
    (folder / "data.py").write_text(
        "import numpy as np\n\ndef load():\n    x = np.random.default_rng(0).random((90, 1, 8, 8), np.float32)\n"
        "    return x, (x[:, 0, 0, 0] > 0.5).astype(int)\n" + marks("data.py.ran")
    )
    run(read_study(folder), folder, Tracker(offline=True), How("cpu", offline=True, quiet=True), quiet)
    from harness.parts.own import load_class

    for wish, programs in [(Wish("1"), {"data.py"}), (Wish("1", format="torch.export"), {"net.py", "data.py"})]:
        for name in ("net.py", "data.py"):
            (tmp_path / f"{name}.ran").unlink(missing_ok=True)
        load_class.cache_clear()
        said: list[str] = []
        take(folder.name, wish, say=said.append)
        told = {line.split()[1] for line in said if line.startswith("runs ")}
        assert told == {str(folder / name) for name in programs}
        # the exported text is executed by model.py, from a folder of its own: it marks the same file
        assert {path.name.removesuffix(".ran") for path in tmp_path.glob("*.ran")} == programs


# What is kept


def test_kept_are_those_that_are_wanted(here: Path) -> None:
    folder = Path("studies/plain")

    def again(keep: str, *changes: str) -> list[str]:
        study = read_study(folder, [f"budget.keep={keep}", *changes])
        run(study, folder, Tracker(offline=True), How("cpu", offline=True, quiet=True), quiet)
        return sorted(path.name for path in (folder / "weights").glob("*"))

    journal = (folder / "journal.log").read_text()
    assert sum("weights_sha256" in line for line in journal.splitlines()) == 6
    names = again("winners")
    assert len(names) == 6
    (folder / "weights" / "mine.txt").write_text("not ours")
    assert len(again("winners", "budget.seeds=4")) == 8 + 1  # with somebody else's
    assert again("none", "budget.seeds=4") == ["mine.txt"]
    (folder / "weights" / "mine.txt").unlink()
    assert again("none", "budget.seeds=4") == []
    assert not (folder / "weights").exists()
    fresh = read_study(folder, ["budget.seeds=1"])
    run(fresh, folder, Tracker(offline=True), How("cpu", offline=True, quiet=True, fresh=True), quiet)
    assert len(list((folder / "weights").iterdir())) == 2
    run(fresh, folder, Tracker(offline=True), How("cpu", offline=True, quiet=True, fresh=True), quiet)
    assert len(list((folder / "weights.old2").iterdir())) == 2


def test_weights_are_kept_as_they_were(small: Study, tmp_path: Path) -> None:
    weights = {"count": torch.tensor(7), "mean": torch.rand(3), "none": torch.empty(0, 2)}
    files = WeightFiles(tmp_path / "journal-iris.log", small)
    trial = Trial(2, "confirm", 0, 5, Config())
    kept = files.keep(trial, Outcome("finished", "", 0.0, 1.0, weights=weights))
    path = files.find(kept.weights_sha256)
    assert path is not None
    assert path.parent == tmp_path / "weights-iris"
    again = read_weights(path)
    assert {name: (one.shape, one.dtype) for name, one in again.items()} == {
        name: (one.shape, one.dtype) for name, one in weights.items()
    }
    assert all(torch.equal(again[name], one) for name, one in weights.items())
    assert "weights" not in kept.record()
    assert Outcome.from_record(kept.record()).weights_sha256 == kept.weights_sha256
    lost = files.keep(trial, Outcome("diverged", "", 0.0, 1.0, weights=weights))
    assert not lost.weights_sha256
    with pytest.raises(UserError, match=r"the weights of depth=2 seed 5 were not kept; budget.keep is 'winners'"):
        files.read("depth=2 seed 5", lost)


def test_all_keeps_the_search_too(write_study: Callable[[str], Path]) -> None:
    text = STUDY.replace("lr = 0.01", "").replace("seeds = 3", 'seeds = 1\ntrials = 2\nsearches = 1\nkeep = "all"')
    folder = write_study(text + "[tune]\nlr = [0.01, 0.02]\n").relative_to(Path.cwd())
    run(read_study(folder), folder, Tracker(offline=True), How("cpu", offline=True, quiet=True), quiet)
    assert len(list((folder / "weights").iterdir())) == 2 * (2 + 1)
    assert len([path for path in (folder / "weights").iterdir() if "trial" in path.name]) == 4


# MLflow's registry


def test_a_model_is_registered(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/store.db")
    said: list[str] = []
    for _ in range(2):
        take("classes", Wish("standard", seed=1, register="towns"), say=said.append)
    assert said[-1].startswith("MLflow   models:/towns/2 in sqlite:///")
    mlflow.set_tracking_uri(f"sqlite:///{here}/store.db")
    try:
        model = mlflow.pyfunc.load_model("models:/towns/2")
        frame = pd.read_csv("studies/classes/towns.csv")[["size", "town", "garden"]]
        frame["garden"] = frame["garden"].map({True: "True", False: "False"}, na_action="ignore")
        found = model.predict(frame.astype({"garden": object}).where(frame.notna(), None).astype({"size": float}))
    finally:
        mlflow.set_tracking_uri("")
    said_of = rows_of(predict(Path("out"), Path("studies/classes/towns.csv"), quiet))
    assert found[:, 1].tolist() == pytest.approx([float(row["p_dear"]) for row in said_of], abs=1e-5)


# Votes


def test_votes_are_counted_as_they_are_by_hand() -> None:
    truth = np.array([0, 1, 2, 2, 1])
    guesses = np.array([[0, 1, 2, 0, 0], [0, 2, 1, 0, 1], [0, 2, 2, 2, 2]])
    hits = [guess == truth for guess in guesses]
    misses = [unpack_classes(pack_classes(guess[guess != truth])) for guess in guesses]
    assert votes(hits, misses).tolist() == [1.0, 0.0, 1.0, 0.0, 1 / 3]
    assert votes(hits[:2], misses[:2]).tolist() == [1.0, 0.5, 0.5, 0.0, 0.5]
    low, high = wilson_interval(0.98, 360)
    assert (round(low, 4), round(high, 4)) == (0.9597, 0.9902)  # statsmodels' proportion_confint(352.8, 360)


def test_the_vote_is_that_of_the_exported_models(here: Path) -> None:
    findings = find(read_results(Path("studies/plain/journal.log")))
    folder = take("plain", Wish("2", vote=True))
    model = open_model(folder, quiet)
    from harness.parts.data import load

    test = load("digits", "cpu").test
    with torch.no_grad():
        guesses = torch.stack([one(test.inputs.float()).argmax(1) for one in model.runs])
    hits = [(guess == test.targets).numpy() for guess in guesses]
    misses = [guess[guess != test.targets].numpy() for guess in guesses]
    own = findings.vote.set_index("level").loc[1]
    assert own["vote"] == pytest.approx(votes(hits, misses).mean())
    assert own["low"] < own["vote"] < own["high"]
    assert own["mean"] == pytest.approx(findings.table["test_accuracy"][1])
    text = Path("reports/plain/report.md")
    run(read_study(Path("studies/plain")), Path("studies/plain"), Tracker(offline=True), How(quiet=True), quiet)
    assert "## All runs together" in text.read_text()
    assert f"vote of 3 runs: {100 * findings.vote['vote'][findings.best]:.2f} %" in text.read_text()
    assert Path("reports/plain/tables/vote.csv").exists()


def test_an_old_journal_has_no_vote() -> None:
    findings = find(read_results(ROOT / "tests" / "golden" / "journal.log"))
    assert findings.vote.empty
