"""The curves of the experiment as figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.curves import COLOURS
from training.reproduce.experiment import ENDINGS, MILESTONES, VALID
from training.reproduce.page import BY_SONG, EVENTS, ORIGINAL, ORIGINAL_ACCURACY
from training.reproduce.results import Curve, Results

_TRAINING = "training (with dropout)"


def draw(results: Results, folder: Path) -> None:
    """Write every figure of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    original = results.original
    held_out = {_TRAINING: original.training, "validation: last fifth of the same songs": original.curves[ENDINGS]}
    lengths = [length for length in MILESTONES if length < len(original.training.loss)]
    columns = {
        f"{length} epochs": {name: _first(curve, length) for name, curve in held_out.items()}
        for length in (*lengths, len(original.training.loss))
    }
    _save(columns, folder / ORIGINAL, goal=ORIGINAL_ACCURACY)
    by_song = results.by_song
    _save(
        {
            "the original's network": held_out | {"validation: other songs": original.curves[VALID]},
            "a network for other songs": {
                _TRAINING: by_song.training,
                "validation: other songs": by_song.curves[VALID],
            },
        },
        folder / BY_SONG,
    )
    if results.events is None:
        return
    run = results.events.run
    curves = {_TRAINING: run.training, "validation: other songs": run.curves[VALID]}
    _save({"events": curves}, folder / EVENTS)


def _save(columns: Mapping[str, Mapping[str, Curve]], path: Path, goal: float | None = None) -> None:
    """Accuracy above, loss below; a column for each network or length."""
    figure = Figure(figsize=(1 + 4.2 * len(columns), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(columns), sharey="row", squeeze=False)
    for column, (title, curves) in enumerate(columns.items()):
        above, below = grid[0][column], grid[1][column]
        above.set_title(title)
        for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
            for axes, values in ((above, curve.accuracy), (below, curve.loss)):
                axes.plot(range(1, len(values) + 1), values, color=colour, label=name)
        if goal is not None:
            above.axhline(goal, color="black", linewidth=0.8, linestyle=":", label=f"the original: {goal:.2%}")
        _finish(above, "accuracy" if column == 0 else "")
        _finish(below, "loss (nats a token)" if column == 0 else "")
        below.set_xlabel("epoch")
        above.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _finish(axes: Any, label: str) -> None:
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _first(curve: Curve, epochs: int) -> Curve:
    return Curve(loss=curve.loss[:epochs], accuracy=curve.accuracy[:epochs])
