from pathlib import Path

import pytest

from tests.unit.training.judge.scores import judgement, sweep
from training.judge.errors import JudgeError
from training.judge.figures import figure_names
from training.judge.judgement import load_judgement
from training.judge.page import BEGIN, END, recorded, render, rendered
from training.judge.table import as_markdown, as_text

PAGE = Path(__file__).parents[4] / "docs" / "quality.md"


def test_the_page_shows_what_is_recorded() -> None:
    text = PAGE.read_text()
    assert rendered(text, recorded()) == text, "run make quality"
    for name, judgement_ in recorded().items():
        assert name == judgement_.model
        for file in figure_names(judgement_).values():
            assert (PAGE.parent / "images" / "quality" / file).is_file()


def test_a_page_shows_what_is_recorded_and_keeps_its_own_words(tmp_path: Path) -> None:
    judgement(sweep=sweep()).save(tmp_path / "results" / "small.json")
    page = tmp_path / "quality.md"
    page.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    render(page, tmp_path / "results")
    text = page.read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "0.4000" in text
    assert "temperature 0.8" in text
    for name in ("small-ratios.png", "small-sweep.png"):
        assert f"](images/quality/{name})" in text
        assert (tmp_path / "images" / "quality" / name).read_bytes().startswith(b"\x89PNG")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    render(page, tmp_path / "results")
    assert {path: path.read_bytes() for path in before} == before


def test_a_page_without_a_place_or_a_file_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    page = tmp_path / "quality.md"
    with pytest.raises(JudgeError, match="cannot be read"):
        render(page, tmp_path)
    page.write_text("No marks.")
    with pytest.raises(JudgeError, match="no place for judgements"):
        render(page, tmp_path)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(JudgeError, match="is not a recorded judgement"):
        load_judgement(tmp_path / "bad.json")


def test_tables_say_the_same_as_text_and_markdown() -> None:
    single_voice = judgement(faults=(), left_out=("Voice leading is not judged: one voice.",))
    for written in (as_text(single_voice), as_markdown(single_voice)):
        assert "2.00" in written
        assert "8-gram, Witten-Bell" in written
        assert "Voice leading is not judged" in written
        assert "parallel" not in written
    assert "| melodic intervals | 0.1000 | 0.1000 | 1.00 | 0.80 to 1.30 |" in as_markdown(single_voice)
