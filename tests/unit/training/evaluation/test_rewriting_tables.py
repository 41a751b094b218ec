from pathlib import Path

import pytest

from report import PageError, RecordError
from tests.unit.training.evaluation.rewriting_records import SERVED, rewriting
from training.evaluation.rewriting_record import REWRITING_RESULTS, RewritingRecord
from training.evaluation.rewriting_tables import (
    REGION,
    render_rewriting,
    rewriting_tables,
    rewriting_text,
    write_rewriting_page,
)
from training.evaluation.rewriting_tasks import Part

PAGE = Path(__file__).parents[4] / "docs" / "harmonising.md"


def test_the_page_shows_the_recorded_results() -> None:
    text, recorded = PAGE.read_text(), RewritingRecord.load_folder(REWRITING_RESULTS)
    assert recorded
    assert REGION.replaced(text, render_rewriting(recorded)) == text, "run make harmonising"


def test_each_part_has_a_table_with_the_real_pieces_first() -> None:
    soprano, infill = rewriting_tables(rewriting({Part.SOPRANO: [(SERVED, 4)], Part.INFILL: [(SERVED, 16)]}))
    assert "2 pieces, 10 given tokens, 30 written ones" in soprano.title
    assert [row[0] for row in soprano.rows] == ["the real pieces", "temperature 0.8, top-k 5"]
    by_name = dict(zip(soprano.header, soprano.rows[1], strict=True))
    assert by_name["particles"] == "4"
    assert by_name["ranked by"] == "all tokens"
    assert by_name["given, nats a token"] == "0.500"
    assert by_name["above real"] == "+0.125 (+0.115 to +0.135)"
    assert by_name["per 100 steps: parallels"] == "1.50"
    assert by_name["given notes unchanged"] == "100%"
    assert "bar after, nats a token" not in soprano.header
    assert infill.rows[1][infill.header.index("bar after, nats a token") + 1] == "+0.020 (+0.010 to +0.030)"


def test_rows_without_parallels_say_so() -> None:
    record = rewriting()
    (part,) = record.parts
    (row,) = part.rewritten
    part = part.model_copy(update={"rewritten": (row.model_copy(update={"no_parallels": True}),)})
    (table,) = rewriting_tables(record.model_copy(update={"parts": (part,)}))
    assert table.rows[1][0] == "temperature 0.8, top-k 5, no parallels"


def test_a_share_below_1_is_never_rounded_to_all() -> None:
    record = rewriting()
    (part,) = record.parts
    (row,) = part.rewritten
    lossy = row.model_copy(update={"figures": row.figures.model_copy(update={"unchanged_share": 0.9996})})
    part = part.model_copy(update={"rewritten": (lossy,)})
    assert rewriting_tables(record.model_copy(update={"parts": (part,)}))[0].rows[1][-1] == "99.9600%"


def test_writing_a_page_keeps_the_text_around_the_region(tmp_path: Path) -> None:
    rewriting().save(tmp_path / "results" / "small.json")
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n{REGION.begin}\nold\n{REGION.end}\n\nAfter.\n")
    write_rewriting_page(page, tmp_path / "results")
    text = page.read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "### small" in text
    assert "\n\n\n" not in text
    assert "Soprano given" in rewriting_text(rewriting())


def test_a_page_without_the_region_or_a_file_without_a_record_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("No marks.")
    with pytest.raises(PageError, match="no region 'rewriting'"):
        write_rewriting_page(page, tmp_path)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(RecordError, match=r"bad.json is not a valid RewritingRecord"):
        write_rewriting_page(page, tmp_path)
    assert render_rewriting({}).strip() == "No evaluation has been recorded yet."
