"""Puts the recorded results into a page, between two marks, so that nobody types a number."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.errors import BenchError
from bench.report import Report, load_report
from bench.table import as_markdown
from training.pages import Region

BEGIN: Final = "<!-- results: written by `python -m bench --render`, not by hand -->"
END: Final = "<!-- end of results -->"
REGION: Final = Region(BEGIN, END, "results", BenchError)
RESULTS: Final = Path(__file__).parent / "results"


def recorded(folder: Path = RESULTS) -> dict[str, Report]:
    """Every recorded result by its name, the newest first.

    Raises:
        BenchError: a file is no result.
    """
    reports = {path.stem: load_report(path) for path in sorted(folder.glob("*.json"))}
    return dict(sorted(reports.items(), key=lambda item: item[1].date, reverse=True))


def rendered(page: str, reports: dict[str, Report]) -> str:
    """The page with these results between its marks.

    Raises:
        BenchError: the page has not both marks, in order.
    """
    return REGION.filled(page, _joined(reports.items()))


def render(page: Path, folder: Path = RESULTS) -> None:
    """Write the recorded results into the page.

    Raises:
        BenchError: the page cannot be read or has no place for them, or a file is no result.
    """
    page.write_text(rendered(REGION.read(page), recorded(folder)))


def _joined(reports: Iterable[tuple[str, Report]]) -> str:
    parts = [f"### {name}\n\n{as_markdown(report)}" for name, report in reports]
    return "\n".join(parts) or "No result has been recorded yet.\n"
