"""What a journal holds, and whether all of it is whole: `harness check`.

held = check(journal)
held.said, held.damage
"""

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.journal.file import consistent
from harness.journal.lines import DamagedError, attributes_of, legible, texts
from harness.journal.mending import damage_in, later_outcomes
from harness.study.places import advice

ASKED, TOLD = 4, 8  # Optuna's codes: a trial is created, a trial's attribute is set


@dataclass(frozen=True)
class Held:
    """What a journal holds, in lines of words, and its first damage."""

    said: tuple[str, ...]
    damage: DamagedError | None


def check(journal: Path) -> Held:
    """Look a journal over, also while a driver writes it. Raises UserError where there is none."""
    if not journal.is_file():
        raise UserError(f"{journal.parent}: never ran (there is no {journal}); run it with: {advice('run', journal)}")
    damage = damage_in(journal)
    with consistent(journal):
        return Held((*_said(journal), f"damage   {_told(damage) if damage else 'none'}"), damage)


def _said(journal: Path) -> tuple[str, str]:
    """What it holds."""
    form, counts = 1, {"search": 0, "confirm": 0, "ablation": 0}
    asked = 0
    for log in legible(journal):
        attributes = attributes_of(log)
        form = max(form, int(attributes.get("format", 1)))
        asked += log["op_code"] == ASKED and "seed_number" not in attributes
        if "outcome" in attributes:
            of_search = log["op_code"] == TOLD
            counts["search" if of_search else "confirm" if "winner" in attributes else "ablation"] += 1
    lines = sum(1 for _ in texts(journal))
    return (
        f"journal  {journal}: format {form}, {lines:,} lines",
        f"holds    {counts['search']} of {asked} search trials that were asked for, {counts['confirm']} confirmations, "
        f"{counts['ablation']} ablations",
    )


def _told(damage: DamagedError) -> str:
    later = later_outcomes(damage.journal, damage.line)
    return (
        f"line {damage.line} is damaged ({damage.why}); what follows does not count, "
        f"but {later} outcomes there can still be read"
    )
