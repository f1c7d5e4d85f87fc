"""Figures as people read them: in percent, nats or seconds, an interval in one cell, a dash where nothing was measured.

    number(0.9545, SHARE)               # "95.45", in a column whose heading has the unit
    text(0.9545, SHARE)                 # "95.45 %", in a sentence
    difference(0.0245, SHARE)           # "2.45 points"
    interval(0.94, 0.96, SHARE)         # "94.00 to 96.00"
    text(4.8321, settled(MPA, [12.4]))  # "4.83 MPa", beside 12.40 MPa

What a figure's unit is says the study: `study.figure("test_loss").unit`.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from harness.catalogue import NATS, SECONDS, SHARE, Measure, Unit

SIDE_BY_SIDE = 12
"""Compared values that a page shows one by one; of more it shows the best, or all in one picture."""

NONE = "–"
FAR = 100  # times the median, beyond which a figure has no say in how many digits the others have


def number(value: float, unit: Unit, sign: str = "", digits: int | None = None) -> str:
    """A figure without its unit; `sign` is "+" where it is a difference. A time below a second has two digits."""
    if value != value:
        return NONE
    if unit is SECONDS and abs(value) < 1:
        return f"{value:{sign}.2g}"
    places = settled(unit, [value]).digits if digits is None else digits
    thousands = "," if unit.thousands else ""
    return f"{round(unit.factor * value, places) + 0.0:{sign}{thousands}.{places}f}"  # no "-0.00"


def settled(unit: Unit, values: Iterable[float]) -> Unit:
    """The unit with as many digits behind the point as figures have that stand together: of one with `significant`
    digits as many as the largest of them needs, unless that is far from the others.
    """
    sizes = sorted(abs(unit.factor * value) for value in values if math.isfinite(value) and value)
    if not unit.significant or not sizes:
        return unit
    largest = max(size for size in sizes if size <= FAR * sizes[len(sizes) // 2])
    places = unit.significant - 1 - math.floor(math.log10(largest))
    return replace(unit, digits=min(unit.digits, max(0, places)), significant=0)


def text(value: float, unit: Unit, digits: int | None = None) -> str:
    """A figure with its unit."""
    return _with(number(value, unit, digits=digits), unit.symbol)


def difference(value: float, unit: Unit, digits: int | None = None) -> str:
    """How far two figures of that unit are apart: shares in points."""
    return _with(number(value, unit, digits=digits), unit.gap)


def reach(low: float, high: float, unit: Unit) -> str:
    """Both ends of an interval with the unit, in a sentence."""
    return _with(interval(low, high, unit), unit.symbol)


def interval(low: float, high: float, unit: Unit, sign: str = "") -> str:
    """Both ends of an interval, without the unit."""
    return NONE if low != low else f"{number(low, unit, sign)} to {number(high, unit, sign)}"


def heading(what: str, measure: Measure) -> str:
    """Of a column of figures: a percent sign or nats say enough, any other measure is named: "test RMSE (MPa)"."""
    symbol = measure.unit.symbol
    return f"{what} {symbol}" if symbol in (SHARE.symbol, NATS.symbol) else axis(measure, what)


def axis(measure: Measure, what: str = "") -> str:
    """Of an axis: what it shows, in which unit."""
    return bracketed(f"{what} {measure.words}".strip(), measure.unit.symbol)


def bracketed(what: str, unit: str) -> str:
    """A heading with its unit, where it has one."""
    return f"{what} ({unit})" if unit else what


def share(value: float) -> str:
    """A share of runs or trials, which are few: in whole percent."""
    return text(value, SHARE, digits=0)


def probability(value: float) -> str:
    """A p-value."""
    return NONE if value != value else f"{value:.3g}"


def _with(written: str, unit: str) -> str:
    return f"{written} {unit}" if unit and written != NONE else written


SOON = 10.0  # seconds, which need not be told apart


def clock(seconds: float) -> str:
    """A time that has passed, as a clock shows it: 0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """A time as people plan with it."""
    if seconds < SOON:
        return "a few seconds"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
