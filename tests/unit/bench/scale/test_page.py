from pathlib import Path

from bench.scale.page import REGION, as_text, write_page
from tests.unit.bench.scale.records import record


def test_a_record_is_written_into_the_page(tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(f"# Scaling\n\n{REGION.begin}\n{REGION.end}\n")
    folder = tmp_path / "scale"
    folder.mkdir()

    write_page(page, folder)
    assert "No results are recorded yet." in page.read_text()

    record().save(folder / "a-machine.json")
    write_page(page, folder)
    text = page.read_text()
    for expected in ("### a-machine", " 1.90 ", "100, 104, 96", "4.0%", "one of 3 replicas killed", "2.5 s"):
        assert expected in text


def test_a_record_is_printed() -> None:
    text = as_text(record())
    assert "chorales dddddddddddd, int8" in text
    assert "client, over a DNS name" in text
