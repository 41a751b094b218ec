import pytest

from report import Table

TABLE = Table(("model", "loss"), [("chorales", "0.52"), ("folk", "10.50")], title="Losses")


def test_text_aligns_names_left_and_numbers_right() -> None:
    assert TABLE.as_text().splitlines() == [
        "Losses",
        "model       loss",
        "chorales    0.52",
        "folk       10.50",
    ]


def test_markdown_aligns_names_left_and_numbers_right() -> None:
    assert TABLE.as_markdown().splitlines() == [
        "**Losses**",
        "",
        "| model    |   loss |",
        "|:---------|-------:|",
        "| chorales |   0.52 |",
        "| folk     |  10.50 |",
    ]


def test_without_a_title_only_the_table_is_written() -> None:
    assert Table(("a",), [("b",)]).as_text() == "a\nb"
    assert Table(("a",), [("b",)]).as_markdown().startswith("| a ")


def test_the_number_of_text_columns_can_be_chosen() -> None:
    table = Table(("size", "x"), [("1", "name")], text_columns=0)
    assert table.as_text() == "  size     x\n     1  name"
    assert Table(("size", "x"), [("1", "n")], text_columns=2).as_markdown().splitlines()[1] == "|:-------|:----|"


def test_cells_are_written_as_given() -> None:
    table = Table(("", "value"), [("1e3", "007"), ("a|b", "1,000")])
    assert "007" in table.as_text()
    assert "1e3" in table.as_text()
    assert r"a\|b" in table.as_markdown()
    assert "a|b" in table.as_text()


def test_a_table_without_rows_keeps_its_header() -> None:
    assert Table(("model", "loss"), []).as_markdown().startswith("| model   |   loss |\n")


def test_a_row_of_another_length_than_the_header_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells, the header has 2"):
        Table(("model", "loss"), [("chorales",)])
