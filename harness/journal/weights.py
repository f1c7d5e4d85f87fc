"""What networks have learned, kept beside the journal: `studies/<name>/weights/`, a file for each training.

    files = WeightFiles(journal, study)
    outcome = files.keep(trial, outcome)        # written; the outcome then names the file's sha256
    packed = files.read("depth=3 seed 5", outcome)

The journal holds the sums alone. A file is found by its own, which ends its name, and checked when it is read: it can
name no code to load, and what it is called leads nowhere.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.errors import UserError
from harness.study.places import beside_journal
from harness.study.study import Study
from harness.trial import Outcome, Trial

DIGITS = 8  # of a file's sum, in its name
LONGEST = 100  # characters before it, which say whose it is
OURS = re.compile(rf".*-[0-9a-f]{{{DIGITS}}}\.safetensors(\.part)?", re.DOTALL)


class WeightFiles:
    """The files beside a journal; the study's `Budget.keep` says of which trainings there are to be any."""

    def __init__(self, journal: Path, study: Study) -> None:
        self.folder, self._study, self._keep = folder_of(journal), study, study.budget.keep

    def wanted(self, trial: Trial, outcome: Outcome) -> bool:
        """Whether what came of a trial is to be kept."""
        stages = {"winners": ("confirm",), "all": ("confirm", "search", "ablation"), "none": ()}[self._keep]
        return trial.stage in stages and outcome.status == "finished"

    def keep(self, trial: Trial, outcome: Outcome) -> Outcome:
        """Write the weights, if they are wanted and there are any; the outcome, which then names their sum."""
        if outcome.weights is None or not self.wanted(trial, outcome):
            return outcome
        from safetensors.numpy import save

        packed = save({name: np.asarray(value, order="C") for name, value in outcome.weights.items()})
        kept = replace(outcome, weights_sha256=hashlib.sha256(packed).hexdigest())
        path = self.folder / _file_name(self._study.run_name(trial), kept.weights_sha256)
        part = path.with_name(f"{path.name}.part")
        self.folder.mkdir(parents=True, exist_ok=True)
        part.write_bytes(packed)
        part.replace(path)
        return kept

    def read(self, name: str, outcome: Outcome) -> bytes:
        """The weights of a training that is told as `name`, as safetensors has them. Raises UserError where they were
        not kept, or are not what was.
        """
        path = self.find(outcome.weights_sha256)
        if path is None:
            why = "are not there any more" if outcome.weights_sha256 else "were not kept"
            raise UserError(f"{self.folder}: the weights of {name} {why}; budget.keep is {self._keep!r}")
        packed = path.read_bytes()
        if hashlib.sha256(packed).hexdigest() != outcome.weights_sha256:
            raise UserError(f"{path}: is not what was kept of {name}: its sha256 is another than the journal's")
        return packed

    def find(self, sha256: str) -> Path | None:
        """The file of that sum, by its name."""
        end = f"-{sha256[:DIGITS]}.safetensors"
        return next((path for path in self._ours() if sha256 and path.name.endswith(end)), None)

    def tidy(self, recorded: Iterable[tuple[Trial, Outcome]]) -> None:
        """Remove the files of all but those trials whose weights are wanted; then an empty folder."""
        sums = {outcome.weights_sha256 for trial, outcome in recorded if self.wanted(trial, outcome)}
        ends = tuple(f"-{one[:DIGITS]}.safetensors" for one in sums if one)
        for path in self._ours():
            if not path.name.endswith(ends):
                path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def told(self) -> str:
        """Where they lie, how many there are, and how large they are; empty where there are none."""
        sizes = [path.stat().st_size for path in self._ours()]
        whole = sum(sizes)
        size = f"{whole / 1e6:,.1f} MB" if whole >= 1e6 else f"{whole / 1e3:,.0f} kB"
        return f"{self.folder} ({len(sizes)} files, {size})" if sizes else ""

    def _ours(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if OURS.fullmatch(path.name))


def folder_of(journal: Path) -> Path:
    """Where the weights of a journal's trainings lie."""
    return beside_journal(journal, "weights")


def put_aside_too(journal: Path, old: Path) -> None:
    """The weights go with a journal that is put aside."""
    if folder_of(journal).is_dir():
        folder_of(journal).rename(folder_of(old))


def _file_name(run: str, sha256: str) -> str:
    """Of a run: letters that every disk and shell takes."""
    return f"{re.sub(r'[^A-Za-z0-9_.=,+-]', '-', run)[:LONGEST]}-{sha256[:DIGITS]}.safetensors"
