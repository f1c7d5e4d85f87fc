"""Runs studies and reads what came of them, for the command and for programs. Heavy imports wait until all is checked.

findings = run("studies/depth", trials=4, offline=True)
findings = load("studies/depth")                          # also while it runs; trains nothing
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.crews.how import How
from harness.telling import done_only

if TYPE_CHECKING:
    from harness.catalogue import Value
    from harness.console import Screen
    from harness.driver import Concluded
    from harness.interface.findings import ShownFindings
    from harness.study.study import Study

Say = Callable[[str], None]
Show = Callable[["Study", bool], "Screen"]


def run(
    study: str | Path,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    searches: int | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    dataset: str | None = None,
    device: str = "auto",
    set: Mapping[str, "Value"] | None = None,
    stack: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    crew: str | None = None,
    offline: bool = False,
    fresh: bool = False,
    quiet: bool = False,
) -> "ShownFindings":
    """Run the study in a folder, or go on with it, write its report, and return what came of it.

    Every argument is the option of that name of `harness run`; `set` changes the study, as {"lr": 0.1,
    "budget.seeds": 5}. `quiet` prints nothing. Raises UserError for whatever is wrong, with the command's one line;
    KeyboardInterrupt stops at once, and the same call goes on from there.

    >>> import harness
    >>> findings = harness.run("studies/smoke", seeds=3, offline=True, quiet=True)
    >>> findings.best is not None
    True
    >>> harness.run("studies/smoke", epochs=0, quiet=True)
    Traceback (most recent call last):
    harness.errors.UserError: studies/smoke/study.toml: fixed.epochs: should be greater than or equal to 1, got 0
    """
    changed = changes(trials, minutes, searches, seeds, epochs)
    if set:
        from harness.study.toml import inline

        changed += [f"{key}={inline(value, key)}" for key, value in set.items()]
    how = How(device, stack, workers, ray, crew, offline, fresh, quiet, is_guest=True)
    return run_checked(*prepared(Path(study), changed, dataset, how), how)


def load(study: str | Path, *, dataset: str | None = None) -> "ShownFindings":
    """What came of the study in a folder so far, from its journal. Trains nothing, and imports no torch.

    Raises UserError where there is no study, or it has not run.

    >>> import harness
    >>> harness.load("studies/smoke").table["seeds"].tolist()
    [3, 3, 3]
    """
    from harness.study.file import read_study
    from harness.study.places import study_folder

    checked = read_study(study, dataset=dataset)
    without_widgets()
    from harness.interface.findings import ShownFindings
    from harness.report.write import findings_of

    return ShownFindings(findings_of(checked, study_folder(Path(study))).results)


def changes(
    trials: int | None, minutes: float | None, searches: int | None, seeds: int | None, epochs: int | None
) -> list[str]:
    """What options change in a study, as key=value."""
    budget = {"trials": trials, "minutes": minutes, "searches": searches, "seeds": seeds}
    given = {**{f"budget.{key}": value for key, value in budget.items()}, "epochs": epochs}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def prepared(path: Path, changed: list[str], dataset: str | None, how: How) -> tuple["Study", Path]:
    """The study as it is to be run, and its folder. Raises UserError for all that is known to be wrong before any data
    is looked at.
    """
    from harness.study.file import read_study
    from harness.study.places import check_label, report_folder, study_folder

    study, folder = read_study(path, changed, dataset), study_folder(path)
    how.check()
    check_label(folder, study.label)
    report_folder(study.label)  # one that leads out is refused before anything is made
    return study, folder


def start(study: "Study", folder: Path, how: How, say: Say, show: Show) -> "Concluded":
    """Run it, told by `say` and shown by what `show` makes."""
    from harness.tracking.tracker import Tracker

    with Tracker(how.offline, say=say) as tracker:  # before torch: MLflow loads in a process of its own meanwhile
        from harness.driver import run as run_study

        return run_study(study, folder, tracker, how, say, show)


def run_checked(study: "Study", folder: Path, how: How) -> "ShownFindings":
    """Run it in somebody's own program."""
    without_widgets()
    done = start(study, folder, how, done_only(_nothing if how.quiet else print), _screen)
    from harness.interface.findings import ShownFindings

    return ShownFindings(done.findings.results)


def in_notebook() -> bool:
    """Whether this process runs the cells of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def without_widgets() -> None:
    """Optuna's progress bars, which nobody here uses, would warn in a notebook that has no widgets for them."""
    if in_notebook():
        warnings.filterwarnings("ignore", message="IProgress not found")


def _nothing(line: str) -> None:
    """Say nothing."""


def _screen(study: "Study", quiet: bool) -> "Screen":
    """What shows how far it is: below a notebook's cell, or where a terminal shows it."""
    if in_notebook() and not quiet:
        from harness.interface.cell import NotebookProgress

        return NotebookProgress(study)
    from harness.console import Progress

    return Progress(study, quiet)
