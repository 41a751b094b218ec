"""Figures in one theme. Imports matplotlib only when a figure is drawn."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from report.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Colours that colour-blind readers can tell apart (Okabe and Ito, "Color Universal Design", 2008), and a grey."""
_DPI: Final = 110


@contextmanager
def figure(path: Path, *, width: float, height: float) -> Iterator["Figure"]:
    """An empty matplotlib figure in the house theme; what the `with` block draws into it is saved at its end.

    By default, lines take the colours of `PALETTE` in order. Axes have a light grid, legends no frame.
    If the block raises, no file is written. Equal drawings give equal bytes.

    Args:
        path: where to write; the suffix chooses the format. Missing folders are created.
        width: in inches.
        height: in inches.

    Raises:
        OSError: the file cannot be written.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    theme: dict[Any, Any] = {
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "legend.fontsize": "small",
    }
    with rc_context(theme):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing
        image = io.BytesIO()
        kind = path.suffix.removeprefix(".") or "png"
        drawing.savefig(image, format=kind, dpi=_DPI, metadata={"Software": None} if kind == "png" else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, image.getvalue())
