"""The page of the GPU's benchmark, reports/bench/gpu-<name>.md, from the rows of its .csv."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

Line = Mapping[str, str]
"""A row of the .csv: every column as text, empty where nothing is known."""


def machine(device: str) -> str:
    """Where it was measured, in a sentence."""
    import torch

    what = device
    if device == "cuda":
        own = torch.cuda.get_device_properties(0)
        what = f"{own.name}, {own.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    host = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"Measured on {what} ({host}, Python {platform.python_version()}, torch {torch.__version__})."


def write_page(page: Path, known: Sequence[Line], where: str) -> None:
    """Every part that has rows, then what came to nothing."""
    parts = {part: [one for one in known if one["part"] == part] for part in ("tests", "steps", "works", "layers")}
    made = {"tests": _tests, "steps": _steps, "works": _works, "layers": _layers}
    lines = ["# Benchmark on a GPU", "", where]
    for part, own in parts.items():
        if own:
            lines += ["", *made[part](own)]
    lost = [one for one in known if one["outcome"] != "done"]
    if lost:
        lines += ["", "## What came to nothing", "", "| row | outcome | said |", "| --- | --- | --- |"]
        lines += [f"| {_name(one)} | {one['outcome']} | {one['said'].replace('|', '/')} |" for one in lost]
    page.write_text("\n".join(lines) + "\n")


def _name(one: Line) -> str:
    return " ".join(
        filter(None, [one["part"], one["what"], one["model"], one["K"] and f"K={one['K']}", one["precision"]])
    )


def _done(known: Sequence[Line]) -> list[Line]:
    return [one for one in known if one["outcome"] == "done"]


def _tests(known: Sequence[Line]) -> list[str]:
    lines = ["## Tests that need a GPU", "", "| file | outcome | pytest says |", "| --- | --- | --- |"]
    return lines + [f"| {one['what']} | {one['outcome']} | {one['said'].replace('|', '/')} |" for one in known]


def _steps(known: Sequence[Line]) -> list[str]:
    lines = [
        "## Steps of K networks",
        "",
        "Made-up images in MNIST's shape on the device, whole epochs of 50 steps, Adam. mlp: depth 3, width 128, batch "
        "256; cnn: channels 32 and 64, batch 64. The ratio is to the bare loop of the same model and precision, whose "
        "networks train one after the other: steps of one network a second.",
        "",
        "| model | precision | contender | K | ms a step | steps of a network a second | ratio | first epoch, s | "
        "peak GPU MiB |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    done = _done(known)
    rate = {(one["model"], one["precision"]): _number(one, "model_steps_per_second") for one in done if _is_bare(one)}
    for one in sorted(done, key=lambda one: (one["model"] != "mlp", one["precision"] != "fp32", one["precision"])):
        speed = _number(one, "model_steps_per_second")
        bare = rate.get((one["model"], one["precision"]))
        lines.append(
            f"| {one['model']} | {one['precision']} | {one['what']} | {one['K']} | {_number(one, 'ms_a_step'):.3f} | "
            f"{speed:,.0f} | {f'{speed / bare:.1f}' if bare else '–'} | {_number(one, 'first_s'):.1f} | "
            f"{one['peak_gpu_mib'] or '–'} |"
        )
    return lines


def _is_bare(one: Line) -> bool:
    return one["what"] == "bare loop"


def _works(known: Sequence[Line]) -> list[str]:
    from harness.bench.rounds import NAMES  # steps can be measured, and shown, with torch and NumPy alone
    from harness.bench.work import WORKS

    lines = [
        "## Whole works",
        "",
        "Start-up (imports, data, opening stores) excluded for every contender, as in bench.md; one round.",
    ]
    for work in dict.fromkeys(one["model"] for one in known):
        lines += [
            *("", f"### {WORKS[work].what}", ""),
            "| contender | seconds | models per hour | test % | peak GPU MiB |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {NAMES[one['what']]} | {_number(one, 'seconds'):.1f} | {_number(one, 'models_per_hour'):,.0f} | "
            f"{100 * _number(one, 'test_accuracy'):.2f} | {one['peak_gpu_mib'] or '–'} |"
            for one in _done(known)
            if one["model"] == work
        ]
    return lines


def _layers(known: Sequence[Line]) -> list[str]:
    lines = [
        "## The published layer comparison",
        "",
        "`harness run studies/layers`, five depths, from the command line to the report. Its author took 2,355 s for "
        "one seed, on a CPU of 2021.",
        "",
        "| seeds | seconds | models per hour |",
        "| ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {one['K']} | {_number(one, 'seconds'):.1f} | {_number(one, 'models_per_hour'):,.0f} |"
        for one in _done(known)
    ]


def _number(one: Line, name: str) -> float:
    return float(one[name] or "nan")
