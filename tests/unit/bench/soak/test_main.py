from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.soak.__main__ import main
from bench.soak.record import SoakRecord


@pytest.mark.slow
def test_one_command_compares_prints_and_records(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.soak.__main__.SOAK_RESULTS", tmp_path)
    arguments = ["--bundle", str(small_bundle), "--requests", "60", "--distinct", "20", "--engines", "2"]
    result = CliRunner().invoke(main, [*arguments, "--precision", "float32", "--record", "mine"])
    record = SoakRecord.load(tmp_path / "mine.json")

    assert result.exit_code == 0, result.output
    assert [engine.requests for engine in record.engines] == [30, 30]
    assert record.total("mismatches") == 0
    assert "60 answers compared with those of 20 different requests alone: 0 mismatches" in result.stdout
    assert f"sha256 of the answers alone: {record.answers_sha256}\n" in result.stdout
    assert "engine 2 of 2: 60 answers compared, 0 mismatches" in result.stderr


def test_a_missing_bundle_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--bundle", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")
