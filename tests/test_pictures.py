"""Pictures are drawn where something has changed, and only there; drawn or left alone, they have the same bytes."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.analysis import find, read_results
from harness.plots import Picture, Second, begun_early, pictures, save_all
from harness.plots.base import _in_256_colours
from harness.plots.digests import digest_of
from harness.report.pictures import make_pictures
from harness.study.file import read_study
from harness.study.study import Study
from harness.trial import Example

from .conftest import ROOT, clean_environment, harness
from .test_search import drive
from .test_variants import ODD, RECIPES

TABLE = pd.DataFrame(
    {
        "level": [0, 0, 1, 1],
        "kind": ["train", "val"] * 2,
        "epoch": 1,
        "mean": [0.5, 0.6, 0.4, 0.5],
        "low": 0.3,
        "high": 0.7,
    }
)


def losses(table: pd.DataFrame = TABLE, title: str = "losses") -> Picture:
    return Picture("comparison:learning_figure", (table, ["depth=1", "depth=2"], title), "Losses.")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what this process draws, as it draws them."""
    names: list[str] = []
    draw = pictures.Drawing.draw

    def count(drawing: pictures.Drawing) -> None:
        names.append(drawing.path.name)
        draw(drawing)

    monkeypatch.setattr(pictures.Drawing, "draw", count)
    return names


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_picture_has_the_same_bytes_and_is_drawn_once(drawn: list[str], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_all({"losses": losses()}, tmp_path / folder)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert list(contents(tmp_path / "a")) == ["losses.png", "losses.svg"]
    drawn.clear()
    save_all({"losses": losses(TABLE.copy())}, tmp_path / "a")
    assert drawn == []
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    "other",
    [
        losses(TABLE.assign(mean=np.nextafter(TABLE["mean"], 1))),
        losses(TABLE.assign(epoch=TABLE["epoch"].astype(float))),
        losses(TABLE.rename(columns={"low": "least"}).rename(columns={"least": "low"}).iloc[:, [0, 1, 2, 3, 5, 4]]),
        losses(title="other losses"),
    ],
    ids=["a last digit", "a type", "the order of columns", "the title"],
)
def test_another_picture_is_drawn(other: Picture, drawn: list[str], tmp_path: Path) -> None:
    save_all({"losses": losses()}, tmp_path)
    save_all({"losses": other}, tmp_path)
    assert drawn == ["losses", "losses"]


def edit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("spoil", [Path.unlink, edit, edit_the_end, cut, lambda path: path.write_bytes(b"")])
def test_a_spoilt_picture_is_drawn_anew(
    kind: str, spoil: Callable[[Path], None], drawn: list[str], tmp_path: Path
) -> None:
    save_all({"losses": losses()}, tmp_path)
    before = contents(tmp_path)
    spoil(tmp_path / f"losses.{kind}")
    save_all({"losses": losses()}, tmp_path)
    assert drawn == ["losses", "losses"]
    assert contents(tmp_path) == before


def test_a_picture_of_other_code_is_drawn_anew(
    drawn: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_all({"losses": losses()}, tmp_path)
    monkeypatch.setattr("harness.plots.digests._drawn_with", lambda: b"another matplotlib")
    save_all({"losses": losses()}, tmp_path)
    assert drawn == ["losses", "losses"]


def test_sealed_files_are_what_they_were(tmp_path: Path) -> None:
    save_all({"losses": losses()}, tmp_path)
    with Image.open(tmp_path / "losses.png") as image:
        image.load()
        assert image.info["harness"] == image.info["harness"].strip().lower()
        assert len(image.info["harness"]) == 64
        assert image.mode == "P"
    end = (tmp_path / "losses.svg").read_text().rstrip().splitlines()[-2:]
    assert end[0] == "</svg>"
    assert end[1].startswith("<!-- harness ")


def test_few_colours_stay_as_they_are_and_many_come_close() -> None:
    shades = np.zeros((64, 64, 4), np.uint8)
    shades[..., 3] = 255
    shades[..., 0], shades[..., 1] = 4 * np.arange(64), 255 - 4 * np.arange(64)[:, None]
    few = shades // 64 * 64
    assert np.array_equal(np.asarray(_in_256_colours(few).convert("RGB")), few[..., :3])
    many = np.asarray(_in_256_colours(shades).convert("RGB")).astype(int) - shades[..., :3]
    assert np.abs(many).max() <= 16


def test_every_content_has_its_digest() -> None:
    example = Example(7, 1, (0.2, 0.8), "00ff", 255)
    things: list[object] = [
        *(1, 1.0, True, None, "1", "", (), [1], [[1]], [1, 1], {"a": 1}, {"a": 2}, {"b": 1}),
        *(example, replace(example, label=0), pd.NA, np.arange(3), np.arange(3.0), np.arange(3)[:, None]),
        *(pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame({"a": [1]}), pd.DataFrame({"a": ["1"]})),
        *(pd.DataFrame({"a": [1]}, index=[1]), pd.DataFrame({"a": [(1, 2), None, "x"]})),
        *(pd.DataFrame({"a": [np.nan, "x"]}), pd.DataFrame({"a": [1, pd.NA]}, dtype="Int64")),
    ]
    assert len({digest_of(thing) for thing in things}) == len(things)
    assert digest_of([1, [2]]) == digest_of((1, (2,)))
    with pytest.raises(TypeError, match="drawn from a set"):
        digest_of({1, 2})


def test_a_reports_pictures_can_be_drawn_from_what_they_are_given(small: Study, tmp_path: Path) -> None:
    drive(small, tmp_path / "journal.log")
    made = make_pictures(find(read_results(tmp_path / "journal.log")))
    assert len(made) > 5
    for picture in made.values():
        inspect.signature(resolve_name(f"harness.plots.{picture.draw}")).bind(*picture.arguments)
        assert len(picture.digest()) == 32


def test_dollars_of_a_name_are_escaped_once(write_study: Callable[[str], Path], tmp_path: Path) -> None:
    drive(read_study(write_study(RECIPES)), tmp_path / "journal.log")
    means = make_pictures(find(read_results(tmp_path / "journal.log")))["accuracy_vs_variant"]
    told = [label.get_text() for label in means.figure().axes[0].get_yticklabels()]
    assert ODD.replace("$", r"\$") in told


def test_a_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    script = """if True:
        from pathlib import Path
        from harness.analysis import find, read_results
        from harness.report.pictures import make_pictures
        pictures = make_pictures(find(read_results(Path("tests/golden/journal.log"))))
        print(*(picture.digest().hex() for picture in pictures.values()))
    """
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


@pytest.mark.parametrize("cores", [1, 2])
def test_many_are_drawn_together_with_a_second_process(
    cores: int, drawn: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pictures, "_cores", lambda: cores)
    many = {f"losses{number}": losses(title=f"losses {number}") for number in range(12)}
    save_all(many, tmp_path / "many")
    together = len(drawn)
    assert together == 12 if cores == 1 else together < 12
    for name, picture in many.items():
        save_all({name: picture}, tmp_path / "one")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


class Failing:
    """A job that only this process can do."""

    def __init__(self, path: Path) -> None:
        self.path, self.process = path, os.getpid()

    def draw(self) -> None:
        if os.getpid() != self.process:
            os._exit(1)
        self.path.touch()


def test_what_a_second_process_that_died_was_given_is_drawn_here(tmp_path: Path) -> None:
    with Second() as second:
        second.draw([Failing(tmp_path / str(number)) for number in range(3)])
    assert len(list(tmp_path.iterdir())) == 3


def test_what_cannot_be_sent_to_a_second_process_is_drawn_here(tmp_path: Path) -> None:
    jobs = [Failing(tmp_path / str(number)) for number in range(3)]
    for job in jobs:
        vars(job)["here"] = lambda: None  # has no name that another process could find it by
    with Second() as second:
        second.draw(jobs)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_goes_wrong_in_the_second_process_is_raised_here(tmp_path: Path) -> None:
    good, bad = (pictures.Drawing(losses(), bytes(32), tmp_path / name) for name in ("good", "there/is/no/such/folder"))
    with Second() as second, pytest.raises(FileNotFoundError, match=r"no/such/\.folder"):
        second.draw([good] * 20 + [bad])


def test_a_second_process_begins_early_only_where_there_is_news(tmp_path: Path) -> None:
    page, journal = tmp_path / "report.html", tmp_path / "journal.log"
    begun = []
    for time in (None, 0, 2_000_000_000):
        if time is not None:
            journal.touch()
            page.touch()
            os.utime(page, (time, time))
        with begun_early(page, journal) as second:
            begun.append(second is not None)
    assert begun == [False, True, False]


def test_a_report_without_news_imports_no_matplotlib(small: Study, tmp_path: Path) -> None:
    study = tmp_path / "studies" / "mine"
    drive(small, study / "journal.log")
    assert harness("report", "studies/mine", cwd=tmp_path).returncode == 0
    page = tmp_path / "reports" / "mine" / "report.html"
    before = page.read_bytes()
    script = """if True:
        import runpy, sys
        sys.argv = ["harness", "report", "studies/mine"]
        try:
            runpy.run_module("harness", run_name="__main__")
        finally:
            print(*sorted(name for name in sys.modules if "." not in name or name == "scipy.stats"))
    """
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(done.stdout.splitlines()[-1].split())
    assert "pandas" in imported
    assert not {"matplotlib", "scipy.stats", "sklearn", "torch", "mlflow"} & imported
    assert page.read_bytes() == before


def test_to_know_of_plots_costs_nothing() -> None:
    script = "import harness.plots, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "matplotlib"} & set(done.stdout.split())
