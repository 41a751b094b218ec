from pathlib import Path

import pytest

from bench.fuzz.reading import read_slice, run_reading
from music.errors import InvalidScoreError


@pytest.mark.slow
def test_files_are_read_or_refused(tmp_path: Path) -> None:
    found = read_slice(tmp_path, 1, 0, 100)

    assert found.files == found.read + found.refused == 100
    assert found.read > 5
    assert found.fault_count == 0
    assert 0 < found.max_seconds < 30
    assert 0 < found.max_traced_bytes < 64 << 20
    assert 0 < found.slowest < 100


def test_another_error_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise IndexError("no such byte")

    monkeypatch.setattr("bench.fuzz.reading.read_midi", broken)
    found = read_slice(tmp_path, 1, 0, 30)

    assert found.fault_count == 30
    assert len(found.faults) == 10
    assert found.faults[0].problems == ("IndexError('no such byte')",)


def test_an_error_of_ours_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise InvalidScoreError("no notes")

    monkeypatch.setattr("bench.fuzz.reading.read_midi", refused)

    assert read_slice(tmp_path, 1, 0, 30).refused == 30


@pytest.mark.slow
def test_processes_share_the_files(tmp_path: Path) -> None:
    record = run_reading(60, tmp_path, 1, 2)

    assert record.files == record.read + record.refused == 60
    assert record.resident_bytes_max >= record.resident_bytes_start > 0
