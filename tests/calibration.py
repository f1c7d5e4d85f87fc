"""Whole studies repeated, and made-up ones: what the report's claims are held against.

    repetitions = [study_again(text, folder, k) for k in range(40)]
    coverage(repetitions)                    # how often intervals hold the mean of the other repetitions

The studies are those of docs/fairness.md, on the digits. A repetition has seeds of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pandas as pd

from harness.analysis import Findings, Results, find, read_results
from harness.analysis.samples import Sample, holm_family, standard_error
from harness.analysis.units import sample_of
from harness.console import Progress
from harness.crews.how import How
from harness.driver import Driver, hire
from harness.journal import Ledger
from harness.parts.data import Data
from harness.study.file import read_study
from harness.study.study import Study

TUNED = """
width = [32, 64, 128]
dropout = { low = 0.0, high = 0.5 }
lr = { low = 3e-4, high = 3e-1, log = true }
batch_size = [32, 64, 128]
optimizer = ["sgd", "adam"]
momentum = { low = 0.0, high = 0.95, when = { optimizer = "sgd" } }
"""


def searched(compare: str, tuned: str, epochs: int, trials: int) -> str:
    """A study file on the digits."""
    return f"""
dataset = "digits"
[compare]
{compare}
[tune]{TUNED}{tuned}
[fixed]
epochs = {epochs}
[budget]
trials = {trials}
"""


ACTIVATION = 'activation = ["relu", "tanh"]'
STUDIES = {
    "nothing searched": 'dataset = "digits"\n[compare]\ndepth = [2, 3]\n[fixed]\nwidth = 64\nepochs = 6\nlr = 0.003\n',
    "leaky_relu and relu, 8 trials": searched('activation = ["relu", "leaky_relu"]', "", 6, 8),
    "depth 2 and 3, 8 trials": searched("depth = [2, 3]", ACTIVATION, 6, 8),
    "depth 2 and 3, 16 trials, 20 epochs": searched("depth = [2, 3]", ACTIVATION, 20, 16),
}
"""By what they compare, with how much."""


def study_again(name: str, repetition: int, folder: Path, digits: Data) -> Findings:
    """A study of `STUDIES` with seeds of its own, without MLflow."""
    home = folder / f"{repetition}"
    home.mkdir(parents=True)
    (home / "study.toml").write_text(STUDIES[name])
    study = read_study(home, [f"search.seed={1000 * repetition + 17}"])
    known = {"digits": digits}
    workplace = hire(How(), known)
    ledger = Ledger(study, home / study.journal, {"git_commit": "abc"})
    with Progress(study, quiet=True) as progress:
        Driver(ledger, MagicMock(), progress, known, workplace).run()
    return find(read_results(home / study.journal))


def differences(several: Sequence[Findings]) -> pd.DataFrame:
    """The paired tables of repetitions of one study, below each other."""
    return pd.concat([one.pairs.assign(repetition=place) for place, one in enumerate(several)], ignore_index=True)


def coverage(table: pd.DataFrame) -> float:
    """How often an interval of a difference holds the mean of the other repetitions' differences."""
    hits = []
    for _, own in table.groupby(["first", "second"]):
        total, n = own["difference"].sum(), len(own)
        truth = (total - own["difference"]) / (n - 1)
        hits += ((own["low"] < truth) & (truth < own["high"])).tolist()
    return float(np.mean(hits))


def apart_from_itself(several: Sequence[Findings]) -> float:
    """How often the same value of two repetitions is told apart, by Welch's t-test over their units."""
    told = []
    for row in range(len(several[0].study.levels)):
        samples = [sample_of(one.results, row, f"test_{one.study.metric}") for one in several]
        told += [_differ(one, two) for one, two in combinations(samples, 2)]
    return float(np.mean(told))


def _differ(one: Sample, two: Sample) -> bool:
    from scipy import stats

    return bool(stats.ttest_ind(one, two, equal_var=False).pvalue < 0.05)


def by_seeds_of_one_search(findings: Findings, search: int = 0) -> Findings:
    """What a study with one search would have said: its first search alone, seed by seed."""
    results = findings.results
    runs = results.runs[results.runs["search"] == search].assign(search=0)
    budget = results.study.budget.model_copy(update={"searches": 1})
    return find(replace(results, study=results.study.model_copy(update={"budget": budget}), runs=runs))


@dataclass(frozen=True)
class World:
    """How figures come about: standard deviations, in images, of searches, of seeds, and the levels' true means."""

    means: tuple[float, ...]  # in images
    images: int = 10_000
    searches: float = 10.0
    seeds: float = 7.0

    def draw(self, generator: np.random.Generator, searches: int, seeds: int) -> Sample:
        """Accuracies (levels, searches, seeds) as training reports them: float32 quotients of whole images."""
        levels = len(self.means)
        luck = generator.normal(0, self.searches, (levels, searches, 1))
        hits = np.array(self.means)[:, None, None] + luck + generator.normal(0, self.seeds, (levels, searches, seeds))
        counts = np.clip(np.rint(hits), 0, self.images).astype(np.float32)
        return (counts / np.float32(self.images)).astype(float)


def told_apart(accuracies: Sample) -> np.ndarray:
    """Whether each pair of levels is told apart, as `tables.paired_table` does it: over the means of searches."""
    units = accuracies.mean(axis=2)
    gaps = [units[second] - units[first] for first, second in combinations(range(len(units)), 2)]
    error = np.array([standard_error(gap) for gap in gaps])
    family = holm_family(np.array([gap.mean() for gap in gaps]), error, np.full(len(gaps), float(len(gaps[0]))))
    return np.asarray(family.p_holm < 0.05)


def results_of(study: Study, template: Results, accuracies: Sample) -> Results:
    """Results of a study with those test accuracies (levels, searches, seeds); the rest is the template's first run."""
    confirm = template.runs[template.runs["stage"] == "confirm"].iloc[0].to_dict()
    rows = [
        {**confirm, "level": level, "search": search, "number": number, "test_accuracy": value}
        for (level, search, number), value in np.ndenumerate(accuracies)
    ]
    runs = pd.concat([template.runs[template.runs["stage"] == "search"], pd.DataFrame(rows)], ignore_index=True)
    return replace(template, study=study, runs=runs)


NOISE = """
dataset = "digits"
[compare]
depth = [2, 3, 4]
[tune]
width = [16, 32, 64]
lr = { low = 1e-3, high = 1e-1, log = true }
dropout = { low = 0.0, high = 0.5 }
batch_size = [32, 64]
[fixed]
epochs = 9
[budget]
trials = 16
"""


def pure_noise(study: Study, template: Results, generator: np.random.Generator, sd: float = 2.5e-3) -> Results:
    """A study of `NOISE` in which nothing makes a difference: neither values nor hyperparameters.

    Validation figures of trials have the standard deviation `sd`, tests are of 10,000 images.
    """
    first = template.runs[template.runs["stage"] == "search"].iloc[0].to_dict()
    usual = {**first, "status": "finished", "train_accuracy": 0.985, "epochs": 9, "best_epoch": 6, "parameters": 1000}
    rows = []
    for level, depth in enumerate(study.levels):
        for search in range(study.searches):
            values = generator.normal(0.975, sd, study.budget.trials)
            for number, value in enumerate(values):
                drawn = {
                    "width": int(generator.choice([16, 32, 64])),
                    "lr": float(10 ** generator.uniform(-3, -1)),
                    "dropout": float(generator.uniform(0, 0.5)),
                    "batch_size": int(generator.choice([32, 64])),
                }
                place = {"level": level, "search": search, "number": number, "depth": depth, "widths": None}
                won = {"winner": number == values.argmax(), "val_accuracy": value}
                rows.append({**usual, **place, **drawn, **won})
    accuracies = World((9750.0,) * len(study.levels)).draw(generator, study.searches, study.budget.seeds // 5)
    for (level, search, number), value in np.ndenumerate(accuracies):
        place = {"level": level, "search": search, "number": number, "stage": "confirm", "winner": True}
        seen = {"test_accuracy": value, "val_accuracy": generator.normal(0.975, 1.5e-3), "widths": None}
        rows.append({**usual, **place, **seen, "depth": study.levels[level]})
    runs = pd.DataFrame(rows, columns=template.runs.columns).astype({"winner": bool})
    confusions = {(level, 0, 0): ((5000, 0), (0, 5000)) for level in range(len(study.levels))}
    known = {"data": "digits", "trainable": "60000"}
    return replace(template, study=study, runs=runs, confusions=confusions, environment=known, importances={})


FLAGS = {
    "unequal chances": "The chances were not equal",
    "validation and test apart": "more than chance explains",
    "outlier": "far from all others",
    "unequal spread": "times as much as those of",
    "unequal overfitting": "do not overfit alike",
    "only on these images": "are told apart on these",
    "edge": " end of what was searched",
    "larger budget": "the second half of a search",
    "cut short": "when the limit of",
    "no spread or ceiling": "nothing was learned|all runs measured the same|within one image of perfect",
}
"""Words by which a flag is known, of those that chance can raise."""


def alarms(several: Sequence[Results]) -> pd.Series:
    """How often each flag is raised."""
    told = [" ".join(find(results).flags) for results in several]
    return pd.Series(
        {name: np.mean([any(w in text for w in words.split("|")) for text in told]) for name, words in FLAGS.items()}
    )
