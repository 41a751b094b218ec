from pathlib import Path

from bench.torture.page import REGION, as_text, write_page
from tests.unit.bench.torture.records import finding, record


def test_a_record_is_written_into_the_page(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    page.write_text(f"# Reliability\n\n{REGION.begin}\n{REGION.end}\n")
    folder = tmp_path / "torture"
    folder.mkdir()

    write_page(page, folder)
    assert "No results are recorded yet." in page.read_text()

    record().save(folder / "a-machine.json")
    write_page(page, folder)
    text = page.read_text()
    for expected in (
        *("### a-machine", "rapid reset", "400 / 450 / 410", "Soak of 120 minutes: 1,000 checked calls"),
        *("400 / 400 / 400 / 400", "- A fact.", "- The clock did not jump"),
    ):
        assert expected in text


def test_faults_are_printed_and_are_problems() -> None:
    found = record(findings=(finding(faults=("3 pieces differ",)),))
    assert list(found.problems()) == ["rapid reset: 3 pieces differ"]
    assert "Fault: rapid reset: 3 pieces differ." in as_text(found)
