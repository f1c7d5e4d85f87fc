"""What is measured of K models over a pass of images: one class for each measure of the catalogue.

    measure = MacroF1(models=10, classes=10, device=torch.device("cpu"))
    measure.add(logits, labels)      # batch by batch: (K, B, C), (K, B)
    measure.value(totals)            # (K,)

Most need the confusion counts alone, which every pass keeps; the others add up what they need. Nothing here waits for
the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15  # of the calibration error, as in Guo et al. (2017)


@dataclass(frozen=True)
class Totals:
    """What a pass has added up: confusion counts (K, C, C), rows true classes; summed loss (K,) in nats; images."""

    confusion: Tensor
    loss: Tensor
    images: int


class Measuring:
    """What all measures share: nothing to add up."""

    def __init__(self, models: int, classes: int, device: torch.device) -> None:
        self.models, self.classes, self.device = models, classes, device

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Take in a batch: logits (K, B, C), labels (K, B)."""

    def value(self, totals: Totals) -> Tensor:
        """The figure of each model (K,); NaN without images."""
        raise NotImplementedError


class Loss(Measuring):
    """Mean cross-entropy in nats."""

    def value(self, totals: Totals) -> Tensor:
        """Summed loss over images."""
        return totals.loss / totals.images


class Accuracy(Measuring):
    """The share of images put into their own class."""

    def value(self, totals: Totals) -> Tensor:
        """Hits over images."""
        return _hits(totals).sum(1) / totals.images


class BalancedAccuracy(Measuring):
    """The mean over classes of their recall (Brodersen et al., 2010); a class without images is left out."""

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's balanced_accuracy_score."""
        return (_hits(totals) / totals.confusion.sum(2)).nanmean(1)


class MacroF1(Measuring):
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); of classes neither seen nor predicted there is none."""

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's f1_score with average="macro"."""
        both = totals.confusion.sum(1) + totals.confusion.sum(2)  # 2 TP + FP + FN
        return (2 * _hits(totals) / both).nanmean(1)


class Top5(Measuring):
    """The share of images whose class is among the five most probable ones; 1 where there are no more classes."""

    def __init__(self, models: int, classes: int, device: torch.device) -> None:
        super().__init__(models, classes, device)
        self.hits = torch.zeros(models, dtype=torch.int64, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count the labels among the five largest logits."""
        top = logits.topk(min(5, self.classes), dim=2).indices
        self.hits += (top == labels[..., None]).sum((1, 2))

    def value(self, totals: Totals) -> Tensor:
        """Hits over images."""
        return self.hits / totals.images


class ExpectedCalibrationError(Measuring):
    """How far confidence is from accuracy, weighed by images, in 15 bins of equal width (Guo et al., 2017, eq. 3).

    Confidence is the probability of the predicted class; a bin is open below and closed above.
    """

    def __init__(self, models: int, classes: int, device: torch.device) -> None:
        super().__init__(models, classes, device)
        self.gaps = torch.zeros(models, BINS, dtype=torch.float64, device=device)  # summed accuracy less confidence

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Sort the images into bins."""
        confidence, guess = logits.softmax(2).max(2)
        bins = (confidence * BINS).ceil().long().sub_(1).clamp_(0, BINS - 1)
        self.gaps.scatter_add_(1, bins, (guess == labels).double() - confidence.double())

    def value(self, totals: Totals) -> Tensor:
        """The bins' gaps, in absolute value, over images."""
        return (self.gaps.abs().sum(1) / totals.images).float()


def _hits(totals: Totals) -> Tensor:
    return totals.confusion.diagonal(dim1=1, dim2=2)
