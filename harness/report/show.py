"""All about a study, a compared value, a search trial or a confirmation, for the terminal: `harness show`.

    shown = show(study, folder, Chosen("depth=3", seed=7))
    shown.facts, shown.tables, shown.record       # for people; for programs

Everything is read from the journal; nothing of the study is executed.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis import Findings, find
from harness.analysis.plain import counts, plain
from harness.analysis.results import tabulate
from harness.catalogue import SECONDS
from harness.catalogue import show as shown
from harness.errors import UserError
from harness.events import finite, of_outcome, of_trial
from harness.figures import NONE, axis, number, probability, reach, text
from harness.journal import Record, Records, find_journal
from harness.journal.choose import find_level, find_run
from harness.study.labels import asked
from harness.study.study import Study
from harness.tracking import at_port
from harness.trial import Level, Outcome, Trial

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Chosen:
    """What is to be shown: a compared value or, without one, the study; of a value a trial or a seed."""

    level: str | None = None
    trial: int | None = None
    search: int = 0
    seed: int | None = None


@dataclass(frozen=True)
class Grid:
    """A table with its heading."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Shown:
    """What is shown: a title, facts with their names, tables; and the same for programs."""

    title: str
    facts: Facts
    tables: list[Grid] = field(default_factory=list)
    record: Mapping[str, Any] = field(default_factory=dict)


def show(study: Study, folder: Path, chosen: Chosen) -> Shown:
    """What the journal of the study in `folder` knows of what is chosen. Raises UserError if it knows none."""
    if chosen.trial is not None and chosen.seed is not None:
        raise UserError("show: give --trial or --seed, not both")
    records = Records(find_journal(study, folder))
    if chosen.trial is None and chosen.seed is None:
        findings = find(tabulate(records))
        if chosen.level is None:
            return _of_study(findings, records)
        return _of_value(findings, records, find_level(records.study, chosen.level))
    level = find_level(records.study, chosen.level)
    return _of_run(records, find_run(records, level, chosen.seed, chosen.trial, chosen.search))


def _of_study(findings: Findings, records: Records) -> Shown:
    study, told = findings.study, plain(findings)
    facts = [
        *([("question", study.question)] if study.question else []),
        ("data", ", ".join(study.datasets)),
        ("model", study.model_words),
        ("answer", findings.answer),
        ("search trials", counts(findings)["search"]),
        ("confirmations", counts(findings)["confirm"]),
        *(("beware", flag) for flag in findings.flags),
        *_seen_at(records, study.label),
    ]
    unit, m = findings.measure.unit, study.metric
    table = [
        (
            study.level_name(level),
            str(cells["trials"]),
            str(cells["seeds"]),
            text(cells[f"search_val_{m}"], unit),
            text(cells[f"test_{m}"], unit),
            reach(cells[f"test_{m}_low"], cells[f"test_{m}_high"], unit),
        )
        for level, cells in zip(study.levels, findings.table.to_dict("records"), strict=True)
    ]
    grid = Grid("Values", ("value", "trials", "seeds", "winners' validation", "test", "95 % interval"), table)
    return Shown(study.label, facts, [grid], {**told, "seen_at": dict(_seen_at(records, study.label))})


def _of_value(findings: Findings, records: Records, level: Level) -> Shown:
    study, row = findings.study, findings.study.levels.index(level)
    name = study.level_name(level)
    facts = [*_facts_of_value(findings, row), *_differences(findings, row), *_seen_at(records, name)]
    own = [record for record in records.all if record.trial.level == level and record.current]
    winners = {search: records.winner(level, search) for search in range(study.searches)}
    searched = [r for r in own if r.trial.stage == "search" and winners[r.trial.search] == r.trial.number]
    confirmed = [record for record in own if record.trial.stage == "confirm"]
    tables = [_winners(study, searched), _seeds(study, confirmed)]
    record = {
        **asked(study),
        "level": name,
        "table": [plain(findings)["table"][row]],
        "winners": [_record(study, one) for one in searched],
        "confirmations": [_record(study, one) for one in confirmed],
        "seen_at": dict(_seen_at(records, name)),
    }
    return Shown(f"{name} of {study.label}", facts, [grid for grid in tables if grid.rows], record)


def _facts_of_value(findings: Findings, row: int) -> Facts:
    """What the row of the compare table says."""
    cells, m, unit = findings.table.loc[row], findings.study.metric, findings.measure.unit
    interval = reach(cells[f"test_{m}_low"], cells[f"test_{m}_high"], unit)
    return [
        ("test", f"{text(cells[f'test_{m}'], unit)}, 95 % interval {interval}"),
        ("confirmations", f"{cells['seeds']} of {findings.study.budget.seeds}"),
        ("seconds each", number(cells["seconds"], SECONDS)),
        ("search trials", f"{cells['trials']} ({cells['pruned']} pruned, {cells['failed']} failed)"),
        ("weights", NONE if pd.isna(cells["parameters"]) else f"{cells['parameters']:,}"),
    ]


def _differences(findings: Findings, row: int) -> Facts:
    """How far the value lies from the others, as far as that is tested."""
    study, unit = findings.study, findings.measure.unit
    facts = []
    for cells in findings.pairs.to_dict("records"):
        if row in (cells["first"], cells["second"]):
            other = cells["first"] if cells["second"] == row else cells["second"]
            sign = 1 if cells["second"] == row else -1
            gap = f"{number(sign * cells['difference'], unit, '+')} {unit.gap}".strip()
            p = probability(cells["p_holm"])
            facts.append((f"less {study.level_name(study.levels[other])}", f"{gap}, p (Holm) {p}"))
    return facts


def _winners(study: Study, searched: Sequence[Record]) -> Grid:
    space = study.space(searched[0].trial.level) if searched else {}
    headings = ["search", "trial", axis(study.measure, "validation"), *space]
    cells = [
        [
            str(record.trial.search),
            str(record.trial.number),
            _number(study, record.outcome, f"val_{study.metric}"),
            *(shown(record.trial.config[key]) for key in space),
        ]
        for record in searched
    ]
    return Grid("Winners of the searches", headings, cells)


def _seeds(study: Study, confirmed: Sequence[Record]) -> Grid:
    headings = ["search", "seed", "state", axis(study.measure, "test"), axis(study.measure, "validation"), "epochs"]
    cells = [
        [
            str(record.trial.search),
            str(record.trial.seed),
            record.outcome.status if record.outcome else "waiting",
            *(_number(study, record.outcome, f"{images}_{study.metric}") for images in ("test", "val")),
            str(record.outcome.epochs) if record.outcome else NONE,
        ]
        for record in confirmed
    ]
    return Grid("Confirmations", headings, cells)


def _of_run(records: Records, record: Record) -> Shown:
    study, trial, outcome = records.study, record.trial, record.outcome
    facts: Facts = [("state", outcome.status if outcome else "waiting")]
    if outcome:
        facts += [
            ("ended", outcome.reason.splitlines()[-1] if outcome.reason else NONE),
            ("epochs", f"{outcome.epochs}, kept that of epoch {outcome.best_epoch}"),
            ("weights", f"{outcome.parameters:,}"),
            ("seconds", number(outcome.seconds, SECONDS)),
        ]
    if record.given:
        facts.append(("given", f"not proposed by the sampler: {record.given}"))
    facts += [("seed", str(trial.seed))]
    facts += [(key, _in_full(trial.config[key])) for key in study.chosen]
    if outcome:
        facts += _measured(study, outcome)
    facts += [*_seen_at(records, study.level_name(trial.level)), ("again", _again(records.journal, study, trial))]
    told = {**asked(study), **_record(study, record), "given": record.given, "history": _history(outcome)}
    told |= {"seen_at": dict(_seen_at(records, study.level_name(trial.level)))}
    tables = [Grid("Epochs", *_epochs(study, outcome))] if outcome and outcome.history else []
    return Shown(f"{study.run_name(trial)} of {study.label}", facts, tables, told)


def _record(study: Study, record: Record) -> dict[str, Any]:
    """A training and what came of it."""
    outcome = of_outcome(record.outcome) if record.outcome else {"status": "waiting"}
    return {**of_trial(study, record.trial), **outcome}


def _history(outcome: Outcome | None) -> list[dict[str, Any]]:
    epochs = outcome.history if outcome else ()
    return [{"epoch": epoch.number, "figures": finite(epoch.figures)} for epoch in epochs]


def _epochs(study: Study, outcome: Outcome) -> tuple[Sequence[str], list[list[str]]]:
    known = outcome.history[0].figures
    names = [name for name in known if any(epoch[name] == epoch[name] for epoch in outcome.history)]
    cells = [
        [f"{epoch.number}{' *' if epoch.number == outcome.best_epoch else ''}"]
        + [number(epoch[name], study.figure(name).unit) for name in names]
        for epoch in outcome.history
    ]
    return ["epoch (* kept)", *names], cells


def _measured(study: Study, outcome: Outcome) -> Facts:
    """Each figure that is known, with its unit."""
    known = {name: figure for name, figure in outcome.figures.items() if figure == figure}
    return [(name, text(figure, study.figure(name).unit)) for name, figure in known.items()]


def _number(study: Study, outcome: Outcome | None, name: str) -> str:
    return number(outcome[name], study.figure(name).unit) if outcome else NONE


def _in_full(value: object) -> str:
    """A setting with all its digits, which a training by hand needs."""
    return repr(value) if isinstance(value, float) else shown(value)


def _seen_at(records: Records, name: str) -> Facts:
    """Where it can be seen: its run in MLflow, and the page of the study."""
    page = Path("reports") / records.study.label / "report.html"
    facts = [("MLflow", at_port(records.links[name]))] if name in records.links else []
    return [*facts, *([("page", str(page))] if page.is_file() else []), ("journal", str(records.journal))]


def _again(journal: Path, study: Study, trial: Trial) -> str:
    """What to type to train it again."""
    which = ["--seed", str(trial.seed)] if trial.stage == "confirm" else ["--trial", str(trial.number)]
    of = ["--search", str(trial.search)] if trial.stage == "search" and study.searches > 1 else []
    return shlex.join(["harness", "replay", str(journal.parent), study.level_name(trial.level), *which, *of])
