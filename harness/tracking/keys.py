"""What tells a study's trials apart in a store, which may have been written by an older version.

keys = Keys(study, known)     # those that the store had when it was opened
keys[trial]                   # "3/search/12", "3/confirm/4/1f0e9a2b"; of the third search "3/search-2/12"
"""

import hashlib
import json
from collections.abc import Collection

from harness.catalogue import show
from harness.study.study import Study
from harness.trial import Trial

OF_DIGEST_1 = (
    *("dataset", "model", "depth", "width", "taper", "widths", "channels", "kernel", "pool", "activation", "dropout"),
    *("optimizer", "lr", "momentum", "weight_decay", "batch_size", "epochs", "patience", "validation", "split"),
    *("test_fraction", "normalisation", "precision"),
)
"""The hyperparameters that there were when a confirmation's key was made of all of them, in their order then."""


class Keys(dict[Trial, str]):
    """The keys of a study's trials, each made once. A trial whose run is `known` by its old key keeps that one."""

    def __init__(self, study: Study, known: Collection[str]) -> None:
        super().__init__()
        self.study, self.known = study, known

    def __missing__(self, trial: Trial) -> str:
        old = old_key(trial)
        found = self[trial] = old if old in self.known else key(self.study, trial)
        return found


def key(study: Study, trial: Trial) -> str:
    """What tells a trial from every other of its study.

    A confirmation's ends in a digest of what the study chose, since a level may get another winner; hyperparameters
    that the study leaves alone are not in it, so that a new one with a default changes no key.
    """
    if trial.stage == "search":
        return plain_key(trial)
    chosen = {name: trial.config[name] for name in sorted(study.chosen)}
    return f"{plain_key(trial)}/{_digest(json.dumps(chosen, separators=(',', ':')))}"


def old_key(trial: Trial) -> str:
    """The key that it had up to journals of format 1: with a digest of its whole config as that was printed."""
    if trial.stage == "search" or trial.config.own is not None:  # there were none then
        return plain_key(trial)
    values = ", ".join(f"{name}={trial.config[name]!r}" for name in OF_DIGEST_1)
    return f"{plain_key(trial)}/{_digest(f'Config({values})')}"


def plain_key(trial: Trial) -> str:
    """A key without the digest."""
    which = f"{trial.stage}-{trial.search}" if trial.search else trial.stage
    return f"{show(trial.level)}/{which}/{trial.number}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
