"""Results in, tables and sentences out: what was measured, how surely, and what of it can be told apart.

All of it are pure functions: `samples.py` of arrays, `tables.py` and `search.py` of Results, `words.py` of those
tables.
"""

from harness.analysis.samples import CONFIDENCE, holm, mean_interval
from harness.analysis.search import importance_table, searched, timeline_table, tuning_table
from harness.analysis.tables import (
    class_table,
    compare_table,
    finished,
    front,
    gap_table,
    learning_table,
    paired_table,
    published_table,
    test_images,
)
from harness.analysis.words import answer, difference_in_words, flags, verdict

__all__ = [
    "CONFIDENCE",
    "answer",
    "class_table",
    "compare_table",
    "difference_in_words",
    "finished",
    "flags",
    "front",
    "gap_table",
    "holm",
    "importance_table",
    "learning_table",
    "mean_interval",
    "paired_table",
    "published_table",
    "searched",
    "test_images",
    "timeline_table",
    "tuning_table",
    "verdict",
]
