"""Many compared values: the page adapts, a journal opens at once; and names that would collide."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.analysis import find, read_results
from harness.analysis.samples import holm, holm_family
from harness.crews.how import How
from harness.driver import run, sync
from harness.errors import UserError
from harness.journal import Ledger, find_journal
from harness.report.pictures import make_pictures
from harness.report.sections import make_sections
from harness.report.write import report_study
from harness.study.file import read_study
from harness.study.places import check_label, named_by
from harness.study.study import Study
from harness.tracking import Tracker

from .test_search import ENVIRONMENT, drive

Write = Callable[[str], Path]
MANY = 'dataset = "digits"\n[compare]\nwidth = {values}\n[fixed]\ndepth = 2\n[budget]\nseeds = 3\n'


def test_beyond_twelve_values_pairs_are_those_with_the_best(write_study: Write, tmp_path: Path) -> None:
    study = read_study(write_study(MANY.format(values=list(range(1, 15)))))
    drive(study, tmp_path / "journal.log")
    findings = find(read_results(tmp_path / "journal.log"))
    assert (findings.tested_pairs, len(findings.pairs), len(findings.all_pairs)) == (91, 13, 91)
    pairs = zip(findings.pairs["first"], findings.pairs["second"], strict=True)
    assert all(findings.best in pair for pair in pairs)
    pictures = make_pictures(findings)
    assert pictures["differences"].draw == "grid:forest_figure"
    assert len(pictures["learning_curves"].figure().axes) == 2  # one panel and its colours
    said = " ".join(text for section in make_sections(findings, pictures) for text in section.texts)
    assert "Of 91 pairs the 13 with the best value are shown" in said


def test_some_of_a_family_are_corrected_for_all_of_it() -> None:
    p = np.array([0.001, 0.02])
    assert holm(p, 10) == pytest.approx([0.01, 0.18])
    mean, error, n = np.array([1.0]), np.array([0.1]), np.array([10.0])
    alone, picked = holm_family(mean, error, n), holm_family(mean, error, n, 45)
    assert picked.low[0] < alone.low[0]
    assert picked.p_holm[0] == pytest.approx(45 * alone.p[0])


def test_too_many_values_are_told_before_anything_starts(write_study: Write) -> None:
    with pytest.raises(UserError, match="compare: at most 1,000 values can be compared, got 1,001"):
        read_study(write_study(MANY.format(values=list(range(1, 1002)))))


def test_a_journal_of_many_values_opens_with_one_wait_for_the_disk(
    write_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, journal, waits = (
        read_study(write_study(MANY.format(values=list(range(1, 101))))),
        tmp_path / "j.log",
        list[int](),
    )
    monkeypatch.setattr(os, "fsync", waits.append)
    Ledger(study, journal, ENVIRONMENT)
    assert len(waits) < 10
    size = journal.stat().st_size
    Ledger(study, journal, ENVIRONMENT)
    assert len(waits) < 10
    assert journal.stat().st_size == size


def test_names_that_would_collide_are_refused(write_study: Write, tmp_path: Path) -> None:
    folder = Path(write_study(MANY.format(values=[1, 2])))
    folder = folder.parent if folder.name == "study.toml" else folder
    study = read_study(folder)
    drive(study, folder / study.journal)
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    with pytest.raises(UserError, match="whose report it would overwrite"):
        report_study(read_study(copy), copy)
    with Tracker(offline=True) as tracker, pytest.raises(UserError, match="whose report it would overwrite"):
        sync(read_study(copy), copy, tracker)
    shutil.copytree(folder, folder.parent / f"{folder.name}-mnist")
    with pytest.raises(UserError, match="rename one of the two folders"):
        check_label(folder, f"{folder.name}-mnist")
    with Tracker(offline=True) as tracker, pytest.raises(UserError, match="rename one of the two folders"):
        sync(read_study(folder, dataset="mnist"), folder, tracker)
    (folder / "journal-mnist.log").touch()
    with pytest.raises(UserError, match="rename this folder"):
        check_label(folder.parent / f"{folder.name}-mnist", f"{folder.name}-mnist")
    shutil.copytree(copy, folder.parent / "a@digits")
    at = str(folder.parent / "a@digits")
    assert named_by(at) == (at, None)
    assert named_by(f"{at}@mnist") == (at, "mnist")
    assert named_by("studies/t@digits") == ("studies/t", "digits")
    assert named_by("studies/t") == ("studies/t", None)


def test_data_sets_whose_files_would_have_one_name_are_refused(write_study: Write, tmp_path: Path) -> None:
    folder = Path(write_study(MANY.format(values=[1, 2])))
    study = read_study(folder).model_copy(update={"dataset": "a/b.csv"})
    other = study.model_copy(update={"dataset": "a-b.csv"})
    assert study.label == other.label
    drive(study, folder / study.journal)
    find_journal(study, folder)

    def begin(which: Study, where: Path) -> None:
        run(which, where, Tracker(offline=True), How())

    for use in (find_journal, begin):
        with pytest.raises(UserError, match=r"is of a/b.csv, and a-b.csv would share it"):
            use(other, folder)
