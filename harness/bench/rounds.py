"""The benchmark: the same work by every contender, in turn, round by round; `harness bench`.

Every round of a contender is a process of its own in an empty folder. Start-up (imports, data, opening stores) is not
timed, for anybody. The reference is the bare loop of the same round: machines drift, ratios do not.
"""

import importlib.util
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.bench.elsewhere import environment_elsewhere
from harness.bench.filed import FILES, work_of
from harness.bench.work import WORKS, Work
from harness.errors import UserError

NAMES = {
    "a": "bare torch loop",
    "b": "Optuna + DataLoader + mlflow.log_metric",
    "c": "Optuna + Lightning + MLFlowLogger",
    "d": "Ray Tune + MLflow callback",
    "e": "harness, one at a time",
    "f": "harness",
    "g": "harness, its training part alone",
    "h": "scikit-learn's MLP",
    "i": "harness, without MLflow",
    "j": "JAX, its training part alone",
}
APART = (("harness.bench.measure", "throughput"), ("harness.bench.answers",), ("harness.bench.searches",))
"""What is measured besides the works: modules that print tables."""

NEEDS = {"c": "lightning", "d": "ray", "j": "jax"}


def bench(
    works: Sequence[str],
    contenders: str,
    rounds: int,
    device: str,
    target: Path,
    say: Callable[[str], None],
    once_above: float = math.inf,
) -> Path:
    """Run the works, write tables and plot to `target`; its Markdown page.

    A contender whose first round took more than `once_above` times the bare loop's is not asked for a second one.
    """
    from harness.bench.page import Measured, write_page
    from harness.plots import Picture, save_all

    contenders = contenders if "a" in contenders else "a" + contenders  # the reference
    chosen = {letter for letter in contenders if _present(letter, say)}
    rows: list[dict[str, Any]] = []
    for name in works:
        work = work_of(name)
        rows += _rounds(work, sorted(chosen & _of(work)), rounds, device, say, once_above)
    timings = pd.DataFrame(rows)
    throughput, answers, repeated = (pd.DataFrame(_lines(*what, device)) for what in APART)
    [costs] = _lines("harness.bench.measure", "costs", device)
    target.mkdir(parents=True, exist_ok=True)
    tables = {"bench": timings, "throughput": throughput, "answers": answers, "searches": repeated}
    for name, known in tables.items():
        known.to_csv(target / f"{name}.csv", index=False)
    table = summary(timings)
    page = write_page(target, Measured(table, throughput, costs, answers, repeated), device)
    picture = Picture("bench:bench_figure", (table, throughput), "Ratios to the bare loop, and throughput.")
    save_all({"bench": picture}, target)
    return page


def choose_works(names: str, device: str) -> list[str]:
    """Works by name, separated by commas; all that the device is made for if none is named."""
    if not names:
        made = [name for name, work in WORKS.items() if name != "tiny" and (not work.gpu or device == "cuda")]
        return [*made, *FILES]
    chosen = names.split(",")
    for name in chosen:
        if name not in {**WORKS, **FILES} and not Path(name).exists():
            raise UserError(
                f"--works: must be of {', '.join({**WORKS, **FILES})}, or a study (studies/mine), got {name!r}"
            )
    return chosen


def summary(timings: pd.DataFrame) -> pd.DataFrame:
    """A row for each work and contender: seconds and the ratio to the bare loop, as median, lowest and highest."""
    bare = timings[timings["contender"] == "a"].set_index(["work", "round"])["seconds"]
    keys = pd.MultiIndex.from_frame(timings[["work", "round"]])
    timings = timings.assign(ratio=timings["seconds"].to_numpy() / bare.reindex(keys).to_numpy())
    groups = timings.groupby(["work", "contender"], sort=False)
    table = groups.agg(
        rounds=("seconds", "size"),
        models=("models", "first"),
        seconds=("seconds", "median"),
        ratio=("ratio", "median"),
        ratio_low=("ratio", "min"),
        ratio_high=("ratio", "max"),
        test_accuracy=("test_accuracy", "mean"),
        peak_mib=("peak_mib", "median"),
    ).reset_index()
    return table.assign(name=table["contender"].map(NAMES), models_per_hour=3600 * table["models"] / table["seconds"])


def _rounds(
    work: Work, contenders: Sequence[str], rounds: int, device: str, say: Callable[[str], None], once_above: float
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    slow: set[str] = set()
    for number in range(1, rounds + 1):
        bare = math.nan
        for letter in contenders:
            if letter in slow:
                continue
            [figures] = _lines("harness.bench.one", work.file or work.name, letter, device, goes_there=True)
            say(f"{work.name} round {number}  {figures['seconds']:7.1f} s  {NAMES[letter]}")
            rows.append({"work": work.name, "round": number, "contender": letter, **figures})
            bare = figures["seconds"] if letter == "a" else bare
            if figures["seconds"] > once_above * bare:
                slow.add(letter)
    return rows


def _lines(module: str, *arguments: str, goes_there: bool = False) -> list[dict[str, Any]]:
    """Run a module in a process and an empty folder of its own, which it is told if it `goes_there` itself; the lines
    of JSON that it prints.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", module, *arguments, *([folder] if goes_there else [])]
        place = None if goes_there else folder
        done = subprocess.run(
            command, cwd=place, env=environment_elsewhere(), capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise UserError(f"{' '.join(arguments)} failed: {''.join(done.stderr.splitlines()[-1:])}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _of(work: Work) -> set[str]:
    return {*work.contenders, "g"}


def _present(letter: str, say: Callable[[str], None]) -> bool:
    if letter not in NAMES:  # a typing mistake
        raise UserError(f"--contenders: must be letters of {''.join(NAMES)}, got {letter!r}")
    if letter in NEEDS and importlib.util.find_spec(NEEDS[letter]) is None:
        say(f"skipped: {NAMES[letter]} ({NEEDS[letter]} is not installed; pip install 'harness-studies[bench]')")
        return False
    return True
