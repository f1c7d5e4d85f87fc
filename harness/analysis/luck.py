"""How much of a search's verdict is luck: whether the runner-up could as well have won."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import noise_floor, standard_error
from harness.analysis.units import searched
from harness.study.labels import by_dataset
from harness.study.notes import FEWEST


@dataclass(frozen=True)
class Close:
    """Of how many `searches` of a level the second best trial was `within` one standard error of the winner."""

    within: int
    searches: int


def noise_of_validation(results: Results) -> dict[int, Close]:
    """By level. Empty where there is no telling.

    With folds the standard error is that of the difference, fold by fold; without, the binomial one of the winner's
    validation figure, where that is a share of images and the journal says how many there are.
    """
    if not results.study.is_searched:
        return {}
    done = searched(results.runs)
    done = done[done["status"] == "finished"]
    return {
        int(row): Close(sum(is_close(results, own) for _, own in level.groupby("search")), level["search"].nunique())
        for row, level in done.groupby("level")
        if _can_be_told(results, int(row))
    }


def _can_be_told(results: Results, row: int) -> bool:
    return bool(_folds(results)) or (results.study.measure.binomial and validation_images(results, row) > 0)


def is_close(results: Results, trials: pd.DataFrame) -> bool:
    """Whether the second best of a search's finished trials lies within one standard error of the best."""
    name, sign = f"val_{results.study.metric}", results.study.measure.sign()
    ranked = trials.loc[(-sign * trials[name].astype(float)).sort_values(kind="stable").index]
    if len(ranked) < 2:
        return False
    best, second = ranked.iloc[0], ranked.iloc[1]
    return bool(sign * (best[name] - second[name]) <= _error(results, best, second))


def _error(results: Results, best: pd.Series, second: pd.Series) -> float:
    """The standard error of the difference of two trials.

    Folds share most of their training images: the variance of the mean of their differences is s^2 (1 / n + test /
    train images), repeats included (Nadeau and Bengio, 2003; Bouckaert and Frank, 2004).
    """
    folds = _folds(results)
    if folds:
        gaps = (best[folds] - second[folds]).to_numpy(float)
        return float(np.nan_to_num(standard_error(gaps, 1 / (results.study.search.folds - 1))))
    return noise_floor(abs(best[f"val_{results.study.metric}"]), validation_images(results, int(best["level"])))


def _folds(results: Results) -> list[str]:
    """The columns of the folds' figures, where there are enough to say something of their spread."""
    names = [name for name in results.runs if re.fullmatch(rf"fold\d+_val_{results.study.metric}", name)]
    return names if len(names) >= FEWEST else []


def validation_images(results: Results, row: int) -> int:
    """How many images stand behind a search trial's figure, its folds' together; 0 where the journal does not say."""
    config = results.study.config(results.study.levels[row], {})
    known = by_dataset(results.environment, "trainable")
    share = 1.0 if results.study.search.folds > 1 else float(config.validation)
    return round(int(known.get(config.dataset) or 0) * share)
