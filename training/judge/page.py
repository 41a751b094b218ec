"""Puts the recorded judgements into a page, between two marks, so that nobody types a number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from training.judge.errors import JudgeError
from training.judge.figures import draw
from training.judge.judgement import Judgement, load_judgement
from training.judge.table import as_markdown

BEGIN: Final = "<!-- judgements: written by `make quality`, not by hand -->"
END: Final = "<!-- end of judgements -->"
RESULTS: Final = Path(__file__).parent / "results"
IMAGES: Final = Path("images") / "quality"
"""Folder of the figures, beside the page."""


def recorded(folder: Path = RESULTS) -> dict[str, Judgement]:
    """Every recorded judgement by its name, in order.

    Raises:
        JudgeError: a file is none.
    """
    return {path.stem: load_judgement(path) for path in sorted(folder.glob("*.json"))}


def rendered(page: str, judgements: Mapping[str, Judgement], figures: Mapping[str, list[str]]) -> str:
    """The page with these judgements between its marks, each with its figures, paths relative to the page.

    Raises:
        JudgeError: the page has not both marks, in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise JudgeError(f"the page has no place for judgements: put {BEGIN!r} and {END!r} around it")
    parts = []
    for name, judgement in judgements.items():
        images = "".join(f"\n![{name}: {Path(path).stem.rpartition('-')[2]}]({path})\n" for path in figures[name])
        parts.append(f"### {name}\n\n{as_markdown(judgement)}{images}")
    body = "\n".join(parts) or "No judgement has been recorded yet.\n"
    return f"{before}{BEGIN}\n\n{body}\n{END}{after}"


def render(page: Path, folder: Path = RESULTS) -> None:
    """Write the recorded judgements into the page, and their figures beside it.

    Raises:
        JudgeError: the page cannot be read or has no place for them, or a file is no judgement.
    """
    try:
        text = page.read_text()
    except OSError as error:
        raise JudgeError(f"{page} cannot be read ({error.strerror})") from error
    judgements = recorded(folder)
    rendered(text, judgements, {name: [] for name in judgements})  # before anything is drawn
    figures = {name: draw(judgement, page.parent / IMAGES) for name, judgement in judgements.items()}
    paths = {name: [(IMAGES / path.name).as_posix() for path in files] for name, files in figures.items()}
    page.write_text(rendered(text, judgements, paths))
