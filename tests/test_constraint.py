"""A bound on the number of weights: what is infeasible is never trained, and every search still has all its trials."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from optuna.trial import TrialState

from harness.analysis import find
from harness.analysis.results import read_results
from harness.config import Config
from harness.driver import scale
from harness.errors import UserError
from harness.journal import Ledger, Records
from harness.journal.sampling import INFEASIBLE, propose
from harness.parts.data import Data
from harness.parts.models import build, count_weights
from harness.report.grids import compare_grid
from harness.report.methods import methods
from harness.report.pictures import make_pictures
from harness.study.file import read_study
from harness.study.study import Study

from .conftest import SMALL, Done
from .test_search import ENVIRONMENT, KilledError, made_up, table

WIDTHS = "width = [4, 8, 16, 32, 64, 128]\n"
BOUNDED = (
    SMALL.replace("[tune]\n", f"[tune]\n{WIDTHS}")
    .replace("width = 8\n", "")
    .replace("depth = [1, 2]", "depth = [2, 3]")
)
BOUNDED = BOUNDED.replace("trials = 6", "trials = 14") + "[constraint]\nparameters = { high = 3000 }\n"


def drive(study: Study, journal: Path, data: Data, kill: random.Random | None = None) -> None:
    ledger = Ledger(study, journal, ENVIRONMENT, weigh=scale({"digits": data}))
    while trials := ledger.generation():
        for trial in trials:
            if kill and kill.random() < 0.2:
                raise KilledError
            ledger.record(trial, made_up(trial))
        ledger.close_generation()
    for trial in ledger.confirmations():
        ledger.record(trial, made_up(trial))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_weights_are_counted_without_building(model: str, digits: Data) -> None:
    config = Config(model=model, dataset="digits", depth=3, width=20, taper="halving", channels=(4, 8), kernel=2)
    network = build(config, digits.shape, digits.outputs, seed=0)
    expected = sum(parameter.numel() for parameter in network.parameters())
    assert count_weights(config.shape, digits.shape, digits.outputs) == expected


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "qmc"])
def test_only_what_is_feasible_is_trained(
    sampler: str, write_study: Callable[[str], Path], tmp_path: Path, digits: Data
) -> None:
    trials_of_each = 11 if sampler == "gp" else 14  # ten are random, and fitting takes a second
    study = read_study(write_study(BOUNDED), [f"search.sampler={sampler}", f"budget.trials={trials_of_each}"])
    weigh = scale({"digits": digits})
    drive(study, tmp_path / "j.log", digits)
    records = Records(tmp_path / "j.log")
    for (level, _), trials in records.searches.items():
        assert len(trials.search) == trials_of_each
        weights = [weigh(trials.config(frozen.number)) for frozen in trials.search]
        assert max(weights) <= 3000
        rejected = [one["parameters"] for frozen in trials.search for one in frozen.user_attrs.get(INFEASIBLE, ())]
        assert rejected, level
        assert min(rejected) > 3000
        numbers = [frozen.number for frozen in trials.search]
        assert numbers == list(range(trials_of_each))


@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
def test_killed_anywhere_it_ends_with_the_same_table(
    sampler: str, write_study: Callable[[str], Path], tmp_path: Path, digits: Data
) -> None:
    study = read_study(write_study(BOUNDED), [f"search.sampler={sampler}"])
    drive(study, tmp_path / "whole.log", digits)
    chance = random.Random(3)
    for _ in range(500):
        try:
            drive(study, tmp_path / "killed.log", digits, chance)
            break
        except KilledError:
            pass
    assert table(tmp_path / "killed.log") == table(tmp_path / "whole.log")
    both = [Records(tmp_path / f"{name}.log").infeasible for name in ("killed", "whole")]
    assert both[0] == both[1]


def test_the_sampler_learns_where_it_may_look(write_study: Callable[[str], Path], tmp_path: Path, digits: Data) -> None:
    """Once TPE has its ten random trials, fewer of its proposals are infeasible than of random ones (half of them)."""
    rejected = {}
    for sampler in ("tpe", "random"):
        bounded = ["budget.trials=40", "constraint.parameters.high=1500", f"search.sampler={sampler}"]
        journal = tmp_path / f"{sampler}.log"
        drive(read_study(write_study(BOUNDED), bounded), journal, digits)
        later = [frozen for trials in Records(journal).searches.values() for frozen in trials.search[10:]]
        rejected[sampler] = sum(len(frozen.user_attrs.get(INFEASIBLE, ())) for frozen in later)
    assert rejected["tpe"] < 0.7 * rejected["random"]


def test_the_sampler_is_told_in_optunas_terms(write_study: Callable[[str], Path], digits: Data) -> None:
    seen: list[Any] = []
    study = read_study(write_study(BOUNDED))

    def weigh(config: Config) -> int:
        seen.append(config)
        return 10_000 if 1 < len(seen) < 4 else 100  # the first are the defaults

    [_, proposal] = propose(study, 2, 7, [], 2, weigh)
    assert [one["parameters"] for one in proposal.user_attrs[INFEASIBLE]] == [10_000, 10_000]
    assert proposal.constraints["parameters"] < 0
    assert proposal.state == TrialState.RUNNING


def test_two_bounds(write_study: Callable[[str], Path], tmp_path: Path, digits: Data) -> None:
    study = read_study(write_study(BOUNDED), ["constraint.parameters.low=1000"])
    drive(study, tmp_path / "j.log", digits)
    weigh = scale({"digits": digits})
    for trials in Records(tmp_path / "j.log").searches.values():
        assert all(1000 <= weigh(trials.config(frozen.number)) <= 3000 for frozen in trials.search)
    assert "at least 1,000 and at most 3,000 weights" in " ".join(methods(study))


def test_a_known_point_that_is_infeasible_is_left_out(
    write_study: Callable[[str], Path], tmp_path: Path, digits: Data
) -> None:
    study = read_study(write_study(BOUNDED), ["search.first=[{width=32}]", "constraint.parameters.high=2500"])
    drive(study, tmp_path / "j.log", digits)
    two, three = Records(tmp_path / "j.log").searches.values()
    assert two.config(0).width == 32  # 64 * 32 + 32 + 32 * 10 + 10 = 2410
    assert three.config(0).width != 32
    assert three.search[0].user_attrs[INFEASIBLE][0]["params"]["width"] == 32


def test_nothing_feasible_is_told_in_one_line(write_study: Callable[[str], Path], tmp_path: Path, digits: Data) -> None:
    study = read_study(write_study(BOUNDED), ["constraint.parameters.high=100"])
    with pytest.raises(UserError, match=r"none of 2,020 proposals for depth=2 has at most 100; they had 310 to 9,610"):
        drive(study, tmp_path / "j.log", digits)


@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        ("parameter = { high = 3 }", r"constraint\.parameter: unknown key; did you mean parameters"),
        ("parameters = 3000", r"constraint\.parameters: must be a table with low or high or both, got 3000"),
        ("parameters = { hgh = 3 }", r"constraint\.parameters\.hgh: unknown key; did you mean high"),
        ("parameters = { high = 0 }", r"constraint\.parameters\.high: should be greater than or equal to 1, got 0"),
        ("parameters = {}", r"constraint\.parameters: must have low or high or both"),
        ("parameters = { low = 9, high = 3 }", r"low must be <= high, got low = 9, high = 3"),
    ],
)
def test_a_wrong_constraint_is_told_in_one_line(constraint: str, told: str, write_study: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=told):
        read_study(write_study(f"{SMALL}[constraint]\n{constraint}\n"))


def test_without_a_search_there_is_nothing_to_bound(write_study: Callable[[str], Path]) -> None:
    text = 'dataset="digits"\n[compare]\ndepth=[1]\n[constraint]\nparameters={high=9}\n'
    with pytest.raises(UserError, match=r"constraint\.parameters: there is no \[tune\] to bound"):
        read_study(write_study(text))


def test_a_bound_that_was_moved_is_an_edit(write_study: Callable[[str], Path], tmp_path: Path, digits: Data) -> None:
    drive(read_study(write_study(BOUNDED)), tmp_path / "j.log", digits)
    with pytest.raises(UserError, match=r"constraint\.parameters\.high was 3000, is 2000"):
        Ledger(read_study(write_study(BOUNDED), ["constraint.parameters.high=2000"]), tmp_path / "j.log", ENVIRONMENT)


def test_the_page_counts_and_marks_it(write_study: Callable[[str], Path], tmp_path: Path, digits: Data) -> None:
    drive(read_study(write_study(BOUNDED)), tmp_path / "j.log", digits)
    findings = find(read_results(tmp_path / "j.log"))
    counted = [len(findings.results.infeasible[row]) for row in (0, 1)]
    assert list(compare_grid(findings)["infeasible"]) == list(map(str, counted))
    said = " ".join(methods(findings.study))
    assert "A trial has at most 3,000 weights." in said
    cost = make_pictures(findings)["cost"]
    assert "marks on the axis" in cost.caption
    assert cost.arguments[-3] == (None, 3000)
    assert len(cast(list[int], cost.arguments[-2])) == sum(counted)


def test_the_command_keeps_to_it(write_study: Callable[..., Path], command: Any) -> None:
    write_study(BOUNDED.replace("trials = 14", "trials = 3"), "bounded")
    done: Done = command("run", "studies/bounded", "--offline")
    assert done.returncode == 0, done.stderr
    findings = find(read_results(Path("studies/bounded/journal.log")))
    assert findings.table["parameters"].max() <= 3000
    dry: Done = command("run", "studies/bounded", "--dry-run", "--fresh")
    assert "bounded   at most 3,000 weights" in dry.stdout
