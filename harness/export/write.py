"""Writes what a study has trained into a folder to take home: weights, layers, preprocessing, and what they were like.

    export(study, Path("studies/depth"), Wish("depth=3"), Path("depth3"), say)

Weights come from beside the journal, and what becomes of inputs is found anew from the data, whose sum the journal
knows. Nothing of a user's is executed for it, but for what loads the data, and a model that is to be written in another
format.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import harness
from harness import environment
from harness.driver import runs_code
from harness.errors import UserError
from harness.export.formats import check_format, in_format
from harness.export.layers import Spec, inputs_of, layers, outputs_of, own_network, preprocessing, target
from harness.export.model import BATCH, FORMAT, ExportedModel, load
from harness.journal import Records, find_journal
from harness.journal.choose import find_level
from harness.journal.ledger import refuse_other_data
from harness.journal.records import Record
from harness.journal.weights import WeightFiles
from harness.loading import load_data
from harness.parts.data import Data
from harness.parts.models import build, input_shape
from harness.parts.preparing import prepare
from harness.parts.tasks import described, task_of
from harness.replay import Wanted, choose, same_code
from harness.study.study import Study
from harness.training.cohort import split_of
from harness.trial import Figures, Level, Outcome

Say = Callable[[str], None]
CODE = Path(__file__).with_name("model.py")
OWN = "network.py"
"""What a user's model is called in the folder, whatever its file was called."""
TOLERANCE = 1e-3  # of figures that are measured again, as replay has it

Chosen = tuple[Record, Outcome, bytes]
"""A confirmation with its weights."""


@dataclass(frozen=True)
class Wish:
    """What is to be exported: the value's run with that seed (or 1 for the first one, 2, ...), or all of them that
    vote; else the run with the best validation figure. `register` is the name of a model in MLflow's registry.
    """

    level: str | None
    seed: int | None = None
    vote: bool = False
    format: str = ""
    register: str = ""


def export(study: Study, folder: Path, wish: Wish, place: Path, say: Say = print) -> Spec:
    """Write the folder `place`; what its `model.json` says. Raises UserError for all that stands against it."""
    if wish.vote and wish.seed is not None:
        raise UserError("export: --seed is one run and --vote all of them; give one of the two")
    check_place(place)
    if wish.format:
        check_format(wish.format)
    records = Records(find_journal(study, folder))
    then = records.study
    level = find_level(then, wish.level)
    chosen = choose_runs(records, level, wish, say)
    _tell_programs(study, then, folder, wish, say)
    data = load_data(then, chosen[0][0].trial.config.dataset, folder, torch.device("cpu"))
    refuse_other_data(then, records.environment, environment.of_data([data]))
    spec = describe(then, level, chosen, data)
    with _beside(place) as made:
        here = made / "model"
        write(here, spec, chosen, then)
        if then.own is None or wish.format:
            model = load(here)
            for line in check(model, chosen, data):
                say(line)
            if wish.format:
                in_format(wish.format, model, here)
        shutil.rmtree(place, ignore_errors=True)
        here.rename(place)
    say(f"wrote    {place}: {_words(spec)}")
    if wish.register:
        from harness.tracking.mlflow.registry import register  # MLflow: seconds to import

        say(f"MLflow   {register(wish.register, place, spec)}")
    return spec


def check_place(place: Path) -> None:
    """A folder that is no export must not be overwritten. Raises UserError."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise UserError(f"{place}: is there already, and is no folder")
    if place.is_dir() and any(place.iterdir()) and not (place / "model.json").is_file():
        raise UserError(f"{place}: is there already, and holds no exported model; name another folder")


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A folder beside that place, where all is made before it is moved there. Raises UserError where it cannot be, as
    on a disk that is full; then nothing of it is left.
    """
    parent, made = place.resolve().parent, "made"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{place.name}-", dir=parent) as folder:
            made = "written"
            yield Path(folder)
    except OSError as error:
        raise UserError(f"{place}: cannot be {made}: {error.strerror or error}") from error


def _tell_programs(study: Study, then: Study, folder: Path, wish: Wish, say: Say) -> None:
    """What of a user's will be executed. Raises UserError unless its file says what it said then."""
    if then.loader is not None or (then.own is not None and wish.format):
        for code in same_code(study, then, folder, "export"):
            if wish.format or code == study.loader:
                say(runs_code(code, folder))


def choose_runs(records: Records, level: Level, wish: Wish, say: Say) -> list[Chosen]:
    """The confirmations that are wished for, with their weights."""
    study = records.study
    name = study.level_name(level)
    known = [
        (record, record.outcome)
        for record in records.all
        if record.current and record.trial.level == level and record.trial.stage == "confirm"
        if record.outcome is not None and record.outcome.status == "finished"
    ]
    if not known:
        raise UserError(f"{records.journal}: {name} has no finished confirmation run")
    if wish.seed is not None:
        known = [choose(records, Wanted(name, seed=wish.seed))]
    elif not wish.vote:
        known = [max(known, key=lambda pair: _rank(study, pair[1]))]
        say(f"export: {study.run_name(known[0][0].trial)}, the best of its runs on validation {study.things}")
    files = WeightFiles(records.journal, study)
    return [(record, outcome, files.read(study.run_name(record.trial), outcome)) for record, outcome in known]


def _rank(study: Study, outcome: Outcome) -> float:
    value = study.measure.sign() * outcome[f"val_{study.metric}"]
    return value if math.isfinite(value) else -math.inf  # nothing held out: the first


def describe(study: Study, level: Level, chosen: Sequence[Chosen], data: Data) -> Spec:
    """What `model.json` says."""
    return {
        "format": FORMAT,
        "made_by": f"harness {harness.__version__}",
        "study": study.label,
        "question": study.question,
        "value": study.level_name(level),
        "data": {"name": data.name, "sha256": data.fingerprint},
        "inputs": inputs_of(data),
        "outputs": outputs_of(data, study.source.unit),
        "runs": [_run(number, one, data) for number, one in enumerate(chosen, start=1)],
    }


def _run(number: int, chosen: Chosen, data: Data) -> Spec:
    record, outcome, _ = chosen
    trial, config = record.trial, record.trial.config
    train = split_of(trial, data).train
    own = config.own
    network = own_network(own, config, data, OWN) if own else layers(build(config, data.shape, data.outputs, 0))
    return {
        "seed": trial.seed,
        "search": trial.search,
        "weights": f"weights-{number}.safetensors",
        "sha256": outcome.weights_sha256,
        "takes": list(input_shape(config, data.shape)),
        "preprocessing": preprocessing(data, config, train),
        "network": network,
        **({"target": target(data, train)} if data.task == "regression" else {}),
        "parameters": outcome.parameters,
        "figures": {name: value for name, value in outcome.figures.items() if math.isfinite(value)},
        "config": config.record(),
    }


def write(here: Path, spec: Spec, chosen: Sequence[Chosen], study: Study) -> None:
    """All files of the folder."""
    here.mkdir()
    (here / "model.json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(CODE, here / "model.py")
    for run, (_, _, packed) in zip(spec["runs"], chosen, strict=True):
        (here / run["weights"]).write_bytes(packed)
    if study.own:
        (here / OWN).write_bytes(study.own.source.encode())


def check(model: ExportedModel, chosen: Sequence[Chosen], data: Data) -> list[str]:
    """What is said of the model on the test rows: whether each run has there the figures that were recorded."""
    gaps = [_gaps(run, record, outcome, data) for run, (record, outcome, _) in zip(model.runs, chosen, strict=True)]
    beyond = sorted({name for one in gaps for name, gap in one.items() if gap > TOLERANCE})
    what = "each run's figures" if len(gaps) > 1 else "the figures"
    if beyond:
        return [f"warning: on the test {data.things} other figures than were recorded: {', '.join(beyond)}"]
    return [f"checked: {what} on the test {data.things} are those that were recorded"]


def _gaps(run: torch.nn.Module, record: Record, outcome: Outcome, data: Data) -> Mapping[str, float]:
    """How far each figure of a run on its test rows lies from the recorded one, as a share of it where it is large."""
    trial = record.trial
    rows = split_of(trial, data)
    seen = prepare(data, trial.config, rows.train[None])
    task = task_of([trial.config], seen)
    tally = task.tally(described(trial.config).measures, data.outputs)
    with torch.no_grad():
        for part in rows.test.split(BATCH):
            said, truth = run(data.inputs[part].float()), data.targets[part]
            if seen.unit is None:
                said = said.log()  # of which the softmax is what was said
            else:
                said, truth = ((one - seen.unit[1][0]) / seen.unit[0][0] for one in (said, truth))
            tally.add(said[None], truth[None])
    now: Figures = {f"test_{name}": float(value) for name, value in tally.figures().items()}
    known = {name: outcome[name] for name in now if math.isfinite(outcome[name]) and math.isfinite(now[name])}
    return {name: abs(now[name] - then) / max(1.0, abs(then)) for name, then in known.items()}


def _words(spec: Mapping[str, Any]) -> str:
    runs = spec["runs"]
    of = f"the vote of {len(runs)} runs" if len(runs) > 1 else f"seed {runs[0]['seed']}"
    return f"{spec['value']}, {of}; use it by its model.py, which needs torch alone, or by harness predict"
