"""Draws the network of a bundle: its layers, and the inside of one of its cells, as its graph has them."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from music.bundle import load_bundle
from training.errors import ExportError
from training.structure import Cell, Structure, Weighted, read_structure

_TABLE, _CELL, _HEAD, _GATE, _PLAIN = "#DDEBF7", "#FDE9D9", "#E2EFDA", "#FFF2CC", "white"
_ROW: Final = 1.7
_BLOCK: Final = 2.6
_UNSAID: Final = {"Identity", "Cast", "Reshape"}
_SIGNS: Final = {"Mul": "×", "Add": "+", "Sigmoid": "σ", "Tanh": "tanh"}


def draw_bundle(bundle: Path, path: Path) -> None:
    """Draw the graph of a bundle that decodes one step.

    Raises:
        BundleError: the folder is no sound bundle.
        ExportError: it decodes no single step, or has no LSTM cell written out.
    """
    loaded = load_bundle(bundle)
    graphs = loaded.manifest.graphs.decode
    if 1 not in graphs:
        raise ExportError(f"{bundle} has no graph that decodes a single step")
    figure = draw_structure(read_structure(bundle / graphs[1]), f"{loaded.name}: one step of {graphs[1]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def draw_structure(structure: Structure, title: str) -> Figure:
    """The layers on the left, the inside of the lowest cell on the right.

    Every box and every sign carries a `gid` that says what of the graph it stands for, such as `cell 0`,
    `weights output` or `gate f`.
    """
    rows = _rows(structure.cells[0].inputs)
    width = _BLOCK * max(3, len(structure.heads), *(len(row) for row in rows))
    height = (len(rows) + len(structure.cells) + 2) * _ROW
    figure = Figure(figsize=(0.8 * (width + 11), 0.8 * height), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(width, 11))
    _layers(left, structure, rows, width)
    _inside(right, structure.cells[0])
    left.set_title(title, loc="left")
    right.set_title(f"inside cell {structure.cells[0].index}", loc="left")
    return figure


def _rows(weights: Sequence[Weighted]) -> list[list[Weighted]]:
    """Matrices in rows, each above all that it reads."""
    row_of: dict[str, int] = {}
    for item in weights:  # in the graph's order, so that what an item reads comes before it
        row_of[item.weights] = 1 + max((row_of.get(source, -1) for source in item.reads), default=-1)
    return [[item for item in weights if row_of[item.weights] == row] for row in range(1 + max(row_of.values()))]


def _layers(axes: Any, structure: Structure, rows: Sequence[Sequence[Weighted]], width: float) -> None:
    """What is looked up at the bottom, a row for each cell with its state left to right, heads and sampler on top."""
    middle = width / 2
    tops: dict[str, tuple[float, float]] = {}
    for index, row in enumerate(rows):
        _blocks(axes, row, width, index * _ROW, _TABLE, tops, structure)
    read = {source for row in rows for item in row for source in item.reads}
    first = len(rows)
    for row in rows:
        for item in row:
            if item.weights not in read:
                _arrow(axes, tops[item.weights], (middle, first * _ROW - 0.5))
    for cell in structure.cells:
        y = (first + cell.index) * _ROW
        lines = [f"LSTM cell {cell.index}: {cell.hidden} units"]
        projections = cell.inputs if cell.index else ()
        lines += [f"{item.operation} {item.weights} {_sizes(item.shape)}" for item in (*cell.recurrent, *projections)]
        _box(axes, middle, y, 3.8, 1.0, "\n".join(lines), _CELL, f"cell {cell.index}")
        tops[f"cell {cell.index}"] = (middle, y + 0.5)
        for offset, before, after in zip((0.22, -0.22), cell.state, cell.state_after, strict=True):
            _arrow(axes, (middle - 3.7, y + offset), (middle - 1.9, y + offset))
            _arrow(axes, (middle + 1.9, y + offset), (middle + 3.7, y + offset))
            _text(axes, middle - 2.8, y + offset + 0.12, f"{before}[{cell.index}]")
            _text(axes, middle + 2.8, y + offset + 0.12, f"{after}[{cell.index}]")
        if cell.index:
            _arrow(axes, tops[f"cell {cell.index - 1}"], (middle, y - 0.5))
    y = (first + len(structure.cells)) * _ROW
    last = f"cell {structure.cells[-1].index}"
    _blocks(axes, structure.heads, width, y, _HEAD, tops, structure, shown=last)
    words = " ".join(operation for operation in structure.sampler if operation not in _UNSAID)
    _box(
        axes,
        middle,
        y + _ROW,
        width - 0.3,
        0.9,
        textwrap.fill(f"sampler: {words}", round(10 * width)),
        _PLAIN,
        "sampler",
    )
    for head in structure.heads:
        _arrow(axes, tops[head.weights], (tops[head.weights][0], y + _ROW - 0.45))
    _finish(axes, (0, width), (-1.3, y + _ROW + 0.7))


def _blocks(
    axes: Any,
    blocks: Sequence[Weighted],
    width: float,
    y: float,
    colour: str,
    tops: dict[str, tuple[float, float]],
    structure: Structure,
    shown: str = "",
) -> None:
    """Matrices side by side, an arrow from each that they read, and in words what else they read.

    Of the cells, an arrow is drawn from the one called `shown`; the others are named too.
    """
    for index, block in enumerate(blocks):
        x = width * (index + 0.5) / len(blocks)
        text = f"{block.operation}\n{block.weights}\n{_sizes(block.shape)}"
        _box(axes, x, y, _BLOCK - 0.3, 0.9, text, colour, f"weights {block.weights}")
        tops[block.weights] = (x, y + 0.45)
        said = [source for source in block.reads if source in structure.inputs]
        for source in block.reads:
            if source == shown or (source in tops and not shown):
                _arrow(axes, tops[source], (x, y - 0.45))
            elif source not in said:
                said.append(source)
        if said and shown:
            _text(axes, x + _BLOCK, y, textwrap.fill("also reads " + ", ".join(said), 24))
        elif said:
            _arrow(axes, (x, y - 0.7), (x, y - 0.45))
            _text(axes, x, y - 0.85, ", ".join(said))


def _inside(axes: Any, cell: Cell) -> None:
    """The usual picture: c along the top, h along the bottom, the gates between."""
    (h, c), (h_after, c_after) = cell.state, cell.state_after
    c_y, product_y, gate_y, sum_y, h_y = 6.0, 4.6, 2.6, 1.2, 0.0
    _arrow(axes, (-0.6, c_y), (9.0, c_y))
    _text(axes, -0.6, c_y + 0.25, c)
    _text(axes, 9.0, c_y + 0.25, c_after)
    columns = {"f": 1.2, "i": 2.9, "g": 4.6, "o": 6.3}
    for letter, x in columns.items():
        name = cell.gates[letter]
        label = f"{letter}\n{_SIGNS.get(name, name)}"
        _box(axes, x, gate_y, 1.1, 0.8, label, _GATE, f"gate {letter}")
        _arrow(axes, (x, sum_y), (x, gate_y - 0.4))
    axes.plot([0.4, columns["o"]], [sum_y, sum_y], color="black", linewidth=1)
    own = cell.recurrent[0]
    text = f"{own.operation} {own.weights} {_sizes(own.shape)} + inputs"
    _box(axes, 2.9, h_y, 6.0, 0.7, text, _CELL, f"weights {own.weights}")
    _arrow(axes, (-1.0, h_y), (-0.1, h_y))
    _text(axes, -0.6, h_y + 0.2, h)
    axes.plot([0.4, 0.4], [h_y + 0.35, sum_y], color="black", linewidth=1)

    _sign(axes, columns["f"], c_y, cell.joins["forget"], "join forget")
    _arrow(axes, (columns["f"], gate_y + 0.4), (columns["f"], c_y - 0.3))
    written = (columns["i"] + columns["g"]) / 2
    _sign(axes, written, product_y, cell.joins["write"], "join write")
    for letter in ("i", "g"):
        _arrow(axes, (columns[letter], gate_y + 0.4), (written, product_y - 0.3))
    _sign(axes, written, c_y, cell.joins["c"], "join c")
    _arrow(axes, (written, product_y + 0.3), (written, c_y - 0.3))

    squash = 7.6
    _box(
        axes, squash, product_y, 1.1, 0.6, _SIGNS.get(cell.joins["squash"], cell.joins["squash"]), _GATE, "join squash"
    )
    _arrow(axes, (squash, c_y), (squash, product_y + 0.3))
    _sign(axes, squash, gate_y, cell.joins["h"], "join h")
    _arrow(axes, (squash, product_y - 0.3), (squash, gate_y + 0.3))
    _arrow(axes, (columns["o"] + 0.55, gate_y), (squash - 0.3, gate_y))
    axes.plot([squash, squash], [gate_y - 0.3, h_y], color="black", linewidth=1)
    _arrow(axes, (squash, h_y), (9.0, h_y))
    _text(axes, 9.0, h_y + 0.2, h_after)
    axes.set_aspect("equal")
    _finish(axes, (-1.4, 9.6), (-0.9, 7.0))


def _box(axes: Any, x: float, y: float, width: float, height: float, text: str, colour: str, gid: str) -> None:
    """A box around its middle."""
    corner = (x - width / 2, y - height / 2)
    patch = FancyBboxPatch(corner, width, height, "round,pad=0,rounding_size=0.1", facecolor=colour, gid=gid)
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=9)


def _sign(axes: Any, x: float, y: float, operation: str, gid: str) -> None:
    axes.add_patch(Circle((x, y), 0.3, facecolor=_PLAIN, edgecolor="black", gid=gid, zorder=3))
    axes.text(x, y, _SIGNS.get(operation, operation), ha="center", va="center", fontsize=11, zorder=4)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=12, shrinkA=0, shrinkB=0, color="black", zorder=0.5
        )
    )


def _text(axes: Any, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=8)


def _finish(axes: Any, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    axes.set_xlim(*xs)
    axes.set_ylim(*ys)
    axes.axis("off")


def _sizes(shape: tuple[int | str, ...]) -> str:
    return " × ".join(map(str, shape))
