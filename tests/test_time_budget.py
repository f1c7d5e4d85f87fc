"""Budgets in minutes: how far searches go, what is kept for the confirmations, and what a kill changes."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import plan
from harness.analysis import find
from harness.analysis.results import read_results
from harness.crews.how import How
from harness.crews.local import Local
from harness.driver import scale
from harness.errors import UserError
from harness.journal import Ledger, Records, begun, look
from harness.journal.clock import StudyClock
from harness.parts.data import Data
from harness.report.methods import methods
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Outcome, Trial

from .conftest import SMALL, Done
from .test_search import ENVIRONMENT, KilledError, made_up

TIMED = SMALL.replace("trials = 6\nsearches = 1\nseeds = 2", "minutes = 1\nsearches = 2\nseeds = 4")


@dataclass
class World:
    """A made-up time in which each training takes a second, one after the other."""

    journal: Path
    now: float = 1000.0
    seconds: float = 1.0
    trained: list[Trial] = field(default_factory=list)
    kill_in: int | None = None  # trainings

    def outcome(self, trial: Trial) -> Outcome:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                raise KilledError
        started = self.now
        self.now += self.seconds
        self.trained.append(trial)
        return replace(made_up(trial), started=started, ended=self.now, seconds=self.seconds)

    def drive(self, study: Study) -> Ledger:
        """What driver.Driver does."""
        ledger = Ledger(begun(study, self.journal), self.journal, ENVIRONMENT)
        while trials := ledger.generation():
            self.train(ledger, trials)
            ledger.close_generation()
        self.train(ledger, ledger.confirmations())
        ledger.end()
        return ledger

    def train(self, ledger: Ledger, trials: list[Trial]) -> None:
        for trial in trials:
            if not ledger.is_recorded(trial):
                ledger.record(trial, self.outcome(trial))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path / "j.log")
    monkeypatch.setattr("harness.journal.ledger.StudyClock", partial(StudyClock, now=lambda: made.now))
    return made


@pytest.fixture
def timed(write_study: Callable[[str], Path]) -> Study:
    """Two levels, two searches each, three trials a generation: twelve trainings, and eight confirmations."""
    return read_study(write_study(TIMED))


def counts(journal: Path) -> set[int]:
    """How many trials each search of each level has."""
    return {len(trials.search) for trials in Records(journal).searches.values()}


def test_all_searches_stop_at_the_same_number_and_confirmations_fit_in(timed: Study, world: World) -> None:
    assert timed.budget.trials == 1000
    ledger = world.drive(timed)
    assert ledger.study.spent == 12  # four generations of 12 s, 10 s for eight confirmations: a fifth would not fit
    assert counts(world.journal) == {12}
    assert world.now - 1000.0 == 4 * 12 + 8
    assert ledger.is_over()
    assert Records(world.journal).study.spent == 12


def test_a_clock_that_is_set_back_takes_no_time_away(timed: Study, world: World) -> None:
    ledger = Ledger(timed, world.journal, ENVIRONMENT)
    assert ledger.clock is not None
    world.now += 10
    ledger.clock.generation()
    world.now -= 5000
    assert ledger.clock.used() == 10
    ledger.clock.generation()
    world.now += 3
    assert ledger.clock.used() == 13
    assert ledger.clock.longest() == 10


def test_without_a_reserve_confirmations_would_not_fit(
    timed: Study, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "reserve", lambda self: 0.0)
    world.drive(timed)
    assert world.now - 1000.0 > 60


def test_a_study_that_is_over_trains_nothing_more(timed: Study, world: World) -> None:
    world.drive(timed)
    world.now += 10_000
    done = len(world.trained)
    assert world.drive(timed).study.spent == 12
    assert len(world.trained) == done


@pytest.mark.parametrize("seed", range(6))
def test_time_before_a_kill_counts_and_the_time_between_does_not(seed: int, timed: Study, world: World) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        world.kill_in = chance.randint(0, 15)
        try:
            ledger = world.drive(timed)
            break
        except KilledError:
            world.now += 500.0  # nobody runs it
    assert ledger.study.spent == 12
    assert counts(world.journal) == {12}
    assert len(world.trained) == 4 * 12 + 8  # none is trained twice here, so the time is used up by the same trials


def test_what_was_decided_holds_after_a_kill(timed: Study, world: World) -> None:
    world.kill_in = 4 * 12 + 3  # while it confirms
    with pytest.raises(KilledError):
        world.drive(timed)
    world.kill_in, world.seconds = None, 0.01  # there would be time for many more by now
    assert world.drive(timed).study.spent == 12
    assert counts(world.journal) == {12}


def test_a_generation_that_was_asked_for_is_trained(timed: Study, world: World) -> None:
    world.kill_in = 3 * 12 + 5
    with pytest.raises(KilledError):
        world.drive(timed)
    fewer = timed.model_copy(update={"budget": timed.budget.model_copy(update={"minutes": 0.1})})
    world.kill_in = None
    assert world.drive(fewer).study.spent == 12


def test_more_minutes_go_on(timed: Study, world: World) -> None:
    world.drive(timed)
    more = timed.model_copy(update={"budget": timed.budget.model_copy(update={"minutes": 2.0})})
    spent = world.drive(more).study.spent
    assert spent is not None
    assert spent > 12
    assert counts(world.journal) == {spent}
    assert world.now - 1000.0 <= 120


def test_newer_searches_catch_up_first(timed: Study, world: World) -> None:
    world.drive(timed)
    more = timed.model_copy(update={"budget": timed.budget.model_copy(update={"searches": 3, "seeds": 6})})
    assert world.drive(more).study.spent == 12
    assert counts(world.journal) == {12}


def test_trials_are_the_most(write_study: Callable[[str], Path], world: World) -> None:
    study = read_study(write_study(TIMED), ["budget.trials=5"])
    assert world.drive(study).study.spent == 5
    more = read_study(write_study(TIMED), ["budget.trials=8"])
    assert world.drive(more).study.spent == 8
    assert counts(world.journal) == {8}


def test_a_grid_ends_with_its_last_point(write_study: Callable[[str], Path], world: World) -> None:
    text = 'dataset="digits"\n[compare]\ndepth=[2]\n[tune]\nwidth=[8,16,32]\n[budget]\nminutes=1\nsearches=1\nseeds=3\n'
    study = read_study(write_study(f'{text}[search]\nsampler="grid"\n'))
    assert study.budget.trials == 3
    assert world.drive(study).study.spent == 3


def test_too_little_time_is_one_generation(write_study: Callable[[str], Path], world: World) -> None:
    assert world.drive(read_study(write_study(TIMED), ["budget.minutes=0.01"])).study.spent == 3


def test_an_untimed_study_can_be_given_time(write_study: Callable[[str], Path], world: World) -> None:
    plain = TIMED.replace("minutes = 1", "trials = 6")
    world.drive(read_study(write_study(plain)))
    assert world.now - 1000.0 == 24 + 8
    spent = world.drive(read_study(write_study(TIMED))).study.spent
    assert spent is not None
    assert spent > 6  # what it took until then counts
    assert world.now - 1000.0 <= 60 + 8  # winners change, so that some confirmations are trained again


def test_the_page_says_how_many_there_was_time_for(timed: Study, world: World) -> None:
    ledger = Ledger(timed, world.journal, ENVIRONMENT)
    world.train(ledger, ledger.generation())
    ledger.close_generation()
    so_far = find(read_results(world.journal))
    assert any("its 1 minutes are not known to be spent" in flag for flag in so_far.flags)
    assert "as many trials as there is time for within 1 minutes" in " ".join(methods(so_far.study))
    world.drive(timed)
    findings = find(read_results(world.journal))
    assert not any("minutes" in flag or "trials done" in flag for flag in findings.flags)
    assert "12 trials, the same number for all and what there was time for within 1 minutes" in " ".join(
        methods(findings.study)
    )


def test_minutes_without_a_search_are_refused(write_study: Callable[[str], Path]) -> None:
    text = 'dataset="digits"\n[compare]\ndepth=[1]\n[budget]\nminutes=1.0\n'
    with pytest.raises(UserError, match=r"budget\.minutes: there is no \[tune\]"):
        read_study(write_study(text))


@pytest.fixture
def workplace(digits: Data) -> Local:
    return Local({"digits": digits}, How())


def test_an_estimate_counts_what_is_left(
    timed: Study, world: World, digits: Data, workplace: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan.Pace, "seconds", lambda self, trials: float(len(trials)))
    pace = plan.Pace({"digits": digits}, workplace, None, scale({"digits": digits}))
    whole = plan.estimate(timed, pace, timed.whole)
    assert (whole.trials, whole.confirmations, whole.search, whole.confirming) == (48, 8, 48.0, 8.0)
    assert plan.estimate(timed, pace, timed.whole, used=30.0).trials == 12  # of 22 s that are left
    world.drive(timed)
    assert look(timed, world.journal)[1] == (0, 0)
    more = timed.model_copy(update={"budget": timed.budget.model_copy(update={"seeds": 6})})
    _, left, used = look(more, world.journal)
    assert left == (0, 4)
    assert used == 4 * 12 + 8
    assert plan.estimate(more, pace, left).trials == 0


def test_what_takes_longer_is_estimated_so(write_study: Callable[[str], Path], digits: Data, workplace: Local) -> None:
    def of(*overrides: str) -> plan.Estimate:
        study = read_study(write_study(TIMED), ["budget.minutes=1000", "budget.trials=30", *overrides])
        pace = plan.Pace({"digits": digits}, workplace, None, scale({"digits": digits}))
        return plan.estimate(study, pace, study.whole)

    short, long = of("epochs=20"), of("epochs=200")
    around = plan.AROUND * short.trials
    assert 3 < (long.search - around) / (short.search - around) < 30  # ten times, on a busy machine
    wide = of("tune.batch_size=[16,512]")
    assert wide.cheapest <= wide.search + wide.confirming <= wide.dearest


def test_a_dry_run_tells_all_and_writes_nothing(write_study: Callable[..., Path], command: Any) -> None:
    folder = write_study(TIMED, "dry")
    done: Done = command("run", "studies/dry", "--dry-run", "--minutes", "0.5")
    assert done.returncode == 0, done.stderr
    for part in ("lr from 0.001 to 0.1 (log scale)", "as many as 0.5 minutes allow", "note", "estimate  "):
        assert part in done.stdout
    here = folder.parent.parent
    assert [path.name for path in here.rglob("*") if path.is_file()] == ["study.toml"]


def test_a_dry_run_says_what_is_left(smoke: Path, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    before = {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()}
    done: Done = command("run", "studies/smoke", "--dry-run", "--seeds", "9", "--searches", "3")
    assert "holds 90 search trials and 9 confirmations" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()}
    refused: Done = command("run", "studies/smoke", "--dry-run", "--set", "epochs=3")
    assert refused.returncode == 2
    assert "fixed.epochs was 6, is 3" in refused.stderr
