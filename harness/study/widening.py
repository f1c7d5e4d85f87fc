"""Which edits of a space only widen it, so that the trials there are stay trials of it.

    widened(now, then)                          # {"lr": Range(...)}, what it was

A range with other ends further out and a choice with more values hold all that the old ones held. Whatever else changes
about a tuned hyperparameter (its scale, its steps, what it depends on) would make another question of it, and one that
is tuned only now has no value in the trials there are.
"""

from harness.study.space import Choice, Range, holds
from harness.study.study import Study


def widened(now: Study, then: Study) -> dict[str, Choice | Range]:
    """The hyperparameters whose domains were widened since, with what they were. Never of a grid, whose points are
    counted.
    """
    if now.search.sampler == "grid":
        return {}
    both = {key: (now.tune[key], domain) for key, domain in then.tune.items() if key in now.tune}
    return {key: old for key, (new, old) in both.items() if is_wider(new, old)}


def is_wider(new: Choice | Range, old: Choice | Range) -> bool:
    """Whether a domain holds all that another held, and more."""
    if new == old or new.when != old.when:
        return False
    if isinstance(new, Choice) or isinstance(old, Choice):
        return isinstance(new, Choice) and isinstance(old, Choice) and set(new.values) > set(old.values)
    ends = holds(new, old.low) and holds(new, old.high)
    return ends and (new.log, new.step) == (old.log, old.step)
