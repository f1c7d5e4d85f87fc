"""What only the data can tell of a study: its task, and with it the metric that is meant where none is said.

study = settled(study, about)       # once its data has been loaded; `Study.about` are facts from then on
study = settled_as(study, then)     # by what its journal has settled
"""

from collections.abc import Iterator, Sequence

from harness import catalogue
from harness.catalogue import RATIO, SHARE, Measure, Task
from harness.errors import UserError, listed, one_of
from harness.study.published import Quoted
from harness.study.space import ends
from harness.study.study import About, Study, place_of_variant

OF_CLASSES = ("label_smoothing", "class_weight", "stratify")
"""Hyperparameters that mean nothing to a regression."""


def settled(study: Study, about: Sequence[About]) -> Study:
    """The study with its task, its metric, and what is known of each of its data sets. Raises UserError where these
    have several tasks, or the study says what does not fit the one that they have.
    """
    first, *others = about
    for other in others:
        if other.task != first.task:
            raise UserError(
                f"compare.dataset: all must have one task; of {first.name} it is {first.task}, of {other.name} "
                f"{other.task}"
            )
    if study.task not in ("", first.task):
        raise UserError(f"task: {first.name} is learned by {first.task}, got {study.task!r}")
    known = study.model_copy(update={"task": first.task, "about": tuple(about)})
    check_task(known)
    known = known if known.metric else known.model_copy(update={"metric": catalogue.task(first.task).metric})
    check_reach(known)
    return known


def settled_as(study: Study, then: Study) -> Study:
    """A study whose data has not been loaded now, with what was known of it when its journal was written."""
    task = study.task or then.task
    metric = study.metric or catalogue.task(task).metric
    return study.model_copy(update={"task": task, "metric": metric, "about": study.about or then.about})


def uses(study: Study, key: str) -> Iterator[tuple[str, object]]:
    """The values that a study gives a hyperparameter, each with where it stands; of a range its ends."""
    if key in study.axes:
        yield from ((f"compare.{key}", value) for value in study.compared[key])
    for name, variant in study.variants.items():
        where = place_of_variant(name)
        if key in variant.sets:
            yield f"{where}.{key}", variant.sets[key]
        if key in variant.tune:
            yield from ((f"{where}.tune.{key}", value) for value in ends(variant.tune[key]))
    if key in study.fixed:
        yield f"fixed.{key}", study.fixed[key]
    if key in study.tune:
        yield from ((f"tune.{key}", value) for value in ends(study.tune[key]))


def implied_task(study: Study) -> str:
    """The task that metric or losses imply; empty where they fit several."""
    said = [catalogue.measure(study.metric).tasks] if study.metric else []
    for _, loss in uses(study, "loss"):
        said.append(tuple(name for name in catalogue.names("task") if loss in catalogue.task(name).losses))
    return next((tasks[0] for tasks in said if len(tasks) == 1), "")


def check_task(study: Study) -> None:
    """What the study says must fit its task. Raises UserError."""
    task = catalogue.task(study.task)
    if study.metric and study.metric not in task.measures:
        raise UserError(
            f"metric: {study.metric!r} is not measured in a {task.name}; {one_of(study.metric, task.measures)}"
        )
    for where, loss in uses(study, "loss"):
        if loss not in task.losses:
            raise UserError(f"{where}: a {task.name} minimises one of {listed(task.losses)}, got {loss!r}")
    _check_what_it_lacks(study, task)
    for quoted in study.published.quoted() if study.published else ():
        _check_measured(study, task, quoted)


def _check_measured(study: Study, task: Task, quoted: Quoted) -> None:
    """A published figure must be one that is measured: after each epoch few are."""
    images, _, measure = quoted.name.partition("_")
    each_epoch = dict.fromkeys((*task.running, study.metric or task.metric))
    if quoted.after and (images not in ("val", "test") or measure not in each_epoch):
        names = listed(f"{one}_{name}" for one in ("val", "test") for name in each_epoch)
        raise UserError(f"published.{quoted.where}: what is measured after each epoch is {names}")
    if (of := catalogue.figure(quoted.name).measure) and of not in task.measures:
        raise UserError(f"published.{quoted.where}: a {task.name} has {listed(task.measures)}")


def check_published(study: Study) -> None:
    """There must be a figure for each compared value, and test figures after an epoch want to be measured then. Raises
    UserError.
    """
    for quoted in study.published.quoted() if study.published else ():
        for of, values in (("", quoted.values), ("deviation.", quoted.deviations)):
            if len(values) != len(study.levels):
                raise UserError(
                    f"published.{quoted.where.removesuffix(quoted.name)}{of}{quoted.name}: must hold one figure for "
                    f"each of the {len(study.levels)} compared values, got {len(values)}"
                )
        if quoted.after and quoted.name.startswith("test_") and not study.budget.test_each_epoch:
            raise UserError(
                f"published.{quoted.where}: test figures are measured after each epoch only with [budget] "
                "test_each_epoch = true"
            )


def check_reach(study: Study) -> None:
    """A target must be one that figures can have, once the metric is known, and that confirmations measure. Raises
    UserError.
    """
    if study.claim.reach is None:
        return
    got = f"got {study.claim.reach:g}"
    if study.is_searched and study.search.refit == "all":
        raise UserError(f"claim.reach: is of validation figures, and search.refit = 'all' holds nothing out, {got}")
    for level in study.levels:
        if not study.held_out(study.config(level, {})):
            raise UserError(f"claim.reach: is of validation figures, and validation = 0 holds nothing out, {got}")
    if study.metric:
        _check_target(study.measure, study.claim.reach)


def _check_target(measure: Measure, reach: float) -> None:
    """Whether a figure of that measure can be so, in its unit; a share that is meant in percent is told."""
    unit, got = measure.unit, f"got {reach:g}"
    if unit is SHARE and measure.better == "higher" and 0 < reach <= 1:
        raise UserError(f"claim.reach: {measure.words} is in percent, as tables show it: {100 * reach:g}, {got}")
    if unit in (SHARE, RATIO) and reach > unit.factor:
        raise UserError(
            f"claim.reach: {measure.words} is at most {unit.factor:g}{unit.symbol and ' '}{unit.symbol}, {got}"
        )
    if unit is not RATIO and reach <= 0:
        raise UserError(f"claim.reach: {measure.words} must be above 0, {got}")


def _check_what_it_lacks(study: Study, task: Task) -> None:
    """Hyperparameters that have no effect: they would be columns of a table that say nothing."""
    if not task.stratified:
        for key in OF_CLASSES:
            for where, _ in uses(study, key):
                raise UserError(f"{where}: is of classes, and this is a {task.name}")
    elif study.source.unit:
        raise UserError(f"unit: is of numbers that are learned, and this is a {task.name}, got {study.source.unit!r}")
