"""What a compared value's runs say together: each has a vote on every test image, and the class with most of them wins.

A confirmation keeps which test images it put into their class, and into which class it put the others; no more is
needed to count votes. Journals of before have the first alone: then there is no vote.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.results import Results
from harness.analysis.samples import CONFIDENCE, Sample, normal_quantile
from harness.analysis.units import overlap

Bits = NDArray[np.bool_]
Classes = NDArray[np.int64]
COLUMNS = ("level", "runs", "mean", "vote", "low", "high")


def vote_table(results: Results) -> pd.DataFrame:
    """A row for each value with two runs or more whose guesses of the same test images were kept: `runs` that vote, the
    `mean` share of images that they put into their class alone, that of their `vote`, and its 95 % interval for
    other test images of their kind (Wilson, 1927): of the vote of these very runs, whatever other runs would say.
    """
    rows = []
    for row in range(len(results.study.levels)):
        runs = [run for run in results.hits if run[0] == row]
        hits = [results.hits[run] for run in runs]
        misses = [results.misses.get(run, np.empty(0, np.int64)) for run in runs]
        if len(runs) > 1 and not overlap(results.study, row) and _is_whole(hits, misses):
            right = votes(hits, misses)
            share = float(right.mean())
            low, high = wilson_interval(share, len(right))
            rows.append((row, len(runs), float(np.mean(hits)), share, low, high))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def votes(hits: Sequence[Bits], misses: Sequence[Classes]) -> Sample:
    """Which images (N,) the most votes put into their class: 1 or 0, of a tie what a draw gives in the mean.

    `hits` (N,) of each run say which images it put into their class, `misses` into which it put the others, in order.
    """
    own = np.sum(hits, axis=0)
    others = np.zeros((len(own), 1 + max((int(one.max()) for one in misses if len(one)), default=0)), np.int64)
    for bits, guesses in zip(hits, misses, strict=True):
        others[np.flatnonzero(~bits), guesses] += 1
    most = others.max(1)
    tied = 1 / (1 + (others == most[:, None]).sum(1))
    return np.where(own > most, 1.0, np.where(own < most, 0.0, tied))


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of n that are independent (Wilson, 1927), which also holds near 0 and 1."""
    z = normal_quantile(1 - (1 - CONFIDENCE) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return float(middle - half), float(middle + half)


def _is_whole(hits: Sequence[Bits], misses: Sequence[Classes]) -> bool:
    """Whether each run kept its guess of every image, and all of the same number of images."""
    kept = all(int((~bits).sum()) == len(guesses) for bits, guesses in zip(hits, misses, strict=True))
    return kept and len({len(bits) for bits in hits}) == 1
