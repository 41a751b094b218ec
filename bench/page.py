"""Puts the recorded results into a page, between two marks, so that nobody types a number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.churn.record import ChurnReport
from bench.churn.record import as_markdown as crowd_as_markdown
from bench.churn.record import recorded as recorded_crowds
from bench.errors import BenchError
from bench.figures import draw, figures
from bench.places import RESULTS
from bench.report import Report, load_report
from bench.table import as_markdown
from training.pages import Region

BEGIN: Final = "<!-- results: written by `python -m bench --render`, not by hand -->"
END: Final = "<!-- end of results -->"
REGION: Final = Region(BEGIN, END, "results", BenchError)


def recorded(folder: Path = RESULTS) -> dict[str, Report]:
    """Every recorded result by its name, the newest first.

    Raises:
        BenchError: a file is no result.
    """
    reports = {path.stem: load_report(path) for path in sorted(folder.glob("*.json"))}
    return dict(sorted(reports.items(), key=lambda item: item[1].date, reverse=True))


def rendered(page: str, reports: Mapping[str, Report], crowds: Mapping[str, ChurnReport]) -> str:
    """The page with these results between its marks.

    Raises:
        BenchError: the page has not both marks, in order.
    """
    parts = [
        f"### {name}\n\n{as_markdown(report, {key: str(path) for key, path in figures(name, report).items()})}"
        for name, report in reports.items()
    ]
    parts += [f"### {name}: answers in a crowd\n\n{crowd_as_markdown(crowd)}" for name, crowd in crowds.items()]
    return REGION.filled(page, "\n".join(parts) or "No result has been recorded yet.\n")


def render(page: Path, folder: Path = RESULTS) -> None:
    """Write the recorded results into the page, and draw their figures beside it.

    Raises:
        BenchError: the page cannot be read or has no place for them, or a file is no result.
    """
    reports = recorded(folder)
    page.write_text(rendered(REGION.read(page), reports, recorded_crowds(folder / "churn")))
    for name, report in reports.items():
        draw(name, report, page)
