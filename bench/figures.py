"""A report as figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench import goals
from bench.comparison import Comparison, Tail
from bench.places import FIGURES
from bench.report import Report
from bench.rows import LoadRow

# Apart for colour-blind eyes too (Okabe and Ito, 2008).
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_PERCENTILES: Final = {"p50": "p50_seconds", "p99": "p99_seconds", "p99.9": "p999_seconds"}
_TITLES: Final = {"slots": "slots of the engine", "piece": "tokens of a piece", "bundle": "parameters"}


def figures(name: str, report: Report) -> dict[str, Path]:
    """Path of each figure that there is, as seen from the page, by the key of the section that it follows."""
    return {key: FIGURES / f"{name}-{key}.png" for key, _ in _drawn(report)}


def draw(name: str, report: Report, page: Path) -> None:
    """Draw them where the page looks for them."""
    paths = figures(name, report)
    for key, paint in _drawn(report):
        path = page.parent / paths[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        figure = Figure(figsize=(7.5, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        paint(report, figure)
        figure.savefig(path, dpi=110, metadata={"Software": None})


def _drawn(report: Report) -> list[tuple[str, Callable[[Report, Figure], None]]]:
    offered: list[tuple[str, object, Callable[[Report, Figure], None]]] = [
        ("service", report.engine and report.service, _ratios),
        ("peers", report.peers, _peers),
        ("latency", report.latency, _latency),
        ("growth", report.growth, _growth),
    ]
    return [(key, paint) for key, there, paint in offered if there]


def _ratios(report: Report, figure: Figure) -> None:
    """Engine and service by the bare loop, with the middle half of the rounds."""
    axes = figure.subplots()
    engine = [(row.width, row.comparison) for row in report.engine]
    service = [(row.clients, row.comparison) for row in report.service if row.piece_tokens == report.piece_tokens]
    for index, (label, rows) in enumerate((("engine", engine), ("service", service))):
        _points(axes, rows, label, _COLOURS[index])
    for index, aims in enumerate((goals.ENGINE, goals.SERVICE)):
        for width, goal in aims.items():
            axes.plot([width], [goal.limit], "_", color=_COLOURS[index], markersize=22, markeredgewidth=2)
    axes.axhline(1.0, color="black", linewidth=0.8)
    widths = sorted({width for width, _ in (*engine, *service)})
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xlabel("sequences at once, or clients")
    axes.set_title("tokens a second by those of the bare loop; bars are goals")
    _finish(axes)


def _points(axes: Axes, rows: list[tuple[int, Comparison]], label: str, colour: str) -> None:
    ratios = [comparison.ratio for _, comparison in rows]
    low, high = zip(*(comparison.middle_half for _, comparison in rows), strict=True)
    spread = [
        [max(ratio - first, 0.0) for ratio, first in zip(ratios, low, strict=True)],
        [max(third - ratio, 0.0) for ratio, third in zip(ratios, high, strict=True)],
    ]
    axes.errorbar([size for size, _ in rows], ratios, yerr=spread, fmt="o-", color=colour, capsize=3, label=label)


def _peers(report: Report, figure: Figure) -> None:
    """Tokens a second of every peer, and of the service beside each."""
    axes = figure.subplots()
    places = range(len(report.peers))
    theirs = [row.comparison.bare_rate for row in report.peers]
    ours = [row.comparison.rate for row in report.peers]
    axes.barh([place + 0.2 for place in places], ours, 0.38, color=_COLOURS[0], label="the service")
    bars = axes.barh([place - 0.2 for place in places], theirs, 0.38, color=_COLOURS[1], label="the other")
    axes.bar_label(bars, [f"service is {row.comparison.ratio:.1f}x" for row in report.peers], padding=4, fontsize=8)
    axes.set_yticks(places, [row.name for row in report.peers])
    axes.invert_yaxis()
    axes.set_xlabel(f"tokens a second for {report.peers[0].clients} clients")
    _finish(axes)


def _latency(report: Report, figure: Figure) -> None:
    """First note and whole piece against load."""
    assert report.latency is not None
    panels = figure.subplots(1, 2)
    loads = [row for row in report.latency.rows if 0.0 < row.load <= 1.0]
    idle = next((row for row in report.latency.rows if row.load == 0.0), None)
    shown: tuple[tuple[str, Callable[[LoadRow], Tail]], ...] = (
        ("first note", lambda row: row.first_note),
        ("whole piece", lambda row: row.whole),
    )
    for axes, (title, tail) in zip(panels, shown, strict=True):
        for index, (label, field) in enumerate(_PERCENTILES.items()):
            axes.plot(
                [row.load * 100 for row in loads],
                [getattr(tail(row), field) * 1e3 for row in loads],
                "o-",
                color=_COLOURS[index],
                label=label,
            )
            if idle is not None:
                axes.axhline(getattr(tail(idle), field) * 1e3, color=_COLOURS[index], linewidth=0.8, linestyle=":")
        axes.set_yscale("log")
        axes.set_xlabel("load, % of capacity; dotted: idle")
        axes.set_ylabel("ms")
        axes.set_title(title)
        _finish(axes)


def _growth(report: Report, figure: Figure) -> None:
    """What a token costs, and what the server holds."""
    assert report.growth is not None
    kinds = list(dict.fromkeys(row.what for row in report.growth.rows))
    panels = figure.subplots(1, len(kinds) + 1, squeeze=False)[0]
    for index, (axes, kind) in enumerate(zip(panels, kinds, strict=False)):
        rows = [row for row in report.growth.rows if row.what == kind]
        sizes = [rows[0].base, *(row.size for row in rows)]
        axes.plot(sizes, [1.0, *(1 / row.comparison.ratio for row in rows)], "o-", color=_COLOURS[index])
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [_short(size) for size in sizes], rotation=45)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel(_TITLES[kind])
        axes.grid(alpha=0.3)
    panels[0].set_title("cost of a token", fontsize=10)
    memory = report.growth.memory
    panels[-1].plot(memory.tokens, [resident / 2**20 for resident in memory.resident_bytes], color=_COLOURS[3])
    panels[-1].set_ylim(bottom=0.0)
    panels[-1].set_xlabel("tokens written")
    panels[-1].set_title("MiB held", fontsize=10)
    panels[-1].grid(alpha=0.3)


def _short(size: int) -> str:
    return f"{size / 1e6:.1f} M" if size >= 1e6 else f"{size / 1e3:.0f} k" if size >= 10_000 else str(size)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
