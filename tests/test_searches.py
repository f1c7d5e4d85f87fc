"""Several searches of each value: their seeds, their company, how they grow, what is made of them; and test images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest

from harness.analysis import Results, find, new_images, read_results
from harness.analysis.units import by_unit, overlap
from harness.console import Progress
from harness.crews.how import How
from harness.driver import Driver, hire
from harness.errors import UserError
from harness.journal import Ledger, Records
from harness.parts.data import Data
from harness.study.file import read_study
from harness.study.study import Study
from harness.training.cohort import Cohort
from harness.trial import Trial, pack, unpack

from .conftest import SMALL
from .test_search import drive

Write = Callable[[str], Path]
SEVERAL = ["budget.searches=3", "budget.seeds=7"]


@pytest.fixture
def several(write_study: Write, tmp_path: Path) -> tuple[Study, Path]:
    """A study of three searches with made-up outcomes, and its journal."""
    study = read_study(write_study(SMALL), SEVERAL)
    drive(study, tmp_path / "journal.log")
    return study, tmp_path / "journal.log"


def trained(study: Study, journal: Path, digits: Data) -> Results:
    """The study on the digits, without MLflow."""
    known = {"digits": digits}
    with Progress(study, quiet=True) as progress:
        Driver(Ledger(study, journal, {"git_commit": "abc"}), MagicMock(), progress, known, hire(How(), known)).run()
    return read_results(journal)


def test_searches_are_alike_for_all_values_and_differ_from_each_other(several: tuple[Study, Path]) -> None:
    runs = read_results(several[1]).runs
    search = runs[runs["stage"] == "search"]
    assert search[search["number"] == 0]["lr"].nunique() == 1  # the defaults
    first = search[search["number"] == 1]
    assert first.groupby("search")["lr"].nunique().tolist() == [1, 1, 1]  # the same first proposal for both depths
    assert first[first["level"] == 0]["lr"].nunique() == 3
    assert search.groupby("search")["seed"].nunique().tolist() == [1, 1, 1]
    assert search["seed"].nunique() == 3
    assert runs.groupby(["level", "stage"]).size().tolist() == [7, 18, 7, 18]
    winners = search[search["winner"]]
    assert winners.groupby(["level", "search"]).size().tolist() == [1] * 6
    confirmed = runs[runs["stage"] == "confirm"]
    chosen = winners.set_index(["level", "search"])["lr"]
    assert all(row.lr == chosen[row.level, row.search] for row in confirmed.itertuples())


def test_a_search_counts_once_whatever_its_seeds(several: tuple[Study, Path]) -> None:
    results = read_results(several[1])
    confirmed = results.runs[(results.runs["stage"] == "confirm") & (results.runs["level"] == 1)]
    means = confirmed.groupby("search")["test_accuracy"].mean()
    assert by_unit(results, 1, "test_accuracy").tolist() == pytest.approx(means.tolist())
    table = find(results).table
    assert table["test_accuracy"][1] == pytest.approx(means.mean())
    assert table["searches"].tolist() == [3, 3]
    assert table["seeds"].tolist() == [7, 7]
    assert find(results).pairs["n"].tolist() == [3]
    assert "n = 3 searches" in find(results).answer


def test_more_searches_are_welcome_and_fewer_are_not(several: tuple[Study, Path], write_study: Write) -> None:
    study, journal = several
    before = Records(journal)
    again = drive(study, journal)
    assert again == []  # all is there
    more = read_study(write_study(SMALL), ["budget.searches=4", "budget.seeds=7"])
    new = drive(more, journal)
    assert {trial.search for trial in new if trial.stage == "search"} == {3}
    records = Records(journal)
    assert [more.shared_out(search) for search in range(4)] == [2, 2, 2, 1]
    kept = [record for record in records.all if record.current and record.trial.stage == "confirm"]
    assert len(kept) == 2 * 7  # the third seed of the first search has lost its place
    assert len({record.trial for record in kept} & {record.trial for record in before.all}) == 2 * 6
    with pytest.raises(UserError, match=r"budget\.searches was 4, is 2"):
        Ledger(read_study(write_study(SMALL), ["budget.searches=2", "budget.seeds=7"]), journal, {"git_commit": "abc"})


def test_company_of_searches_is_the_whole_generation(several: tuple[Study, Path]) -> None:
    study, journal = several
    records = Records(journal)
    first = next(record for record in records.all if record.trial.stage == "search")
    company = records.company(first)
    assert len(company) == 2 * 3 * study.search.generation
    assert {trial.search for trial in company} == {0, 1, 2}
    seed = next(record for record in records.all if record.trial.stage == "confirm")
    assert len(records.company(seed)) == 2 * 7


def test_a_pooled_search_never_sees_its_test_images(write_study: Write, digits: Data) -> None:
    """Each search holds its own out, and all its confirmations are tested on these."""
    text = SMALL.replace("[fixed]", '[fixed]\nsplit = "pooled"')
    study = read_study(write_study(text), ["budget.searches=3", "budget.seeds=6"])
    tested = []
    for search in range(3):
        config = study.config(1, {"lr": 0.01, "optimizer": "adam"})
        searching = Cohort.of([study.search_trial(1, search, 0, config)], digits)
        seen = {*searching.training.rows[0].tolist(), *searching.held_out.rows[0].tolist()}
        confirming = Cohort.of(study.confirmations(1, config, search), digits)
        assert len(confirming.tests.rows) == 2
        for rows in confirming.tests.rows.tolist():
            assert not seen.intersection(rows)
            assert sorted(seen | set(rows)) == list(range(len(digits.inputs)))
        assert confirming.training.rows[0].tolist() != confirming.training.rows[1].tolist()
        tested.append(tuple(confirming.tests.rows[0].tolist()))
    assert len(set(tested)) == 3
    assert overlap(study, 0) == pytest.approx((1 / 7) / ((6 / 7) * 0.8))


def test_a_pooled_study_without_search_draws_as_before(write_study: Write, digits: Data) -> None:
    text = 'dataset = "digits"\n[compare]\ndepth = [1]\n[fixed]\nsplit = "pooled"\n'
    study = read_study(write_study(text))
    [first, *_] = study.confirmations(1, study.config(1, {}))
    assert first.pool is None
    assert Cohort.of([first], digits).tests.rows[0].tolist() == digits.split(first.seed, 0.2, 1 / 7).test.tolist()


def test_hits_are_kept_image_by_image(write_study: Write, digits: Data, tmp_path: Path) -> None:
    study = read_study(write_study(SMALL), ["budget.searches=3", "budget.seeds=3", "budget.trials=2"])
    results = trained(study, tmp_path / "journal.log", digits)
    assert len(results.hits) == 6
    for run, hits in results.hits.items():
        counts = results.confusions[run]
        assert len(hits) == sum(map(sum, counts)) == len(digits.test)
        assert hits.sum() == sum(counts[label][label] for label in range(10))
        of_class = digits.test.targets.numpy() == 3
        assert hits[of_class].sum() == counts[3][3]
    findings = find(results)
    floor, error = findings.table["noise_floor"][0], new_images.error(results, 0)
    assert 0.3 * floor < error <= floor  # what is hard is hard for all runs: less than the binomial
    without = replace(results, hits={})
    assert new_images.error(without, 0) == pytest.approx(floor)
    for cells in findings.table.to_dict("records"):
        assert cells["new_low"] < cells["test_accuracy"] < cells["new_high"]
    assert findings.pairs["new_low"].notna().all()
    assert find(without).pairs["new_low"].isna().all()
    assert findings.spread["images"].tolist() == [new_images.error(results, row) for row in (0, 1)]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 359, 10_000])
def test_bits_are_packed_and_unpacked(size: int) -> None:
    hits = np.random.default_rng(size).random(size) < 0.9
    assert unpack(pack(hits)).tolist() == hits.tolist()
    assert len(pack(hits)) < size / 5 + 20


def test_new_images_are_covered(small: Study, tmp_path: Path) -> None:
    """Runs that miss an image with its own chance: the interval for new ones holds the true mean in 19 of 20 cases."""
    drive(small, tmp_path / "journal.log")
    template = read_results(tmp_path / "journal.log")
    confirm = template.runs[template.runs["stage"] == "confirm"].iloc[0].to_dict()
    generator, held, fixed = np.random.default_rng(0), 0, 0
    for _ in range(200):
        easy = generator.beta(4, 0.3, 400)  # mean 4 / 4.3
        hits = generator.random((5, 400)) < easy
        rows = [{**confirm, "level": 0, "number": n, "test_accuracy": one.mean()} for n, one in enumerate(hits)]
        results = replace(
            template,
            runs=pd.DataFrame(rows),
            hits={(0, 0, n): one for n, one in enumerate(hits)},
            confusions={(0, 0, 0): ((400,),)},
        )
        low, high = new_images.interval(results, 0)
        held += low < 4 / 4.3 < high
        table = find(results).table
        fixed += table["test_accuracy_low"][0] < 4 / 4.3 < table["test_accuracy_high"][0]
    assert held / 200 >= 0.93
    assert fixed <= held - 15  # the interval for these images alone does not claim that


def test_studies_that_read_the_same_images_know_of_each_other(write_study: Write) -> None:
    environment = {"git_commit": "abc", "data": "digits", "data_sha256": "ab12"}
    for name in ("one", "two"):
        folder = write_study(SMALL, name)  # type: ignore[call-arg]
        Ledger(read_study(folder), folder / "journal.log", environment)
    other = write_study(SMALL, "other")  # type: ignore[call-arg]
    Ledger(read_study(other), other / "journal.log", {**environment, "data_sha256": "cd34"})
    assert read_results(folder / "journal.log").others == ("one",)
    assert read_results(other / "journal.log").others == ()


def test_names_say_which_search(several: tuple[Study, Path]) -> None:
    study, _ = several
    config = study.config(1, {})
    assert study.run_name(study.search_trial(1, 2, 4, config)) == "depth=1 search 2 trial 4"
    assert study.run_name(Trial(1, "confirm", 0, 7, config, 2)) == "depth=1 seed 7"
