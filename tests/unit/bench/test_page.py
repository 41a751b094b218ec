import re
from pathlib import Path

import pytest

from bench.fuzz.record import recorded_lines, total_lines
from bench.page import REGION, results_markdown, write_page
from bench.record import RESULTS, SOAK_RESULTS, BenchmarkRecord
from bench.soak.record import SoakRecord
from tests.unit.bench.fuzz.test_record import record as fuzz_record
from tests.unit.bench.records import full_record, record, soak_record

PAGE = Path(__file__).parents[3] / "docs" / "performance.md"


def empty_page(folder: Path) -> Path:
    page = folder / "page.md"
    page.write_text(f"before\n{REGION.begin}\n{REGION.end}\nafter\n")
    return page


def test_the_page_shows_the_records() -> None:
    text = PAGE.read_text()
    soaks = SoakRecord.load_folder(SOAK_RESULTS)
    body = results_markdown(BenchmarkRecord.load_folder(RESULTS), soaks, recorded_lines())

    assert REGION.replaced(text, body) == text, "run python -m bench --render docs/performance.md"


def test_a_record_is_a_section_with_its_tables() -> None:
    body = results_markdown({"quiet": full_record()}, {}, {})

    assert body.startswith("### quiet\n\nchorales dddddddddddd, int8 on CPUExecutionProvider")
    assert body.count("|\n|:-") + body.count("|\n|--") == 10
    assert "\n- Engine and bare loop wrote the same tokens at every width.\n" in body


def test_without_records_the_page_says_so() -> None:
    assert "No results are recorded yet." in results_markdown({}, {}, {})


def test_the_newest_record_comes_first(tmp_path: Path) -> None:
    record(date="2030-01-01T00:00:00+00:00").save(tmp_path / "a.json")
    record(date="2031-01-01T00:00:00+00:00").save(tmp_path / "b.json")
    page = empty_page(tmp_path)
    write_page(page, tmp_path)

    assert page.read_text().index("### b") < page.read_text().index("### a")


@pytest.mark.slow
def test_every_figure_that_the_page_shows_is_drawn_beside_it(tmp_path: Path) -> None:
    full_record().save(tmp_path / "full.json")
    page = empty_page(tmp_path)
    write_page(page, tmp_path)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", page.read_text())

    assert len(shown) == 3
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in shown)


@pytest.mark.slow
def test_the_soak_is_shown_too(tmp_path: Path) -> None:
    soak_record().save(tmp_path / "soak" / "town.json")
    page = empty_page(tmp_path)
    write_page(page, tmp_path)

    assert "### town: determinism soak" in page.read_text()
    assert "- 100 answers compared with those of 10 different requests alone: 1 mismatches" in page.read_text()


def test_totals_of_the_fuzzers_are_shown_too() -> None:
    body = results_markdown({}, {}, {"town": total_lines(fuzz_record())})

    lines = body.removeprefix("No results are recorded yet.\n\n### town: fuzzing\n\n- ").rstrip().split("\n- ")
    assert lines == total_lines(fuzz_record())
