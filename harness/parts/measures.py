"""What is measured of K models over a pass of rows: one class for each measure of the catalogue.

    measure = MacroF1(models=10, outputs=10, device=torch.device("cpu"))
    measure.add(logits, labels)      # batch by batch: (K, B, C), (K, B); of a regression (K, B, T) twice
    measure.value(totals)            # (K,)

Most of a classification need the confusion counts alone, which every pass keeps; the others add up what they need.
Numbers come in their own unit, and of several numbers a measure is the mean over them, as scikit-learn has it. Nothing
here waits for the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15  # of the calibration error, as in Guo et al. (2017)


@dataclass(frozen=True)
class Totals:
    """What a pass has added up: confusion counts (K, C, C) of a classification, rows true classes; summed loss (K,);
    how many rows there were, `images`.
    """

    confusion: Tensor | None
    loss: Tensor
    images: int


class Measuring:
    """What all measures share: nothing to add up."""

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        self.models, self.outputs, self.device = models, outputs, device

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch: logits (K, B, C) and labels (K, B), or predictions and truths (K, B, T)."""

    def value(self, totals: Totals) -> Tensor:
        """The figure of each model (K,); NaN without rows."""
        raise NotImplementedError


class Loss(Measuring):
    """The mean loss: of a classification cross-entropy in nats, of a regression that of standard scores."""

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
        return (_hits(totals) / _counts(totals).sum(2)).nanmean(1)


class MacroF1(Measuring):
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); of classes neither seen nor predicted there is none."""

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's f1_score with average="macro"."""
        both = _counts(totals).sum(1) + _counts(totals).sum(2)  # 2 TP + FP + FN
        return (2 * _hits(totals) / both).nanmean(1)


class Top5(Measuring):
    """The share of images whose class is among the five most probable ones; 1 where there are no more classes."""

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        super().__init__(models, outputs, device)
        self.hits = torch.zeros(models, dtype=torch.int64, device=device)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Count the labels among the five largest logits."""
        top = outputs.topk(min(5, self.outputs), dim=2).indices
        self.hits += (top == targets[..., None]).sum((1, 2))

    def value(self, totals: Totals) -> Tensor:
        """Hits over images."""
        return self.hits / totals.images


class ExpectedCalibrationError(Measuring):
    """How far confidence is from accuracy, weighed by images, in 15 bins of equal width (Guo et al., 2017, eq. 3).

    Confidence is the probability of the predicted class; a bin is open below and closed above.
    """

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        super().__init__(models, outputs, device)
        self.gaps = torch.zeros(models, BINS, dtype=torch.float64, device=device)  # summed accuracy less confidence

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Sort the images into bins."""
        confidence, guess = outputs.softmax(2).max(2)
        bins = (confidence * BINS).ceil().long().sub_(1).clamp_(0, BINS - 1)
        self.gaps.scatter_add_(1, bins, (guess == targets).double() - confidence.double())

    def value(self, totals: Totals) -> Tensor:
        """The bins' gaps, in absolute value, over images."""
        return (self.gaps.abs().sum(1) / totals.images).float()


class AreaUnderCurve(Measuring):
    """The area under the ROC curve: how often a row of a class has a higher share of it than one of another class.

    Of two classes that of the second one; of more the mean over classes, each against the rest, of those that are there
    and are not all (Hanley and McNeil, 1982: the rank sum, ties half).
    """

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        super().__init__(models, outputs, device)
        self.shares: list[Tensor] = []
        self.labels: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep the shares and the labels: ranks are over all rows."""
        self.shares.append(outputs.softmax(2).mT)
        self.labels.append(targets)

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's roc_auc_score, with multi_class="ovr" and average="macro"."""
        if not self.shares:
            return torch.full((self.models,), torch.nan, device=self.device)
        shares, labels = torch.cat(self.shares, dim=2).contiguous(), torch.cat(self.labels, dim=1)
        if self.outputs == 2:
            shares, classes = shares[:, 1:].contiguous(), torch.ones(1, dtype=torch.int64, device=self.device)
        else:
            classes = torch.arange(self.outputs, device=self.device)
        is_own = labels[:, None] == classes[:, None]  # (K, C, N)
        own = is_own.sum(2).double()
        rank_sums = (_ranks(shares) * is_own).sum(2)
        others = is_own.shape[2] - own
        areas = (rank_sums - own * (own + 1) / 2) / (own * others)  # 0 / 0 where a class is not there, or is all
        return areas.nanmean(1).float()


class RootMeanSquaredError(Measuring):
    """The root of the mean squared error, in the unit of the target."""

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        super().__init__(models, outputs, device)
        self.squares = torch.zeros(models, outputs, dtype=torch.float64, device=device)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add up the squares."""
        self.squares += (outputs - targets).double().square().sum(1)

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's root_mean_squared_error."""
        return (self.squares / totals.images).sqrt().mean(1).float()


class MeanAbsoluteError(Measuring):
    """The mean absolute error, in the unit of the target."""

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        super().__init__(models, outputs, device)
        self.gaps = torch.zeros(models, outputs, dtype=torch.float64, device=device)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add up the errors."""
        self.gaps += (outputs - targets).double().abs().sum(1)

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's mean_absolute_error."""
        return (self.gaps / totals.images).mean(1).float()


class MedianAbsoluteError(Measuring):
    """The median absolute error, in the unit of the target."""

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        super().__init__(models, outputs, device)
        self.gaps: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep the errors."""
        self.gaps.append((outputs - targets).abs())

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's median_absolute_error: of an even number the mean of the two in the middle."""
        if not self.gaps:
            return torch.full((self.models,), torch.nan, device=self.device)
        gaps = torch.cat(self.gaps, dim=1).sort(1).values
        middle = (gaps.shape[1] - 1) // 2, gaps.shape[1] // 2
        return (0.5 * (gaps[:, middle[0]] + gaps[:, middle[1]])).mean(1)


class Determination(Measuring):
    """R2, the coefficient of determination: 1 less the squared errors' share of the target's own variation."""

    def __init__(self, models: int, outputs: int, device: torch.device) -> None:
        super().__init__(models, outputs, device)
        zeros = [torch.zeros(models, outputs, dtype=torch.float64, device=device) for _ in range(3)]
        self.gaps, self.sums, self.squares = zeros
        self.shift: Tensor | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add up squares, of truths about the first one, so that little is lost where they are far from 0."""
        truth = targets.double()
        self.shift = truth[:, :1].clone() if self.shift is None else self.shift
        self.gaps += (outputs.double() - truth).square().sum(1)
        self.sums += (truth - self.shift).sum(1)
        self.squares += (truth - self.shift).square().sum(1)

    def value(self, totals: Totals) -> Tensor:
        """As scikit-learn's r2_score; NaN where all truths are equal."""
        variation = self.squares - self.sums.square() / totals.images if totals.images else self.squares
        return torch.where(variation > 0, 1.0 - self.gaps / variation, torch.nan).mean(1).float()


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1 along the last dimension, equal values their mean rank; float64."""
    ordered, order = values.sort(dim=-1)
    upper = torch.searchsorted(ordered, ordered, right=True)
    lower = torch.searchsorted(ordered, ordered)
    mean = (upper + lower + 1).double() / 2
    return torch.empty_like(mean).scatter_(-1, order, mean)


def _counts(totals: Totals) -> Tensor:
    assert totals.confusion is not None, "a measure of classes"
    return totals.confusion


def _hits(totals: Totals) -> Tensor:
    return _counts(totals).diagonal(dim1=1, dim2=2)
