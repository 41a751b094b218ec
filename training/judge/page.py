"""Puts the recorded judgements into a page, between two marks, so that nobody types a number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from training.judge.errors import JudgeError
from training.judge.figures import draw, figure_names
from training.judge.judgement import Judgement, load_judgement
from training.judge.table import as_markdown
from training.pages import Region

BEGIN: Final = "<!-- judgements: written by `make quality`, not by hand -->"
END: Final = "<!-- end of judgements -->"
_REGION: Final = Region(BEGIN, END, "judgements", JudgeError)
RESULTS: Final = Path(__file__).parent / "results"
_NOTHING: Final = "No judgement has been recorded yet.\n"
IMAGES: Final = Path("images") / "quality"
"""Folder of the figures, beside the page."""


def recorded(folder: Path = RESULTS) -> dict[str, Judgement]:
    """Every recorded judgement by its name, in order.

    Raises:
        JudgeError: a file is none.
    """
    return {path.stem: load_judgement(path) for path in sorted(folder.glob("*.json"))}


def rendered(page: str, judgements: Mapping[str, Judgement]) -> str:
    """The page with these judgements between its marks, each with its figures.

    Raises:
        JudgeError: the page has not both marks, in order.
    """
    body = "\n".join(_part(name, judgement) for name, judgement in judgements.items())
    return _REGION.filled(page, body or _NOTHING)


def render(page: Path, folder: Path = RESULTS) -> None:
    """Write the recorded judgements into the page, and their figures beside it.

    Raises:
        JudgeError: the page cannot be read or has no place for them, or a file is no judgement.
    """
    text = _REGION.read(page)
    judgements = recorded(folder)
    page.write_text(rendered(text, judgements))
    for judgement in judgements.values():
        draw(judgement, page.parent / IMAGES)


def _part(name: str, judgement: Judgement) -> str:
    images = [f"\n![{name}: {what}]({(IMAGES / file).as_posix()})\n" for what, file in figure_names(judgement).items()]
    return f"### {name}\n\n{as_markdown(judgement)}{''.join(images)}"
