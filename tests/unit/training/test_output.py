"""What a command cannot write to is told at once, with no work done and nothing left behind."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from training.__main__ import main

WRITING = [
    ["prepare", "chorales", "--out", "-"],
    ["train", "smoke", "--corpus", "none.npz", "--run", "-"],
    ["export", "runs/none", "--out", "-"],
    ["draw", "models/none", "--out", "-"],
    ["evaluate", "models/none", "--corpus", "none.npz", "--samples", "9", "--record", "-"],
    ["pipeline", "chorales", "--name", "mine", "--models", "-"],
    ["pipeline", "chorales", "--name", "mine", "--data", "-"],
    ["pipeline", "chorales", "--name", "mine", "--runs", "-"],
    ["reproduce", "midi", "--work", "-"],
    ["reproduce", "midi", "--docs", "-"],
    ["study", "--work", "-"],
    ["study", "--docs", "-"],
]


def run(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("arguments", WRITING, ids=lambda arguments: f"{arguments[0]} {arguments[-2]}")
def test_a_dash_is_no_file(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(arguments, tmp_path, monkeypatch)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[-2]}'" in result.output
    assert "- means standard output, which is not supported here" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_with_130_and_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.corpus.Corpus.load", interrupted)
    result = run(["roundtrip", "smoke", "--corpus", "a.npz"], tmp_path, monkeypatch)
    assert (result.exit_code, result.output) == (130, "Error: interrupted\n")


def test_a_file_called_dash_can_be_written(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(["draw", str(small_bundle), "--out", "./-.png"], tmp_path, monkeypatch)
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["-.png"]


def test_a_record_that_cannot_be_written_is_told_before_the_pieces_are_judged(
    small_bundle: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*_: object, **__: object) -> None:
        raise AssertionError("it has judged before it looked")

    monkeypatch.setattr("training.judge.judge.judge", judge)
    (tmp_path / "file").touch()
    arguments = ["evaluate", str(small_bundle), "--corpus", str(small_corpus), "--split", "test", "--samples", "9"]
    result = run([*arguments, "--record", "file/record.json"], tmp_path, monkeypatch)
    assert result.exit_code == 1
    assert result.output == "Error: file: File exists\n"


def test_a_study_without_a_page_is_told_before_it_trains(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(["study", "--corpus", str(small_corpus), "--docs", "nowhere"], tmp_path, monkeypatch)
    assert result.exit_code == 1
    assert result.output == "Error: there is no page nowhere/study.md to write the results into\n"
