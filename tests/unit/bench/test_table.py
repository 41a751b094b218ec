import pytest

from bench.report import Report
from bench.table import as_markdown, as_text
from tests.unit.bench.reports import full_report, report


def test_the_text_holds_what_the_numbers_were_measured_with() -> None:
    text = as_text(report())

    for part in (
        "Abacus 9 (beads), 2 core(s)",
        "core 0, the clients on 1",
        "ONNX Runtime 1.32.0",
        "abc123",
        "dddddddddddd",
        "0.10 0.00",
    ):
        assert part in text


def test_columns_are_aligned_and_hold_the_ratio_beside_its_goal() -> None:
    lines = as_text(report()).splitlines()
    header = next(line for line in lines if line.split()[:2] == ["width", "ratio"])
    row = lines[lines.index(header) + 1]

    assert len(header) == len(row)
    assert row.split() == [
        "64",
        "0.900",
        "0.900",
        "to",
        "0.900",
        "0.95",
        "missed",
        "900",
        "1,000",
        "0.0%",
        "3",
        "1.000",
        "75.0%",
    ]


@pytest.mark.parametrize(("shown", "count"), [(report(), 3), (full_report(), 13)])
def test_every_markdown_row_has_as_many_cells_as_its_header(shown: Report, count: int) -> None:
    tables = [
        [line for line in part.splitlines() if line.startswith("|")]
        for part in as_markdown(shown).split("\n\n")
        if part.startswith("|")
    ]

    assert len(tables) == count
    for header, rule, *rows in tables:
        assert rule == "|" + " ---: |" * (header.count("|") - 1)
        assert rows
        assert all(row.count("|") == header.count("|") for row in rows)


def test_operators_that_take_little_are_told_together() -> None:
    lines = [line.split() for line in as_text(full_report()).splitlines()]
    at = lines.index(["operator", "nodes", "us", "a", "step", "share"])

    assert lines[at + 1 : at + 4] == [
        ["MatMul", "9.0", "75.0", "75.0%"],
        ["TopK", "1.0", "24.5", "24.5%"],
        ["1", "others", "1.5", "0.5", "0.5%"],
    ]


def test_a_quiet_run_is_not_called_rough() -> None:
    text = as_text(report())

    assert "wrote the same tokens at every width" in text
    assert "Rough" not in text
    assert "not idle" not in text
    assert "p99 is the longest" not in text


def test_noise_load_few_calls_and_other_tokens_are_told() -> None:
    text = as_text(report(bare_rates=(1000.0, 700.0, 1000.0), load=2.5, calls=99, same_tokens=False))

    assert "Rough (engine 64, service 8 x 256)" in text
    assert "not idle when this began (load average 2.5)" in text
    assert "p99 is the longest" in text
    assert "did not write the same tokens at width 64" in text
    assert "at every width" not in text
