"""Which edits of a space only widen it, so that the trials there are stay trials of it.

    widened(now, then)                          # {"lr": Range(...)}, what it was

A range with other ends further out and a choice with more values hold all that the old ones held. Whatever else changes
about a tuned hyperparameter (its scale, its steps, what it depends on) would make another question of it, and one that
is tuned only now has no value in the trials there are.
"""

from harness.study import toml
from harness.study.space import Choice, Range, Space, holds
from harness.study.study import Study


def widened(now: Study, then: Study) -> dict[str, Choice | Range]:
    """The hyperparameters whose domains were widened since, with what they were; those of a variant's own space have
    its name before them. Never of a grid, whose points are counted.
    """
    found: dict[str, Choice | Range] = dict(_widened(now, now.tune, then.tune))
    for name, old in then.variants.items():
        if name in now.variants:
            own = _widened(now, now.variants[name].tune, old.tune)
            found |= {f"variant.{toml.key(name)}.{key}": domain for key, domain in own.items()}
    return found


def as_wide(then: Study, now: Study) -> Study:
    """A study as it was, with the domains that were widened since."""
    tune = {**then.tune, **{key: now.tune[key] for key in _widened(now, now.tune, then.tune)}}
    variants = dict(then.variants)
    for name, old in then.variants.items():
        if name in now.variants:
            new = now.variants[name].tune
            wider = {key: new[key] for key in _widened(now, new, old.tune)}
            variants[name] = old.model_copy(update={"tune": {**old.tune, **wider}})
    return then.model_copy(update={"tune": tune, "variants": variants})


def _widened(now: Study, new: Space, old: Space) -> Space:
    """Of two spaces the domains of the old one that the new one holds and exceeds."""
    if now.search.sampler == "grid":
        return {}
    return {key: domain for key, domain in old.items() if key in new and is_wider(new[key], domain)}


def is_wider(new: Choice | Range, old: Choice | Range) -> bool:
    """Whether a domain holds all that another held, and more."""
    if new == old or new.when != old.when:
        return False
    if isinstance(new, Choice) or isinstance(old, Choice):
        return isinstance(new, Choice) and isinstance(old, Choice) and set(new.values) > set(old.values)
    ends = holds(new, old.low) and holds(new, old.high)
    return ends and (new.log, new.step) == (old.log, old.step)
