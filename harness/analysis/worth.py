"""What tuning was worth: the defaults against the winners, and which hyperparameters brought the gain.

By validation images where nothing else is known: there the winner's figure is the best of many, and too good by that.
By test images where the defaults were trained with the confirmations' seeds (`[budget] confirm_defaults`, `ablation`).
The unit is the search, as everywhere.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from harness.analysis.results import Results
from harness.analysis.samples import Sample, holm_family, standard_error
from harness.analysis.tables import in_one
from harness.analysis.units import overlap, searched, unit


def worth_table(results: Results) -> pd.DataFrame:
    """A row for each level: figures of the study's measure of the defaults and of the winners, and what they gained.

    `default_val` and `winner_val` are means over the searches whose first trial was the defaults and came to its end.
    `default_test`, `winner_test` and `gain` (winner minus default) are over `n` units, with the simultaneous 95 %
    interval `low` to `high` and Holm's `p_holm` of all levels (paired t); NaN where that was not trained.
    """
    rows = [{"level": row, **_validation(results, row), **_test(results, row)} for row in _rows(results)]
    return _together(pd.DataFrame(rows, columns=["level", *VALIDATION, *TEST]))


VALIDATION = ("default_val", "winner_val")
TEST = ("default_test", "winner_test", "gain", "error", "n")


def ablation_table(results: Results) -> pd.DataFrame:
    """A row for each level and step from its defaults to its winners: `hyperparameter` has the winner's value from then
    on (`values`, in one cell); "" is the defaults.

    `mean` is the study's measure on test images after the step, `gain` what the step brought, over `n` units, with
    simultaneous intervals and Holm's correction for all steps of all levels; `changed` is in how many searches the
    winner's value is another than the default.
    """
    rows = [cells for row in _rows(results) for cells in _walk(results, row)]
    columns = ["level", "step", "hyperparameter", "values", "changed", "mean", "gain", "error", "n"]
    return _together(pd.DataFrame(rows, columns=columns))


def _rows(results: Results) -> range:
    return range(len(results.study.levels))


def _validation(results: Results, row: int) -> dict[str, float]:
    name, runs = f"val_{results.study.metric}", searched(results.runs)
    own = runs[(runs["level"] == row) & (runs["status"] == "finished")].set_index("search")
    default, winner = own.loc[own["given"] == "defaults", name], own.loc[own["winner"], name]
    both = default.index.intersection(winner.index)
    return dict(zip(VALIDATION, (default[both].mean(), winner[both].mean()), strict=True))


def _test(results: Results, row: int) -> dict[str, float]:
    own = _of_level(results, row)
    if own.empty:
        return dict.fromkeys(TEST[:-1], np.nan) | {"n": 0}
    first, last = 0, int(own.columns.max())
    both = own[[first, last]].dropna() if {first, last} <= set(own) and last else own.iloc[:0, :0]
    if both.empty:
        return dict.fromkeys(TEST[:-1], np.nan) | {"n": 0}
    means = both.groupby(level=0).mean()
    gain = (means[last] - means[first]).to_numpy(float)
    known = {"default_test": float(means[first].mean()), "winner_test": float(means[last].mean())}
    return known | _gain(results, row, gain)


def _walk(results: Results, row: int) -> Iterator[dict[str, object]]:
    own, steps = _of_level(results, row), results.steps
    if own.empty or not results.study.budget.ablation:
        return
    names = steps[steps["level"] == row].drop_duplicates(["search", "step"])
    for step in own.columns:
        cells = names[names["step"] == step]
        before = own[[step - 1, step]].dropna().groupby(level=0).mean() if step - 1 in own else None
        gain = np.array([]) if before is None else (before[step] - before[step - 1]).to_numpy(float)
        yield {
            "level": row,
            "step": int(step),
            "hyperparameter": cells["hyperparameter"].iloc[0],
            "values": in_one(list(cells["value"])) if step else "",
            "changed": int(cells["changed"].sum()),
            "mean": float(own[step].groupby(level=0).mean().mean()),
            **_gain(results, row, gain),
        }


def _of_level(results: Results, row: int) -> pd.DataFrame:
    """Figures by unit and number (rows) and step (columns); all steps of a search are of one seed where numbers are."""
    steps = results.steps
    if steps.empty:
        return pd.DataFrame()
    own = steps[steps["level"] == row]
    of = unit(results.study)
    other = "number" if of == "search" else "search"
    return own.pivot(index=[of, other], columns="step", values="figure")


def _gain(results: Results, row: int, gain: Sample) -> dict[str, float]:
    mean = float(gain.mean()) if len(gain) else np.nan
    return {"gain": mean, "error": standard_error(gain, overlap(results.study, row)), "n": len(gain)}


def _together(table: pd.DataFrame) -> pd.DataFrame:
    """With what is said of all rows together."""
    family = holm_family(*(table[name].to_numpy(float) for name in ("gain", "error", "n")))
    return table.drop(columns="error").assign(low=family.low, high=family.high, p_holm=family.p_holm)
