"""What harness finds on this machine: what to look at when something is wrong, and to send with a bug report.

    for finding in findings(): print(finding.name, finding.words)

Nothing is trained, downloaded or changed but a file that is written and removed again. Secrets are masked.
"""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import __version__, catalogue
from harness.environment import PACKAGES
from harness.errors import UserError, listed
from harness.masking import without_secrets
from harness.parts.images import found_in
from harness.tracking import shown_store
from harness.tracking.mlflow.address import store_trouble

BESIDE = ("numba", "ray", "filelock", "pydantic", "typer", "rich", "scikit-learn", "matplotlib", "pillow")
"""Packages that are told beside those that every record names."""
LEAST = 1.0  # GiB of disk, below which it is told
VARIABLES = ("HARNESS_", "MLFLOW_", "OMP_", "MKL_", "CUDA_", "RAY_", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NO_COLOR")
"""How names of variables begin that matter here."""


@dataclass(frozen=True)
class Finding:
    """A fact, or what is wrong: `trouble` is empty where nothing is."""

    name: str
    words: str
    trouble: str = ""

    def record(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def findings() -> Iterator[Finding]:
    """All facts, a few seconds after one another."""
    for kind in (_programs, _device, _store, _folders, _data, _variables):
        for finding in kind():
            yield Finding(finding.name, without_secrets(finding.words), without_secrets(finding.trouble))


def _programs() -> Iterator[Finding]:
    yield Finding("harness", f"{__version__}, in {Path(__file__).parent}")
    yield Finding("python", f"{platform.python_version()}, {platform.platform()}")
    known = []
    for package in (*PACKAGES, *BESIDE):
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            known.append(f"{package} not installed")
    yield Finding("packages", ", ".join(known))


def _device() -> Iterator[Finding]:
    import torch  # seconds to import

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cpu", f"{os.cpu_count()} cores, {cores} for this process, {memory:.0f} GiB of memory")
    yield Finding("threads", f"{torch.get_num_threads()} of torch")
    if not torch.cuda.is_available():
        yield Finding("gpu", f"none that torch sees (built for CUDA {torch.version.cuda or 'not at all'})")
    for number in range(torch.cuda.device_count()):
        own = torch.cuda.get_device_properties(number)
        yield Finding("gpu", f"{own.name}, {own.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")


def _store() -> Iterator[Finding]:
    """Whether the store of runs can be reached, found out within seconds."""
    try:
        yield Finding("runs", shown_store(), store_trouble() or "")
    except UserError as error:
        yield Finding("runs", "MLFLOW_TRACKING_URI", str(error))


def _folders() -> Iterator[Finding]:
    here = Path.cwd()
    yield Finding("folder", str(here), unwritable(here))
    for name in ("studies", "reports"):
        if (here / name).is_dir():
            yield Finding(name, str(here / name), unwritable(here / name))
    free = shutil.disk_usage(here).free / 2**30
    yield Finding("disk", f"{free:.1f} GiB free", "" if free >= LEAST else f"less than {LEAST:g} GiB are left")
    count = len(list(here.glob("studies/*/study.toml")))
    yield Finding("studies", f"{count} here" if count else "none here: harness new NAME --data FILE writes one")


def unwritable(folder: Path) -> str:
    """Why nothing can be written there; "" where it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"harness")
    except OSError as error:
        return f"cannot be written to: {error.strerror or error}"
    return ""


def _data() -> Iterator[Finding]:
    """Where each built-in data set lies; one that is not there is downloaded when it is first needed."""
    places: dict[str, list[str]] = {}
    for name in catalogue.names("dataset"):
        places.setdefault(found_in(name) or "not here, downloaded when a study needs it", []).append(name)
    for place, known in places.items():
        yield Finding("data", f"{listed(known)}: {place}")


def _variables() -> Iterator[Finding]:
    for name, value in sorted(os.environ.items()):
        if name.startswith(VARIABLES):
            yield Finding(f"${name}", value)
