from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.fuzz.__main__ import main
from bench.fuzz.record import FuzzRecord, ReadingRecord
from bench.fuzz.run import FuzzOptions
from tests.unit.bench.fuzz.test_record import record as fuzz_record

SLOTS = "--server=--slots=8"


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("bench.fuzz.record.FUZZ_RESULTS", tmp_path)
    monkeypatch.setattr("bench.fuzz.__main__.FUZZ_RESULTS", tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("workload", "calls"), [("requests", 120), ("midi", 60), ("cancels", 100)])
def test_the_shipped_models_survive_a_workload(workload: str, calls: int, results: Path) -> None:
    result = run(workload, "--calls", str(calls), "--processes", "1", "--seed", "3", "--record", "mine")
    record = FuzzRecord.load(results / "mine.json")

    assert result.exit_code == 0, result.output
    assert record.is_clean
    assert record.total == calls
    assert [(span.first, span.end) for span in record.cases] == [(0, calls)]
    assert [(each.calls, each.probes, each.is_checked) for each in record.sittings] == [(calls, 20, True)]
    assert {model.name for model in record.sittings[0].models} == {"chorales", "folk", "piano"}
    assert record.checked > 0
    assert f"{calls} of {calls} calls, 0 faults" in result.stderr


@pytest.mark.slow
def test_recorded_faults_are_sent_again(results: Path, small_bundle: Path) -> None:
    models = ("--models", str(small_bundle))
    run("midi", "--calls", "20", "--processes", "1", "--record", "mine", *models)
    record = FuzzRecord.load(results / "mine.json")
    fault = {"index": 1, "method": "GetModel", "code": "OK", "problems": (), "payload": "CgRub25l"}
    record.model_validate(record.model_dump() | {"faults": (fault,)}).save(results / "mine.json")
    result = run("replay", str(results / "mine.json"), *models)

    assert result.exit_code == 0, result.output
    assert result.stdout == "1 GetModel NOT_FOUND: as promised\n"


def test_a_record_is_continued_but_for_fresh_ones(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier: list[FuzzRecord | None] = []

    def fuzz(options: FuzzOptions, record: FuzzRecord | None, checkpoint: object) -> FuzzRecord:
        earlier.append(record)
        return fuzz_record(checked=len(earlier))

    monkeypatch.setattr("bench.fuzz.__main__.run_fuzz", fuzz)
    for arguments in (("--fresh",), (), ("--fresh",)):
        assert run("requests", "--record", "mine", *arguments).exit_code == 0

    assert [each and each.checked for each in earlier] == [None, 1, None]
    assert FuzzRecord.load(results / "mine.json").checked == 3


@pytest.mark.slow
def test_files_are_read_and_recorded(results: Path) -> None:
    result = run("read", "--files", "40", "--processes", "1", "--record", "mine")

    assert result.exit_code == 0, result.output
    assert ReadingRecord.load(results / "mine.json").files == 40


@pytest.mark.slow
def test_a_folder_without_bundles_is_one_sentence(tmp_path: Path) -> None:
    result = run("requests", "--models", str(tmp_path), "--calls", "1")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the server did not start: ")
