"""The journal: an Optuna storage in one text file, `studies/<name>/journal.log`, and what can be read from it.

One driver writes it at a time; anyone may read it meanwhile. It is the truth about a study: MLflow and the report are
made from it.
"""

import errno
import json
import os
import re
import signal
import socket
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.study import StudyDirection

from harness.errors import StudyStoppedError, UserError
from harness.journal.lines import DamagedError, Lines, attributes_of, legible, sealed
from harness.journal.weights import put_aside_too
from harness.study.places import advice
from harness.study.source import file_name
from harness.study.study import Study

CREATE_STUDY = 0  # Optuna's code for it
EPOCH = b'{"op_code":7,'  # how a line begins that tells the figure of an epoch
NOTHING = {"op_code": JournalOperation.DISCARD_TRIALS}  # a line that Optuna counts and passes over
HEAD = 100_000  # bytes of a journal, which say what it is of
PIECE = 2**20  # bytes of a journal that are copied at a time
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system says that has none
LOOK = 0.5  # seconds: whoever only looks whether somebody runs a study has its lock for a moment
CONTRADICTIONS = (LookupError, TypeError, AttributeError, AssertionError, ValueError)
"""What is raised by those who make something of lines that contradict one another."""
FORMAT = 4
"""Of what is written into journals: since 2 figures lie there by name, and with every outcome its Config; since 3 a
level may have several searches, and all seeds come from one sequence; since 4 lines have numbers and checksums, and
outcomes say which training they are of."""


class JournalFile(JournalFileBackend):
    """Optuna's text log without its lock, and without its wait for the disk where nothing can be lost.

    The driver is the only writer (see `hold`), so a killed one leaves no lock behind to wait for. The figures of an
    epoch go to the system at once, so a killed driver loses none of them; a power cut may take those that no other line
    has followed, and their stacks are trained again anyway.

    A journal that is deleted while its driver runs is written anew, whole: the system keeps a file as long as somebody
    has it open. One that somebody else replaces or cuts stops the study before another line is written.
    """

    def __init__(self, path: Path, epochs: bool = True) -> None:
        """Without `epochs` their figures are left out, which only pruners need: they are most of the lines."""
        super().__init__(str(path))
        self.path, self._epochs = path, epochs
        self._lines, self._end = Lines(path), 0  # what was read so far, and how many bytes
        self._open: int | None = None  # the file's descriptor, once something was written
        self.was_deleted = False

    @property
    def is_old(self) -> bool:
        """Whether lines of it are of before they had checksums: those that have are numbered."""
        return self._lines.line > self._lines.number

    @property
    def line(self) -> int:
        """The last line that was read, from 1."""
        return self._lines.line

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """What the lines say from that one on, counted from 0; raises DamagedError. Optuna reads on where it was."""
        self.keep()
        if log_number_from != self._lines.line:
            self._lines, self._end = Lines(self.path), 0
        with self.path.open("rb") as file:
            file.seek(self._end)
            left = os.fstat(file.fileno()).st_size - self._end  # while another process writes
            for text in file:
                left -= len(text)
                if left < 0 or not text.endswith(b"\n"):
                    return
                if self._epochs or not text.startswith(EPOCH):
                    log = self._lines.read(text)
                else:
                    self._lines.skip(text)
                    log = NOTHING
                self._end += len(text)
                if self._lines.line > log_number_from:
                    yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write the lines in one piece. Raises StudyStoppedError as `keep` does."""
        self.keep()
        with self.path.open("ab") as file:
            if self._open is None:
                self._open = os.open(self.path, os.O_RDONLY)
                weakref.finalize(self, os.close, self._open)
            file.write(b"".join(sealed(log, self._lines.number + place) for place, log in enumerate(logs, start=1)))
            file.flush()
            if not all("intermediate_value" in log for log in logs):
                os.fsync(file.fileno())

    def keep(self) -> None:
        """See to it that the file is the one that was written so far: write it anew if it was deleted. Raises
        StudyStoppedError where another one lies there, or less of it.
        """
        if self._open is None:
            return
        try:
            now, then = self.path.stat(), os.fstat(self._open)
        except FileNotFoundError:
            self._write_anew(self._open)
            return
        if (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino):
            kept = aside(self.path)
            _copy(self._open, kept)
            raise StudyStoppedError(
                f"{self.path}: was replaced by another file while this study ran; what this run wrote is kept as {kept}"
            )
        if now.st_size < self._end:
            raise StudyStoppedError(
                f"{self.path}: was cut from {self._end:,} to {now.st_size:,} bytes while this study ran; the same "
                "command goes on from what is left and trains the rest again"
            )

    def _write_anew(self, old: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.part")
        _copy(old, part)
        part.replace(self.path)
        with self.path.open("rb") as file:
            os.dup2(file.fileno(), old)  # from now on this is the file that nobody may replace
        self.was_deleted = True


def _copy(descriptor: int, target: Path) -> None:
    """Write what an open file holds, which may have no name any more, to another one, and wait for the disk."""
    with target.open("wb") as file:
        os.fchmod(file.fileno(), os.fstat(descriptor).st_mode & 0o777)
        while piece := os.pread(descriptor, PIECE, file.tell()):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def open_journal(journal: Path, epochs: bool = True) -> JournalStorage:
    """The journal as an Optuna storage; readers may open it while a driver writes, without the figures of `epochs`."""
    backend = JournalFile(journal, epochs)
    try:
        return JournalStorage(backend)
    except CONTRADICTIONS as error:
        if isinstance(error, UserError):
            raise
        raise DamagedError(journal, backend.line, "Optuna cannot take it in") from error  # has no checksum


@contextmanager
def consistent(journal: Path, is_old: bool = True) -> Iterator[None]:
    """Lines that were lost or changed before they had checksums may contradict one another wherever something is made
    of them. Raises StudyStoppedError then, in one line; of a journal that is not old it is a mistake of ours.
    """
    try:
        yield
    except CONTRADICTIONS as error:
        if isinstance(error, UserError) or not is_old:
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        raise StudyStoppedError(
            f"{journal}: its lines contradict one another ({type(error).__name__}: {first}), so some were lost or "
            f"changed before they had checksums; {advice('run', journal)} --fresh puts it aside and starts anew"
        ) from error


def create_studies(storage: JournalStorage, names: Iterable[str], direction: StudyDirection) -> None:
    """See to it that there are Optuna studies of those names, with one write and one wait for the disk for all of them.
    Optuna's own `create_study` writes and waits for each, also for those that there are.
    """
    known = {one.study_name for one in storage.get_all_studies()}
    head = {"op_code": CREATE_STUDY, "worker_id": storage._replay_result.worker_id}
    logs = [{**head, "study_name": name, "directions": [direction]} for name in dict.fromkeys(names)]
    if new := [log for log in logs if log["study_name"] not in known]:
        storage._backend.append_logs(new)
        storage._sync_with_backend()


def open_to_read(journal: Path) -> tuple[JournalStorage, dict[str, dict[str, Any]]]:
    """A journal without the figures of epochs, and the attributes of the Optuna studies in it, by their names. Raises
    UserError when there is none.
    """
    if not journal.is_file():
        raise UserError(f"{journal.parent}: never ran (there is no {journal}); run it with: {advice('run', journal)}")
    storage = open_journal(journal, epochs=False)
    attributes = {one.study_name: one.user_attrs for one in storage.get_all_studies()}
    if not any("study" in own for own in attributes.values()):
        raise UserError(f"{journal}: holds no trials yet; run the study first")
    return storage, attributes


def find_journal(study: Study, folder: Path) -> Path:
    """Where the journal of the study in `folder` lies, or would: another data set's if it ran on that one only. Raises
    UserError as `check_data_name` does.
    """
    journal = folder / study.journal
    check_data_name(study, journal)
    others = [path for path in folder.glob("journal-*.log") if ".old" not in path.name]
    return others[0] if not journal.exists() and len(others) == 1 else journal


def check_data_name(study: Study, journal: Path) -> None:
    """Two data sets whose names make one file name, as a/b.csv and a-b.csv, would share a journal. Raises UserError."""
    if not journal.is_file():
        return
    of = study.dataset
    with suppress(ValueError, TypeError, AttributeError):  # what is no study is told by those who read it
        said = (attributes_of(log).get("study") for log in legible(journal))
        of = str(json.loads(next(filter(None, said), "{}")).get("dataset", of))
    if of != study.dataset and file_name(of) == file_name(study.dataset):
        raise UserError(
            f"{journal}: is of {of}, and {study.dataset} would share it, since / and - are alike in names of files; "
            "rename one of the two"
        )


def ran_on(study: Study, folder: Path) -> list[Study]:
    """The study on each data set that it has a journal of in `folder`."""
    journals = sorted(path for path in folder.glob("journal*.log") if ".old" not in path.name)
    names = [journal.stem.removeprefix("journal").removeprefix("-") for journal in journals]
    return [study.model_copy(update={"dataset": name or study.written_for}) for name in names]


@contextmanager
def hold(journal: Path, say: Callable[[str], None] = print) -> Iterator[None]:
    """Keep a second driver out, with a plain message; the lock goes when this process does, however it ends. Where the
    file system has no locks, it is told that nobody is kept out.
    """
    owner = journal.with_suffix(".owner")
    with ExitStack() as held:
        try:
            held.enter_context(_lock(journal, LOOK))
        except Timeout:
            who = owner.read_text() if owner.exists() else "another process"
            raise UserError(f"{journal.parent}: {who} is running this study; wait for it or stop it") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            say(
                f"warning: {journal.parent}: this file system has no locks ({error.strerror}), so a second process "
                "that runs this study at the same time is not kept out; run one at a time"
            )
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield


def holder(journal: Path) -> str | None:
    """Who is running the study now, in words; None if nobody is, or where the file system has no locks."""
    if not journal.with_suffix(".lock").exists():
        return None
    try:
        with _lock(journal, 0):
            return None
    except Timeout:
        return journal.with_suffix(".owner").read_text()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None


def _lock(journal: Path, timeout: float) -> FileLock:
    """One that goes with its process. What filelock would use instead where there are none stays for ever."""
    return FileLock(journal.with_suffix(".lock"), timeout=timeout, fallback_to_soft=False)


def stop(journal: Path, patience: float = 60.0) -> str:
    """End the driver that holds a journal, as Ctrl-C does, and wait for it; what came of that, in words. Raises
    UserError where none runs, or on another machine, and StudyStoppedError where it has not ended in time.
    """
    who = holder(journal)
    if who is None:
        raise UserError(f"{journal.parent}: nobody runs it")
    known = re.fullmatch(r"process (\d+) on (.+)", who)
    if known is None or known[2] != socket.gethostname():
        raise UserError(f"{journal.parent}: {who} runs it, which is no process of this machine; stop it there")
    process = int(known[1])
    if not _has_open(process, journal.with_suffix(".lock")):
        raise UserError(f"{journal.parent}: {who} is said to run it, and does not; nothing was stopped")
    os.kill(process, signal.SIGTERM)
    until = time.monotonic() + patience
    while holder(journal) == who:
        if time.monotonic() > until:
            raise StudyStoppedError(
                f"{journal.parent}: {who} was asked to stop and is still at work after {patience:g} s"
            )
        time.sleep(0.1)
    return f"{who} has stopped; {advice('run', journal)} goes on"


def _has_open(process: int, file: Path) -> bool:
    """Whether a process has a file open, where the system tells (Linux); elsewhere its word is taken."""
    opened = Path(f"/proc/{process}/fd")
    if not Path("/proc/self/fd").is_dir():
        return True
    try:
        return any(link.exists() and link.samefile(file) for link in opened.iterdir())
    except OSError:  # it is gone, or somebody else's
        return False


def same_images(journal: Path) -> tuple[str, ...]:
    """The folders beside a study's whose journals are of the same data: found at their beginnings, which name it."""
    wanted = _fingerprints(journal)
    folder = journal.resolve().parent
    beside = sorted(path for path in folder.parent.glob("*/journal*.log") if ".old" not in path.name)
    names = [path.parent.name for path in beside if path.parent != folder and wanted & _fingerprints(path)]
    return tuple(dict.fromkeys(names))


def _fingerprints(journal: Path) -> set[str]:
    """The sha256 of the data sets that a journal is of."""
    with journal.open("rb") as file:
        found = re.search(rb'"data_sha256":\s*"([0-9a-f, ]+)"', file.read(HEAD))
    return set(found[1].decode().split(", ")) if found else set()


def put_aside(journal: Path) -> Path | None:
    """Rename a journal so that a new one can begin; the new name, or None if there was none."""
    if not journal.exists():
        return None
    old = aside(journal)
    put_aside_too(journal, old)
    return journal.rename(old)


def aside(journal: Path, word: str = "") -> Path:
    """A free name beside a journal for one that is put aside."""
    number = 1
    while (place := journal.with_name(f"{journal.stem}.old{number}{word}.log")).exists():
        number += 1
    return place


def cut_torn_line(journal: Path) -> None:
    """A driver killed while it wrote leaves half a line, and a line appended to it could never be read again."""
    if journal.exists():
        text = journal.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            with journal.open("r+b") as file:
                file.truncate(whole)
