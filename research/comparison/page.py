"""The record as the generated region of docs/comparison.md, with its figure."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from report import PALETTE, Region, Table, figure
from research.comparison.record import ComparedModel, ComparisonRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REGION: Final = Region("results", command="make ablation")
IMAGE: Final = Path("images") / "comparison" / "curves.png"
"""The figure, relative to the page."""
_NEAR: Final = 1.25
"""Up to this ratio of losses a model belongs to the detailed half of the figure."""


def render(record: ComparisonRecord) -> str:
    """The Markdown of the results."""
    first, *_ = record.results
    rows = [
        (
            model.name,
            model.difference,
            f"{model.parameters / 1e6:.2f} M" if model.parameters else "",
            f"{model.points[-1].tokens / 1e6:.2f} M" if model.points else "",
            f"{model.cpu_seconds / 60:.1f}",
            f"{_loss(model):.3f}",
            "" if model is first else f"{_loss(model) / _loss(first) - 1:+.1%}",
            f"{model.test.bits_per_second:.1f}",
            f"{median(model.test.bits_per_second_by_piece):.1f}",
            f"{model.test.pitch_accuracy:.1%}",
        )
        for model in record.results
    ]
    header = (
        "model", "difference", "parameters", "tokens seen", "CPU minutes", "nats per note", "change",
        "bits per second", "median piece", "pitch accuracy",
    )  # fmt: skip
    table = Table(header, rows, text_columns=2)
    return f"{table.as_markdown()}\n\n![Validation loss by CPU time]({IMAGE.as_posix()})"


def draw(record: ComparisonRecord, path: Path) -> None:
    """Validation loss by CPU time: all models on the left, on the right those that end near the first."""
    first, *_ = record.results
    trained = [model for model in record.results if model.points]
    near = [model for model in trained if _loss(model) < _NEAR * _loss(first)]
    with figure(path, width=11, height=5) as drawing:
        left, right = drawing.subplots(1, 2)
        for axes, models, title in ((left, trained, "all networks"), (right, near, "parts left out")):
            for model in models:
                _draw_curve(axes, model, trained.index(model))
            axes.set_title(title)
            axes.set_xlabel("CPU minutes of training")
            axes.legend()
            last = [model.points[-1].valid_nats_per_note for model in models]
            axes.set_ylim(0.97 * min(last), 1.35 * max(last))
        left.set_ylabel("nats per note, validation")


def _draw_curve(axes: "Axes", model: ComparedModel, index: int) -> None:
    axes.plot(
        [point.cpu_seconds / 60 for point in model.points],
        [point.valid_nats_per_note for point in model.points],
        label=f"{model.name} ({model.points[-1].valid_nats_per_note:.2f})",
        color=PALETTE[index % len(PALETTE)],
        linestyle=("-", "--")[index // len(PALETTE) % 2],
        linewidth=1.2 if index else 2.4,
        marker=".",
    )


def _loss(model: ComparedModel) -> float:
    assert model.test.nats_per_note is not None
    return model.test.nats_per_note
