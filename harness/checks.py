"""What only the data and built networks can tell: checked before the first trial.

check_data(study, data)
check_folds(study, data)
check_models(study, data)
check_windows(study, data)
lanes(study, data)            # {"Wide": "all networks of a stack at once, by torch.vmap"}
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from harness import catalogue
from harness.catalogue import OwnModel
from harness.config import Config
from harness.errors import UserError, listed
from harness.parts.data import Data
from harness.parts.folds import rarest
from harness.parts.models import build, check_behaviour, check_passes, image_sizes, input_shape
from harness.parts.own import told
from harness.parts.preparing import prepare
from harness.study.settle import uses
from harness.study.space import Space, ends
from harness.study.study import Study
from harness.training.cohort import NOISE, generator, is_stratified, searchable, split_of
from harness.training.feed import Feed
from harness.training.lanes import TRIED, Opaque
from harness.training.layers import Layer
from harness.training.stack import Stack
from harness.trial import Trial

MILDEST: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("kernel", "pool", "stride", "convs_per_pool"), lambda value: value),
    "channels": len,
    "padding": lambda value: value != "same",
}
"""Hyperparameters that say what is left of an image behind convolutions, and which of two values leaves more: the
smaller by this."""
FEWEST = 2  # rows of a class that is shared out to training and validation
CORNERS = 64  # of the space of an own model's hyperparameters, that are tried of each level
WORDS = {"general": "all networks of a stack at once, by torch.vmap", "each": "one network after the other"}


OF_IMAGES = ("normalisation", "augment_shift", "augment_flip", "augment_crop")
"""Hyperparameters that have no effect on a table."""


def check_data(study: Study, data: Mapping[str, Data]) -> None:
    """The data must be what the study wants, and large enough for its splits. Raises UserError."""
    for one in data.values():
        _check_kind(study, one)
    _check_scaling(study, data)
    seen: set[tuple[object, ...]] = set()
    for level in study.levels:
        for config in _splits(study.space(level), study.config(level, {})):
            key = (config.dataset, config.split, config.test_fraction, config.validation, config.stratify)
            if key not in seen:
                held_out = config if study.search.folds == 1 else study.refitted(config, 1)  # folds hold out their own
                _check_sizes(study, study.confirmation(level, 0, 0, held_out), data[config.dataset])
            seen.add(key)


def _check_kind(study: Study, data: Data) -> None:
    """The model must take such data, and no hyperparameter say what the data says itself."""
    if data.is_table and (study.model == "cnn" or (study.own and study.own.shaped)):
        raise UserError(f"model: {study.model_words} wants images, and {data.name} has rows of a table")
    for where, value in uses(study, "validation"):
        if data.validation and value:
            raise UserError(
                f"{where}: has no effect: {data.name} says which of its rows are for validation; leave it out"
            )


def _check_scaling(study: Study, data: Mapping[str, Data]) -> None:
    """Tables are scaled, images normalised and augmented: a choice must have an effect on one of the data sets."""
    names = listed(data)
    if not any(one.is_table for one in data.values()):
        for where, _ in uses(study, "scaling"):
            raise UserError(f"{where}: {names} has images; normalisation scales them")
    if all(one.is_table for one in data.values()):
        for key in OF_IMAGES:
            for where, _ in uses(study, key):
                instead = "; scaling scales them" if key == "normalisation" else ""
                raise UserError(f"{where}: {names} has rows of a table, no images{instead}")


def _splits(space: Space, config: Config) -> Iterator[Config]:
    """A level's config with every way to split that the search may choose, at the ends of its domains."""
    tuned = {key: ends(space[key]) for key in ("split", "test_fraction", "stratify") if key in space}
    for values in itertools.product(*tuned.values()):
        yield config.replace(**dict(zip(tuned, values, strict=True)))


def _check_sizes(study: Study, trial: Trial, data: Data) -> None:
    """Something must be left to train on, to choose by and to test on."""
    config, things, rows = trial.config, data.things, len(data.inputs)
    whole = searchable(trial, data)
    some = f"{len(whole):,} training {things}"
    if config.split == "pooled" and len(whole) in (0, rows):
        left = "none for the test" if len(whole) else "none to train on"
        raise UserError(
            f"test_fraction: {config.test_fraction:g} of the {rows:,} {things} of {data.name} leaves {left}"
        )
    if len(whole) == rows:
        raise UserError(f"{data.name}: has {rows:,} {things}, too few for a fifth of them to be the test set")
    if study.search.folds > len(whole):
        raise UserError(f"search.folds: {data.name} has {some}, fewer than {study.search.folds} folds")
    if not config.validation:
        return
    train, val, _ = split_of(trial, data)
    if not (len(train) and len(val)):
        left = "none to choose by" if len(train) else "none to train on"
        raise UserError(f"validation: {config.validation:g} of the {some} of {data.name} leaves {left}")
    _check_classes(trial, data, whole)


def _check_classes(trial: Trial, data: Data, rows: Tensor) -> None:
    """Of rows (N,) to be trained on and held out each class must have one for either, where classes are shared out."""
    if not data.classes or not is_stratified(trial, data) or (fewest := rarest(rows, data.targets)) >= FEWEST:
        return
    raise UserError(
        f"stratify: the rarest class of {data.name} has {fewest} training {data.things}, and needs {FEWEST}: to train "
        "on and to choose by; with stratify = false none has a share of its own"
    )


def check_folds(study: Study, data: Mapping[str, Data]) -> None:
    """Each class must have an image for each fold. Raises UserError where one has fewer."""
    if study.search.folds == 1 or not catalogue.task(study.config(study.levels[0], {}).task).stratified:
        return
    for level in study.levels:
        for search in range(study.searches):
            trial = study.search_trial(level, search, 0, study.config(level, {}))
            images = data[trial.config.dataset]
            if (fewest := rarest(searchable(trial, images), images.targets)) < study.search.folds:
                raise UserError(
                    f"search.folds: the rarest class of {trial.config.dataset} has {fewest} training images, fewer "
                    f"than {study.search.folds} folds"
                )
            if trial.config.split == "fixed":
                break  # they are the same for every search


def check_models(study: Study, data: Mapping[str, Data]) -> None:
    """Try an own model for every level at the corners of its space, and closely at its defaults. Raises UserError."""
    if study.own is None:
        return
    for level in study.levels:
        config = study.config(level, {})
        mine = data[config.dataset]
        corners = list(itertools.islice(_corners(study.space(level), study.own, config), CORNERS))
        for corner in corners:
            check_passes(corner, mine.shape, mine.outputs, mine.inputs.device)
        check_behaviour(corners[0], mine.shape, mine.outputs, mine.inputs.device)


def check_windows(study: Study, data: Mapping[str, Data]) -> None:
    """A kernel or a pool must fit into the images at each level, whatever else the search chooses: what never can be
    trained is told before anything is. Raises UserError, with the place in the study of what is too large.
    """
    if study.model != "cnn" or study.own:
        return
    for level in study.levels:
        for config in _mildest(study.space(level), study.config(level, {})):
            if error := _window_error(config, data[config.dataset].shape):
                key = error.partition(":")[0]
                said = (where for where, value in uses(study, key) if value == config[key])
                raise UserError(next(said, key) + error.removeprefix(key))  # nowhere: it is the default


def _mildest(space: Space, config: Config) -> Iterator[Config]:
    """A level's config with what is tuned of windows at its mildest, and with each of it at each end beside that."""
    tuned = {key: ends(space[key]) for key in MILDEST if key in space}
    known = {key: (*values, *([config[key]] if space[key].when else [])) for key, values in tuned.items()}
    mild = {key: min(values, key=MILDEST[key]) for key, values in known.items()}
    for one in [{}, *({key: value} for key, values in tuned.items() for value in values)]:
        yield config.replace(**{**mild, **one})


def _window_error(config: Config, shape: tuple[int, ...]) -> str:
    """What of a CNN's config is too large for images of that shape; empty if nothing is."""
    try:
        list(image_sizes(config, shape))
    except UserError as error:
        return str(error)
    return ""


def _corners(space: Space, own: OwnModel, config: Config) -> Iterator[Config]:
    """A level's config with every tuned hyperparameter of the model at an end of its domain."""
    tuned = {one.name: ends(space[one.name]) for one in own.knobs if one.name in space}
    for values in itertools.product(*tuned.values()):
        yield config.replace(**dict(zip(tuned, values, strict=True)))


def lanes(study: Study, data: Mapping[str, Data]) -> dict[str, str]:
    """How the layers are trained that no form by hand trains, by what they are: tried on two networks of each level.
    Only users' models have such layers.
    """
    found: dict[str, list[str]] = {}
    for level in study.levels if study.own else ():
        config = study.config(level, study.default_point(level) or {})
        mine = data[config.dataset]
        device, shape = mine.inputs.device, input_shape(config, mine.shape)
        rows = torch.arange(min(TRIED, mine.trainable), device=device)[None]
        try:
            networks = [build(config, mine.shape, mine.outputs, seed) for seed in range(2)]
        except UserError:  # its trials will say why
            continue
        stack = Stack.of(networks, device, config.precision, shape)
        if not (opaque := list(_opaque(stack.root))):
            continue
        noise = [generator(seed, NOISE, device) for seed in range(2)]
        with _told(study.own):
            stack(Feed(prepare(mine, config, rows), rows).cut(rows)[0], noise)
        for layer in opaque:
            lane = layer.lane
            said = f"{WORDS[lane.name]}{f' ({lane.reason})' if lane.reason else ''}"
            so_far = found.setdefault(type(layer.like).__name__, [])
            so_far += [said] if said not in so_far else []
    return {name: "; at other values ".join(ways) for name, ways in found.items()}


def _told(own: OwnModel | None) -> AbstractContextManager[None]:
    """What an own model raises comes with its file and line."""
    return nullcontext() if own is None else told(own.file, own.class_name)


def _opaque(layer: Layer) -> Iterator[Opaque]:
    if isinstance(layer, Opaque):
        yield layer
    for part in layer.parts:
        yield from _opaque(part)
