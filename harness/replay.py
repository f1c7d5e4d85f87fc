"""Trains a run again from its record in the journal, and says whether its figures come out the same.

    replayed = replay(read_study("studies/depth"), Path("studies/depth"), Wanted("depth=3", seed=2), tolerance=1e-3)
    replayed.is_same

Nothing is written. What counts is the journal: the study as it was run, not the file as it is now.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from harness import catalogue, environment
from harness.console import print_table
from harness.crews.folds import Folds
from harness.crews.grouping import group_trials
from harness.crews.local import Here, threads
from harness.crews.schedule import train_all
from harness.driver import choose_device, runs_code
from harness.errors import UserError, listed
from harness.journal import Record, Records, changed_code, edits, find_journal, programs
from harness.journal.choose import find_level, find_run
from harness.journal.records import Circumstances
from harness.loading import load_data
from harness.parts.data import Data
from harness.study.own import Program
from harness.study.settle import settled_as
from harness.study.study import Study
from harness.training.memory import keep_freed_memory
from harness.trial import Epoch, Figures, OfFold, Outcome, Trial

Say = Callable[[str], None]
HEADINGS = ("figure", "recorded", "now", "difference")


@dataclass(frozen=True)
class Wanted:
    """Which run is meant: a level with a seed or a trial's number, or the id of its run in MLflow."""

    level: str | None = None
    seed: int | None = None
    trial: int | None = None
    search: int = 0
    run: str | None = None
    together: bool = False  # in the group that it was in, not alone
    device: str = "auto"


@dataclass(frozen=True)
class Replayed:
    """What came of a run that was trained again: every figure, then and now, and what may differ."""

    run: str
    figures: tuple["Compared", ...]
    tolerance: float

    @property
    def is_same(self) -> bool:
        """Whether no figure lies beyond the tolerance."""
        return not any(figure.beyond for figure in self.figures)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A row of `HEADINGS` for each figure."""
        return [(f.name, f.recorded, f.now, amount(f.difference)) for f in self.figures]

    def record(self) -> dict[str, Any]:
        """The same for programs; a difference that is not to be measured is None."""
        figures = [
            {**asdict(f), "difference": f.difference if math.isfinite(f.difference) else None} for f in self.figures
        ]
        said = verdict(self.figures, self.tolerance)
        return {"run": self.run, "same": self.is_same, "tolerance": self.tolerance, "said": said, "figures": figures}


@dataclass(frozen=True)
class Compared:
    """A figure as recorded and as it is now: of a loss the relative difference, of an accuracy the absolute one.

    Of what each epoch has it is the epoch with the largest difference; `since` is the first one beyond the tolerance.
    """

    name: str
    recorded: str
    now: str
    difference: float  # 0: equal to the last bit; infinite: not to be measured
    beyond: bool
    since: int | None = None


def replay(study: Study, folder: Path, wanted: Wanted, tolerance: float, say: Say = print) -> Replayed:
    """Train a run of the study in `folder` again, and compare its figures.

    `say` tells what has changed since and the verdict; the table of all figures goes to standard output.
    """
    records = Records(find_journal(study, folder))
    for code in same_code(study, records.study, folder):
        say(runs_code(code, folder))
    record, recorded = choose(records, wanted)
    then = records.then(record)
    keep_freed_memory()
    data = load_data(records.study, record.trial.config.dataset, folder, choose_device(wanted.device))
    for line in circumstances(records.study, study, then, data):
        say(line)
    folds = Folds(records.company(record), records.study.trainings)
    own = folds.of[record.trial]
    group, one_each = group_of(own[0], folds.members, data, then)
    together = group if wanted.together else own
    company = f"in a stack of {len(together)}" if len(together) > 1 else "alone"
    say(f"{records.study.run_name(record.trial)} again, {company}; it took {recorded.seconds:.2f} s then")
    known = {other.trial: other.outcome for other in records.all}
    with threads(1 if one_each else then.threads or torch.get_num_threads()):  # sums of floats depend on it
        now = train_again(record.trial, together, data, known, folds)
    return judge(records.study.run_name(record.trial), recorded, now, tolerance, say)


def same_code(file: Study, then: Study, folder: Path, command: str = "replay") -> list[Program]:
    """What the record was trained with that a user wrote: its model, what loaded its data. Raises UserError unless the
    study file names it and its file says what it said then: nothing in a journal is executed. `command` would do so.
    """
    if then.own is not None and file.model != then.model:
        raise UserError(
            f"{command}: the record is of {then.own.words}, and the study file's model is {file.model}; {ONLY_NAMED}"
        )
    if then.loader is not None and (file.loader is None or file.loader.name != then.loader.name):
        raise UserError(
            f"{command}: the record's data is of {then.loader.name}, and the study file's is {listed(file.datasets)}; "
            f"{ONLY_NAMED}"
        )
    same: list[Program] = []
    for old, new in programs(file, then):
        if old.source != new.source:
            raise UserError(
                f"{command}: {folder / old.file} is not what the record was trained with (sha256 {old.sha256[:12]}, "
                f"now {new.sha256[:12]}); put it back as it was, which its report shows",
                changed_code(file, then),
            )
        same.append(new)
    return same


OF_OLD, OF_NOW = (
    re.compile(r"convolutions leave nothing of \d+ pixels$"),
    re.compile(r"is larger than the \d+x\d+ pixels"),
)
"""What journals say where a kernel or a pool is larger than an image: some in words of before."""
ONLY_NAMED = "only what the study file names is executed"


def judge(run: str, then: Outcome, now: Outcome, tolerance: float, say: Say) -> Replayed:
    """Show every figure of two outcomes of a run, and say whether they are the same."""
    replayed = Replayed(run, tuple(compare(then, now, tolerance)), tolerance)
    print_table(HEADINGS, replayed.rows)
    say(verdict(replayed.figures, tolerance))
    return replayed


def choose(records: Records, wanted: Wanted) -> tuple[Record, Outcome]:
    """The record that is meant, and its outcome; raises UserError, which names what there is, if there is none."""
    if sum(given is not None for given in (wanted.seed, wanted.trial, wanted.run)) != 1:
        raise UserError("replay: which run? Give one of --seed, --trial and --run")
    if wanted.run is not None:
        record = _by_run(records, wanted, wanted.run)
    else:
        level = find_level(records.study, wanted.level)
        record = find_run(records, level, wanted.seed, wanted.trial, wanted.search)
    if record.outcome is None:
        raise UserError(f"{records.journal}: {records.study.run_name(record.trial)} has no outcome yet")
    return record, record.outcome


def _by_run(records: Records, wanted: Wanted, run: str) -> Record:
    """The record whose run in MLflow has that id."""
    if wanted.level is not None:
        raise UserError(f"replay: --run names the run already; leave out {wanted.level}")
    from harness.tracking.mlflow.find import find_trial  # MLflow: seconds to import

    trial = find_trial(run, records.study, records.id, [record.trial for record in records.all])
    return next(record for record in records.all if record.trial == trial)


def circumstances(then: Study, file: Study, known: Circumstances, data: Data) -> Iterator[str]:
    """What is another than when the run was recorded, a line each; one line if nothing is."""
    facts = environment.describe([data], data.inputs.device, then.own, then.loader)
    lines = list(environment.differences(known.environment, facts, data.name))
    if (known.environment.get("cuda") == "not used") == data.inputs.is_cuda:
        lines.append(
            "another kind of device draws other shuffles and dropout: figures will differ by more than rounding"
        )
    yield from lines or ["code, versions, machine and data are as recorded"]
    if then.written_for == file.written_for:  # the digits may have stood in for it
        file = file.model_copy(update={"dataset": then.dataset})
    if changes := edits(settled_as(file, then), then):
        yield f"the study file says otherwise than the record, which counts: {'; '.join(changes)}"


def group_of(trial: Trial, company: Sequence[Trial], data: Data, then: Circumstances) -> tuple[list[Trial], bool]:
    """The group that the driver put the trial into, and whether it had one thread because others ran beside it."""
    size = then.group_size
    several = group_trials([other for other in company if other.config.dataset == trial.config.dataset], data, size)
    side_by_side = (len(several) > 1 and size != 1) or then.crew != "local"
    return next((one for one in several if trial in one), [trial]), side_by_side


def train_again(
    trial: Trial, together: Sequence[Trial], data: Data, known: Mapping[Trial, Outcome | None], folds: Folds
) -> Outcome:
    """The trial's outcome, as a journal would keep it. What was pruned is stopped where it was, not judged anew."""
    epochs: dict[Trial, int] = {}

    def stop(member: Trial) -> bool:
        then: Outcome | OfFold | None = known.get(folds.whole[member])
        if isinstance(then, Outcome) and then.folds and member.fold:
            then = then.folds[member.fold.number]
        return then is not None and then.status == "pruned" and epochs[member] >= then.epochs

    with closing(train_all([together], Here({data.name: data}), stop)) as events:
        for member, event in events:
            if isinstance(event, Epoch):
                epochs[member] = event.number
            for other, told in folds.take(member, event):
                if isinstance(told, Outcome) and other == trial:
                    return Outcome.from_record(json.loads(json.dumps(told.record())))
    raise AssertionError("training ended without an outcome")


def compare(then: Outcome, now: Outcome, tolerance: float) -> Iterator[Compared]:
    """Every figure of two outcomes but times; counts and words have no tolerance."""
    yield _words("status", then.status, now.status)
    if "failed" in (then.status, now.status):
        why, again = _why(then), _why(now)
        yield _words("reason", again if OF_OLD.search(why) and OF_NOW.search(again) else why, again)
    for name in ("epochs", "parameters", "best_epoch"):
        old, new = getattr(then, name), getattr(now, name)
        yield Compared(name, str(old), str(new), abs(new - old), new != old)
    for name in _measured(then.figures, now.figures):
        gap = difference(name, then[name], now[name])
        if gap or math.isfinite(now[name]):
            yield Compared(name, _number(then[name]), _number(now[name]), gap, gap > tolerance)
    if then.confusion or now.confusion:
        yield _confusion(then, now, tolerance)
    yield from _epoch_by_epoch(then, now, tolerance)


def _epoch_by_epoch(then: Outcome, now: Outcome, tolerance: float) -> Iterator[Compared]:
    """The figures that every epoch has; those that are nowhere finite are left out."""
    pairs = list(zip(then.history, now.history, strict=False))
    for name in pairs[0][0].figures if pairs else ():
        if any(math.isfinite(epoch[name]) for pair in pairs for epoch in pair):
            yield _of_epochs(name, pairs, tolerance)


def _measured(then: Figures, now: Figures) -> list[str]:
    """What was recorded, losses first, each in the order of images that the table has; and what was measured now on
    images that nothing was recorded of. A measure that is newer than the record is no difference.
    """
    seen = {name.partition("_")[0] for name, value in then.items() if math.isfinite(value)}
    names = [*then, *(name for name in now if name not in then and name.partition("_")[0] not in seen)]
    order = {images: place for place, images in enumerate(("train", "val", "test", "untrained"))}
    names.sort(key=lambda name: order.get(name.partition("_")[0], len(order)))
    losses = [name for name in names if catalogue.figure(name).unit.relative]
    return [*losses, *(name for name in names if name not in losses)]


def difference(name: str, then: float, now: float) -> float:
    """Of a loss the relative difference, else the absolute one; a journal knows NaN for all infinities."""
    if then == now or not (math.isfinite(then) or math.isfinite(now)):
        return 0.0
    whole = abs(then) if catalogue.figure(name).unit.relative else 1.0
    gap = abs(now - then) / whole if whole else math.inf
    return gap if math.isfinite(gap) else math.inf


def amount(gap: float) -> str:
    """A difference as people read it."""
    return "other" if math.isinf(gap) else f"{gap:.2g}"


def verdict(figures: Sequence[Compared], tolerance: float) -> str:
    """One line: same, or by how much the figures beyond the tolerance differ."""
    beyond = [figure for figure in figures if figure.beyond]
    if beyond:
        names = [
            figure.name
            + ("" if math.isinf(figure.difference) else f" by {amount(figure.difference)}")
            + (f" (first beyond it: epoch {figure.since})" if figure.since else "")
            for figure in beyond
        ]
        return f"differs by more than {tolerance:g}: {', '.join(names)}"
    worst = max(figures, key=lambda figure: figure.difference)
    if not worst.difference:
        return "same: all figures are equal to the last bit"
    return f"same: all figures lie within {tolerance:g}; the largest difference is {amount(worst.difference)}"


def _why(outcome: Outcome) -> str:
    """The last line of a reason; of an exception's class the name alone, since modules move."""
    last = "".join(outcome.reason.splitlines()[-1:])
    return re.sub(r"^(?:\w+\.)+(?=\w+:)", "", last)


def _words(name: str, then: str, now: str) -> Compared:
    return Compared(name, then, now, 0.0 if then == now else math.inf, then != now)


def _confusion(then: Outcome, now: Outcome, tolerance: float) -> Compared:
    """How many test images are counted elsewhere, as a share of all."""
    old, new = (sum(outcome.confusion or (), ()) for outcome in (then, now))
    counted = f"{sum(old)} counted", f"{sum(new)} counted"
    if len(old) != len(new) or sum(old) != sum(new):
        return Compared("confusion", *counted, math.inf, True)
    moved = sum(abs(one - other) for one, other in zip(old, new, strict=True)) // 2
    gap = moved / sum(old)
    return Compared(f"confusion, {moved} moved" if moved else "confusion", *counted, gap, gap > tolerance)


def _of_epochs(name: str, pairs: Sequence[tuple[Epoch, Epoch]], tolerance: float) -> Compared:
    gaps = [difference(name, then[name], now[name]) for then, now in pairs]
    since = next((pairs[place][0].number for place, gap in enumerate(gaps) if gap > tolerance), None)
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    if not gaps[worst]:
        course = f"{pairs[0][0][name]:.3g} to {pairs[-1][0][name]:.3g}"
        return Compared(f"{name}, each epoch", course, course, 0.0, False)
    old, new = (_number(epoch[name]) for epoch in pairs[worst])
    return Compared(f"{name}, epoch {pairs[worst][0].number}", old, new, gaps[worst], since is not None, since)


def _number(value: float) -> str:
    return f"{value:.6g}"
