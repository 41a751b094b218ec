"""Draws loss and accuracy by epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from report import PALETTE, figure
from training.loop.history import EpochRecord

CURVES: Final = "curves.png"
_TRAIN, _VALID = PALETTE[:2]


def draw_curves(records: Sequence[EpochRecord], path: Path) -> None:
    """Draw training and validation loss and accuracy by epoch, with a dot at the best epoch.

    Raises:
        OSError: the file cannot be written.
    """
    epochs = [record.epoch for record in records]
    best = min(records, key=lambda record: record.valid_loss)
    panels = (
        ("Loss (nats per note-step)", [r.train_loss for r in records], [r.valid_loss for r in records]),
        ("Accuracy", [r.train_accuracy for r in records], [r.valid_accuracy for r in records]),
    )
    with figure(path, width=9, height=3.6) as drawing:
        for axes, (title, train, valid) in zip(drawing.subplots(1, 2), panels, strict=True):
            axes.plot(epochs, train, color=_TRAIN, label="training (with dropout)")
            axes.plot(epochs, valid, color=_VALID, label="validation")
            value = valid[best.epoch - records[0].epoch]
            axes.plot([best.epoch], [value], "o", color=_VALID)
            axes.annotate(
                f"{value:.3f}",
                (best.epoch, value),
                textcoords="offset points",
                xytext=(0, -16 if title == "Accuracy" else 8),  # where the curve leaves room
                ha="center",
            )
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.margins(y=0.08)
            axes.legend()
