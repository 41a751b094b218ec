from pathlib import Path

import pytest
from click.testing import CliRunner

from training.__main__ import main
from training.errors import CorpusError
from training.reproduce.page import BEGIN, END, IMAGES, rendered
from training.reproduce.results import Results

DOCS = Path(__file__).parents[4] / "docs"
RECORDED = DOCS / "reproduction" / "results.json"


def recorded() -> Results | None:
    return Results.load(RECORDED) if RECORDED.exists() else None


def test_the_page_shows_what_is_recorded() -> None:
    text = (DOCS / "reproduction.md").read_text()
    assert rendered(text, recorded()) == text, "run python -m training reproduce"


def test_every_figure_of_the_page_is_there() -> None:
    text = (DOCS / "reproduction.md").read_text()
    links = [part.partition(")")[0] for part in text.split("](images/")[1:]]
    assert all((DOCS / "images" / link).is_file() for link in links)
    assert bool(links) == RECORDED.exists()


@pytest.mark.parametrize("page", ["nothing", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_a_place_for_results_is_refused(page: str) -> None:
    with pytest.raises(CorpusError, match="no place"):
        rendered(page, None)


def test_without_results_the_page_says_so(tmp_path: Path) -> None:
    (tmp_path / "reproduction.md").write_text(f"{BEGIN}{END}")
    result = CliRunner().invoke(main, ["reproduce", "--docs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "Nothing is recorded yet" in (tmp_path / "reproduction.md").read_text()
    assert not (tmp_path / IMAGES).exists()


@pytest.mark.parametrize("content", ["{", "{}", '{"files": "many"}'])
def test_a_damaged_result_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "reproduction.md").write_text(f"{BEGIN}{END}")
    (tmp_path / "reproduction").mkdir()
    (tmp_path / "reproduction" / "results.json").write_text(content)
    result = CliRunner().invoke(main, ["reproduce", "--docs", str(tmp_path)])
    assert result.exit_code == 1
    assert "is no result of `make reproduce`" in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_missing_page_is_refused_before_any_training(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["reproduce", str(tmp_path), "--docs", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "there is no page" in result.output
