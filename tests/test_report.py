import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness import report
from harness.analysis import find, read_results
from harness.journal import Ledger
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Outcome, Trial

from .conftest import ROOT, SMALL, clean_environment, harness
from .test_search import ENVIRONMENT, drive, made_up

PICTURES = {"accuracy_vs_depth", "learning_curves", "differences", "cost", "confusion", "mistakes", "probabilities"}
PICTURES |= {"tuning", "slices", "importance", "timeline"}
Write = Callable[[str], Path]


def written(study: Study, folder: Path) -> Path:
    drive(study, folder / "journal.log")
    return report.write(find(read_results(folder / "journal.log")), folder / "report")


class Page(HTMLParser):
    """Checks that tags nest, and collects what refers to anything outside."""

    void = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        loads = {"src", "srcset", "href"} if tag != "a" else set()  # a link loads nothing
        self.outside += [v for k, v in attributes if k in loads and v and not v.startswith(("data:", "#"))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_smoke_studys_report(smoke: Path) -> None:
    folder = smoke / "reports" / "smoke"
    for name in ("report.html", "report.md", "tables/compare.csv", "tables/compare.tex"):
        assert (folder / name).stat().st_size > 0
    for name in ("accuracy_vs_depth", "learning_curves"):
        assert (folder / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / "plots" / f"{name}.svg").read_text()
    table = pd.read_csv(folder / "tables" / "compare.csv")
    assert table["depth"].tolist() == [1, 2, 3]
    assert table["trials"].tolist() == [30, 30, 30]
    assert table["searches"].tolist() == [3, 3, 3]
    assert table["seeds"].tolist() == [3, 3, 3]
    assert table["test_accuracy"].between(0.8, 1.0).all()
    assert (table["test_accuracy_low"] <= table["test_accuracy"]).all()
    assert {"width", "activation", "dropout", "lr", "batch_size", "optimizer", "momentum"} <= set(table.columns)


def test_the_page_is_one_file(smoke: Path) -> None:
    html = (smoke / "reports" / "smoke" / "report.html").read_text()
    page = Page(html)
    assert re.search(r'<a href="http://127.0.0.1:5000/#/experiments/\d+/runs/\w+">depth=2</a>', html)
    assert page.open == []
    assert page.outside == []
    folder = smoke / "reports" / "smoke" / "plots"
    assert {path.stem for path in folder.glob("*.png")} == {path.stem for path in folder.glob("*.svg")} == PICTURES
    assert len(page.images) == len(PICTURES)
    assert all(image["alt"] for image in page.images)


def test_written_twice_it_is_the_same(small: Study, tmp_path: Path) -> None:
    folder = written(small, tmp_path)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*.*"))}
    report.write(find(read_results(tmp_path / "journal.log")), folder)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*.*"))} == before


def test_a_report_of_a_study_that_has_only_begun(small: Study, tmp_path: Path) -> None:
    ledger = Ledger(small, tmp_path / "journal.log", ENVIRONMENT)
    for attempt in range(2):
        folder = report.write(find(read_results(tmp_path / "journal.log")), tmp_path / "report")
        text = (folder / "report.md").read_text()
        assert "No answer yet" in text
        assert "0 of 6 search trials done" in text
        if attempt == 0:
            ledger.generation()


@pytest.mark.parametrize(
    "overrides",
    [
        ["budget.seeds=1"],
        ["lr=0.01", "optimizer=sgd", "momentum=0.5"],
        ["depth=[2]"],
        ["compare.depth=[2]", "budget.seeds=1"],
        ["search.pruner=none", "epochs=1"],
    ],
    ids=str,
)
def test_odd_studies_have_sensible_pages(overrides: list[str], write_study: Write, tmp_path: Path) -> None:
    folder = written(read_study(write_study(SMALL), overrides), tmp_path)
    Page((folder / "report.html").read_text())
    assert "nan" not in (folder / "report.md").read_text().lower().replace("nantes", "")


@pytest.mark.parametrize(
    "compare",
    ['activation = ["relu", "tanh"]', "widths = [[8], [8, 4]]", "lr = [1e-3, 1e-2, 1e-1]", "width = [8, 16, 32]"],
)
def test_any_axis(compare: str, write_study: Write, tmp_path: Path) -> None:
    text = f'dataset = "digits"\n[compare]\n{compare}\n[tune]\nweight_decay = [0.0, 0.1]\n'
    text += "[budget]\ntrials = 2\nseeds = 2\n"
    study = read_study(write_study(text))
    folder = written(study, tmp_path)
    assert (folder / "plots" / f"accuracy_vs_{study.axis}.png").exists()
    assert pd.read_csv(folder / "tables" / "compare.csv").columns[0] == study.axis


def test_published_figures_stand_beside_the_measured_ones(write_study: Write, tmp_path: Path) -> None:
    text = SMALL + '[published]\nsource = "A & B, <2021>"\ntest_accuracy = [0.9, 0.91]\n'
    folder = written(read_study(write_study(text)), tmp_path)
    assert pd.read_csv(folder / "tables" / "compare.csv")["published_test_accuracy"].tolist() == [0.9, 0.91]
    html = (folder / "report.html").read_text()
    assert "A &amp; B, &lt;2021&gt;" in html
    assert "91.00" in html
    assert "Each figure is one run. The prediction intervals hold what repetitions" in html
    assert pd.read_csv(folder / "tables" / "published.csv")["published"].tolist() == [0.9, 0.91]


def test_published_trainings_of_several_runs_are_not_called_one(write_study: Write, tmp_path: Path) -> None:
    text = SMALL + '[published]\nsource = "x"\nruns = 5\nseconds = [1.0, 2.0]\n'
    page = (written(read_study(write_study(text)), tmp_path) / "report.md").read_text()
    assert "## Published and measured" in page
    assert "Published: x. Each figure is the mean of 5 runs. The prediction intervals" in page
    assert "published test %" not in page  # none was


def test_a_study_that_holds_nothing_out(write_study: Write, tmp_path: Path) -> None:
    text = 'dataset = "digits"\n[compare]\nnormalisation = ["scale", "half"]\n[fixed]\nvalidation = 0\n'
    folder = written(read_study(write_study(text + 'split = "pooled"\n[budget]\nseeds = 2\n')), tmp_path)
    page = (folder / "report.md").read_text()
    assert "nothing is held out for validation" in page
    assert "Each seed draws 14.3 % of all images anew as its test images." in page
    assert "the weights of the last one are measured" in page
    assert "more epochs may change the comparison" not in page


def test_published_figures_change_nothing_else(write_study: Write, tmp_path: Path) -> None:
    tables, pages = [], []
    for name, figures in (("a", "[0.9, 0.91]"), ("b", "[0.1, 0.2]")):
        text = SMALL + f'[published]\nsource = "x"\ntest_accuracy = {figures}\n'
        (tmp_path / name).mkdir()
        folder = written(read_study(write_study(text)), tmp_path / name)
        tables.append(pd.read_csv(folder / "tables" / "compare.csv").drop(columns="published_test_accuracy"))
        pages.append((folder / "report.md").read_text().split("## Published and measured"))
    pd.testing.assert_frame_equal(*tables)
    first, second = ([re.sub(r"published test %.*", "", part) for part in page] for page in pages)
    assert first[1] != second[1]
    assert first[1][first[1].index("## How") :] == second[1][second[1].index("## How") :]
    cut = [[line for line in page[0].splitlines() if not line.startswith("| ")] for page in (first, second)]
    assert cut[0] == cut[1]


def ill(*levels: int, status: Any, stage: str = "search") -> Callable[[Trial], Outcome]:
    """Outcomes of which those of some levels went wrong."""

    def outcome_of(trial: Trial) -> Outcome:
        if trial.level in levels and trial.stage == stage:
            history = () if status == "failed" else made_up(trial).history
            return Outcome(status, "Traceback\nOverflowError: too | <b>large</b>", 1000.0, 1010.0, history=history)
        return made_up(trial)

    return outcome_of


@pytest.mark.parametrize(
    ("outcome_of", "told"),
    [
        (ill(1, status="failed"), "depth=1: 6 of 6 search trials (100 %) failed or diverged, the first with: Overflow"),
        (ill(2, status="diverged"), "depth=2: 6 of 6 search trials (100 %) failed or diverged"),
        (ill(1, 2, status="pruned"), "No answer yet: no confirmation run has finished."),
        (ill(1, 2, status="failed"), "No answer yet: no confirmation run has finished."),
        (ill(1, status="failed", stage="confirm"), "depth=1: 0 of 2 confirmation runs finished."),
    ],
    ids=["a value that failed", "a value that diverged", "nothing but pruned", "nothing but failed", "failed seeds"],
)
def test_what_went_wrong_has_a_sensible_page(
    outcome_of: Callable[[Trial], Outcome], told: str, small: Study, tmp_path: Path
) -> None:
    drive(small, tmp_path / "journal.log", outcome_of=outcome_of)
    folder = report.write(find(read_results(tmp_path / "journal.log")), tmp_path / "report")
    page, html = ((folder / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert told in page
    assert " nan" not in page.lower()
    assert "<b>large" not in html
    assert Page(html).open == []


def test_latex_escapes_names(write_study: Write, tmp_path: Path) -> None:
    folder = written(read_study(write_study(SMALL.replace("lr =", "batch_size = [8, 16]\nlr ="))), tmp_path)
    compare, winners = ((folder / "tables" / f"{name}.tex").read_text() for name in ("compare", "winners"))
    assert r"batch\_size" in winners
    assert r"test \%" in compare
    for tex in (compare, winners):
        assert re.search(r"\\toprule.*\\midrule.*\\bottomrule", tex, re.DOTALL)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles_and_fits_the_page(smoke: Path, tmp_path: Path) -> None:
    tables = smoke / "reports" / "smoke" / "tables"
    inputs = "".join(rf"\input{{{path}}}" for path in sorted(tables.glob("*.tex")))
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage[T1]{fontenc}\begin{document}"
    (tmp_path / "page.tex").write_text(head + inputs + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_an_unwritable_folder_is_told(small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "journal.log")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="the report cannot be written"):
        report.write(find(read_results(tmp_path / "journal.log")), tmp_path / "file" / "report")


def test_whoever_is_killed_while_writing_leaves_the_old_report_whole(
    small: Study, write_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive(small, tmp_path / "journal.log")
    folder = report.write(find(read_results(tmp_path / "journal.log")), tmp_path / "reports" / "mine")
    pages = {path: path.read_bytes() for path in folder.rglob("*.*") if path.parent.name != "plots"}
    drive(read_study(write_study(SMALL), ["budget.trials=9"]), tmp_path / "journal.log")
    for name in ("report.html", "report.md"):  # all else is written by then

        def killed(page: str, *arguments: Any, last: str = name) -> str:
            if page == last:
                raise KeyboardInterrupt
            return "new"

        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["harness.report.write"], "render", killed)
            with pytest.raises(KeyboardInterrupt):
                report.write(find(read_results(tmp_path / "journal.log")), folder)
        assert {path: path.read_bytes() for path in pages} == pages
    report.write(find(read_results(tmp_path / "journal.log")), folder)
    assert sum(path.read_bytes() != text for path, text in pages.items()) > 4
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]  # and nothing is left beside it
    assert not list(folder.rglob("*.part"))


def test_the_report_command_needs_no_run(smoke: Path) -> None:
    before = (smoke / "reports" / "smoke" / "report.html").read_bytes()
    done = harness("report", "studies/smoke", cwd=smoke)
    assert done.returncode == 0, done.stderr
    assert "reports/smoke/report.html" in done.stdout
    assert (smoke / "reports" / "smoke" / "report.html").read_bytes() == before


GOLDEN = ROOT / "tests" / "golden"


def test_the_golden_report(tmp_path: Path) -> None:
    """A stored journal of a real study makes the stored pages and tables, byte for byte.

    HARNESS_GOLDEN=1 stores them anew. Pictures are left out: their bytes depend on the fonts of the machine.
    """
    folder = report.write(find(read_results(GOLDEN / "journal.log")), tmp_path / "report")
    made = {
        str(path.relative_to(folder)): re.sub(r'src="data:[^"]*"', 'src="..."', path.read_text())
        for path in sorted(folder.rglob("*.*"))
        if path.suffix not in (".png", ".svg")
    }
    if os.environ.get("HARNESS_GOLDEN"):
        for name, text in made.items():
            (GOLDEN / "report" / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / "report" / name).write_text(text)
    stored = {str(p.relative_to(GOLDEN / "report")): p.read_text() for p in sorted((GOLDEN / "report").rglob("*.*"))}
    assert made == stored


TIED = SMALL.replace(
    'optimizer = ["sgd", "adam"]', 'dropout = [0.0]\nnorm = ["none"]\nactivation = ["relu"]\ntaper = ["constant"]'
)
ELSEWHERE = """
import sys
from pathlib import Path
from harness import report
from harness.analysis import find, read_results
report.write(find(read_results(Path(sys.argv[1]))), Path(sys.argv[2]))
print(find(read_results(Path(sys.argv[3]))).importance.to_csv(), end="")
"""


def test_a_report_is_the_same_everywhere(write_study: Write, tmp_path: Path) -> None:
    """Under another hash seed, locale and time zone: pages, tables and pictures, also where importances are equal."""
    here, elsewhere, tied = tmp_path / "here" / "report", tmp_path / "elsewhere" / "report", tmp_path / "tied.log"
    drive(read_study(write_study(TIED.replace("momentum", "#")), ["budget.trials=12"]), tied)
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Pacific/Kiritimati", "LANG": "tr_TR.UTF-8"}
    odd |= {"PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, GOLDEN / "journal.log", elsewhere, tied],
        env={**clean_environment(), "PYTHONPATH": str(ROOT), **odd},
        capture_output=True,
        text=True,
        check=True,
    )
    report.write(find(read_results(GOLDEN / "journal.log")), here)
    both = [{str(path.relative_to(at)): path.read_bytes() for path in at.rglob("*.*")} for at in (here, elsewhere)]
    assert [name for name in both[0] if both[0][name] != both[1].get(name)] == []
    assert both[0].keys() == both[1].keys()
    assert done.stdout == find(read_results(tied)).importance.to_csv()


def test_a_large_study_is_reported_in_time(small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "journal.log")
    results = read_results(tmp_path / "journal.log")
    levels = tuple(range(1, 6))
    wide = {"levels": levels, "budget": small.budget.model_copy(update={"trials": 500})}
    search = results.runs[(results.runs["stage"] == "search") & (results.runs["level"] == 0)]
    confirmed = results.runs[(results.runs["stage"] == "confirm") & (results.runs["level"] == 0)]
    generator = np.random.default_rng(0)
    runs = []
    for row in range(len(levels)):
        many = search.sample(500, replace=True, random_state=row).assign(level=row, number=range(500), winner=False)
        many["val_accuracy"] = generator.uniform(0.5, 0.99, 500)
        many["lr"] = 10 ** generator.uniform(-3, -1, 500)
        runs += [many, confirmed.assign(level=row)]
    study = results.study.model_copy(update=wide)
    started = time.perf_counter()
    folder = report.write(
        find(replace(results, study=study, runs=pd.concat(runs, ignore_index=True))), tmp_path / "report"
    )
    assert time.perf_counter() - started < 20
    assert sum(path.stat().st_size for path in folder.rglob("*.*")) < 3_000_000
    assert len(pd.read_csv(folder / "tables" / "tuning.csv")) == 2500
