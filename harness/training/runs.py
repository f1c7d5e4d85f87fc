"""Layers that follow one another and are computed together: where such a run begins and what belongs to it.

layers = in_runs(layers, Linear, continues, DenseRun)    # that do the same, with one layer in the place of each run
"""

from collections.abc import Callable, Sequence

from harness.training.layers import Layer


def in_runs(
    parts: Sequence[Layer],
    begins: type[Layer],
    continues: Callable[[Sequence[Layer], Layer], bool],
    kind: type[Layer],
) -> list[Layer]:
    """Layers that do the same. A run begins with a layer of the kind `begins`, and goes on with each for which
    `continues(run so far, layer)` holds; a layer of `kind`, of which they are the parts, takes its place.
    """
    runs: list[list[Layer]] = []  # what belongs to none is one of its own
    for part in parts:
        if runs and type(runs[-1][0]) is begins and continues(runs[-1], part):
            runs[-1].append(part)
        else:
            runs.append([part])
    return [_as_one(run, kind) if type(run[0]) is begins else run[0] for run in runs]


def _as_one(run: Sequence[Layer], kind: type[Layer]) -> Layer:
    first = run[0]
    return kind(first.like, first.models, {}, {}, {}, {}, first.memory, first.precision, run)
