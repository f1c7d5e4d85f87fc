"""How a study was done, in sentences made from the study file: the methods section of its report."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from harness import catalogue
from harness.catalogue import show
from harness.config import Config
from harness.figures import SIDE_BY_SIDE, difference
from harness.study.space import describe, describe_point
from harness.study.study import Study
from harness.study.variants import recipes

NOTHING: Mapping[str, str] = MappingProxyType({})


def methods(study: Study, environment: Mapping[str, str] = NOTHING) -> list[str]:
    """How it was done, in sentences made from the study file, and from what was found before the first trial."""
    config = study.config(study.levels[0], {})
    timeout = study.budget.trial_timeout
    return [
        _setting(study, config),
        *_lanes(environment),
        *_variants(study),
        *(_search(study) if study.is_searched else ()),
        *_defaults(study),
        *_known_points(study),
        *_bounded(study),
        *_widened(study),
        _stopping(study, config),
        *([f"A training that takes longer than {timeout:g} s has failed."] if timeout is not None else []),
        _confirmation(study),
        *_ablation(study),
        _statistics(study),
    ]


def _setting(study: Study, config: Config) -> str:
    fixed = ", ".join(f"{key} = {show(value)}" for key, value in study.fixed.items()) or "nothing beyond the defaults"
    data = "data set is" if study.datasets[:1] == study.datasets else "data sets are"
    return (
        f"The {data} {' and '.join(study.datasets)}, the model {study.model_words}; fixed: {fixed}. "
        f"{_images(study, config)}"
    )


def _variants(study: Study) -> Iterator[str]:
    """What each named variant sets and searches."""
    if not study.variants:
        return
    said = ". ".join(f'"{name}": {one}' for name, one in recipes(study))
    fixed = "The variants, over what is fixed and the defaults of all else"
    if not study.is_searched:
        yield f"{fixed}: {said}."
        return
    idle = ""
    if len(study.searching) < len(study.levels):
        idle = (
            " One that searches nothing has no trials: it is confirmed as it is, with the seeds of the others' winners."
        )
    yield (
        f"{fixed}, each with the hyperparameters that it searches: {said}. All that search have the same number of "
        f"searches and trials, however many hyperparameters these are shared by.{idle}"
    )


def _lanes(environment: Mapping[str, str]) -> Iterator[str]:
    """How layers were trained that no form by hand trains, where there were any."""
    if lanes := environment.get("lanes"):
        yield f"Of the networks that train together, found by trying two of them, stacked against each alone: {lanes}."


def _search(study: Study) -> tuple[str, str]:
    """What was searched how, and who won."""
    search, measure = study.search, study.measure
    space = "; ".join(f"{key} {describe(domain)}" for key, domain in study.tune.items())
    space = "its own space" if study.variants else space
    side = "highest" if measure.better == "higher" else "lowest"
    ties = "" if study.metric == "loss" else " (ties: the lower loss)"
    several = study.searches > 1
    searches = f"{study.searches} searches of its own" if several else "a search of its own"
    split = "split" if search.folds == 1 else "folds"
    each = (
        f", each with its own {split} and sampler, the same for all" if several else f", the {split} the same for all"
    )
    return (
        f"For each {_axis(study)} {searches}{each}: {_trials(study)} by Optuna's {search.sampler} sampler "
        f"(search.seed = {search.seed}) with the {search.pruner} pruner, over {space}. Search trials see training and "
        f"validation {study.things} only.{_folds(study)}",
        f"The winner{' of a search' if several else ''} is the finished trial with the {side} validation "
        f"{measure.words}{ties}.",
    )


def _folds(study: Study) -> str:
    """What a search trial is where it has folds."""
    search = study.search
    if search.folds == 1:
        return ""
    drawn = f", drawn {search.repeats} times," if search.repeats > 1 else ""
    whose = "a search" if study.searches > 1 else "the search"
    equal = ", with equal shares of each class" if catalogue.task(study.task or "classification").stratified else ""
    judged = " The pruner compares trials fold by fold." if study.is_judged_by_folds else ""
    return (
        f" A trial's figures are means over {search.folds} folds{drawn} of the {study.things} that are no test "
        f"{study.things}: parts of equal size{equal}, the same for all "
        f"trials of {whose} and all compared values. Each fold is held out by "
        f"one training, which stops by it and has a seed of its own.{judged}"
    )


def _defaults(study: Study) -> list[str]:
    """The first trial of every search, and how far it is from the defaults."""
    if not study.is_searched or study.seeding == "counted":
        return []
    if study.search.sampler == "grid":
        return ["The defaults are no trial of their own: a grid has all its points."]
    points = {level: study.default_point(level) for level in study.searching}
    if any(point is None for point in points.values()):
        return ["The defaults are no trial of the searches: not all of them are among the choices."]
    moved = dict.fromkeys(
        f"{key} = {show(value)} for {show(default)}"
        for level, point in (points if study.variants else dict([*points.items()][:1])).items()
        for key, value in (point or {}).items()
        if value != (default := study.config(level, {})[key])
    )
    near = f", or the nearest values of the space ({', '.join(moved)})" if moved else ""
    return [f"The first trial of every search is the defaults of all that is tuned{near}."]


def _ablation(study: Study) -> list[str]:
    """What else was trained with the seeds of the confirmations."""
    if not study.is_searched or not (study.budget.ablation or study.budget.confirm_defaults):
        return []
    text = (
        "The defaults, wherever the space lies, are trained with the seeds of each search's confirmations too; these "
        "runs choose nothing, and are in no other figure."
    )
    if study.budget.ablation:
        text += (
            " So is what lies between them and the winner: one tuned hyperparameter after the other takes the winner's "
            "value, those of higher importance first (equal ones, and all where importances are not known, in the "
            "study file's order; one that means something under a condition after what it depends on)."
        )
    return [text]


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
        f"{' Of a point a variant takes what its space holds.' if study.variants else ''}"
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
        f"Each {_axis(study)} is then trained with {study.budget.seeds} fresh seeds, the same for all{shared}; "
        f"{_varies(study)} vary with the seed.{_refit(study)} Only these runs read the test {study.things}, before and "
        f"after training{_each_epoch(study)}. All figures above are their means; "
        f"training {study.measure.words} is that of the final weights, "
        f"without dropout, on the training {study.things} or an even sample of them that is at least as large as "
        "the test set."
    )


def _each_epoch(study: Study) -> str:
    """What else is measured on test rows, and for what that is not used."""
    if not study.budget.test_each_epoch:
        return ""
    return (
        " and, for the course of training alone, after every epoch (budget.test_each_epoch): nothing is selected by "
        "these figures, neither when to stop, nor which weights are kept, nor who wins; their time is part of the "
        "training's"
    )


def _varies(study: Study) -> str:
    return "initialisation, order and dropout" if _is_refit(study) else "split, initialisation, order and dropout"


def _is_refit(study: Study) -> bool:
    return study.is_searched and study.search.refit == "all"


def _refit(study: Study) -> str:
    """What a winner is trained on, where that is not what it was searched with."""
    if not _is_refit(study):
        return ""
    who = "its folds, in the mean," if study.search.folds > 1 else "its search trial"
    return (
        f" It is trained on training and validation {study.things} together, nothing held out, for as many epochs as "
        f"{who} needed to be at the lowest validation loss."
    )


def _statistics(study: Study) -> str:
    """What intervals and tests are."""
    of = "the means of the searches, which are what is independent" if study.searches > 1 else "the seeds"
    matters, within, effects = "", "", ""
    if study.is_grid:
        within = " within the rows and within the columns of the grid"
        effects = " Main effects and interactions are tested likewise, as a family of their own."
    if study.matters is not None:
        matters = f" Differences below {_smallest(study)} are too small to matter."
    return (
        f"Intervals are Student's 95 % intervals over {of}. Differences are paired; p-values are those of the paired "
        f"t-test, Holm-corrected for all pairs{within}, and their intervals the simultaneous ones that belong to it."
        f"{effects}{matters}"
    )


def _smallest(study: Study) -> str:
    """The difference that matters, in a target's unit as the study file has it."""
    unit = study.measure.unit
    return f"{study.claim.matters:g} {unit.gap}".strip() if unit.significant else difference(study.matters or 0.0, unit)


def _axis(study: Study) -> str:
    keys = " and ".join(key.replace("_", " ") for key in study.axes)
    return f"combination of {keys}" if study.is_grid else keys


def _images(study: Study, config: Config) -> str:
    """Which images are trained on, held out and tested on, and what becomes of their pixels."""
    texts = [*_tested(study, config)]
    if study.is_searched and study.search.folds > 1:
        if not _is_refit(study):
            texts.append(f"Confirmations hold out {_held_out(study, config)}.")
    elif config.validation:
        texts.append(f"{_held_out(study, config).replace(' for', ' are held out for', 1)}.")
    else:
        texts.append(f"All training {study.things} are trained on; nothing is held out for validation.")
    become = _numbers(study, config) if study.things == "rows" else _pixels(study, config)
    return " ".join([*texts, become, *_targets(study, config)])


def _tested(study: Study, config: Config) -> Iterator[str]:
    """Which are for the test, where that is not the data set's own."""
    who = "search" if study.is_searched and study.seeding == "sequence" else "seed"
    splits = study.about[0].test_splits if study.about else 0
    if splits:
        yield (
            f"The test {study.things} of {splits} splits are given in {study.source.test_rows}: each {who} has the "
            "split of its number."
        )
    elif study.source.split_column:
        yield f"Column {study.source.split_column} says which {study.things} are for the test."
    elif config.split == "pooled":
        draws = "holds out" if who == "search" else "draws"
        share = f"{100 * config.test_fraction:.3g} %"
        yield f"Each {who} {draws} {share} of all {study.things} anew as its test {study.things}."


def _held_out(study: Study, config: Config) -> str:
    """Which are for validation."""
    stratify = study.things == "rows" if config.stratify is None else config.stratify
    is_shared = stratify and catalogue.task(study.task or "classification").stratified
    return (
        f"{100 * config.validation:.3g} % of the training {study.things} for validation"
        f"{', with equal shares of each class' if is_shared else ''}"
        f"{f', or those that column {name} gives' if (name := study.source.split_column) else ''}"
    )


def _chosen(study: Study, key: str) -> str:
    """How a hyperparameter has more than one value; empty where it has one."""
    of_variants = (variant.sets for variant in study.variants.values())
    if key in study.axes or any(key in sets for sets in of_variants):
        return "compared"
    return "tuned" if key in study.tuned else ""


def _numbers(study: Study, config: Config) -> str:
    """What becomes of a table's numbers."""
    scaled = {
        "standard": "are scaled to mean 0 and deviation 1",
        "quantile": "are mapped to a normal distribution by their ranks",
        "minmax": "are scaled to [0, 1]",
        "none": "are taken as they are",
    }
    how, learned = scaled[str(config.scaling)], config.scaling != "none"
    if chosen := _chosen(study, "scaling"):
        how, learned = f"become what scaling says, which is {chosen}", True
    return (
        f"Numbers {how}{', by the rows that a training sees alone' if learned else ''}; missing ones are replaced by "
        f"the median of {'these rows' if learned else 'the rows that a training sees'}, with an input that says so."
    )


def _targets(study: Study, config: Config) -> list[str]:
    """How numbers are learned."""
    if study.task != "regression":
        return []
    chosen = _chosen(study, "loss")
    loss = f"the loss that is {chosen}" if chosen else f"loss = {config.loss or 'mse'}"
    return [f"What is learned are standard scores of the training {study.things}, with {loss}."]


def _pixels(study: Study, config: Config) -> str:
    """What becomes of pixels."""
    pixels = {
        "scale": "are scaled to [0, 1]",
        "half": "are scaled to [0, 1], less 0.5, over 0.5",
        "standard": "are normalised to mean 0 and deviation 1 over the training images",
    }
    chosen = _chosen(study, "normalisation")
    return f"Pixels {f'become what normalisation says, which is {chosen}' if chosen else pixels[config.normalisation]}."


def _stopping(study: Study, config: Config) -> str:
    if not config.validation:
        return f"Every training takes {_values(study, 'epochs')} epochs; the weights of the last one are measured."
    which = "A search trial's training" if _is_refit(study) else "Training"
    return (
        f"{which} stops after {_values(study, 'patience')} epochs without a lower validation loss, at epoch "
        f"{_values(study, 'epochs')} at the latest; the weights of the lowest validation loss are kept and measured."
    )


def _values(study: Study, key: str) -> str:
    """A whole number, or those that the compared values have of it: "10", "10 or 20", "1 to 300"."""
    known = sorted({int(study.config(level, {})[key]) for level in study.levels})
    return " or ".join(map(str, known)) if len(known) <= SIDE_BY_SIDE else f"{known[0]} to {known[-1]}"
