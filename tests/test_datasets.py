import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from harness.config import Config
from harness.errors import UserError
from harness.parts import images
from harness.parts.data import Data, MissingDataError, load
from harness.parts.images import FILES
from harness.parts.preparing import floats, prepare
from harness.training.feed import Feed

HAVE_MNIST = Path(os.environ.get("HARNESS_DATA_DIR", ""), "MNIST", "raw").is_dir() and "HARNESS_DATA_DIR" in os.environ
needs_mnist = pytest.mark.skipif(not HAVE_MNIST, reason="HARNESS_DATA_DIR does not hold MNIST")


def test_digits_are_whole(digits: Data) -> None:
    assert len(digits.train) + len(digits.test) == 1797
    assert digits.train.inputs.shape[1] == 64
    assert digits.outputs == 10
    assert floats(digits, digits.train.inputs).max() == 1.0
    assert load("digits", "cpu").fingerprint == digits.fingerprint


def test_digits_are_scikit_learns_and_need_no_import_of_it() -> None:
    table = images._digits_table()
    bunch = load_digits()
    assert (table[:, :-1] == bunch.data).all()
    assert (table[:, -1] == bunch.target).all()
    code = "import sys; from harness.parts.images import digits; digits(); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_are_read_by_scikit_learn_where_its_file_lies_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = images._digits_table()
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    assert (images._digits_table() == usual).all()


def test_splits_are_disjoint_complete_and_the_seeds_own(digits: Data) -> None:
    train, val, test = digits.split(3, 0.2)
    assert test.tolist() == list(range(len(digits.train), 1797))
    assert sorted(torch.cat([train, val]).tolist()) == list(range(len(digits.train)))
    assert len(val) == round(0.2 * len(digits.train))
    assert torch.equal(digits.split(3, 0.2)[0], train)
    assert not torch.equal(digits.split(4, 0.2)[0], train)


def test_pooled_draws_the_test_images_anew(digits: Data) -> None:
    one, two = digits.split(3, 0.0, pooled=1 / 7), digits.split(4, 0.2, pooled=1 / 7)
    for parts in (one, two):
        assert sorted(torch.cat(parts).tolist()) == list(range(1797))
        assert len(parts.test) == round(1797 / 7)
    assert not torch.equal(one.test, two.test)
    assert (one.test < digits.trainable).any()
    assert (one.train >= digits.trainable).any()


def test_pixels_are_normalised_by_the_models_own_training_images(digits: Data) -> None:
    rows = torch.stack([digits.split(seed, 0.2).train for seed in (1, 2)])
    feed = Feed(prepare(digits, Config(normalisation="standard"), rows), rows)
    x, _ = feed.cut(rows)
    torch.testing.assert_close(x.mean((1, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((1, 2), correction=0), torch.ones(2), atol=1e-5, rtol=0)
    x, _ = Feed(prepare(digits, Config(normalisation="half"), rows), rows).cut(rows)
    assert [x.min().item(), x.max().item()] == [-1, 1]


def test_a_sample_is_even_and_large_enough(digits: Data) -> None:
    rows = torch.stack([digits.split(seed, 0.2).train for seed in (1, 2)])
    feed = Feed(prepare(digits, Config(normalisation="scale"), rows), rows)
    for wanted in (1, 100, 359, len(feed) // 2, len(feed), 10_000):
        sample = feed.sample(wanted)
        assert min(wanted, len(feed)) <= len(sample) < max(2 * wanted, 2)
        assert set(sample.rows[0].tolist()) <= set(rows[0].tolist())
    assert torch.equal(feed.sample(len(feed) // 2 + 1).rows, rows)


def test_a_feed_shows_every_image_once_an_epoch(digits: Data) -> None:
    rows = torch.stack([digits.split(seed, 0.2)[0] for seed in (1, 2)])
    feed = Feed(prepare(digits, Config(), rows), rows, [torch.Generator().manual_seed(seed) for seed in (1, 2)])
    first, second = ([feed.cut(batch) for batch in feed.batches(100)] for _ in range(2))
    assert [x.shape for x, _ in first] == [(2, 100, 64)] * 11 + [(2, 50, 64)]
    for model in (0, 1):
        expected = torch.bincount(digits.train.targets[rows[model]], minlength=10)
        for epoch in (first, second):
            assert torch.equal(torch.bincount(torch.cat([y[model] for _, y in epoch]), minlength=10), expected)
    assert not torch.equal(first[0][1], second[0][1])
    one = feed.only([1])
    [(x, y)] = [one.cut(batch) for batch in one.batches(10**6)]
    assert x.shape == (1, 1150, 64)
    assert y.shape == (1, 1150)


@needs_mnist
def test_mnist_is_the_published_one() -> None:
    data = load("mnist", "cpu")
    assert (len(data.train), len(data.test), data.train.inputs.shape[1]) == (60_000, 10_000, 784)
    assert data.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert floats(data, data.train.inputs).mean().item() == pytest.approx(0.1307, abs=5e-5)  # the known mean


@needs_mnist
def test_fashion_mnist_is_the_published_one() -> None:
    data = load("fashion_mnist", "cpu")
    assert floats(data, data.train.inputs).mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert torch.bincount(data.test.targets).tolist() == [1000] * 10


def _fake_mnist(folder: Path) -> Path:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, size in FILES.items():
        (raw / name).write_bytes(bytes(size))
    return raw


def test_a_short_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _fake_mnist(tmp_path)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"short")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=r"train-\w+-idx\d-ubyte: damaged"):
        load("mnist", "cpu")


@needs_mnist
def test_a_changed_byte_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(Path(os.environ["HARNESS_DATA_DIR"]) / "MNIST" / "raw", raw)
    path = raw / "t10k-images-idx3-ubyte"
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte: damaged: its sha256"):
        load("mnist", "cpu")


def test_no_files_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MissingDataError, match="MNIST: neither in HARNESS_DATA_DIR nor in"):
        load("mnist", "cpu")
