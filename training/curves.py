"""Loss and accuracy of a run as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.history import EpochRecord

CURVES: Final = "curves.png"
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73")  # apart for colour-blind eyes too (Okabe and Ito, 2008)
_TRAIN, _VALID, _ = COLOURS


def draw_curves(records: Sequence[EpochRecord], path: Path) -> None:
    """Training and validation loss and accuracy by epoch, the best epoch marked."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [record.epoch for record in records]
    best = min(records, key=lambda record: record.valid_loss)
    panels = (
        ("Loss (nats per note-step)", [r.train_loss for r in records], [r.valid_loss for r in records]),
        ("Accuracy", [r.train_accuracy for r in records], [r.valid_accuracy for r in records]),
    )
    for axes, (title, train, valid) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot(epochs, train, color=_TRAIN, label="training (with dropout)")
        axes.plot(epochs, valid, color=_VALID, label="validation")
        chosen = valid[best.epoch - records[0].epoch]
        axes.plot([best.epoch], [chosen], "o", color=_VALID)
        below = title == "Accuracy"  # where the curve leaves room
        axes.annotate(
            f"{chosen:.3f}",
            (best.epoch, chosen),
            textcoords="offset points",
            xytext=(0, -16 if below else 8),
            ha="center",
        )
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.margins(y=0.08)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
