"""Draws the network of a bundle from its ONNX graph: its layers, and the inside of one LSTM cell."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from music.bundle import load_bundle
from report import figure
from training.errors import ExportError
from training.graph_structure import Cell, GraphStructure, WeightedNode, read_structure

_TABLE, _CELL, _OUTPUT, _GATE, _PLAIN = "#DDEBF7", "#FDE9D9", "#E2EFDA", "#FFF2CC", "white"
_ROW_HEIGHT: Final = 1.7
_BLOCK_WIDTH: Final = 2.6
_CELL_WIDTH: Final = 11
_SCALE: Final = 0.8
"""Inches per unit."""
_HIDDEN_OPERATIONS: Final = {"Identity", "Cast", "Reshape"}
_SIGNS: Final = {"Mul": "×", "Add": "+", "Sigmoid": "σ", "Tanh": "tanh"}


def draw_bundle(bundle: Path, path: Path) -> None:
    """Draw the decode graph of a bundle with one step.

    Raises:
        BundleError: the folder holds no valid bundle.
        ExportError: the bundle has no decode graph with one step, or the graph has no LSTM cell of single nodes.
        OSError: the figure cannot be written.
    """
    loaded = load_bundle(bundle)
    graphs = loaded.manifest.graphs.decode
    if 1 not in graphs:
        raise ExportError(f"{bundle} has no decode graph with one step")
    structure = read_structure(bundle / graphs[1])
    width, height = _size(structure)
    with figure(path, width=_SCALE * (width + _CELL_WIDTH), height=_SCALE * height) as drawing:
        draw_structure(drawing, structure, f"{loaded.name}: one step of {graphs[1]}")


def draw_structure(drawing: Figure, structure: GraphStructure, title: str) -> None:
    """Draw the layers on the left, the inside of the lowest cell on the right.

    The `gid` of every box and sign says what it stands for, such as `cell 0`, `weights output` or `gate f`.
    """
    rows = _rows(structure.cells[0].inputs)
    width, _ = _size(structure)
    left, right = drawing.subplots(1, 2, width_ratios=(width, _CELL_WIDTH))
    _layers(left, structure, rows, width)
    _inside(right, structure.cells[0])
    left.set_title(title, loc="left")
    right.set_title(f"inside cell {structure.cells[0].index}", loc="left")


def _size(structure: GraphStructure) -> tuple[float, float]:
    """Width and height of the layers, in units."""
    rows = _rows(structure.cells[0].inputs)
    width = _BLOCK_WIDTH * max(3, len(structure.projections), *(len(row) for row in rows))
    return width, (len(rows) + len(structure.cells) + 2) * _ROW_HEIGHT


def _rows(weights: Sequence[WeightedNode]) -> list[list[WeightedNode]]:
    """Matrices in rows, each above the ones that it reads."""
    row_of: dict[str, int] = {}
    for item in weights:  # in the order of the graph: an item comes after what it reads
        row_of[item.weights] = 1 + max((row_of.get(source, -1) for source in item.reads), default=-1)
    return [[item for item in weights if row_of[item.weights] == row] for row in range(1 + max(row_of.values()))]


def _layers(axes: Any, structure: GraphStructure, rows: Sequence[Sequence[WeightedNode]], width: float) -> None:
    """Tables at the bottom, a row for each cell with its state from left to right, outputs and sampler on top."""
    middle = width / 2
    tops: dict[str, tuple[float, float]] = {}
    for index, row in enumerate(rows):
        _blocks(axes, row, width, index * _ROW_HEIGHT, _TABLE, tops, structure)
    read = {source for row in rows for item in row for source in item.reads}
    first = len(rows)
    for row in rows:
        for item in row:
            if item.weights not in read:
                _arrow(axes, tops[item.weights], (middle, first * _ROW_HEIGHT - 0.5))
    for cell in structure.cells:
        y = (first + cell.index) * _ROW_HEIGHT
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
    y = (first + len(structure.cells)) * _ROW_HEIGHT
    last = f"cell {structure.cells[-1].index}"
    _blocks(axes, structure.projections, width, y, _OUTPUT, tops, structure, shown=last)
    words = " ".join(operation for operation in structure.sampler if operation not in _HIDDEN_OPERATIONS)
    _box(
        axes,
        middle,
        y + _ROW_HEIGHT,
        width - 0.3,
        0.9,
        textwrap.fill(f"sampler: {words}", round(10 * width)),
        _PLAIN,
        "sampler",
    )
    for projection in structure.projections:
        _arrow(axes, tops[projection.weights], (tops[projection.weights][0], y + _ROW_HEIGHT - 0.45))
    _finish(axes, (0, width), (-1.3, y + _ROW_HEIGHT + 0.7))


def _blocks(
    axes: Any,
    blocks: Sequence[WeightedNode],
    width: float,
    y: float,
    colour: str,
    tops: dict[str, tuple[float, float]],
    structure: GraphStructure,
    shown: str = "",
) -> None:
    """Matrices side by side, with arrows and labels for what they read.

    Of the cells, only the one called `shown` gets an arrow; the others get labels.
    """
    for index, block in enumerate(blocks):
        x = width * (index + 0.5) / len(blocks)
        text = f"{block.operation}\n{block.weights}\n{_sizes(block.shape)}"
        _box(axes, x, y, _BLOCK_WIDTH - 0.3, 0.9, text, colour, f"weights {block.weights}")
        tops[block.weights] = (x, y + 0.45)
        labels = [source for source in block.reads if source in structure.inputs]
        for source in block.reads:
            if source == shown or (source in tops and not shown):
                _arrow(axes, tops[source], (x, y - 0.45))
            elif source not in labels:
                labels.append(source)
        if labels and shown:
            _text(axes, x + _BLOCK_WIDTH, y, textwrap.fill("also reads " + ", ".join(labels), 24))
        elif labels:
            _arrow(axes, (x, y - 0.7), (x, y - 0.45))
            _text(axes, x, y - 0.85, ", ".join(labels))


def _inside(axes: Any, cell: Cell) -> None:
    """The usual picture of an LSTM cell: c along the top, h along the bottom, the gates between."""
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
    """A box with text; (x, y) is its centre."""
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
