"""How much of a study's time is spent, as its journal knows it: for budgets in minutes.

    clock = StudyClock(first, recorded)
    clock.used()                                # seconds, those before a kill included
    clock.note()                                # kept in the journal, of which it is the study `first`

Time is that of a driver at work: from its first look at the journal to its last. After a kill the journal says how much
was used up to the last note, and outcomes that came since say what they took; time in which nobody ran does not count.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import optuna

ATTRIBUTE = "time"
LAST = 5  # generations, by which the next one is judged: an older one that was slow says little


class StudyClock:
    """The seconds that a study has used. `outcomes` are all records in its journal; `now` is the Unix time."""

    def __init__(
        self, first: optuna.Study, outcomes: Iterable[Mapping[str, Any]], now: Callable[[], float] = time.time
    ) -> None:
        self._first, self._now = first, now
        noted = first.user_attrs.get(ATTRIBUTE, {"seconds": 0.0, "until": 0.0, "generations": []})
        self._generations: list[float] = list(noted["generations"])  # the seconds of the last ones
        spans = ((one["started"], one["ended"]) for one in outcomes)
        self._seconds = float(noted["seconds"]) + busy(spans, since=float(noted["until"]))
        self._since = self._lap = now()

    def used(self) -> float:
        """How many seconds drivers have worked for the study."""
        return self._seconds + self._after(self._since)

    def generation(self) -> None:
        """A generation has ended: note how long it took, and the time."""
        self._generations = [*self._generations, round(self._after(self._lap), 3)][-LAST:]
        self.note()

    def _after(self, moment: float) -> float:
        """The seconds since a moment; 0 where the machine's clock was set back behind it."""
        return max(0.0, self._now() - moment)

    def longest(self) -> float:
        """The seconds of the longest of the last generations; 0 before there was one."""
        return max(self._generations, default=0.0)

    def note(self) -> None:
        """Write what is used into the journal."""
        seconds, until = self.used(), self._now()
        self._seconds, self._since, self._lap = seconds, until, until
        facts = {"seconds": round(seconds, 3), "until": until, "generations": self._generations}
        self._first.set_user_attr(ATTRIBUTE, facts)


def busy(spans: Iterable[tuple[float, float]], since: float = -math.inf, pause: float = 0.0) -> float:
    """The seconds after `since` that lie in any of the spans, which go from one moment to another, or in a gap between
    them that is no longer than a `pause`.
    """
    total, reached = 0.0, since
    for started, ended in sorted(spans):
        begun = started if started - reached > pause else reached
        total += max(0.0, ended - begun)
        reached = max(reached, ended)
    return total
