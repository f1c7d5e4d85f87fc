"""Layers that follow one another and are computed together: where such a run begins and what belongs to it.

layers = in_runs(layers, begins, continues, made)    # the same, with `made(run)` in the place of each run
"""

from collections.abc import Callable, Sequence

from harness.training.layers import Layer


def in_runs(
    parts: Sequence[Layer],
    begins: type[Layer],
    continues: Callable[[Sequence[Layer], Layer], bool],
    made: Callable[[Sequence[Layer]], Layer],
) -> list[Layer]:
    """Layers that do the same. A run begins with a layer of the kind `begins`, and goes on with each for which
    `continues(run so far, layer)` holds.
    """
    found: list[Layer] = []
    run: list[Layer] = []
    for part in parts:
        if run and continues(run, part):
            run.append(part)
            continue
        found += [made(run)] if run else []
        run = [part] if type(part) is begins else []
        found += [] if run else [part]
    return found + ([made(run)] if run else [])
