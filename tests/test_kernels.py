"""Compiled code gives what torch gives, at every edge of its tiles, and the same bits however it is shared out."""

import errno
import math
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest
import torch
from torch import Tensor, nn

from harness.kernels import dense, entropy
from harness.kernels.compiled import compiled
from harness.kernels.products import NONE, product, transposed
from harness.kernels.tiles import LANES
from harness.parts import tasks
from harness.parts.models import Residual
from harness.training.dense import DenseRun
from harness.training.layers import Chain, Dropout
from harness.training.stack import Stack
from harness.training.step import whole

SIZES = (1, 3, LANES - 1, LANES, LANES + 1, 2 * LANES, 3 * LANES + 5)
GAP = 7.0  # what stands between and behind rows, and must stay there


def matrix(rows: int, columns: int, seed: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Random numbers with a gap behind each row; and where they are."""
    held = torch.full((rows, columns + 3), GAP)
    held[:, :columns] = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    return held, (held.data_ptr(), columns + 3, 1)


@pytest.mark.parametrize("rows", SIZES)
def test_products_are_torchs_at_every_edge_and_write_nothing_else(rows: int) -> None:
    for columns in SIZES:
        for terms in (1, 5, 256, 600):
            (left, one), (right, two), (start, three), (sums, four) = (
                matrix(*shape, seed)
                for seed, shape in enumerate([(rows, terms), (terms, columns), (1, columns), (rows, columns)])
            )
            product(one, two, (three[0], 0, 1), four, (rows, columns, terms), NONE)
            exact = left[:, :terms].double() @ right[:, :columns].double() + start[:, :columns].double()
            scale = left[:, :terms].double().abs() @ right[:, :columns].double().abs() + 1
            assert ((sums[:, :columns] - exact).abs() / scale).max() < 1e-6
            assert (sums[:, columns:] == GAP).all()
            turned = left[:, :terms].T.contiguous()  # the same factor, columns for rows
            again, place = matrix(rows, columns, 9)
            product((turned.data_ptr(), 1, rows), two, (three[0], 0, 1), place, (rows, columns, terms), NONE)
            assert torch.equal(again, sums)


def test_a_least_cuts_sums_off_but_not_what_is_no_number() -> None:
    left = torch.tensor([[1.0], [-1.0], [math.nan], [math.inf]])
    right, sums, start = torch.ones(1, 3), torch.empty(4, 3), torch.zeros(3)
    places = [(one.data_ptr(), width, 1) for one, width in ((left, 1), (right, 3), (start, 0), (sums, 3))]
    product(*places, (4, 3, 1), 0.0)
    assert sums[:, 0].tolist()[:2] + sums[:, 0].tolist()[3:] == [1.0, 0.0, math.inf]
    assert sums[2].isnan().all()


@pytest.mark.parametrize("rows", SIZES)
def test_transposed(rows: int) -> None:
    for columns in SIZES:
        (source, here), (target, there) = matrix(rows, columns, 0), matrix(columns, rows, 1)
        transposed(here, there, rows, columns)
        assert torch.equal(target[:, :rows], source[:, :columns].T)
        assert (target[:, rows:] == GAP).all()


def test_exponentials_are_exact_but_for_the_last_bit() -> None:
    logits = torch.zeros(1, 4000, 2)
    logits[0, :, 1] = -torch.linspace(0, 70, 4000)
    _, _, slope = entropy.cross_entropy(logits, torch.zeros(1, 4000, dtype=torch.int64))
    exact = logits[0].double().softmax(1)[:, 1] / 4000
    assert ((slope[0, :, 1] - exact).abs() / exact).max() < 4e-7


@pytest.mark.parametrize("shared", [True, False], ids=["one order", "an order each"])
def test_cross_entropy_is_torchs_with_ties_and_what_is_no_number(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = torch.Generator().manual_seed(0)
    logits = 20 * torch.randn(5, 33, 10, generator=chance)
    logits[0, 0], logits[0, 1, 3:] = 1.0, logits[0, 1, 2]  # the first of equals counts
    logits[1, 2, 1], logits[2, 3], logits[3, 4, 5] = math.nan, math.inf, -math.inf
    labels = torch.randint(0, 10, (1 if shared else 5, 33), generator=chance).expand(5, -1)
    ours = tasks.cross_entropy(logits, labels)
    monkeypatch.setattr(entropy, "fits", lambda logits: False)
    theirs = tasks.cross_entropy(logits, labels)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two.float(), rtol=1e-6, atol=1e-7, equal_nan=True)
    with pytest.raises(IndexError, match="a label is of no class"):
        entropy.cross_entropy(logits[..., :3].contiguous(), torch.full((5, 33), 3))


def networks(count: int, bias: bool = True, rates: Sequence[float] = (0.0, 0.2, 0.5)) -> list[nn.Module]:
    """Linear layers with everything that a run has, and layers that are none of it."""
    made: list[nn.Module] = []
    for seed in range(count):
        torch.manual_seed(seed)
        rate = rates[seed % len(rates)]
        made.append(
            nn.Sequential(
                *(nn.Linear(20, 33, bias=bias), nn.ReLU(), nn.Dropout(rate), nn.Linear(33, 16, bias=bias), nn.Tanh()),
                *(nn.Linear(16, 18, bias=bias), nn.Linear(18, 40, bias=bias), nn.ReLU(), nn.LayerNorm(40)),
                *(nn.Linear(40, 7, bias=bias),),
            )
        )
    return made


def passed(stack: Stack, x: Tensor, merged: bool = True) -> tuple[Tensor, Tensor]:
    """Outputs and gradient of a pass in training."""
    assert isinstance(stack.root, Chain)
    if not merged:
        stack.root.steps = stack.root.parts
    noise = [torch.Generator().manual_seed(seed) for seed in range(len(stack))]
    y = stack(x, noise).clone()
    return y, stack.backward(torch.sin(y)).clone()


@pytest.mark.parametrize("bias", [True, False], ids=["with bias", "without"])
@pytest.mark.parametrize("shape", [(1, 29, 20), (6, 29, 20), (6, 5, 3, 20)], ids=str)
def test_runs_do_what_their_layers_do(bias: bool, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    stack = Stack.of(networks(6, bias))
    assert isinstance(stack.root, Chain)
    assert [type(one).__name__ for one in stack.root.steps] == ["DenseRun", "Tanh", "DenseRun", "LayerNorm", "DenseRun"]
    for one, two in zip(passed(stack, x), passed(Stack.of(networks(6, bias)), x, merged=False), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_a_network_has_the_same_bits_in_any_stack_and_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 29, 20, generator=torch.Generator().manual_seed(0))
    rates = (0.0,)
    outputs, gradient = passed(Stack.of(networks(3, rates=rates)), x)
    for threads in (1, 2, 4):
        monkeypatch.setattr("harness.kernels.dense.threads_for", lambda work, count=threads: count)
        alone, its = passed(Stack.of(networks(3, rates=rates)[1:2]), x)
        assert torch.equal(alone[0], outputs[1])
        assert torch.equal(its[0], gradient[1])
        assert torch.equal(passed(Stack.of(networks(3, rates=rates)), x)[1], gradient)


def test_to_learn_at_once_is_to_learn_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 29, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 7, (1, 29), generator=torch.Generator().manual_seed(1)).expand(3, -1)
    plain = [nn.Sequential(nn.Linear(20, 33), nn.ReLU(), nn.Dropout(0.3), nn.Linear(33, 7)) for _ in range(3)]
    for threads in (1, 4):
        monkeypatch.setattr("harness.kernels.dense.threads_for", lambda work, count=threads: count)
        whole, parts = Stack.of(plain), Stack.of(plain)
        assert isinstance(whole.root, Chain)
        [run] = whole.root.steps
        assert isinstance(run, DenseRun)
        sums = torch.ones(2, 3)
        run.learn(x, labels, [torch.Generator().manual_seed(seed) for seed in range(3)], sums)
        outputs = parts(x, [torch.Generator().manual_seed(seed) for seed in range(3)])
        loss, hits, slope = entropy.cross_entropy(outputs, labels)
        assert torch.equal(sums, 1 + torch.stack([loss, hits]))
        assert torch.equal(whole.gradient, parts.backward(slope))


def test_a_run_refuses_rows_that_it_has_no_weights_for() -> None:
    stack = Stack.of(networks(2))
    with pytest.raises(ValueError, match="a layer of 20 inputs got 21"):
        stack(torch.zeros(1, 4, 21))


def test_a_run_refuses_slopes_that_it_would_misread() -> None:
    stack = Stack.of(networks(2))
    y = stack(torch.zeros(1, 4, 20))
    for slope in (torch.zeros(y.shape, dtype=torch.float64), torch.zeros(2, 3, 7)):
        with pytest.raises(ValueError, match="a layer of 7 outputs got slopes"):
            stack.backward(slope)


def test_a_network_around_which_an_identity_goes_is_more_than_its_run() -> None:
    task = object.__new__(tasks.Classification)
    task.smoothing = None
    assert whole(Stack.of([nn.Sequential(nn.Linear(6, 6))]), task) is not None
    assert whole(Stack.of([Residual(nn.Linear(6, 6))]), task) is None


def test_a_plan_holds_what_it_has_the_address_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that ask at once for the first time may get one each, of which the cache keeps the other."""
    made: list[weakref.ref[Any]] = []

    def forgotten(width: int) -> Any:
        zeros = np.zeros(width + 1, dtype=np.float32)
        made.append(weakref.ref(zeros))
        return zeros

    monkeypatch.setattr(dense, "known", forgotten)
    sharing = dense.Sharing(np.ones((1, dense.DX + 1), dtype=np.int64), 1, 1, 0, torch.empty(1, 1))
    assert made[0]() is sharing.zeros


def test_a_share_that_fails_waits_for_the_others() -> None:
    """They write into memory that is given back behind it."""
    sharing = dense.Sharing(np.ones((1, dense.DX + 1), dtype=np.int64), 2, 1, 0, torch.empty(2, 1))
    ended = []

    def share(models: tuple[int, int], *arguments: Any) -> None:
        if models[0] == 0:
            raise IndexError("a label is of no class")
        time.sleep(0.2)
        ended.append(models)

    with pytest.raises(IndexError, match="a label is of no class"):
        sharing.run(share, sharing.plan)
    assert ended == [(1, 2)]


def test_masks_are_drawn_as_dropout_draws_them() -> None:
    stack = Stack.of([nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5)) for _ in range(2)])
    noise = [torch.Generator().manual_seed(7) for _ in range(2)]
    outputs = stack(torch.ones(1, 3, 4), noise)
    [_, dropout] = stack.layers
    assert isinstance(dropout, Dropout)
    mask = dropout.masks.draw([torch.Generator().manual_seed(7) for _ in range(2)], (2, 3, 50))
    assert mask is not None
    assert torch.equal(outputs == 0, mask == 0)


def test_what_is_compiled_is_kept_for_the_next_process() -> None:
    held = torch.zeros(64)  # by a name: what is written to freed memory breaks the heap
    product(*[(held.data_ptr(), 1, 1)] * 4, (1, 1, 1), NONE)
    kept = Path(platformdirs.user_cache_dir("harness")) / "kernels"
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.nb?")}
    assert before
    lines = "import harness.training.step as step; from tests.test_kernels import product, NONE; import torch;"
    lines += "held = torch.zeros(64); product(*[(held.data_ptr(), 1, 1)] * 4, (1, 1, 1), NONE);"
    lines += "assert sum(product.stats.cache_hits.values()) == 1, product.stats"
    subprocess.run([sys.executable, "-c", lines], check=True, cwd=Path(__file__).parent.parent)
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.nb?")} == before


def first_one(place: int, values: Any) -> None:
    values[place] = 1.0


def test_a_full_disk_or_a_broken_file_costs_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.kernels.compiled._folder", lambda: str(tmp_path))
    values = np.zeros(1)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("numba.core.caching.IndexDataCacheFile._save_data", full)
        compiled(first_one)(0, values)
    assert values[0] == 1.0
    compiled(first_one)(0, values)
    [index] = tmp_path.rglob("*.nbi")
    index.write_bytes(b"")
    for hits in (0, 1):  # what was broken is kept anew
        made = compiled(first_one)
        made(0, values)
        assert sum(made.stats.cache_hits.values()) == hits
