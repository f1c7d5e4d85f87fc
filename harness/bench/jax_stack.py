"""JAX's fastest way of doing the same: the seeds of a depth by one `vmap`, an epoch in one `lax.scan`, all jitted.

The data lie on the device, batches are cut and shuffled there, and each epoch's figures are fetched once. The programs
are compiled before the time is taken; nothing is searched, tracked or kept.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.bench.plain import network_of
from harness.bench.work import Work
from harness.parts.data import Data, load
from harness.parts.preparing import Prepared, prepare

BETAS, EPS = (0.9, 0.999), 1e-8  # of Adam, as torch has them


def jax_stack(work: Work, device: torch.device) -> Callable[[], list[float]]:
    """All depths, one after the other."""
    data = load(work.dataset, "cpu")
    programs = [DepthProgram(work, depth, data) for depth in work.depths]

    def run() -> list[float]:
        return [figure for one in programs for figure in one.run()]

    return run


class DepthProgram:
    """The models of one depth, of all seeds, and an epoch of them, compiled."""

    def __init__(self, work: Work, depth: int, data: Data) -> None:
        import jax

        self.work, self.classes = work, bool(data.classes)
        seeds = range(work.seeds)
        networks = [network_of(work, depth, seed, data) for seed in seeds]
        layers = zip(*(network.modules() for network in networks), strict=True)
        self.first = [_parameters(alike) for alike in layers if isinstance(alike[0], nn.Linear)]
        parts = zip(*(data.split(seed, 0.2, stratified=data.is_table) for seed in seeds), strict=True)
        rows = [torch.stack(each) for each in parts]
        self.seen, shared = _seen(prepare(data, work.config(depth), rows[0]), work.seeds)
        self.train, self.held_out, self.tests = (jax.device_put(part.numpy().astype(np.int32)) for part in rows)
        self.compile(shared)

    def compile(self, shared: dict[str, int | None]) -> None:
        """Make programs of what follows; `shared` tells along which axis each model has its own."""
        import jax

        epoch = jax.jit(jax.vmap(self._epoch, (0, 0, shared, 0, 0)), donate_argnums=0)
        judge = jax.jit(jax.vmap(self._judge, (0, shared, 0)))
        state, keys = self.begin()
        self.epoch = epoch.lower(state, keys, self.seen, self.train, self.held_out).compile()
        self.judge = judge.lower(state[0], self.seen, self.tests).compile()

    def begin(self) -> tuple[Any, Any]:
        """Initial weights, Adam's moments and its count of steps; and a key for each seed's shuffles."""
        import jax
        import jax.numpy as jnp

        zeros = [tuple(np.zeros_like(one) for one in layer) for layer in self.first]
        count = jnp.zeros(self.work.seeds)
        keys = jax.vmap(jax.random.key)(jnp.arange(self.work.seeds))
        return jax.device_put((self.first, zeros, zeros, count)), keys

    def run(self) -> list[float]:
        """Train and test: the test figure of each seed."""
        import jax

        state, keys = self.begin()
        for number in range(self.work.epochs):
            now = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
            state, figures = self.epoch(state, now, self.seen, self.train, self.held_out)
            jax.device_get(figures)
        return [float(one) for one in self.judge(state[0], self.seen, self.tests)[1]]

    def _epoch(self, state: Any, key: Any, seen: Any, train: Any, held_out: Any) -> tuple[Any, Any]:
        """A model's epoch: its state, and the training loss, validation loss and figure."""
        import jax
        import jax.numpy as jnp

        size = self.work.batch_size
        whole = len(train) // size * size
        order = jax.random.permutation(key, train)

        def step(known: Any, batch: Any) -> tuple[Any, Any]:
            return self._step(known, *_cut(seen, batch))

        state, losses = jax.lax.scan(step, state, order[:whole].reshape(-1, size))
        total = size * jnp.sum(losses)
        if whole < len(train):
            state, last = step(state, order[whole:])
            total += last * (len(train) - whole)
        return state, (total / len(train), *self._judge(state[0], seen, held_out))

    def _step(self, state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        import jax
        import jax.numpy as jnp

        weights, means, squares, count = state
        loss, slopes = jax.value_and_grad(self._loss)(weights, x, y)
        count, each = count + 1.0, jax.tree.map
        if self.work.optimizer == "sgd":
            return (each(lambda one, slope: one - self.work.lr * slope, weights, slopes), means, squares, count), loss
        means = each(lambda mean, slope: BETAS[0] * mean + (1 - BETAS[0]) * slope, means, slopes)
        squares = each(lambda mean, slope: BETAS[1] * mean + (1 - BETAS[1]) * slope * slope, squares, slopes)
        rate, root = self.work.lr / (1 - BETAS[0] ** count), jnp.sqrt(1 - BETAS[1] ** count)
        weights = each(
            lambda one, mean, square: one - rate * mean / (jnp.sqrt(square) / root + EPS), weights, means, squares
        )
        return (weights, means, squares, count), loss

    def _loss(self, weights: Any, x: Any, y: Any) -> Any:
        import jax
        import jax.numpy as jnp

        x = _outputs(weights, x)
        if not self.classes:
            return jnp.mean((x - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1))

    def _judge(self, weights: Any, seen: Any, rows: Any) -> tuple[Any, Any]:
        """Loss, and accuracy or R2."""
        import jax.numpy as jnp

        x, y = _cut(seen, rows)
        loss = self._loss(weights, x, y)
        if not self.classes:
            return loss, 1.0 - loss / jnp.var(y)
        return loss, jnp.mean(jnp.argmax(_outputs(weights, x), 1) == y)


def _outputs(weights: Any, x: Any) -> Any:
    import jax

    *hidden, (weight, bias) = weights
    for one, two in hidden:
        x = jax.nn.relu(x @ one.T + two)
    return x @ weight.T + bias


def _parameters(layers: Sequence[Any]) -> tuple[Any, Any]:
    """Weights (K, O, D) and biases (K, O) of a layer of each network."""
    weights, biases = ([getattr(one, name).detach().numpy() for one in layers] for name in ("weight", "bias"))
    return np.stack(weights), np.stack(biases)


def _seen(seen: Prepared, models: int) -> tuple[dict[str, Any], dict[str, int | None]]:
    """What the models see, on the device, and along which axis each has its own."""
    import jax

    own = seen.first is not None
    known = {"inputs": seen.inputs.numpy(), "targets": seen.targets.numpy()}
    if own:
        known["inputs"] = known["inputs"].reshape(models, -1, seen.inputs.shape[1])
    pairs = {"inputs": seen.affine, "targets": seen.unit}
    for name, pair in pairs.items():
        for what, value in zip(("factor", "offset"), pair or (), strict=bool(pair)):
            known[f"{name} {what}"] = np.broadcast_to(value.numpy()[:, 0], (models, value.shape[2]))
    shared = {name: 0 if " " in name or (own and name == "inputs") else None for name in known}
    return jax.device_put(known), shared


def _cut(seen: dict[str, Any], rows: Any) -> tuple[Any, Any]:
    """A batch: inputs as the models see them, and targets."""
    x, y = seen["inputs"][rows].astype("float32"), seen["targets"][rows]
    if "inputs factor" in seen:
        x = x * seen["inputs factor"] + seen["inputs offset"]
    if "targets factor" in seen:
        y = (y - seen["targets offset"]) / seen["targets factor"]
    return x, y
