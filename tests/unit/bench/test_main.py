from pathlib import Path

import pytest

from bench.__main__ import main
from bench.page import BEGIN, END


def test_a_missing_bundle_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path)]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"python -m bench: error: there is no bundle at {tmp_path}: ")
    assert told.err.count("\n") == 1


def test_rendering_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")

    assert main(["--render", str(page), "--bundle", "nowhere"]) == 0
    assert capsys.readouterr().err == ""
    assert "###" in page.read_text() or "No result" in page.read_text()
