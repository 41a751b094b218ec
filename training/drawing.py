"""Draws the network of a bundle: its layers, and the inside of one of its cells, as its graph has them."""

import textwrap
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from music.bundle import load_bundle
from training.errors import ExportError
from training.structure import Cell, Structure, Weighted, read_structure

_TABLE, _CELL, _HEAD, _GATE, _PLAIN = "#DDEBF7", "#FDE9D9", "#E2EFDA", "#FFF2CC", "white"
_ROW: Final = 1.5
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
    rows = len(structure.cells) + 3
    figure = Figure(figsize=(14, max(1.15 * rows, 6)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _layers(left, structure)
    _inside(right, structure.cells[0])
    left.set_title(title, loc="left")
    right.set_title(f"inside cell {structure.cells[0].index}", loc="left")
    return figure


def _layers(axes: Any, structure: Structure) -> None:
    """Tables at the bottom, a row for each cell with its state from left to right, heads and sampler on top."""
    tables = structure.cells[0].inputs
    width = max(2.6 * max(len(tables), len(structure.heads), 1), 7.0)
    middle = width / 2
    _blocks(axes, tables, width, 0.0, _TABLE)
    above_tables = 0.75
    for row, cell in enumerate(structure.cells):
        y = (row + 1) * _ROW
        own = cell.recurrent[0]
        text = f"LSTM cell {cell.index}: {cell.hidden} units\n{own.operation} {own.weights} {_sizes(own.shape)}"
        if row:
            text += "".join(f"\n{item.operation} {item.weights} {_sizes(item.shape)}" for item in cell.inputs)
        _box(axes, middle, y, 3.6, 0.95, text, _CELL, f"cell {cell.index}")
        for offset, before, after in zip((0.22, -0.22), cell.state, cell.state_after, strict=True):
            _arrow(axes, (middle - 3.3, y + offset), (middle - 1.8, y + offset))
            _arrow(axes, (middle + 1.8, y + offset), (middle + 3.3, y + offset))
            shape = _sizes(structure.inputs[before])
            _text(axes, middle - 2.6, y + offset + 0.1, f"{before}[{cell.index}] of {shape}")
            _text(axes, middle + 2.6, y + offset + 0.1, f"{after}[{cell.index}]")
        below = above_tables if row == 0 else y - _ROW + 0.475
        _arrow(axes, (middle, below), (middle, y - 0.475))
    top = (len(structure.cells) + 1) * _ROW
    _arrow(axes, (middle, top - _ROW + 0.475), (middle, top - 0.75 if len(structure.heads) > 1 else top - 0.4))
    _blocks(axes, structure.heads, width, top, _HEAD, joined=False)
    _arrow(axes, (middle, top + 0.4), (middle, top + _ROW - 0.4))
    words = " ".join(operation for operation in structure.sampler if operation not in ("Identity", "Cast"))
    _box(axes, middle, top + _ROW, min(width, 7.0), 0.8, _wrapped(f"sampler: {words}", 62), _PLAIN, "sampler")
    _finish(axes, (middle - max(width / 2, 3.6), middle + max(width / 2, 3.6)), (-1.2, top + _ROW + 0.7))


def _blocks(
    axes: Any, blocks: tuple[Weighted, ...], width: float, y: float, colour: str, *, joined: bool = True
) -> None:
    """Matrices side by side, what they read below; `joined` by a bar above them that the lowest cell reads."""
    for index, block in enumerate(blocks):
        x = width * (index + 0.5) / len(blocks)
        text = f"{block.operation} {block.weights}\n{_sizes(block.shape)}"
        _box(axes, x, y, min(2.4, width / len(blocks) - 0.2), 0.8, text, colour, f"weights {block.weights}")
        if joined:
            _text(axes, x, y - 0.95, "\n".join(_wrapped(", ".join(block.reads), 22).splitlines()))
            _arrow(axes, (x, y - 0.65), (x, y - 0.4))
            axes.plot([x, x], [y + 0.4, y + 0.75], color="black", linewidth=1)
            axes.plot([x, width / 2], [y + 0.75, y + 0.75], color="black", linewidth=1)


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
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, shrinkA=0, shrinkB=0, color="black")
    )


def _text(axes: Any, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=8)


def _finish(axes: Any, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    axes.set_xlim(*xs)
    axes.set_ylim(*ys)
    axes.axis("off")


def _sizes(shape: tuple[int | str, ...]) -> str:
    return " × ".join(map(str, shape))


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))
