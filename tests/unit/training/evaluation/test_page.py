from pathlib import Path

import pytest

from report import PageError, RecordError
from tests.unit.training.evaluation.scores import evaluation, sweep
from training.evaluation.page import REGION, SUMMARY, image_paths, render, write_page
from training.evaluation.record import RESULTS, EvaluationRecord
from training.evaluation.tables import summary_table

PAGE = Path(__file__).parents[4] / "docs" / "quality.md"


def test_the_page_shows_the_recorded_evaluations() -> None:
    text, recorded = PAGE.read_text(), EvaluationRecord.load_folder(RESULTS)
    assert REGION.replaced(text, render(recorded)) == text, "run make quality"
    summary = summary_table(recorded.values()).as_markdown()
    assert SUMMARY.replaced(text, summary) == text, "run make quality"
    for name, evaluation_ in recorded.items():
        assert name == evaluation_.model
        assert all((PAGE.parent / path).is_file() for path in image_paths(evaluation_).values())


@pytest.mark.slow
def test_writing_a_page_keeps_the_text_around_the_region(tmp_path: Path) -> None:
    evaluation(sweep=sweep()).save(tmp_path / "results" / "small.json")
    page = tmp_path / "quality.md"
    page.write_text(f"Before.\n\n{SUMMARY.begin}\n{SUMMARY.end}\n{REGION.begin}\nold\n{REGION.end}\n\nAfter.\n")
    write_page(page, tmp_path / "results")
    text = page.read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "0.4000" in text
    assert "2.0 (range)" in text
    assert "temperature 0.8" in text
    assert "\n\n\n" not in text
    for name in ("small-ratios.png", "small-sweep.png"):
        assert f"](images/quality/{name})" in text
        assert (tmp_path / "images" / "quality" / name).read_bytes().startswith(b"\x89PNG")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_page(page, tmp_path / "results")
    assert {path: path.read_bytes() for path in before} == before


def test_a_page_without_a_region_or_a_file_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "quality.md"
    with pytest.raises(PageError, match="cannot be read"):
        write_page(page, tmp_path)
    page.write_text("No marks.")
    with pytest.raises(PageError, match="no region 'results'"):
        write_page(page, tmp_path)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(RecordError, match=r"bad.json is not a valid EvaluationRecord"):
        write_page(page, tmp_path)


def test_without_records_the_page_says_so() -> None:
    assert render({}).strip() == "No evaluation has been recorded yet."
