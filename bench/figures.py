"""A record as figures."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.comparison import Comparison
from bench.record import BenchmarkRecord, LoadRow
from report import PALETTE, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES: Final = Path("images") / "performance"
"""Folder of the figures, beside the page."""
_PERCENTILES: Final = {"p50": "p50_seconds", "p99": "p99_seconds", "p99.9": "p999_seconds"}


def figure_paths(name: str, record: BenchmarkRecord) -> dict[str, Path]:
    """Path of each figure relative to the page, by the table that it follows."""
    return {part: IMAGES / f"{name}-{part}.png" for part in _drawings(record)}


def draw_figures(name: str, record: BenchmarkRecord, folder: Path) -> None:
    """Draw every figure below the folder of the page."""
    drawings = _drawings(record)
    for part, path in figure_paths(name, record).items():
        with figure(folder / path, width=7.5, height=3.6) as drawing:
            drawings[part](record, drawing)


def _drawings(record: BenchmarkRecord) -> dict[str, Callable[[BenchmarkRecord, "Figure"], None]]:
    offered = {
        "service": (record.engine and record.service, _ratios),
        "peers": (record.peers, _peers),
        "load": (record.open_load, _load),
    }
    return {part: draw for part, (measured, draw) in offered.items() if measured}


def _ratios(record: BenchmarkRecord, drawing: "Figure") -> None:
    """Engine and service / bare loop, with the quartiles of the rounds."""
    axes = drawing.subplots()
    engine = [(row.width, row.comparison) for row in record.engine]
    service = [(row.clients, row.comparison) for row in record.service if row.piece_tokens == record.piece_tokens]
    _ratio_line(axes, engine, "engine", PALETTE[0])
    _ratio_line(axes, service, "service", PALETTE[1])
    axes.axhline(1.0, color="black", linewidth=0.8)
    widths = sorted({width for width, _ in (*engine, *service)})
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xlabel("batch size, or clients")
    axes.set_title("tokens a second / those of the bare loop")
    axes.legend()


def _ratio_line(axes: "Axes", rows: list[tuple[int, Comparison]], label: str, colour: str) -> None:
    ratios = [comparison.ratio for _, comparison in rows]
    low, high = zip(*(comparison.quartiles for _, comparison in rows), strict=True)
    spread = [
        [max(ratio - first, 0.0) for ratio, first in zip(ratios, low, strict=True)],
        [max(third - ratio, 0.0) for ratio, third in zip(ratios, high, strict=True)],
    ]
    axes.errorbar([size for size, _ in rows], ratios, yerr=spread, fmt="o-", color=colour, capsize=3, label=label)


def _peers(record: BenchmarkRecord, drawing: "Figure") -> None:
    """Tokens a second of every peer, and of the service in turn with it."""
    axes = drawing.subplots()
    places = range(len(record.peers))
    service = [row.comparison.rate for row in record.peers]
    peers = [row.comparison.reference_rate for row in record.peers]
    axes.barh([place + 0.2 for place in places], service, 0.38, color=PALETTE[0], label="service")
    bars = axes.barh([place - 0.2 for place in places], peers, 0.38, color=PALETTE[1], label="peer")
    axes.bar_label(bars, [f"service is {row.comparison.ratio:.1f}x" for row in record.peers], padding=4, fontsize=8)
    axes.set_yticks(places, [row.name for row in record.peers])
    axes.invert_yaxis()
    axes.set_xlabel(f"tokens a second for {record.peers[0].clients} clients")
    axes.legend()


def _load(record: BenchmarkRecord, drawing: "Figure") -> None:
    """First token and whole piece against load."""
    assert record.open_load is not None
    loads = [row for row in record.open_load.rows if 0.0 < row.load_factor <= 1.0]
    idle = next((row for row in record.open_load.rows if row.load_factor == 0.0), None)
    for axes, duration in zip(drawing.subplots(1, 2), ("first_token", "latency"), strict=True):

        def milliseconds(row: LoadRow, percentile: str, duration: str = duration) -> float:
            return float(getattr(getattr(row, duration), percentile)) * 1e3

        for colour, (label, percentile) in zip(PALETTE, _PERCENTILES.items(), strict=False):
            values = [milliseconds(row, percentile) for row in loads]
            axes.plot([row.load_factor * 100 for row in loads], values, "o-", color=colour, label=label)
            if idle is not None:
                axes.axhline(milliseconds(idle, percentile), color=colour, linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.set_xlabel("load, % of capacity; dotted: idle")
        axes.set_ylabel("ms")
        axes.set_title(duration.replace("_", " "))
        axes.legend()
