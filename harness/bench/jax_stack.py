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
from harness.bench.stacks import Case, Epochs
from harness.bench.work import Work
from harness.config import Config
from harness.parts.data import Data, Parts
from harness.parts.models import build
from harness.parts.preparing import Prepared, prepare

BETAS, EPS = (0.9, 0.999), 1e-8  # of Adam, as torch has them
PRECISION = {"fp32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}
"""What JAX calls the precision of products."""


def jax_stack(work: Work, device: torch.device) -> Callable[[], list[float]]:
    """All depths, one after the other."""
    data, seeds = work.load("cpu"), range(work.seeds)
    rows = [data.split(seed, 0.2, stratified=data.is_table) for seed in seeds]
    programs = [
        StackProgram(work.config(depth), [network_of(work, depth, seed, data) for seed in seeds], data, rows)
        for depth in work.depths
    ]

    def run() -> list[float]:
        return [figure for one in programs for figure in one.run()]

    return run


def stacked(case: Case, device: torch.device) -> Epochs:
    """An epoch of the networks of a case, without validation; the mean training loss."""
    import jax

    jax.config.update("jax_platforms", "cuda" if device.type == "cuda" else "cpu")
    jax.config.update("jax_default_matmul_precision", PRECISION[case.precision])
    data, config = case.data(torch.device("cpu")), case.config
    networks = [build(config, data.shape, data.outputs, seed) for seed in range(case.size)]
    program = StackProgram(config, networks, data, [data.split(seed, 0.0) for seed in range(case.size)])
    state, keys = program.begin()

    def epoch() -> float:
        nonlocal state
        state, figures = program.epoch(state, keys, program.seen, program.train, program.held_out)
        return float(figures[0].mean())

    return epoch


class StackProgram:
    """Networks of one structure, their rows, and an epoch of them, compiled."""

    def __init__(self, config: Config, networks: Sequence[nn.Module], data: Data, rows: Sequence[Parts]) -> None:
        import jax

        self.config, self.classes, self.models = config, bool(data.classes), len(networks)
        self.layers, self.shape = [*networks[0].children()], data.shape
        alike = zip(*(network.children() for network in networks), strict=True)
        self.first = [_parameters(each) for each in alike if isinstance(each[0], nn.Linear | nn.Conv2d)]
        every = [torch.stack(part) for part in zip(*rows, strict=True)]
        self.seen, shared = _seen(prepare(data, config, every[0]), self.models)
        self.train, self.held_out, self.tests = (jax.device_put(part.numpy().astype(np.int32)) for part in every)
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
        count = jnp.zeros(self.models)
        keys = jax.vmap(jax.random.key)(jnp.arange(self.models))
        return jax.device_put((self.first, zeros, zeros, count)), keys

    def run(self) -> list[float]:
        """Train and test: the test figure of each seed."""
        import jax

        state, keys = self.begin()
        for number in range(int(self.config.epochs)):
            now = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
            state, figures = self.epoch(state, now, self.seen, self.train, self.held_out)
            jax.device_get(figures)
        return [float(one) for one in self.judge(state[0], self.seen, self.tests)[1]]

    def _epoch(self, state: Any, key: Any, seen: Any, train: Any, held_out: Any) -> tuple[Any, Any]:
        """A model's epoch: its state, and the training loss, validation loss and figure."""
        import jax
        import jax.numpy as jnp

        size = int(self.config.batch_size)
        whole = len(train) // size * size
        order = jax.random.permutation(key, train)

        def step(known: Any, batch: Any) -> tuple[Any, Any]:
            return self._step(known, *_cut(seen, batch))

        state, losses = jax.lax.scan(step, state, order[:whole].reshape(-1, size))
        total = size * jnp.sum(losses)
        if whole < len(train):
            state, last = step(state, order[whole:])
            total += last * (len(train) - whole)
        judged = self._judge(state[0], seen, held_out) if len(held_out) else (jnp.nan, jnp.nan)
        return state, (total / len(train), *judged)

    def _step(self, state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        import jax
        import jax.numpy as jnp

        weights, means, squares, count = state
        loss, slopes = jax.value_and_grad(self._loss)(weights, x, y)
        count, each = count + 1.0, jax.tree.map
        if self.config.optimizer == "sgd":
            return (each(lambda one, slope: one - self.config.lr * slope, weights, slopes), means, squares, count), loss
        means = each(lambda mean, slope: BETAS[0] * mean + (1 - BETAS[0]) * slope, means, slopes)
        squares = each(lambda mean, slope: BETAS[1] * mean + (1 - BETAS[1]) * slope * slope, squares, slopes)
        rate, root = self.config.lr / (1 - BETAS[0] ** count), jnp.sqrt(1 - BETAS[1] ** count)
        weights = each(
            lambda one, mean, square: one - rate * mean / (jnp.sqrt(square) / root + EPS), weights, means, squares
        )
        return (weights, means, squares, count), loss

    def _loss(self, weights: Any, x: Any, y: Any) -> Any:
        import jax
        import jax.numpy as jnp

        x = self._outputs(weights, x)
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
        return loss, jnp.mean(jnp.argmax(self._outputs(weights, x), 1) == y)

    def _outputs(self, weights: Any, x: Any) -> Any:
        import jax
        import jax.numpy as jnp

        known = iter(weights)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                weight, bias = next(known)
                x = x @ weight.T + bias
            elif isinstance(layer, nn.Conv2d):
                weight, bias = next(known)
                x = jax.lax.conv(x, weight, layer.stride, "VALID") + bias[:, None, None]
            elif isinstance(layer, nn.MaxPool2d):
                window = (1, 1, layer.kernel_size, layer.kernel_size)
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
            elif isinstance(layer, nn.ReLU):
                x = jax.nn.relu(x)
            elif isinstance(layer, nn.Unflatten | nn.Flatten):
                x = x.reshape(len(x), *(self.shape if isinstance(layer, nn.Unflatten) else (-1,)))
        return x


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
