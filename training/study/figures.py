"""The curves of a study, beside each other."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.study.results import Results


def draw(results: Results, path: Path) -> None:
    """Validation loss by epoch on the left, training loss on the right; a line for each training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for index, curve in enumerate(results.curves):
        style = {
            "color": f"C{index % 10}",
            "linestyle": "-" if index < 10 else "--",
            "linewidth": 1.2 if index else 2.4,
        }
        epochs = range(1, len(curve.valid_loss) + 1)
        left.plot(epochs, curve.valid_loss, label=f"{curve.name} ({curve.best:.3f})", **style)
        right.plot(epochs, curve.train_loss, **style)
    lowest = min(min(curve.train_loss) for curve in results.curves)
    left.set_ylim(lowest * 0.95, 2.2 * min(curve.best for curve in results.curves))
    left.set_ylabel("nats per note-step")
    left.set_title("validation")
    right.set_title("training (with dropout and transposition)")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    left.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})
