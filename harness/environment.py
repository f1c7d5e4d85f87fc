"""What a figure depends on besides the study file: code, versions, hardware, data. Written into journal and runs."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from harness import __version__
from harness.catalogue import OwnModel
from harness.errors import listed
from harness.kernels import present
from harness.masking import without_secrets
from harness.parts.data import Data
from harness.study.labels import by_dataset
from harness.study.study import Loader

PACKAGES = ("torch", "torchvision", "optuna", "mlflow", "numpy", "scipy", "pandas")


def of_data(data: Collection[Data]) -> dict[str, str]:
    """What is recorded of data sets, which `study.labels.by_dataset` reads: names, sums, and rows to train on."""
    columns = {"data": "name", "data_sha256": "fingerprint", "trainable": "trainable"}
    return {key: listed(getattr(one, name) for one in data) for key, name in columns.items()}


def describe(
    data: Collection[Data], device: torch.device, own: OwnModel | None = None, loader: Loader | None = None
) -> dict[str, str]:
    """The reproduction record, as text by name; `own` is the model and `loader` loads the data, where a user wrote
    them.
    """
    cuda = device.type == "cuda"
    return {
        "command": without_secrets(shlex.join(["harness", *sys.argv[1:]])),
        "git_commit": _git("rev-parse", "HEAD") or "not in a git repository",
        "git_dirty": "yes" if _git("status", "--porcelain", "--untracked-files=no") else "no",
        "lock_sha256": _lock_hash(),
        **({"model_code": own.name, "model_code_sha256": own.sha256} if own else {}),
        **({"data_code": loader.name, "data_code_sha256": loader.sha256} if loader else {}),
        **of_data(data),
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads",
        "cuda": str(torch.version.cuda) if cuda else "not used",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "harness": __version__,
        **{package: version(package) for package in PACKAGES},
        **({"numba": version("numba")} if present() else {}),
    }


WORDS = {
    "git_commit": "code: commit",
    "lock_sha256": "requirements.lock: sha256",
    "cuda": "CUDA:",
    **{name: f"{name}:" for name in ("device", "machine", "python")},
}
"""How a difference in what `describe` says is told."""


def differences(then: Mapping[str, str], now: Mapping[str, str], data: str) -> Iterator[str]:
    """What differs between two records, a line each. Of the data sets only `data` counts; commands may differ."""
    old, new = (by_dataset(known, "data_sha256").get(data, "not recorded") for known in (then, now))
    if old != new:
        yield f"OTHER DATA: the data of {data} is not that of then (sha256 {old[:12]}, now {new[:12]})"
    for name in dict.fromkeys([*WORDS, *now, *then]):
        old, new = then.get(name, "not recorded"), now.get(name, "not recorded")
        if old != new and name not in ("command", "data", "data_sha256", "trainable", "git_dirty", "lanes"):
            short = 12 if name in ("git_commit", "lock_sha256") and " " not in old + new else None
            yield f"{WORDS.get(name, name)} {old[:short]} then, {new[:short]} now"
    dirty = [when for when, known in (("then", then), ("now", now)) if known.get("git_dirty") == "yes"]
    if dirty:
        yield f"code: with uncommitted changes {' and '.join(dirty)}, which no commit names"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _lock_hash() -> str:
    lock = Path(__file__).parent.parent / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "no lock file"
