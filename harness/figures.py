"""Figures as people read them: in percent, nats or seconds, an interval in one cell, a dash where nothing was measured.

    number(0.9545, SHARE)               # "95.45", in a column whose heading has the unit
    text(0.9545, SHARE)                 # "95.45 %", in a sentence
    difference(0.0245, SHARE)           # "2.45 points"
    interval(0.94, 0.96, SHARE)         # "94.00 to 96.00"

What a figure's unit is says the catalogue: `figure("test_loss").unit`.
"""

from harness.catalogue import COUNT, SECONDS, SHARE, Unit

NONE = "–"


def number(value: float, unit: Unit, sign: str = "", digits: int | None = None) -> str:
    """A figure without its unit; `sign` is "+" where it is a difference. A time below a second has two digits."""
    if value != value:
        return NONE
    if unit is SECONDS and abs(value) < 1:
        return f"{value:{sign}.2g}"
    thousands, places = "," if unit is COUNT else "", unit.digits if digits is None else digits
    return f"{round(unit.factor * value, places) + 0.0:{sign}{thousands}.{places}f}"  # no "-0.00"


def text(value: float, unit: Unit, digits: int | None = None) -> str:
    """A figure with its unit."""
    return _with(number(value, unit, digits=digits), unit.symbol)


def difference(value: float, unit: Unit, digits: int | None = None) -> str:
    """How far two figures of that unit are apart: shares in points."""
    return _with(number(value, unit, digits=digits), unit.gap)


def interval(low: float, high: float, unit: Unit, sign: str = "") -> str:
    """Both ends of an interval, without the unit."""
    return NONE if low != low else f"{number(low, unit, sign)} to {number(high, unit, sign)}"


def share(value: float) -> str:
    """A share of runs or trials, which are few: in whole percent."""
    return text(value, SHARE, digits=0)


def probability(value: float) -> str:
    """A p-value."""
    return NONE if value != value else f"{value:.3g}"


def _with(written: str, unit: str) -> str:
    return f"{written} {unit}" if unit and written != NONE else written
