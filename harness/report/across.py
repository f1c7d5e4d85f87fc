"""What the page says of the same compared values on several data sets."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from harness.analysis.datasets import Across
from harness.analysis.samples import CONFIDENCE
from harness.catalogue import EPOCHS
from harness.figures import number, probability
from harness.plots import Picture
from harness.report.escape import in_picture
from harness.report.grids import records
from harness.report.sections import Section

WON = (
    "A win is a difference that was told apart by the study's own test on that data set, counted against every other "
    "value on every data set; a tie cannot be told apart."
)

TIMED = (
    "Epochs are medians over confirmation runs until the validation figure had reached the target of that data set; "
    "never: most runs did not."
)
TIMED_PICTURE = (
    " Right: on which share of the data sets a value was at the target within so many times the epochs of the "
    "first one (Dahl et al., 2023); what never was there counts nowhere."
)


def across_section(across: Across) -> Section:
    """Average ranks with their test, wins, and what was measured on each data set."""
    captions = [(name, picture.caption) for name, picture in across_pictures(across).items()]
    timed = [times_grid(across)] if len(across.times.columns) else []
    said = [TIMED] if timed else []
    return Section("Across data sets", [_tested(across), WON, *said], [across_grid(across), *timed], captions)


def across_grid(across: Across) -> pd.DataFrame:
    """A row for each value, in the study's order."""
    unit, rows = across.measure.unit, []
    for cells in records(across.table):
        counted = {name: str(cells[name]) for name in ("wins", "ties", "losses")}
        measured = {f"{name} {unit.symbol}".strip(): number(cells[name], unit) for name in across.scores.columns}
        rows.append({"value": cells["value"], "average rank": f"{cells['average_rank']:.2f}", **counted, **measured})
    return pd.DataFrame(rows)


def times_grid(across: Across) -> pd.DataFrame:
    """The median epochs of each value until the target of each data set."""
    table = across.times.rename(columns="epochs on {}".format)
    return table.map(lambda epochs: number(epochs, EPOCHS) if np.isfinite(epochs) else "never").reset_index(
        names="value"
    )


def across_pictures(across: Across) -> Mapping[str, Picture]:
    """The critical-difference diagram and the profiles, by their file names."""
    values = [in_picture(name) for name in across.scores.index]
    shown = dict(zip(across.scores.index, values, strict=True))
    ranks = list(zip(values, across.average_ranks.tolist(), strict=True))
    groups = [[shown[name] for name in group] for group in across.groups]
    profiles = across.profiles.assign(value=across.profiles["value"].map(shown))
    title, is_timed = f"{across.scores.shape[1]} data sets", len(across.times.columns) > 0
    return {
        "ranks": Picture(
            "datasets:ranks_figure",
            (ranks, groups, across.critical_difference, f"Average ranks over {title}"),
            f"Average ranks of test {across.measure.words} over the data sets, 1 is the best; values that a bar joins "
            "cannot be told apart by their ranks (Demsar, 2006).",
        ),
        "profiles": Picture(
            "datasets:profiles_figure",
            (profiles, values, across.measure, f"Profiles over {title}"),
            "Left: on which share of the data sets a value comes within so many times the best one (Dolan and Moré, "
            f"2002). {'Middle' if is_timed else 'Right'}: which share of a value's runs goes beyond a figure, each "
            f"data set counting the same (Agarwal et al., 2021).{TIMED_PICTURE if is_timed else ''}",
        ),
    }


def _tested(across: Across) -> str:
    """Friedman's test and Nemenyi's, in words."""
    test, (values, datasets) = across.friedman, across.scores.shape
    way = "over all arrangements" if test.is_exact else "Iman and Davenport's F"
    head = (
        f"Ranks of {values} values on {datasets} data sets, 1 is the best. Friedman's test: chi-square "
        f"{test.statistic:.2f}, p = {probability(test.p)} ({way})"
    )
    if test.p >= 1 - CONFIDENCE:
        few = f"; with {datasets} data sets hardly any order of ranks could be" if datasets < 5 else ""
        return f"{head}: no value is told apart from another by its ranks{few}."
    return (
        f"{head}. Average ranks that differ by {across.critical_difference:.2f} or more are told apart (Nemenyi's "
        "critical difference, 5 %)."
    )
