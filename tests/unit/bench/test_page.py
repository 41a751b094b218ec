import re
from pathlib import Path

import pytest

from bench.churn.record import recorded as recorded_crowds
from bench.errors import BenchError
from bench.page import BEGIN, END, recorded, render, rendered
from tests.unit.bench.reports import crowd, full_report, report

PAGE = Path(__file__).parents[3] / "docs" / "performance.md"


def test_the_page_shows_what_is_recorded() -> None:
    text = PAGE.read_text()

    assert rendered(text, recorded(), recorded_crowds()) == text, "run python -m bench --render docs/performance.md"


def test_only_what_is_between_the_marks_changes() -> None:
    page = rendered(f"before\n{BEGIN}\nold\n{END}\nafter\n", {"quiet": report()}, {})

    assert page.startswith(f"before\n{BEGIN}\n\n### quiet\n")
    assert page.endswith(f"\n{END}\nafter\n")
    assert "old" not in page
    assert "| 0.900 |" in page


def test_rendering_twice_changes_nothing() -> None:
    once = rendered(f"{BEGIN}{END}", {"quiet": full_report()}, {})

    assert rendered(once, {"quiet": full_report()}, {}) == once


def test_without_results_the_page_says_so() -> None:
    assert "No result has been recorded yet." in rendered(f"{BEGIN}{END}", {}, {})


def test_the_newest_result_comes_first(tmp_path: Path) -> None:
    report(date="2030-01-01T00:00:00+00:00").save(tmp_path / "a.json")
    report(date="2031-01-01T00:00:00+00:00").save(tmp_path / "b.json")
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}")
    render(page, tmp_path)

    assert page.read_text().index("### b") < page.read_text().index("### a")


def test_every_figure_that_the_page_shows_is_drawn_beside_it(tmp_path: Path) -> None:
    full_report().save(tmp_path / "full.json")
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}")
    render(page, tmp_path)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", page.read_text())

    assert len(shown) == 4
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in shown)


def test_the_crowd_is_shown_too(tmp_path: Path) -> None:
    crowd().save(tmp_path / "churn" / "town.json")
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}")
    render(page, tmp_path)

    assert "### town: answers in a crowd" in page.read_text()
    assert "100 requests compared with what each of 10 distinct ones wrote alone: 1 mismatches" in page.read_text()


@pytest.mark.parametrize("page", ["nothing", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_a_place_for_results_is_refused(page: str) -> None:
    with pytest.raises(BenchError, match="no place"):
        rendered(page, {}, {})


def test_a_page_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot be read"):
        render(tmp_path / "none.md", tmp_path)
