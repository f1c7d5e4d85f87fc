"""What a larger study would see, as people and programs read it: `harness power`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from harness.analysis import Findings
from harness.analysis.power import Outlook, Plan, look_out
from harness.catalogue import RATIO
from harness.figures import NONE, bracketed, difference, number, share

ASKED = (0.1, 0.2, 0.5)
"""Differences that are asked about where none are named: in points, or the measure's own unit."""
OF_THE_MEAN = (0.01, 0.02, 0.05)
"""The same in a target's unit, as shares of the mean figure; and of R2."""


class PowerTable:
    """The plans of a study that ran, and what each would see of the `asked` differences, in points of a share."""

    def __init__(self, findings: Findings, asked: Sequence[float] = ()) -> None:
        self.study = findings.study
        self.unit, self._mean = findings.measure.unit, findings.table[f"test_{self.study.metric}"].mean()
        self.asked = sorted(set(asked) or self._usual())
        self.outlook: Outlook = look_out(findings.results)

    def _usual(self) -> set[float]:
        matters, unit = self.study.claim.matters, self.study.measure.unit
        usual = set(ASKED)
        if unit.significant:
            usual = {float(f"{share_of * abs(self._mean):.1g}") for share_of in OF_THE_MEAN if self._mean == self._mean}
        elif unit == RATIO:
            usual = set(OF_THE_MEAN)
        return {*usual, matters} if matters else usual

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the columns."""
        counted = ("searches", "each", "seeds") if self.study.is_searched else ("seeds",)
        return (*counted, bracketed("sees", self.unit.gap), *(f"at {one:g}" for one in self.asked), "minutes")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A row for each plan."""
        return [self._row(plan) for plan in self.outlook.plans()]

    def _row(self, plan: Plan) -> tuple[str, ...]:
        own = self._numbers(plan)
        counted = (plan.searches, plan.each, own["seeds"]) if self.study.is_searched else (own["seeds"],)
        seen = number(self.outlook.detectable(plan), self.unit)
        found = [share(one) for one in own["power"].values()]
        return (*map(str, counted), seen, *found, _minutes(own["minutes"]))

    @property
    def said(self) -> list[str]:
        """What to do to see each difference, and how sure that is."""
        outlook, unit = self.outlook, self.unit
        parts = {"another search": outlook.search, "another seed": outlook.seed}
        known = (
            {name: value**0.5 for name, value in parts.items() if np.isfinite(value)} if self.study.is_searched else {}
        )
        spread = " and ".join(f"{difference(value, unit)} from {name}" for name, value in known.items())
        low, high = outlook.factor
        unit_of = "searches" if self.study.is_searched else "seeds"
        return [
            *(self._advice(one) for one in self.asked),
            *([f"A difference of two values varies (standard deviations, all pairs): {spread}."] if spread else []),
            *self._odd(),
            f"Seen in {outlook.units} {unit_of}: the true spread, and so every difference above, may be {low:.2g} to "
            f"{high:.2g} times as large. “Sees”: the smallest difference that is told apart in 80 % of such studies; "
            f"“at {self.asked[0]:g}”: how often such a one is, by the paired t-test corrected for "
            f"{outlook.comparisons} pair{'s' if outlook.comparisons > 1 else ''}. Minutes are of all trainings, by "
            "what those of this study took.",
        ]

    def _odd(self) -> list[str]:
        if np.isnan(self.outlook.odd):
            return []
        one = difference(self.outlook.odd, self.unit)
        of = "search" if self.study.is_searched else "seed"
        return [
            f"One {of} had a difference of {one}, far from all others: all figures above hang on it. "
            "Where none is like it smaller differences are found; where some are, more studies fail than is said here."
        ]

    def _advice(self, one: float) -> str:
        plan, name = self.outlook.cheapest(one / self.unit.factor), f"{one:g} {self.unit.gap}".strip()
        if plan is None:
            return f"{name}: not with 80 % power by any plan up to 1,000 searches."
        own = self._numbers(plan)
        what = f"budget.searches = {plan.searches}, budget.seeds = {own['seeds']}"
        if not self.study.is_searched:
            what = f"budget.seeds = {own['seeds']}"
        return f"{name}: {what}, about {_minutes(own['minutes'])} min."

    def as_json(self) -> dict[str, Any]:
        """The same for programs: differences in `unit`, unrounded."""
        plans = {one: self.outlook.cheapest(one / self.unit.factor) for one in self.asked}
        search, seed = (value**0.5 * self.unit.factor for value in (self.outlook.search, self.outlook.seed))
        return {
            "study": self.study.label,
            "unit": self.unit.gap,
            "seen": {
                "units": self.outlook.units,
                "pairs": self.outlook.comparisons,
                "factor": self.outlook.factor,
                "search": search,
                "seed": seed if np.isfinite(seed) else None,
                "odd": self.outlook.odd * self.unit.factor if np.isfinite(self.outlook.odd) else None,
            },
            "plans": [self._numbers(plan) for plan in self.outlook.plans()],
            "cheapest": {f"{one:g}": self._numbers(plan) if plan else None for one, plan in plans.items()},
        }

    def _numbers(self, plan: Plan) -> dict[str, Any]:
        outlook, factor = self.outlook, self.unit.factor
        return {
            **asdict(plan),
            "seeds": plan.searches * plan.each,
            "sees": outlook.detectable(plan) * factor,
            "power": {f"{one:g}": outlook.power(one / factor, plan) for one in self.asked},
            "minutes": outlook.minutes(plan),
        }


def _minutes(value: float) -> str:
    """Whole ones, but for few."""
    return NONE if value != value else f"{value:.2g}" if value < 10 else f"{value:,.0f}"
