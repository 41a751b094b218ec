from pathlib import Path

import pytest
from click.testing import CliRunner

from research.__main__ import main
from research.reproduction.page import IMAGES, REGION, render
from research.reproduction.record import ReproductionRecord

DOCS = Path(__file__).parents[4] / "docs"
RECORDED = DOCS / "reproduction" / "results.json"


def test_the_page_shows_the_record() -> None:
    text, record = (DOCS / "reproduction.md").read_text(), ReproductionRecord.load(RECORDED)
    assert REGION.replaced(text, render(record)) == text, "run python -m research reproduction"


def test_every_figure_of_the_page_is_there() -> None:
    text = (DOCS / "reproduction.md").read_text()
    links = [part.partition(")")[0] for part in text.split("](images/")[1:]]
    assert all((DOCS / "images" / link).is_file() for link in links)
    assert sorted(links) == sorted(str(path.relative_to("images")) for path in IMAGES.values())


def test_without_results_the_page_says_so(tmp_path: Path) -> None:
    (tmp_path / "reproduction.md").write_text(f"{REGION.begin}{REGION.end}")
    result = CliRunner().invoke(main, ["reproduction", "--docs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Nothing is recorded yet" in (tmp_path / "reproduction.md").read_text()
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("content", ["{", "{}", '{"files": "many"}'])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "reproduction.md").write_text(f"{REGION.begin}{REGION.end}")
    (tmp_path / "reproduction").mkdir()
    (tmp_path / "reproduction" / "results.json").write_text(content)
    result = CliRunner().invoke(main, ["reproduction", "--docs", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not a valid ReproductionRecord" in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_missing_page_is_refused_before_any_training(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["reproduction", str(tmp_path), "--docs", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "there is no page" in result.output
