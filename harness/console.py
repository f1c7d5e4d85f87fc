"""What the terminal shows while a study runs: one line per compared value, drawn anew as trials come in; below it how
far it is. A log gets a line with its time for each generation, and one a minute.
"""

import statistics
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.box import SIMPLE
from rich.console import Console as Terminal
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from harness.catalogue import show
from harness.errors import printable
from harness.figures import NONE, SOON, clock, duration, text
from harness.journal.left import Expected, Timing
from harness.study.study import Study
from harness.telling import timed
from harness.trial import Epoch, Level, Outcome, Trial

UNFOLDED = 1000  # columns
BAR = 12  # columns
GAP = 2  # columns between two of a table
WORD = 14  # columns; longer words may be folded wherever there is no room
NARROW = 72  # columns, below which a table says less
MINUTE = 60.0

Column = tuple[str, list[str]]
"""Of a table: its heading and its cells."""


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], spare: Collection[str] = ()) -> None:
    """A table on standard output; where that is no terminal, which has a width, no line is folded. On one that is small
    names of rows and words are not folded as long as they leave room for the rest, and columns without a cell are left
    out, then those that are to spare.
    """
    terminal, known = Terminal(), [list(map(printable, row)) for row in rows]
    if not terminal.is_terminal:
        terminal.width = UNFOLDED
    columns = [(heading, [row[place] for row in known]) for place, heading in enumerate(headings)]
    if terminal.is_terminal:
        columns = _on_a_terminal(columns, terminal.width, spare)
    whole = _whole_words(columns, terminal.width)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0) if terminal.width < UNFOLDED else (0, 1))
    for place, column in enumerate(columns):
        is_name = place == 0 and max(map(len, column[1]), default=0) < terminal.width / 4
        table.add_column(column[0], overflow="fold", no_wrap=is_name, min_width=min(whole, _longest_word(column)))
    for row in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*map(escape, row))
    terminal.print(table)


def _on_a_terminal(columns: Sequence[Column], width: int, spare: Collection[str]) -> list[Column]:
    """Those that are shown there."""
    shown = [(heading, cells) for heading, cells in columns if not cells or any(cells)]
    if _whole_words(shown, width) < WORD:
        shown = [(heading, cells) for heading, cells in shown if heading not in spare]
    return shown


def _longest_word(column: Column) -> int:
    heading, cells = column
    return max((len(word) for cell in (heading, *cells) for word in cell.split()), default=0)


def _whole_words(columns: Iterable[Column], width: int) -> int:
    """How long a word of a table may be so that it is not folded."""
    longest = list(map(_longest_word, columns))
    return next((most for most in range(WORD, 1, -1) if sum(min(most, one) + GAP for one in longest) < width), 1)


@dataclass(frozen=True)
class Start:
    """What is known when a study starts or goes on, before anything is trained. `left` are search trials and
    confirmations, at most; `seconds` is the estimate for them.
    """

    journal: Path
    left: tuple[int, int]
    expected: Expected | None = None
    seconds: float | None = None


class Titled(Protocol):
    """A table with its heading."""

    @property
    def title(self) -> str:
        """What stands above it."""

    @property
    def headings(self) -> Sequence[str]:
        """Of its columns."""

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """Cells as people read them."""


def print_shown(title: str, facts: Sequence[tuple[str, str]], tables: Iterable[Titled]) -> None:
    """A title, facts with their names in a column of their own, and tables. Where that is no terminal a line a fact."""
    terminal, table = Terminal(), Table(box=None, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    wide = max((len(name) for name, _ in facts), default=0)
    plain = [(printable(name), printable(words)) for name, words in facts]
    print(printable(title))
    for name, words in plain:
        table.add_row(escape(name), escape(words))
        if not terminal.is_terminal:
            print(f" {name:{wide}}  {words}")
    if terminal.is_terminal:
        terminal.print(table)
    for one in tables:
        print(f"\n{printable(one.title)}")
        print_table(one.headings, one.rows)


def named(study: Study, levels: Sequence[Level]) -> str:
    """Compared values that are at work, in words; of cells only how many, since they are many."""
    if study.is_grid:
        return f"{len(levels)} cells of {' and '.join(study.axes)}"
    return f"{study.axis} {', '.join(map(show, levels))}"


class Screen(Protocol):
    """What is told of a running study: `Progress` tells people, `events.Events` programs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, start: Start) -> None:
        """Everything is ready for the first training."""

    def begin(self, trials: list[Trial]) -> None:
        """A generation of the search, or the confirmation, starts."""

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """An epoch of a trial at work."""

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome, now or in an earlier run of the study."""

    def stopped(self, study: Study, level: Level) -> None:
        """Somebody has ended a value of the study, which is now this one: nothing more of that is begun."""


class Progress:
    """Counts what came of the trials of each level and shows it: live on a terminal, elsewhere a line a stack."""

    def __init__(self, study: Study, quiet: bool, on: TextIO | None = None) -> None:
        self.study, self._on = study, on
        self._outcomes: dict[Level, list[tuple[Trial, Outcome]]] = {level: [] for level in study.levels}
        self._now = ""
        self.timing = Timing(study)
        self.began: float | None = time.monotonic()  # None where that is not known
        self._logged = 0.0  # when a log got its last line
        self._terminal = Terminal(file=on or sys.stderr, quiet=quiet)
        self._live = Live(get_renderable=self.table, console=self._terminal, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._terminal.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._now = ""
        if self._terminal.is_terminal:
            self._live.stop()
        elif not self._terminal.quiet:
            Terminal(file=self._on or sys.stdout).print(self.table())  # what came of it belongs to the results

    def start(self, start: Start) -> None:
        """Everything is ready for the first training."""
        self.timing.expected = start.expected

    def begin(self, trials: list[Trial]) -> None:
        """A generation of the search, or the confirmation, starts."""
        if not trials:
            return
        first = trials[0]
        what = {"search": "searching", "confirm": "confirming", "ablation": "taking apart"}[first.stage]
        levels = list(dict.fromkeys(trial.level for trial in trials))
        self._now = f"{what} {named(self.study, levels)}: {len(trials)} trainings"
        self.log()

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        """An epoch of a trial at work."""
        head = self._now.split(",  ")[0]
        self._now = f"{head},  epoch {epoch.number} of {trial.config.epochs}"
        if time.monotonic() - self._logged > MINUTE:
            self.log()

    def log(self) -> None:
        """Where this is no terminal a line instead of the live table."""
        self._logged = time.monotonic()
        if not self._terminal.is_terminal:
            self._terminal.print(timed(self.line()), highlight=False, markup=False, soft_wrap=True)

    def line(self) -> str:
        """What trains now, how far all is and what did best so far, in one line; nothing when all is done."""
        return "; ".join(filter(None, [self._now, self.so_far(), self.leader()])) if self._now else ""

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome, now or in an earlier run of the study."""
        self._outcomes[trial.level].append((trial, outcome))
        self.timing.end(trial, outcome)

    def stopped(self, study: Study, level: Level) -> None:
        """Somebody has ended a value of the study, which is now this one: nothing more of that is begun."""
        self.now_of(study)
        if not self._terminal.is_terminal:
            self._terminal.print(timed(f"{study.level_name(level)} is stopped"), highlight=False, markup=False)

    def now_of(self, study: Study) -> None:
        """The study as it is by now."""
        self.study = study
        self.timing.now_of(study)

    def at_work(self, what: str) -> None:
        """What trains now, in words."""
        self._now = what

    def leader(self) -> str:
        """What did best so far, in words: on test rows, or before any were read in validation."""
        measure, name = self.study.measure, self.study.metric
        for stage, images in (("confirm", "test"), ("search", "val")):
            known = {level: self._of(level, stage) for level in self.study.levels}
            figures = {level: [one[f"{images}_{name}"] for one in own] for level, own in known.items() if own}
            if figures:
                middle = statistics.fmean if stage == "confirm" else max
                means = {level: middle(measure.sign() * one for one in own) for level, own in figures.items()}
                best = max(means, key=lambda level: means[level])
                words = {"test": "mean test", "val": "best validation"}[images]
                mean = text(measure.sign() * means[best], measure.unit)
                return f"best so far {self.study.level_name(best)}, {words} {measure.words} {mean}"
        return ""

    def _of(self, level: Level, stage: str) -> list[Outcome]:
        """The finished trainings of a level in a stage."""
        return [o for trial, o in self._outcomes[level] if trial.stage == stage and o.status == "finished"]

    def left(self) -> str:
        """How long it still takes, in words; nothing while that is not known."""
        seconds = self.timing.left(time.time())
        about = "about " if seconds and seconds >= SOON else ""  # "a few seconds" says so itself
        return f", {about}{duration(seconds)} left" if seconds else ""

    def so_far(self) -> str:
        """How many trainings are done, the time they took and what is left, in words."""
        done, wanted = self.timing.done("search", "confirm", "ablation"), sum(self.timing.wanted())
        of = "" if self.study.open_ended else f" of {wanted}"
        elapsed = "" if self.began is None else f", {clock(time.monotonic() - self.began)} elapsed"
        return f"{done}{of} done{elapsed}{self.left()}"

    def bar(self, columns: int = BAR) -> str:
        """The share of the trainings that are done, drawn; nothing where only time will tell how many there are."""
        if self.study.open_ended:
            return ""
        share = min(1.0, self.timing.done("search", "confirm", "ablation") / max(1, sum(self.timing.wanted())))
        return "━" * round(share * columns) + "─" * (columns - round(share * columns))

    def caption(self) -> str:
        """What trains now, how far all is, and what did best so far; nothing when all is done."""
        if not self._now:
            return ""
        far = " ".join(filter(None, [self.bar(), self.so_far()]))
        return "\n".join(filter(None, [self._now, far, self.leader()]))

    def table(self) -> Table:
        """The present state."""
        table = Table(title=escape(self.study.label), caption=escape(self.caption()) or None, caption_justify="left")
        for key in self.study.axes:
            table.add_column(key)
        narrow = self._terminal.is_terminal and self._terminal.width < NARROW
        headings = ("trials", "pruned", "failed", "best validation", "seeds", "test")
        shown = [place for place, name in enumerate(headings) if not (narrow and name in ("pruned", "failed"))]
        for place in shown:
            table.add_column(headings[place], justify="right")
        keys = len(self.study.axes)
        for level in self.study.levels:
            row = self._row(level)
            table.add_row(*row[:keys], *(row[keys + place] for place in shown))
        return table

    def _row(self, level: Level) -> list[str]:
        budget, outcomes = self.study.budget, self._outcomes[level]
        wanted = "" if self.study.open_ended else f"/{self.study.searches * self.study.trials}"
        search = [outcome for trial, outcome in outcomes if trial.stage == "search"]
        tests = self._of(level, "confirm")
        return [
            *map(escape, self.study.shown(level).values()),
            f"{len(search)}{wanted}{' stopped' if self.study.is_stopped(level) else ''}"
            if self.study.space(level)
            else NONE,
            str(sum(outcome.status == "pruned" for outcome in search)),
            str(sum(outcome.status in ("failed", "diverged") for outcome in search)),
            self._best(self._of(level, "search")),
            f"{len(tests)}/{budget.seeds}",
            self._mean(tests),
        ]

    def _best(self, outcomes: Iterable[Outcome]) -> str:
        """The best validation figure so far."""
        measure, name = self.study.measure, f"val_{self.study.metric}"
        gains = [measure.sign() * outcome[name] for outcome in outcomes]
        return text(measure.sign() * max(gains), measure.unit) if gains else NONE

    def _mean(self, outcomes: Sequence[Outcome]) -> str:
        """The mean test figure so far."""
        tests = [outcome[f"test_{self.study.metric}"] for outcome in outcomes]
        return text(sum(tests) / len(tests), self.study.measure.unit) if tests else NONE
