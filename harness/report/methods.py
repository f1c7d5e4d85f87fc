"""How a study was done, in sentences made from the study file: the methods section of its report."""

from collections.abc import Iterator

from harness.catalogue import show
from harness.config import Config
from harness.figures import difference
from harness.study.space import describe, describe_point
from harness.study.study import Study


def methods(study: Study) -> list[str]:
    """How it was done, in sentences made from the study file."""
    config = study.config(study.levels[0], {})
    timeout = study.budget.trial_timeout
    return [
        _setting(study, config),
        *(_search(study) if study.tune else ()),
        *_known_points(study),
        *_bounded(study),
        *_widened(study),
        _stopping(config),
        *([f"A training that takes longer than {timeout:g} s has failed."] if timeout is not None else []),
        _confirmation(study),
        _statistics(study),
    ]


def _setting(study: Study, config: Config) -> str:
    fixed = ", ".join(f"{key} = {show(value)}" for key, value in study.fixed.items()) or "nothing beyond the defaults"
    data = "data set is" if study.datasets[:1] == study.datasets else "data sets are"
    return (
        f"The {data} {' and '.join(study.datasets)}, the model {study.model}; fixed: {fixed}. {_images(study, config)}"
    )


def _search(study: Study) -> tuple[str, str]:
    """What was searched how, and who won."""
    search, measure = study.search, study.measure
    space = "; ".join(f"{key} {describe(domain)}" for key, domain in study.tune.items())
    side = "highest" if measure.better == "higher" else "lowest"
    ties = "" if study.metric == "loss" else " (ties: the lower loss)"
    several = study.searches > 1
    searches = f"{study.searches} searches of its own" if several else "a search of its own"
    each = ", each with its own split and sampler, the same for all" if several else ", the split the same for all"
    return (
        f"For each {_axis(study)} {searches}{each}: {_trials(study)} by Optuna's {search.sampler} sampler "
        f"(search.seed = {search.seed}) with the {search.pruner} pruner, over {space}. Search trials see training and "
        "validation images only.",
        f"The winner{' of a search' if several else ''} is the finished trial with the {side} validation "
        f"{measure.words}{ties}.",
    )


def _known_points(study: Study) -> Iterator[str]:
    """What every search began with."""
    if not study.points:
        return
    origin = ""
    if study.found:
        number = "one" if len(study.found) == 1 else str(len(study.found))
        last = f"the last {number}" if study.search.first else "all"
        origin = f" ({last} chosen by {study.search.earlier} before this study began)"
    several = f"{len(study.points)} known points, in this order" if len(study.points) > 1 else "one known point"
    given = "; ".join(map(describe_point, study.points))
    yield (
        f"Every search of every {_axis(study)} begins with {several}{origin}: {given}. "
        "The sampler draws what they leave open."
    )


def _bounded(study: Study) -> Iterator[str]:
    """What a trial must keep to."""
    if study.constraint.parameters is not None:
        yield (
            f"A trial has {study.constraint.parameters.words()} weights. What is proposed and has not is infeasible: "
            "it is not trained and counts as no trial, the sampler is told and proposes anew; so all values have the "
            "same number of trials that can win."
        )


def _widened(study: Study) -> Iterator[str]:
    """What an edit has added to the space, and when."""
    if study.widened:
        yield f"The space was widened while the study ran, for all values alike: {'; '.join(study.widened)}."


def _trials(study: Study) -> str:
    """How many trials a search has, and what said so."""
    minutes = study.budget.minutes
    if minutes is None:
        return f"{study.trials} trials"
    time = f"{minutes:g} minutes, the confirmations included"
    if study.spent is None:
        return f"as many trials as there is time for within {time}, at most {study.trials}, the same number for all,"
    return f"{study.spent} trials, the same number for all and what there was time for within {time},"


def _confirmation(study: Study) -> str:
    shared = f", shared out among the {study.searches} winners" if study.searches > 1 else ""
    return (
        f"Each {_axis(study)} is then trained with {study.budget.seeds} fresh seeds, the same for all{shared}; split, "
        "initialisation, order and dropout vary with the seed. Only these runs read the test images, before and after "
        f"training. All figures above are their means; training {study.measure.words} is that of the final weights, "
        "without dropout, on the training images or an even sample of them that is at least as large as the test set."
    )


def _statistics(study: Study) -> str:
    """What intervals and tests are."""
    of = "the means of the searches, which are what is independent" if study.searches > 1 else "the seeds"
    matters = ""
    if study.matters is not None:
        matters = f" Differences below {difference(study.matters, study.measure.unit)} are too small to matter."
    return (
        f"Intervals are Student's 95 % intervals over {of}. Differences are paired; p-values are those of the paired "
        "t-test, Holm-corrected for all pairs, and their intervals the simultaneous ones that belong to it."
        f"{matters}"
    )


def _axis(study: Study) -> str:
    return study.axis.replace("_", " ")


def _images(study: Study, config: Config) -> str:
    """Which images are trained on, held out and tested on, and what becomes of their pixels."""
    texts = []
    if config.split == "pooled":
        who = "search holds out" if study.tune and study.seeding == "sequence" else "seed draws"
        texts.append(f"Each {who} {100 * config.test_fraction:.3g} % of all images anew as its test images.")
    if config.validation:
        texts.append(f"{100 * config.validation:.3g} % of the training images are held out for validation.")
    else:
        texts.append("All training images are trained on; nothing is held out for validation.")
    pixels = {
        "scale": "are scaled to [0, 1]",
        "half": "are scaled to [0, 1], less 0.5, over 0.5",
        "standard": "are normalised to mean 0 and deviation 1 over the training images",
    }
    return " ".join([*texts, f"Pixels {pixels[config.normalisation]}."])


def _stopping(config: Config) -> str:
    if not config.validation:
        return f"Every training takes {config.epochs} epochs; the weights of the last one are measured."
    return (
        f"Training stops after {config.patience} epochs without a lower validation loss, at epoch {config.epochs} at "
        "the latest; the weights of the lowest validation loss are kept and measured."
    )
