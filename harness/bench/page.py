"""The benchmark's page, reports/bench/bench.md."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from harness.bench.filed import work_of

PACKAGES = ("torch", "optuna", "mlflow", "lightning", "ray", "numba", "jax")


@dataclass(frozen=True)
class Measured:
    """What was measured: works by contender, throughput by size of stack, costs of a trial (ms), answers by command,
    and what repeated searches cost.
    """

    works: pd.DataFrame
    throughput: pd.DataFrame
    costs: Mapping[str, float]
    answers: pd.DataFrame
    searches: pd.DataFrame


def write_page(target: Path, measured: Measured, device: str) -> Path:
    """Every table, with the machine it was measured on."""
    lines = ["# Benchmark", "", _machine(device), "", "![benchmark](bench.png)"]
    for name in measured.works["work"].unique():
        part = measured.works[measured.works["work"] == name]
        lines += ["", f"## {work_of(name).what}", "", *_work(part)]
    lines += ["", "## Trainings together", "", *_throughput(measured.throughput)]
    lines += ["", "## Fixed cost of a trial of 20 epochs, without training", "", *_costs(measured.costs)]
    lines += ["", "## How quickly it answers", "", *_answers(measured.answers)]
    lines += ["", "## Five searches instead of one", "", *_searches(measured.searches)]
    page = target / "bench.md"
    page.write_text("\n".join(lines) + "\n")
    return page


def _machine(device: str) -> str:
    known = []
    for package in PACKAGES:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, device {device}"
    return (
        f"Measured on {where}, Python {platform.python_version()}, {', '.join(known)}. "
        "Whole runs, start-up (imports, data, opening stores, what JAX compiles and numba loads) excluded for every "
        "contender; harness's report is not timed, since the others have none. "
        'JAX and "its training part alone" search, record and track nothing. '
        "Ratios are to the bare loop of the same round: median, lowest to highest."
    )


def _work(part: pd.DataFrame) -> list[str]:
    lines = [
        "| contender | rounds | seconds | ratio | spread | models per hour | test % | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in part.itertuples():
        spread = f"{row.ratio_low:.2f} to {row.ratio_high:.2f}"
        lines.append(
            f"| {row.name} | {row.rounds} | {row.seconds:.1f} | {row.ratio:.2f} | {spread} | "
            f"{row.models_per_hour:,.0f} | {100 * row.test_accuracy:.2f} | {row.peak_mib:,.0f} |"
        )
    return lines


def _throughput(throughput: pd.DataFrame) -> list[str]:
    rate = throughput["matrix_gflops"].median()
    lines = [
        f"Depth 3, the data sets and batches as above. Large matrix products of this machine: {rate:.0f} GFLOP/s.",
        "",
        "| data | K | model-epochs per second | share of the matrix-product rate | peak MiB so far |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in throughput.itertuples():
        share = f"{100 * row.share_of_matrix_rate:.0f} %"
        lines.append(f"| {row.dataset} | {row.K} | {row.model_epochs_per_second:.1f} | {share} | {row.peak_mib:,} |")
    return lines


def _costs(costs: Mapping[str, float]) -> list[str]:
    names = {
        "search_ms": "the search proposes it (TPE)",
        "journal_ms": "the journal records it, the pruner judges it",
        "tracking_in_the_driver_ms": "tracking, the driver's part",
        "all_with_tracking_process_ms": "all of it, until MLflow has everything",
    }
    return ["| part | ms |", "| --- | ---: |", *(f"| {names[key]} | {costs[key]:.1f} |" for key in names)]


def _answers(answers: pd.DataFrame) -> list[str]:
    lines = [
        "Whole processes, start-up included; the store exists already.",
        "",
        "| command | seconds | fewest to most |",
        "| --- | ---: | ---: |",
    ]
    return lines + [
        f"| {row.command} | {row.seconds:.1f} | {row.fewest:.1f} to {row.most:.1f} |" for row in answers.itertuples()
    ]


def _searches(searches: pd.DataFrame) -> list[str]:
    lines = [
        "Whole studies on the digits without MLflow: depth 1 to 5, 16 trials of 12 epochs a search, ten confirmations.",
        "",
        "| tuned | one search, s | five, s | ratio | lowest to highest |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {row.tuned} | {row.one:.1f} | {row.five:.1f} | {row.ratio:.2f} | {row.fewest:.2f} to {row.most:.2f} |"
        for row in searches.itertuples()
    ]
