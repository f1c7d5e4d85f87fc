"""A row for every run, for those who go on with the figures in pandas: tables/seeds.csv and tables/trials.csv.

    runs = pd.read_csv("reports/depth/tables/seeds.csv")
    runs.groupby("depth")["test_accuracy"].agg(["mean", "std"])

Both begin with the compared value or values, each under its own name, the number of the search, the run's number and
`state` ("finished", "pruned", "diverged", "failed", or "waiting" while there is no outcome) with the last line of its
reason. Then come the hyperparameters that the study decides, in full (`epochs` is the limit; all others have their
defaults), and what was measured, by name. Tuples are written as 500-400.
"""

import pandas as pd

from harness import catalogue
from harness.analysis.results import Results
from harness.analysis.tables import as_cell, keys_of

COUNTED = ("best_epoch", "trained_epochs", "parameters", "retries")
OF_TESTS = ("test_", "untrained_")  # which no search trial has


def seeds_table(results: Results, arrivals: pd.DataFrame) -> pd.DataFrame:
    """The confirmation runs by level, `search` and `seed`; of a study with a target also when it was reached
    (`arrivals`, see `arrivals_table`): `reached_epoch` and `reached_seconds`, empty of a run that is not there.
    """
    runs = results.runs[results.runs["stage"] == "confirm"].sort_values(["level", "search", "number"])
    table = _table(results, runs, ["search", "seed"], _figures(results, runs))
    if results.study.reach is None:
        return table
    when = arrivals.set_index(["level", "search", "number"])[["epoch", "seconds"]]
    known = when.reindex(pd.MultiIndex.from_frame(runs[["level", "search", "number"]])).reset_index(drop=True)
    return table.assign(reached_epoch=known["epoch"].astype("Int64"), reached_seconds=known["seconds"])


def trials_table(results: Results) -> pd.DataFrame:
    """The search trials by level, `search` and `number`; `winner` is the one that its search chose.

    With folds figures are means over them; the columns of each fold, as `fold0_val_loss`, follow.
    """
    runs = results.runs[results.runs["stage"] == "search"].sort_values(["level", "search", "number"])
    figures = [name for name in _figures(results, runs) if not name.startswith(OF_TESTS)]
    figures += [name for name in runs if name.startswith("fold")]
    return _table(results, runs, ["search", "number", "winner"], figures)


def _table(results: Results, runs: pd.DataFrame, which: list[str], figures: list[str]) -> pd.DataFrame:
    study = results.study
    levels = [keys_of(study, row) for row in range(len(study.levels))]
    head = pd.DataFrame([levels[row] for row in runs["level"]], columns=list(study.axes), index=runs.index)
    state = pd.DataFrame({"state": runs["status"], "reason": runs["reason"].map(_last_line)})
    given = runs[[name for name in study.chosen if name not in study.axes]].map(as_cell)
    counted = runs[list(COUNTED)].astype("Int64")
    measured = runs[figures].astype({name: "Int64" for name in figures if name.endswith("best_epoch")})
    parts = [head, runs[which], state, given, measured, runs["seconds"], counted]
    return pd.concat(parts, axis=1).reset_index(drop=True)


def _figures(results: Results, runs: pd.DataFrame) -> list[str]:
    """The measures that one of the runs has, and always those that the study is about."""
    known = [name for name in catalogue.figure_names() if name in runs and catalogue.figure(name).measure]
    lead = (results.study.metric, "loss")
    rate = ["learning_rate"] if "learning_rate" in runs else []
    return rate + [name for name in known if catalogue.figure(name).measure in lead or runs[name].notna().any()]


def _last_line(reason: object) -> object:
    """Of a failed run's traceback what was raised."""
    return reason.splitlines()[-1] if isinstance(reason, str) and reason else reason
