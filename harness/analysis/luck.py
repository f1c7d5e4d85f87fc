"""How much of a search's verdict is luck: whether the runner-up could as well have won."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import noise_floor
from harness.analysis.units import searched


@dataclass(frozen=True)
class Close:
    """Of how many `searches` of a level the second best trial was `within` one standard error of the winner."""

    within: int
    searches: int


def noise_of_validation(results: Results) -> dict[int, Close]:
    """By level. Empty where the measure is no share of images, or the journal does not say how many there are.

    The standard error is the binomial one of the winner's validation figure, from the number of held-out images. Folds
    hold out every image once; repeats hold out the same ones again, and do not count.
    """
    study = results.study
    if not study.measure.binomial or not study.tune:
        return {}
    done = searched(results.runs)
    done = done[done["status"] == "finished"]
    return {
        int(row): Close(sum(is_close(results, own) for _, own in level.groupby("search")), level["search"].nunique())
        for row, level in done.groupby("level")
        if validation_images(results, int(row))
    }


def is_close(results: Results, trials: pd.DataFrame) -> bool:
    """Whether the second best of a search's finished trials lies within one standard error of the best."""
    sign = results.study.measure.sign()
    values = np.sort(sign * trials[f"val_{results.study.metric}"].to_numpy(float))[::-1]
    images = validation_images(results, int(trials["level"].iloc[0]))
    return len(values) > 1 and bool(values[0] - values[1] <= noise_floor(abs(values[0]), images))


def validation_images(results: Results, row: int) -> int:
    """How many images stand behind a search trial's figure, its folds' together; 0 where the journal does not say."""
    config = results.study.config(results.study.levels[row], {})
    known = dict(
        zip(*(results.environment.get(key, "").split(", ") for key in ("data", "trainable")), strict=False),
    )
    share = 1.0 if results.study.search.folds > 1 else float(config.validation)
    return round(int(known.get(config.dataset) or 0) * share)
