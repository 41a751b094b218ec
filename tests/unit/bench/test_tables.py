import pytest

from bench.record import BenchmarkRecord
from bench.tables import as_text, tables
from tests.unit.bench.records import full_record, record


def test_the_text_says_what_was_measured_on_what() -> None:
    text = as_text(record())

    for part in (
        "Abacus 9 (beads), 2 core(s)",
        "model on core 0, clients on 1",
        "ONNX Runtime 1.32.0",
        "abc123",
        "dddddddddddd",
        "0.10 0.00",
    ):
        assert part in text


def test_columns_are_aligned_and_hold_the_ratio() -> None:
    lines = as_text(record()).splitlines()
    header = next(line for line in lines if line.split()[:2] == ["width", "ratio"])
    row = lines[lines.index(header) + 1]

    assert len(header) == len(row)
    assert row.split() == ["64", "0.900", "0.900", "to", "0.900", "900", "1,000", "0.0%", "3", "1.000", "75.0%"]


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        (record(), ["goals", "engine", "service"]),
        (
            full_record(),
            [
                "goals",
                "engine",
                "service",
                "peers",
                "load",
                "goodput",
                "fairness",
                "neighbours",
                "precision",
                "prefill",
            ],
        ),
    ],
    ids=["two parts", "every part"],
)
def test_every_part_that_was_measured_has_a_table(shown: BenchmarkRecord, names: list[str]) -> None:
    assert list(tables(shown)) == names
    assert all(table.title for table in tables(shown).values())


def test_a_quiet_run_has_no_warnings() -> None:
    text = as_text(record())

    assert "wrote the same tokens at every width" in text
    assert "Noisy" not in text
    assert "not idle" not in text
    assert "p99 is the longest" not in text


def test_noise_load_few_calls_and_other_tokens_are_named() -> None:
    text = as_text(record(reference_rates=(1000.0, 700.0, 1000.0), load=2.5, calls=99, same_tokens=False))

    assert "Noisy (engine 64, service 8 x 256)" in text
    assert "not idle at the beginning (load average 2.5)" in text
    assert "p99 is the longest" in text
    assert "did not write the same tokens at width 64" in text
    assert "at every width" not in text
