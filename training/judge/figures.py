"""A judgement as figures."""

from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.judge.features import FEATURES
from training.judge.judgement import Judgement, Sweep

# Apart for colour-blind eyes too (Okabe and Ito, 2008).
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_WORDS: Final = {feature.name: feature.words for feature in FEATURES}


def figure_names(judgement: Judgement) -> dict[str, str]:
    """Name of the file of each figure that there is, by what it shows."""
    shown = ("ratios", "sweep") if judgement.sweep else ("ratios",)
    return {what: f"{judgement.model}-{what}.png" for what in shown}


def draw(judgement: Judgement, folder: Path) -> None:
    """Draw them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = figure_names(judgement)
    _ratios(judgement, folder / names["ratios"])
    if judgement.sweep:
        _sweep(judgement.sweep, folder / names["sweep"])


def _ratios(judgement: Judgement, path: Path) -> None:
    """Each feature's ratio with its interval, on a logarithmic scale; 1 is as near as real music comes."""
    figure = _figure(7.5, 4.0)
    axes = figure.subplots()
    rows = judgement.ratios[::-1]
    places = range(len(rows))
    spread = [[row.ratio - row.low for row in rows], [row.high - row.ratio for row in rows]]
    axes.axvline(1.0, color=_COLOURS[1], linewidth=1.2, label="training music")
    axes.errorbar([row.ratio for row in rows], places, xerr=spread, fmt="o", color=_COLOURS[0], capsize=3)
    axes.set_yticks(places, [_WORDS.get(row.feature, row.feature) for row in rows])
    axes.set_xscale("log")
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32) if _within(tick, judgement)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("distance of generated music to held-out music, over that of training music")
    axes.set_title(f"{judgement.model}: {judgement.samples} samples at {judgement.sampling}")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def _within(tick: float, judgement: Judgement) -> bool:
    low = min(min(row.low, row.ratio) for row in judgement.ratios)
    high = max(max(row.high, row.ratio) for row in judgement.ratios)
    return bool(min(low, 1.0) / 1.5 <= tick <= max(high, 1.0) * 1.5)


def _sweep(sweep: Sweep, path: Path) -> None:
    """Excess, and parallels where they are judged, against temperature: a line for each top-p and top-k."""
    judged = bool(sweep.points[0].faults)
    figure = _figure(9.0 if judged else 6.0, 3.8)
    panels = figure.subplots(1, 2 if judged else 1, squeeze=False)[0]
    limits = sorted({(point.sampling.top_p, point.sampling.top_k) for point in sweep.points}, reverse=True)
    top_ks = sorted({top_k for _, top_k in limits})
    top_ps = sorted({top_p for top_p, _ in limits}, reverse=True)
    for top_p, top_k in limits:
        points = sorted(
            (p for p in sweep.points if (p.sampling.top_p, p.sampling.top_k) == (top_p, top_k)),
            key=lambda point: point.sampling.temperature,
        )
        heat = [point.sampling.temperature for point in points]
        label = ", ".join([f"top-p {top_p:g}", *([f"top-k {top_k}"] if top_k else [])])
        colour = _COLOURS[top_ps.index(top_p) % len(_COLOURS)]
        line = ("-", "--", ":", "-.")[top_ks.index(top_k) % 4]
        panels[0].plot(heat, [point.excess for point in points], line, color=colour, marker=".", label=label)
        if judged:
            parallels = [point.faults["parallel_fifths"] + point.faults["parallel_octaves"] for point in points]
            panels[1].plot(heat, parallels, line, color=colour, marker=".")
    best = next(point for point in sweep.points if point.sampling == sweep.best)
    panels[0].plot([best.sampling.temperature], [best.excess], "o", color=_COLOURS[6], fillstyle="none", markersize=11)
    panels[0].set_title("excess over real music (mean log ratio)")
    panels[0].legend(frameon=False, fontsize=7)
    if judged:
        panels[1].set_title("parallel fifths and octaves per 100 steps")
    for axes in panels:
        axes.set_xlabel("temperature")
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.3)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
