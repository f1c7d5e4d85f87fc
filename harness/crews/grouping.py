"""Which trials train together, and how much work that is.

groups = group_trials(trials, data)          # as many in a group as the processor's cache or the GPU bears
by_cost(groups, {data.name: data})           # the longest first
"""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise

from harness.config import Config
from harness.crews.schedule import Group
from harness.parts.data import Data
from harness.parts.models import likeness, operations
from harness.trial import Trial

MOST = {"cpu": 16, "cuda": 64}  # trials; on a CPU more save little, and a kill costs what its group has done
FOLDED = 2  # times as many, where they are folds: then those of a generation of four trials train together
COPIES = 1_000_000_000  # bytes that a group's copies of a table may take
CACHE = 1_700_000  # bytes that a group's batch of inputs may take of a core's cache, on a CPU
SMALL = 3e7  # operations of a step's forward pass, below which one thread is as fast as two


def group_trials(trials: Sequence[Trial], data: Data, size: int | None = None) -> list[list[Trial]]:
    """Trials grouped by what can be trained together, in the order in which they came; at most `size` in a group.

    The folds of a trial, which come one after the other, stay together, even where they are more: it is judged by all.
    """
    alike: dict[object, list[Trial]] = {}
    for trial in trials:
        like = likeness(trial.config.shape, data.shape, data.outputs)
        alike.setdefault((trial.stage, like), []).append(trial)
    groups = []
    for members in alike.values():
        whole = _whole(members)
        count = -(-len(whole) // max(1, (size or group_size(members[0], data)) // len(whole[0])))
        most, larger = divmod(len(whole), count)  # as even as can be: two workers then end at the same time
        ends = [number * most + min(number, larger) for number in range(count + 1)]
        groups += [[*chain(*whole[start:end])] for start, end in pairwise(ends)]
    return groups


def _whole(members: Sequence[Trial]) -> list[list[Trial]]:
    """The trainings of each trial together: its folds, or itself."""
    trials: list[list[Trial]] = []
    for member in members:
        if member.fold and member.fold.number and trials:
            trials[-1].append(member)
        else:
            trials.append([member])
    return trials


def group_size(trial: Trial, data: Data) -> int:
    """How many trainings of this shape are best trained together: as many as the processor's cache or the GPU bears."""
    most = MOST["cuda" if data.inputs.is_cuda else "cpu"] * (FOLDED if trial.fold else 1)
    if data.is_table:
        most = max(1, min(most, COPIES // (4 * data.inputs.numel())))
    if data.inputs.is_cuda:
        return most
    fitting = CACHE // (4 * int(trial.config.batch_size) * data.features)
    return max(1, min(most, fitting))


def by_cost(groups: Sequence[Group], data: Mapping[str, Data]) -> list[Group]:
    """The same, the longest first, so that none is left alone at the end."""

    def cost(group: Group) -> float:
        config, mine = group[0].config, data[group[0].config.dataset]
        return float(len(group) * int(config.epochs) * forward_work(config, mine) * len(mine.train))

    return sorted(groups, key=cost, reverse=True)


def forward_work(config: Config, data: Data) -> int:
    """The operations of a network's forward pass of one image."""
    return operations(config.shape, data.shape, data.outputs)


def is_small(trial: Trial, data: Mapping[str, Data]) -> bool:
    """Whether a step is too small to gain from several threads."""
    mine = data[trial.config.dataset]
    return int(trial.config.batch_size) * forward_work(trial.config, mine) < SMALL
