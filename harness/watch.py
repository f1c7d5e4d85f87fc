"""Follows a study that runs, from another terminal or over a log: `harness watch`.

    watch(read_study("studies/depth"), Path("studies/depth"), print)

It reads the journal alone, again and again, and ends when nobody runs the study any more. Nothing is written but, if
that is wanted, the report.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.console import Progress, named
from harness.errors import StudyStoppedError, UserError
from harness.journal import Records, find_journal, holder
from harness.study.places import advice
from harness.study.study import Study
from harness.telling import timed

EVERY = 2.0  # seconds between two looks at the journal,
BESIDE = 4.0  # times what a look takes, if that is more: watching is not to slow training down
PAGE = 20.0  # seconds between two reports, likewise

Say = Callable[[str], None]


@dataclass
class Watch:
    """A study that is followed: its `journal`, and `page`, which writes its report, if that is wanted."""

    journal: Path
    say: Say
    page: Callable[[], None] | None = None
    every: float = EVERY
    seen: tuple[int, int] = (0, 0)  # size and date of the journal that was read
    progress: Progress | None = None
    next_page: float = 0.0
    known: set[object] = field(default_factory=set)
    said: str = ""

    def follow(self, is_live: bool) -> None:
        """Look and tell until nobody runs the study."""
        try:
            while True:
                by, began = holder(self.journal), time.monotonic()
                self.look(is_live)
                took = time.monotonic() - began
                if by is None:
                    break
                self.write_page()
                time.sleep(max(self.every, BESIDE * took))
        finally:
            if self.progress and is_live:
                self.progress.__exit__(None, None, None)
        if self.page:
            self.page()
        self.end()

    def look(self, is_live: bool) -> None:
        """Read what is new, and tell it: drawn anew on a terminal, else a line with its time."""
        state = self.journal.stat()
        if (state.st_size, state.st_mtime_ns) == self.seen:
            return
        try:
            records = Records(self.journal)
        except StudyStoppedError:
            raise
        except UserError:  # it has just been begun
            return
        self.seen = state.st_size, state.st_mtime_ns
        if self.progress is None:
            self.progress = Progress(records.study, quiet=not is_live, on=sys.stdout)
            self.progress.began = None
            if is_live:
                self.progress.__enter__()
        self.tell(self.progress, records)
        if not is_live and (line := self.progress.line()) and line != self.said:
            self.said = line
            self.say(timed(line))

    def tell(self, progress: Progress, records: Records) -> None:
        """Show what has come since the last look."""
        progress.now_of(records.study)
        progress.timing.expected = records.expected
        for record in records.all:
            if record.current and record.outcome and record.trial not in self.known:
                self.known.add(record.trial)
                progress.end(record.trial, record.outcome)
        progress.at_work(at_work(records))

    def write_page(self) -> None:
        """Write the report, once in a while."""
        if self.page and self.progress and time.monotonic() >= self.next_page:
            began = time.monotonic()
            self.page()
            self.next_page = time.monotonic() + max(PAGE, BESIDE * (time.monotonic() - began))

    def end(self) -> None:
        """Tell what came of it."""
        from harness.analysis import find, read_results

        findings = find(read_results(self.journal))
        if findings.results.timing and findings.results.timing.is_over:
            self.say(findings.answer)
        else:
            self.say(f"nobody runs it now; {advice('run', self.journal)} goes on")


def at_work(records: Records) -> str:
    """What trains now, as far as a journal tells; nothing where all is done."""
    timing, study = records.timing, records.study
    waiting = [r.trial for r in records.all if r.outcome is None and r.trial.stage == "search"]
    waiting = [trial for trial in waiting if not study.is_stopped(trial.level)]
    searched, after = timing.wanted()
    if waiting:
        levels = {trial.level for trial in waiting}
        which = named(study, [level for level in study.levels if level in levels])
        return f"searching {which}: {len(waiting)} trainings at work, {timing.done('search')} done"
    if timing.is_over:
        return ""
    if timing.done("search") < searched:
        return f"searching: {timing.done('search')} of {searched} trainings done"
    return f"confirming: {timing.done('confirm', 'ablation')} of {after} trainings done"


def watch(study: Study, folder: Path, say: Say, write_page: Callable[[], None] | None = None) -> None:
    """Follow the study in `folder` until nobody runs it. Raises UserError where it never ran."""
    journal = find_journal(study, folder)
    if not journal.is_file():
        raise UserError(f"{folder}: never ran (there is no {journal}); run it with: {advice('run', journal)}")
    Watch(journal, say, write_page).follow(sys.stdout.isatty())
