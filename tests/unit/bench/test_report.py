from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.report import load_report
from tests.unit.bench.reports import full_report, report


def test_a_report_survives_being_recorded(tmp_path: Path) -> None:
    path = tmp_path / "results" / "one.json"
    report().save(path)

    assert load_report(path) == report()


def test_so_does_one_with_every_part(tmp_path: Path) -> None:
    path = tmp_path / "full.json"
    full_report().save(path)

    assert load_report(path) == full_report()


def test_what_is_no_report_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"format_version": 1}')

    with pytest.raises(BenchError, match=r"other\.json is not a recorded result"):
        load_report(path)


def test_a_report_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "later.json"
    report().model_copy(update={"format_version": 2}).save(path)

    with pytest.raises(BenchError, match="format_version"):
        load_report(path)
