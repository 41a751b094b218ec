"""The study's table, put into a page between two marks, so that nobody types a number."""

from pathlib import Path
from typing import Final

from training.errors import CorpusError
from training.pages import Region
from training.study.results import Curve, Results

BEGIN: Final = "<!-- study: written by `make study`, not by hand -->"
END: Final = "<!-- end of study -->"
FIGURE: Final = Path("images") / "study" / "curves.png"
"""The curves, beside the page."""


_REGION: Final = Region(BEGIN, END, "the study", CorpusError)


def rendered(page: str, results: Results) -> str:
    """The page with these results between its marks.

    Raises:
        CorpusError: the page has not both marks, in order.
    """
    return _REGION.filled(page, f"{_table(results)}\n\n![Validation and training loss by epoch]({FIGURE})\n")


def render(page: Path, results: Results) -> None:
    """Write the results into the page.

    Raises:
        CorpusError: the page cannot be read, or has no place for them.
    """
    page.write_text(rendered(_REGION.read(page), results))


def _table(results: Results) -> str:
    first = results.curves[0]
    lines = [
        "| training | what is different | parameters | best validation loss | against the whole | last training loss |",
        "|---|---|---|---|---|---|",
        *(_row(curve, first) for curve in results.curves),
    ]
    return "\n".join(lines)


def _row(curve: Curve, first: Curve) -> str:
    against = "" if curve is first else f"{curve.best - first.best:+.4f}"
    return (
        f"| {curve.name} | {curve.what} | {curve.parameters / 1e6:.2f} M | {curve.best:.4f} | {against} | "
        f"{curve.train_loss[-1]:.4f} |"
    )
