"""The recorded evaluations as a generated region of docs/quality.md, with their figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from report import Region, figure, render_template
from report.figures import PALETTE
from training.evaluation.record import RESULTS, EvaluationRecord, Sweep
from training.evaluation.tables import FEATURE_LABELS, heading, summary_table, tables

REGION: Final = Region("results", command="make quality")
SUMMARY: Final = Region("summary", command="make quality")
"""One table with a row for each bundle."""
IMAGES: Final = Path("images") / "quality"
"""Folder of the figures, beside the page."""
_TEMPLATE: Final = Path(__file__).with_name("quality.md.jinja")
_TICKS: Final = (0.25, 0.5, 1, 2, 4, 8, 16, 32)


def render(evaluations: Mapping[str, EvaluationRecord]) -> str:
    """The Markdown of all evaluations, by name."""
    parts = [
        {
            "name": name,
            "heading": heading(evaluation),
            "tables": tables(evaluation),
            "remarks": evaluation.remarks,
            "images": image_paths(evaluation),
        }
        for name, evaluation in evaluations.items()
    ]
    return render_template(_TEMPLATE, parts=parts)


def write_page(page: Path, folder: Path = RESULTS) -> None:
    """Write the evaluations recorded in a folder into the page, and draw their figures beside it.

    Raises:
        PageError: the page cannot be read, or does not have both marks of a region.
        RecordError: a file is not an evaluation.
        OSError: the page or a figure cannot be written.
    """
    evaluations = EvaluationRecord.load_folder(folder)
    REGION.write(page, render(evaluations))
    SUMMARY.write(page, summary_table(evaluations.values()).as_markdown())
    for evaluation in evaluations.values():
        paths = image_paths(evaluation)
        _draw_ratios(evaluation, page.parent / paths["ratios"])
        if evaluation.sweep:
            _draw_sweep(evaluation.sweep, page.parent / paths["sweep"])


def image_paths(evaluation: EvaluationRecord) -> dict[str, Path]:
    """Path of each figure from the page, by what it shows."""
    shown = ("ratios", "sweep") if evaluation.sweep else ("ratios",)
    return {name: IMAGES / f"{evaluation.model}-{name}.png" for name in shown}


def _draw_ratios(evaluation: EvaluationRecord, path: Path) -> None:
    """Each feature's ratio with its interval, on a logarithmic scale."""
    rows = evaluation.ratios[::-1]
    lowest = min(1.0, *(min(row.low, row.ratio) for row in rows)) / 1.5
    highest = max(1.0, *(max(row.high, row.ratio) for row in rows)) * 1.5
    with figure(path, width=7.5, height=4.0) as drawing:
        axes = drawing.subplots()
        places = range(len(rows))
        errors = [[row.ratio - row.low for row in rows], [row.high - row.ratio for row in rows]]
        axes.axvline(1.0, color=PALETTE[1], linewidth=1.2, label="training music")
        axes.errorbar([row.ratio for row in rows], places, xerr=errors, fmt="o", color=PALETTE[0], capsize=3)
        axes.set_yticks(places, [FEATURE_LABELS.get(row.feature, row.feature) for row in rows])
        axes.set_xscale("log")
        ticks = [tick for tick in _TICKS if lowest <= tick <= highest]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("distance to held-out music, divided by that of training music")
        axes.set_title(f"{evaluation.model}: {evaluation.samples} samples at {evaluation.sampling}")
        axes.legend(loc="lower right")


def _draw_sweep(sweep: Sweep, path: Path) -> None:
    """Excess, and parallels if they are measured, against temperature: a line for each top-p and top-k."""
    with_faults = bool(sweep.points[0].faults)
    limits = sorted({(point.sampling.top_p, point.sampling.top_k) for point in sweep.points}, reverse=True)
    top_ks = sorted({top_k for _, top_k in limits})
    top_ps = sorted({top_p for top_p, _ in limits}, reverse=True)
    with figure(path, width=9.0 if with_faults else 6.0, height=3.8) as drawing:
        panels = drawing.subplots(1, 2 if with_faults else 1, squeeze=False)[0]
        for top_p, top_k in limits:
            points = sorted(
                (p for p in sweep.points if (p.sampling.top_p, p.sampling.top_k) == (top_p, top_k)),
                key=lambda point: point.sampling.temperature,
            )
            temperatures = [point.sampling.temperature for point in points]
            label = ", ".join([f"top-p {top_p:g}", *([f"top-k {top_k}"] if top_k else [])])
            color = PALETTE[top_ps.index(top_p) % len(PALETTE)]
            line = ("-", "--", ":", "-.")[top_ks.index(top_k) % 4]
            panels[0].plot(temperatures, [point.excess for point in points], line, color=color, marker=".", label=label)
            if with_faults:
                parallels = [point.faults["parallel_fifths"] + point.faults["parallel_octaves"] for point in points]
                panels[1].plot(temperatures, parallels, line, color=color, marker=".")
        best = next(point for point in sweep.points if point.sampling == sweep.best)
        panels[0].plot(
            [best.sampling.temperature], [best.excess], "o", color=PALETTE[6], fillstyle="none", markersize=11
        )
        panels[0].set_title("excess over real music (mean log ratio)")
        panels[0].legend(fontsize=7)
        if with_faults:
            panels[1].set_title("parallel fifths and octaves per 100 steps")
        for axes in panels:
            axes.set_xlabel("temperature")
            axes.set_ylim(bottom=0.0)
