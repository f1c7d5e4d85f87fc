"""What only a GPU can tell, with one command: tests, steps of stacks, whole works, and the published layer comparison.

    python -m harness.bench.gpu --name h200                   # reports/bench/gpu-h200.md and .csv
    python -m harness.bench.gpu --name h200 --parts steps --minutes 9
    python -m harness.bench.gpu --device cpu                  # the same at small sizes, to try it

It needs Python, torch and what harness itself imports, nothing that is installed: run it in a checkout, with wheels
beside it unpacked onto PYTHONPATH. Every row is a process of its own, so that a crash or too little memory costs one
row and is written there. Each is written as soon as it is known: the same command goes on where it was stopped.
"""

import argparse
import csv
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.bench.elsewhere import environment_elsewhere
from harness.errors import UserError, one_of

ROOT = Path(__file__).parents[2]
PARTS = ("tests", "steps", "works", "layers")
SIZES = (1, 8, 32, 128, 512)
PRECISIONS = ("fp32", "tf32", "bf16")
WORKS = {"digits": "abfg", "mnist": "abfg", "layers": "afg"}
"""Which contenders of `harness bench`, by letter, train which of its works here."""
SEEDS = (1, 10)
LONGEST = 300.0  # seconds that a row may take
SHORTEST = 20.0  # seconds that must be left for one more


@dataclass(frozen=True)
class Row:
    """A thing to measure: `arguments` of Python that print a line of JSON, or are timed; what it `needs` imported."""

    part: str
    what: str
    arguments: tuple[str, ...] = field(compare=False)
    model: str = ""
    size: int = 0
    precision: str = ""
    needs: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from all others, also in the file."""
        return (self.part, self.what, self.model, str(self.size or ""), self.precision)

    @property
    def name(self) -> str:
        """The same in words."""
        part, what, model, size, precision = self.key
        return " ".join(word for word in (part, what, model, size and f"K={size}", precision) if word)


KEY = ("part", "what", "model", "K", "precision")
FIGURES = (
    *("outcome", "seconds", "first_s", "ms_a_step", "model_steps_per_second", "models", "models_per_hour"),
    *("test_accuracy", "peak_gpu_mib", "peak_mib", "said"),
)
"""The columns behind the key; `outcome` is "done", "skipped" or what went wrong."""

Known = dict[tuple[str, ...], dict[str, Any]]
"""What is known of each row, by its key."""


def rows(part: str, device: str) -> Iterator[Row]:
    """What is measured in a part: on a CPU little of it."""
    small = device == "cpu"
    if part == "tests":
        yield from _tests(small)
    elif part == "steps":
        yield from _steps(device)
    elif part == "works":
        for work, letters in {"tiny": "ag"}.items() if small else WORKS.items():
            for letter in letters:
                yield Row(part, letter, ("-m", "harness.bench.one", work, letter, device), model=work)
    else:
        for seeds in SEEDS[:1] if small else SEEDS:
            more = ("--dataset", "digits", "--epochs", "1") if small else ()
            run = (
                "-m",
                "harness",
                "run",
                "studies/layers",
                "--quiet",
                "--seeds",
                str(seeds),
                "--device",
                device,
                *more,
            )
            yield Row(part, "studies/layers", run, size=seeds)


def _tests(small: bool) -> Iterator[Row]:
    """A row for each file that has tests of a GPU."""
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        text = file.read_text()
        if "mark.gpu" in text or re.search(r"def test_\w+\([^)]*\bdata: Data\b", text):
            chosen = ("-k", "captured and not gpu") if small else ("-m", "gpu")
            command = ("-m", "pytest", "-p", "no:cacheprovider", f"tests/{file.name}", *chosen)
            if not small or file.name == "test_step.py":
                yield Row("tests", file.name, command, needs=("pytest",))


def _steps(device: str) -> Iterator[Row]:
    from harness.bench.stacks import CONTENDERS, MODELS, Case

    small = device == "cpu"
    for model in ("mlp",) if small else MODELS:
        for contender in CONTENDERS:
            for size in SIZES[:1] if contender == "bare loop" else (1, 2) if small else SIZES:
                one_only = small or contender in ("JAX", "harness, not captured")
                for precision in PRECISIONS[: 1 if one_only else None]:
                    case = asdict(Case(contender, model, size, precision, *((0.01, 2) if small else ())))
                    needs = ("jax", "harness.bench.jax_stack") if contender == "JAX" else ()
                    command = ("-m", "harness.bench.stacks", json.dumps(case), device)
                    yield Row("steps", contender, command, model, size, precision, needs)


def measured(row: Row, seconds: float) -> dict[str, Any]:
    """What a row comes to in at most so many seconds, whatever becomes of its process."""
    missing = [name for name in row.needs if not _is_there(name)]
    if missing:
        return {"outcome": "skipped", "said": f"{missing[0]} is not here"}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = _run(row, Path(folder), seconds)
        except subprocess.TimeoutExpired:
            return {"outcome": "too slow", "said": f"not done in {seconds:.0f} s"}
    took = time.perf_counter() - began
    if done.returncode:
        return {"outcome": _trouble(done), "seconds": took, "said": _last_line(done)}
    known: dict[str, Any] = {"outcome": "done", "seconds": took}
    if row.part == "tests":
        return {**known, "said": _last_line(done)}
    if row.part == "layers":
        return {**known, "models": 5 * row.size, "models_per_hour": 3600 * 5 * row.size / took}
    known |= json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    if "models" in known:
        known["models_per_hour"] = 3600 * known["models"] / known["seconds"]
    return known


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _run(row: Row, folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """A row's process: tests in the checkout, all else in an empty folder that has the published study."""
    if row.part == "layers":
        study = folder / "studies" / "layers"
        study.mkdir(parents=True)
        (study / "study.toml").write_text((ROOT / "studies" / "layers" / "study.toml").read_text())
    return subprocess.run(
        [sys.executable, *row.arguments],
        cwd=ROOT if row.part == "tests" else folder,
        env=environment_elsewhere(),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def _trouble(done: subprocess.CompletedProcess[str]) -> str:
    if "OutOfMemoryError" in done.stderr or "out of memory" in done.stderr:
        return "out of memory"
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    return f"failed ({done.returncode})"


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Of what went wrong what the process said last, else what it said."""
    said = [
        line.strip() for text in (done.stdout, done.stderr if done.returncode else "") for line in text.splitlines()
    ]
    return next((line[:200] for line in reversed(said) if line), "")


def load(file: Path) -> Known:
    """What an earlier run has written there, by key; none without such a file."""
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        return {tuple(line[name] for name in KEY): line for line in csv.DictReader(lines)}


def save(file: Path, known: Mapping[tuple[str, ...], Mapping[str, Any]]) -> None:
    """Write all rows, in the order in which they were measured."""
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, [*KEY, *FIGURES], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**dict(zip(KEY, key, strict=True)), **one} for key, one in known.items())


def bench(
    name: str, parts: Sequence[str], device: str, minutes: float, target: Path, say: Callable[[str], None]
) -> tuple[Path, int]:
    """Measure what is not known yet, as long as there is time; the page, and how many rows are still to be measured.

    Rows that came to nothing are not tried again: take their lines out of the .csv for that.
    """
    from harness.bench.gpu_page import machine, write_page

    target.mkdir(parents=True, exist_ok=True)
    table, page = (target / f"gpu-{name}.{kind}" for kind in ("csv", "md"))
    known, ends, left = load(table), time.monotonic() + 60 * minutes, 0
    for row in (row for part in parts for row in rows(part, device)):
        time_left = ends - time.monotonic()
        if row.key in known:
            continue
        if time_left < SHORTEST:
            left += 1
            continue
        known[row.key] = measured(row, min(LONGEST, time_left))
        save(table, known)
        say(f"{row.name}: {known[row.key]['outcome']} {known[row.key].get('said', '')}".rstrip())
    write_page(page, [*load(table).values()], machine(device))
    return page, left


def has_cuda() -> bool:
    """Whether torch sees a GPU."""
    import torch

    return torch.cuda.is_available()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command that the docstring of this module shows; its exit code: 0 when all is measured, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m harness.bench.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--name", default="", help="of the machine, in the names of the files; by default its device")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas (default: %(default)s)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu tries it at small sizes")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing more after so many")
    parser.add_argument("--out", type=Path, default=Path("reports/bench"), help="the folder of page and table")
    given = parser.parse_args(arguments)
    try:
        parts = given.parts.split(",")
        for part in parts:
            if part not in PARTS:
                raise UserError(f"--parts: {one_of(part, PARTS)}")
        if given.device == "cuda" and not has_cuda():
            raise UserError("torch sees no CUDA GPU on this machine; --device cpu tries the same at small sizes")
    except UserError as trouble:
        print(f"harness: {trouble}", file=sys.stderr)
        return 2
    page, left = bench(given.name or given.device, parts, given.device, given.minutes, given.out, print)
    print(f"{page}{f': {left} rows are left; the same command goes on' if left else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
