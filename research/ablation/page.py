"""The record as the generated region of docs/ablation.md, with its figure."""

from pathlib import Path
from typing import Any, Final

from report import PALETTE, Region, Table, figure
from research.ablation.record import AblationRecord

REGION: Final = Region("results", command="make ablation")
IMAGE: Final = Path("images") / "ablation" / "curves.png"
"""The figure, relative to the page."""


def render(record: AblationRecord) -> str:
    """The Markdown of the results."""
    first = record.curves[0]
    rows = [
        (
            curve.name,
            curve.difference,
            f"{curve.parameters / 1e6:.2f} M",
            f"{curve.best:.4f}",
            "" if curve is first else f"{curve.best - first.best:+.4f}",
            f"{curve.train_loss[-1]:.4f}",
        )
        for curve in record.curves
    ]
    header = ("training", "difference", "parameters", "best validation loss", "change", "last training loss")
    table = Table(header, rows, text_columns=2)
    return f"{table.as_markdown()}\n\n![Validation and training loss by epoch]({IMAGE.as_posix()})"


def draw(record: AblationRecord, path: Path) -> None:
    """Validation loss by epoch on the left, training loss on the right; a line for each training."""
    with figure(path, width=11, height=5) as drawing:
        left, right = drawing.subplots(1, 2, sharey=True)
        for index, curve in enumerate(record.curves):
            style: dict[str, Any] = {
                "color": PALETTE[index % len(PALETTE)],
                "linestyle": ("-", "--", ":")[index // len(PALETTE) % 3],
                "linewidth": 1.2 if index else 2.4,
            }
            epochs = range(1, len(curve.valid_loss) + 1)
            left.plot(epochs, curve.valid_loss, label=f"{curve.name} ({curve.best:.3f})", **style)
            right.plot(epochs, curve.train_loss, **style)
        lowest = min(min(curve.train_loss) for curve in record.curves)
        left.set_ylim(lowest * 0.95, 2.2 * min(curve.best for curve in record.curves))
        left.set_ylabel("nats per note-step")
        left.set_title("validation")
        right.set_title("training (with dropout and transposition)")
        for axes in (left, right):
            axes.set_xlabel("epoch")
        left.legend()
