"""Tables in, figures out: the pictures of a study. Our window on matplotlib; the same picture from the same table."""

from harness.plots.base import Figure, png, save
from harness.plots.comparison import (
    accuracy_figure,
    cost_figure,
    difference_figure,
    learning_figure,
    studies_figure,
)

__all__ = [
    "Figure",
    "accuracy_figure",
    "cost_figure",
    "difference_figure",
    "learning_figure",
    "png",
    "save",
    "studies_figure",
]
