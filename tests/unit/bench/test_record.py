from pathlib import Path

import pytest

from bench.record import RESULTS, SOAK_RESULTS, BenchmarkRecord
from bench.soak.record import SoakRecord
from report import RecordError
from tests.unit.bench.records import full_record, record


@pytest.mark.parametrize("saved", [record(), full_record()], ids=["two parts", "every part"])
def test_a_record_comes_back_as_it_was_saved(saved: BenchmarkRecord, tmp_path: Path) -> None:
    path = tmp_path / "results" / "one.json"
    saved.save(path)

    assert BenchmarkRecord.load(path) == saved


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "later.json"
    record().model_copy(update={"format_version": 3}).save(path)

    with pytest.raises(RecordError, match="format_version"):
        BenchmarkRecord.load(path)


def test_the_kept_records_load() -> None:
    assert BenchmarkRecord.load_folder(RESULTS)
    assert SoakRecord.load_folder(SOAK_RESULTS)
