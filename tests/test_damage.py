"""A journal that is damaged anywhere: every kind of damage is named, set aside, and the study ends with its table."""

import copy
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from harness.analysis.results import read_results
from harness.errors import UserError
from harness.journal import Ledger, Records, check_edits, look, make_whole
from harness.journal.check import check
from harness.journal.file import open_journal
from harness.journal.lines import NUMBER, DamagedError, Lines, attributes_of, sealed
from harness.journal.mending import WORD
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Trial

from .conftest import SMALL, Done, Tell, unsealed
from .soak import times
from .test_kill import compared
from .test_search import ENVIRONMENT, drive, made_up, table

Lose = Callable[[list[bytes], int], tuple[list[bytes], int]]
"""Damages the line at a place, from 0, of some; and says which line is to be named, from 1."""


def instead(text: bytes) -> Lose:
    return lambda lines, at: ([*lines[:at], text, *lines[at + 1 :]], at + 1)


def flipped(lines: list[bytes], at: int) -> tuple[list[bytes], int]:
    text = bytearray(lines[at])
    text[len(text) // 3] ^= 1
    return instead(bytes(text))(lines, at)


def missing(lines: list[bytes], at: int) -> tuple[list[bytes], int]:
    return [*lines[:at], *lines[at + 1 :]], at + 1


def doubled(lines: list[bytes], at: int) -> tuple[list[bytes], int]:
    return [*lines[: at + 1], *lines[at:]], at + 2


def swapped(lines: list[bytes], at: int) -> tuple[list[bytes], int]:
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]], at + 1


def run_together(lines: list[bytes], at: int) -> tuple[list[bytes], int]:
    return instead(lines[at][:-1])(lines, at)


def cut_short(lines: list[bytes], at: int) -> tuple[list[bytes], int]:
    return instead(lines[at][: len(lines[at]) // 2] + b"\n")(lines, at)


def without_checksum(lines: list[bytes], at: int) -> tuple[list[bytes], int]:
    return instead(old(lines[at]))(lines, at)


def old(line: bytes) -> bytes:
    """As it was before format 4, where outcomes did not say whose they are."""
    log = json.loads(unsealed(line.decode()))
    log.get("user_attr", log.get("user_attrs", {})).get("outcome", {}).pop("trial", None)
    return json.dumps(log, separators=(",", ":")).encode() + b"\n"


OF_ANY_FORMAT: dict[str, Lose] = {
    "garbage": instead(random.Random(1).randbytes(300).replace(b"\n", b"") + b"\n"),
    "NULs": instead(b"\0" * 512 + b"\n"),
    "empty": instead(b"\n"),
    "JSON of somebody else": instead(b'{"hello":1}\n'),
    "a list": instead(b"[1,2]\n"),
    "nonsense": instead(b'{"op_code":4,"worker_id":"x","study_id":0,"datetime_start":"never"}\n'),
    "cut short": cut_short,
    "run together": run_together,
}
OF_THIS: dict[str, Lose] = {
    "flipped": flipped,
    "missing": missing,
    "doubled": doubled,
    "swapped": swapped,
    "without checksum": without_checksum,
}


def go_on(study: Study, journal: Path) -> tuple[list[Trial], str | None]:
    """What driver.Driver does, with made-up outcomes: what was trained, and what was told of the journal."""
    told, trained = make_whole(journal), []

    def train(trials: list[Trial], ledger: Ledger) -> None:
        list(ledger.taken_back(trials))
        for trial in trials:
            if not ledger.is_recorded(trial):
                outcome = made_up(trial)
                for epoch in outcome.history:
                    ledger.report(trial, epoch)
                    assert not ledger.should_prune(trial)
                ledger.record(trial, outcome)
                trained.append(trial)

    ledger = Ledger(study, journal, ENVIRONMENT)
    while trials := ledger.generation():
        train(trials, ledger)
        ledger.close_generation()
    train(ledger.confirmations(), ledger)
    return trained, told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[bytes], list[dict[str, object]], str]:
    """A study, the lines of its journal, its table and its id."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        place = folder / "studies" / "mine"
        place.mkdir(parents=True)
        (place / "study.toml").write_text(SMALL)
        study = read_study("studies/mine", ["search.pruner=none"])
        drive(study, folder / "journal.log")
    lines = (folder / "journal.log").read_bytes().splitlines(keepends=True)
    return study, lines, table(folder / "journal.log"), Records(folder / "journal.log").id


Whole = tuple[Study, list[bytes], list[dict[str, object]], str]


@pytest.mark.parametrize("kind", [*OF_ANY_FORMAT, *OF_THIS])
def test_damaged_anywhere_it_ends_with_the_same_table(kind: str, whole: Whole, tmp_path: Path) -> None:
    study, lines, wanted, name = whole
    journal = tmp_path / "journal.log"
    for at in range(0, len(lines) - 1, 10):
        for made in tmp_path.glob("journal*"):
            made.unlink()
        damaged, line = (OF_ANY_FORMAT | OF_THIS)[kind](lines, at)
        journal.write_bytes(b"".join(damaged))
        with pytest.raises(DamagedError, match=f"line {line} is damaged"):
            Records(journal)
        trained, told = go_on(study, journal)
        assert told is not None
        assert f"line {line} is damaged" in told
        [aside] = tmp_path.glob(f"journal.old1{WORD}.log")
        assert aside.read_bytes() == b"".join(damaged)  # set aside whole
        assert table(journal) == wanted
        if b'"journal":' not in b"".join(lines[at : at + 2]):
            assert Records(journal).id == name  # whose runs in a store are still its own
        lost = [lines[at], lines[at + 1]] if kind == "run together" else [lines[at]]
        is_lost = kind not in ("doubled", "swapped")  # without a checksum an outcome does not say whose it is
        assert len(trained) <= (is_lost and sum(b'"outcome"' in text for text in lost))  # nothing else is trained again


@pytest.mark.parametrize("kind", OF_ANY_FORMAT)
def test_old_journals_too_train_again_what_comes_after(kind: str, whole: Whole, tmp_path: Path) -> None:
    study, lines, wanted, _ = whole
    journal, before = tmp_path / "journal.log", [*map(old, lines)]
    for at in range(15, len(lines) - 1, 40):
        for made in tmp_path.glob("journal*"):
            made.unlink()
        damaged, line = OF_ANY_FORMAT[kind](before, at)
        journal.write_bytes(b"".join(damaged))
        trained, told = go_on(study, journal)
        assert told is not None
        assert f"line {line} is damaged" in told
        assert " 0 outcomes after it" in told
        assert len(trained) == sum(b'"outcome"' in text for text in before[at:])
        assert table(journal) == wanted


def test_old_journals_are_read_and_gone_on_with(whole: Whole, tmp_path: Path) -> None:
    study, lines, wanted, _ = whole
    journal = tmp_path / "journal.log"
    journal.write_bytes(b"".join(map(old, lines[: len(lines) // 2])))
    assert go_on(study, journal)[1] is None
    assert table(journal) == wanted
    assert make_whole(journal) is None
    both = journal.read_bytes().splitlines(keepends=True)
    assert NUMBER + b"1," in both[len(lines) // 2]  # what is added has checksums, also where the rest has none
    journal.write_bytes(b"".join(flipped(both, len(both) - 3)[0]))
    assert go_on(study, journal)[1] is not None
    assert table(journal) == wanted


def test_damaged_twice_and_killed_in_between(whole: Whole, tmp_path: Path) -> None:
    study, lines, wanted, _ = whole
    journal = tmp_path / "journal.log"
    journal.write_bytes(b"".join(missing(lines, 30)[0]))
    assert make_whole(journal) is not None  # and killed
    journal.write_bytes(b"".join(missing(journal.read_bytes().splitlines(keepends=True), 12)[0]))
    trained, told = go_on(study, journal)
    assert told is not None
    assert table(journal) == wanted
    assert not trained  # both files are still read
    assert make_whole(journal) is None


def test_what_another_study_or_other_data_left_is_not_taken(whole: Whole, tmp_path: Path) -> None:
    study, lines, _, _ = whole
    journal = tmp_path / "journal.log"
    journal.write_bytes(b"".join(lines))
    Ledger(study, journal, {**ENVIRONMENT, "data_sha256": "a"})  # says which data it is of
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(missing(lines, 0)[0]))
    make_whole(journal)
    edited = study.model_copy(update={"fixed": {**study.fixed, "width": 16}})
    with pytest.raises(UserError, match=r"fixed.width was 8, is 16"):  # as if nothing had been damaged
        Ledger(edited, journal, ENVIRONMENT)
    left = journal.read_bytes()
    for data, taken in (("b", 0), ("a", 6)):
        journal.write_bytes(left)
        ledger = Ledger(study, journal, {**ENVIRONMENT, "data_sha256": data})
        assert len(list(ledger.taken_back(ledger.generation()))) == taken


def test_optunas_own_reader_reads_it_and_its_notes_do_no_harm(whole: Whole, tmp_path: Path) -> None:
    study, lines, wanted, _ = whole
    journal = tmp_path / "journal.log"
    journal.write_bytes(b"".join(lines))
    theirs = JournalStorage(JournalFileBackend(str(journal)))  # as optuna-dashboard opens it
    ours = open_journal(journal)
    for mine, other in zip(ours.get_all_studies(), theirs.get_all_studies(), strict=True):
        assert ours.get_all_trials(mine._study_id) == theirs.get_all_trials(other._study_id)
    theirs.set_study_system_attr(0, "dashboard:note", "a good one")
    assert go_on(study, journal) == ([], None)
    assert table(journal) == wanted


def test_a_line_says_what_it_said(tmp_path: Path) -> None:
    log = {"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"a": 'x"} ,"crc32":"00000000"}'}}
    text, lines = sealed(log, 2), Lines(tmp_path)
    lines.read(sealed(log, 1))
    for place in range(len(text) - 1):  # any byte
        with pytest.raises(DamagedError):
            lines.read(text[:place] + bytes([text[place] ^ 4]) + text[place + 1 :])
    assert lines.read(text) == {**log, "number": 2, "crc32": text[-11:-3].decode()}


def test_every_command_says_it_in_a_line(smoke: Path, command: Callable[..., Done], tmp_path: Path) -> None:
    for name in ("good", "smoke"):
        shutil.copytree(smoke / "studies" / "smoke", tmp_path / "studies" / name)
    shutil.copytree(smoke / "reports", tmp_path / "reports")
    journal = tmp_path / "studies" / "smoke" / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    place = next(at for at, text in enumerate(lines) if b'"outcome"' in text and at > len(lines) // 3)
    journal.write_bytes(b"".join(flipped(lines, place)[0]))
    said = f"studies/smoke/journal.log: line {place + 1} is damaged (its checksum is wrong)"
    for words in (["report"], ["sync"], ["compare"], ["replay", "1", "--seed", "1"], ["run", "--dry-run"], ["power"]):
        done = command(words[0], "studies/smoke", *words[1:])
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"harness: {said}; harness run studies/smoke goes on" in done.stderr
    done = command("list")
    assert done.returncode == 0
    assert "finished" in done.stdout  # the other one
    assert f"line {place + 1} is damaged" in " ".join(done.stdout.split())
    done = command("check", "studies/smoke")
    assert done.returncode == 1
    assert f"line {place + 1} is damaged" in done.stdout
    done = command("run", "studies/smoke", "--offline")
    assert done.returncode == 0, done.stderr
    assert f"warning: {said}" in done.stdout
    pd.testing.assert_frame_equal(compared(tmp_path), compared(smoke), check_exact=True)
    done = command("check", "studies/smoke")
    assert done.returncode == 0
    assert "format 4" in done.stdout
    assert "90 of 90 search trials" in done.stdout
    assert "damage   none" in done.stdout
    journal.write_bytes(b"".join(missing(lines, 3)[0]))
    done = command("check", "studies/smoke", "--repair")
    assert done.returncode == 0
    assert f"mended   {journal.relative_to(tmp_path)}: line 4 is damaged (1 before it is missing)" in done.stdout
    assert command("check", "studies/smoke").returncode == 0
    assert "never ran" in command("check", "studies/smoke", "--dataset", "iris").stderr


@pytest.mark.soak
def test_damage_of_every_kind(whole: Whole, tmp_path: Path, tell: Tell) -> None:
    """Of journals of any length, some twice: what a study goes on with, and the table that it ends with."""
    study, lines, wanted, _ = whole
    chance, journal, again, counted = random.Random(0), tmp_path / "journal.log", 0, Counter[str]()
    for kind, lose in (OF_ANY_FORMAT | OF_THIS).items():
        for _ in range(times(50)):
            for made in tmp_path.glob("journal*"):
                made.unlink()
            cut = damaged = lines[: chance.randint(10, len(lines))]
            for _ in range(chance.randint(1, 2)):
                damaged, _ = lose(damaged, chance.randrange(len(damaged) - 1))
            if damaged == cut:  # the second undid the first
                continue
            journal.write_bytes(b"".join(damaged))
            trained, told = go_on(study, journal)
            assert told is not None, kind
            assert "is damaged" in told
            assert told.isprintable()
            assert table(journal) == wanted, kind
            again += len(trained)
            counted[f"{kind}_lines".lower().replace(" ", "_")] += 1
    tell(f"in journals cut anywhere: same tables, {again:,} trainings again", **counted)


SAID: tuple[Any, ...] = (None, True, -1, 0, 1, 2, 99, 0.5, 1e300, "", "x", "1", [], {}, [1], {"a": 1})


def contradicted(logs: list[Any], chance: random.Random) -> list[Any]:
    """Lines some of which are missing, twice, elsewhere, or say something else, as those of before format 4 can."""
    logs = copy.deepcopy(logs)
    for _ in range(chance.randint(1, 3)):
        kind, at = chance.choice(["missing", "twice", "moved", *4 * ["changed"]]), chance.randrange(len(logs))
        log = logs[at] if kind == "twice" else logs.pop(at)
        if kind == "changed":
            log = copy.deepcopy(log)
            if "study" in attributes_of(log) and chance.random() < 0.5:
                study = json.loads(log["user_attr"]["study"])
                log["user_attr"]["study"] = json.dumps(elsewise(study, chance))
            else:
                elsewise(log, chance)
        if kind != "missing":
            logs.insert(at if kind == "changed" else chance.randrange(len(logs) + 1), log)
    return logs[: chance.randint(5, len(logs))] if chance.random() < 0.3 else logs


def elsewise(known: Any, chance: random.Random) -> Any:
    """One of the values in it, however deep, is gone or another."""
    inner = known
    while True:
        key = chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if not (isinstance(inner[key], dict | list) and inner[key] and chance.random() < 0.8):
            break
        inner = inner[key]
    if chance.random() < 0.3:
        del inner[key]
    else:
        inner[key] = chance.choice(SAID)
    return known


def contradict(whole: Whole, tmp_path: Path, often: int) -> Counter[str]:
    """Old journals that contradict themselves are gone on with, or told in a line, by all that read them."""
    study, lines, _, _ = whole
    logs, chance, told = [json.loads(old(line)) for line in lines], random.Random(0), Counter[str]()
    journal = tmp_path / "journal.log"
    looks: list[Callable[[], object]] = [
        *(partial(read, journal) for read in (Records, check, read_results)),
        lambda: look(study, journal, ENVIRONMENT),
        lambda: check_edits(study, journal),
        lambda: go_on(study, journal),
    ]
    for _ in range(often):
        text = b"".join(json.dumps(log).encode() + b"\n" for log in contradicted(logs, chance))
        for act in looks:
            for made in tmp_path.glob("journal*"):
                made.unlink()
            journal.write_bytes(text)
            try:
                act()
            except UserError:  # which is one line, whatever it tells
                told["journals told"] += 1
            else:
                told["journals read"] += 1
    return told


def test_old_journals_that_contradict_themselves_are_told(whole: Whole, tmp_path: Path) -> None:
    told = contradict(whole, tmp_path, 20)
    assert min(told["journals read"], told["journals told"]) > 20


@pytest.mark.soak
def test_contradictions(whole: Whole, tmp_path: Path, tell: Tell) -> None:
    told = contradict(whole, tmp_path, times(500))
    tell(
        f"old journals that contradict themselves: {told['journals told']} told in a line",
        bad_inputs=sum(told.values()),
    )


def test_every_command_says_a_contradiction_in_a_line(
    smoke: Path, command: Callable[..., Done], tmp_path: Path
) -> None:
    for name in ("good", "smoke"):
        shutil.copytree(smoke / "studies" / "smoke", tmp_path / "studies" / name)
    journal = tmp_path / "studies" / "smoke" / "journal.log"
    lines = [*map(old, journal.read_bytes().splitlines(keepends=True))]
    lost = next(at for at, text in enumerate(lines) if b'"outcome"' in text)  # of a trial that the sampler was told of
    journal.write_bytes(b"".join([*lines[:lost], *lines[lost + 1 :]]))
    words = [["run", "--offline"], ["report"], ["replay", "1", "--seed", "1"], ["show"], ["power"], ["sync"]]
    for first, *more in words:
        done = command(first, "studies/smoke", *more)
        assert done.returncode == 1, first
        assert done.stderr.startswith("harness: studies/smoke/journal.log: its lines contradict one another"), first
        assert done.stderr.count("\n") == 1
    assert "damage   none" in command("check", "studies/smoke").stdout  # each of its lines means something
    done = command("list")
    assert done.returncode == 0
    assert "contradict one another" in " ".join(done.stdout.split())
    assert "finished" in done.stdout
