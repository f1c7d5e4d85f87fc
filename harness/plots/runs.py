"""The pictures of a single run, drawn for every confirmation run: what they cost is paid hundreds of times."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.image
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from harness.figures import bracketed
from harness.plots.base import COLOURS, STYLE, FewTicks, new_figure, png
from harness.plots.classes import WRITTEN, class_ticks
from harness.plots.numbers import Numbers, run_figure


class RunPictures:
    """The two pictures of a run, as PNG. What they share is drawn once and kept: a fifth of the time of new figures."""

    def __init__(self) -> None:
        with mpl.rc_context(STYLE):
            figure, axes = new_figure(4.8, 3.2, dpi=100, layout="none")
            figure.subplots_adjust(0.15, 0.16, 0.97, 0.81)
            self._lines = [
                axes.plot([1], [1], "--", color=COLOURS[0], label="training")[0],
                axes.plot([1], [1], "-", color=COLOURS[1], label="validation")[0],
                axes.axvline(1, color="0.5", linewidth=1, linestyle=":", label="best epoch"),
            ]
            axes.set(xlabel="epoch", ylabel="loss (nats)", yscale="log")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.yaxis.set_major_locator(FewTicks())
            axes.yaxis.set_major_formatter("{x:.3g}")
            axes.yaxis.set_minor_locator(NullLocator())
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, handlelength=1.6)
            self._loss = _Sheet(axes, [axes.xaxis, axes.yaxis, *self._lines], title=1.16)
        self._confusion: dict[tuple[str, ...], _Sheet] = {}

    def loss(self, history: Sequence[Mapping[str, float]], best_epoch: int, title: str, unit: str = "nats") -> bytes:
        """Training and validation loss against the epoch, the restored one marked; `unit` is that of the loss."""
        self._loss.axes.set_ylabel(bracketed("loss", unit))
        axes, epochs = self._loss.axes, [epoch["number"] for epoch in history]
        training, validation, best = self._lines
        training.set_data(epochs, [epoch["train_loss"] for epoch in history])
        validation.set_data(epochs, [epoch["val_loss"] for epoch in history])
        best.set_xdata([best_epoch, best_epoch])
        axes.relim()
        axes.autoscale_view()
        return self._loss.draw(title)

    def confusion(self, counts: Sequence[Sequence[int]], title: str, classes: tuple[str, ...]) -> bytes:
        """Confusion counts, rows true and columns predicted, written where they are not zero and there is room."""
        matrix = np.asarray(counts)
        if classes not in self._confusion:
            self._confusion[classes] = _confusion_sheet(classes)
        sheet = self._confusion[classes]
        image = sheet.axes.images[0]
        image.set_data(np.sqrt(matrix))  # the root, so that rare mistakes show beside the diagonal
        image.set_clim(0, np.sqrt(matrix.max()))
        texts = []
        for row, column in np.argwhere(matrix if len(matrix) <= WRITTEN else matrix[:0]):
            count = matrix[row, column]
            colour = "white" if np.sqrt(count) > np.sqrt(matrix.max()) / 2 else "black"
            texts.append(sheet.axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour))
        return sheet.draw(title, texts)

    def predicted(self, numbers: Numbers, target: str, title: str) -> bytes:
        """Predicted against true numbers of a target."""
        return png(run_figure(numbers, *(text.replace("$", r"\$") for text in (target, title))))


class _Sheet:
    """Axes that are drawn once, but for some artists, which are drawn anew each time."""

    def __init__(self, axes: Axes, artists: Sequence[Artist], title: float) -> None:
        self.axes, self.artists = axes, list(artists)
        self.title = axes.text(0.5, title, "", ha="center", fontsize=12, transform=axes.transAxes)
        for artist in (*self.artists, self.title):
            artist.set_animated(True)
        figure = axes.get_figure(root=True)
        assert isinstance(figure, Figure)
        canvas: Any = FigureCanvasAgg(figure)  # matplotlib's own calls have no types
        canvas.draw()
        self.canvas, self.background = canvas, canvas.copy_from_bbox(figure.bbox)

    def draw(self, title: str, more: Sequence[Artist] = ()) -> bytes:
        """PNG bytes; what is drawn `more` is then removed."""
        self.title.set_text(title.replace("$", r"\$"))
        self.canvas.restore_region(self.background)
        for artist in (*self.artists, self.title, *more):
            self.axes.draw_artist(artist)
        for artist in more:
            artist.remove()
        buffer = io.BytesIO()
        keys: Any = {"format": "png", "metadata": {"Software": None}, "pil_kwargs": {"compress_level": 1}}
        mpl.image.imsave(buffer, np.asarray(self.canvas.buffer_rgba()), **keys)
        return buffer.getvalue()


def _confusion_sheet(classes: Sequence[str]) -> _Sheet:
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = new_figure(4.8, 4.4, dpi=100, layout="none")
        long = max(map(len, classes)) > 2
        figure.subplots_adjust(*((0.22, 0.23) if long else (0.1, 0.11)), 0.98, 0.93)
        image = axes.imshow(np.zeros((len(classes), len(classes))), cmap="Blues", interpolation="nearest")
        axes.set(xlabel="predicted class", ylabel="true class")
        class_ticks(axes, classes)
        return _Sheet(axes, [image], title=1.02)
