"""Commands refuse outputs that they cannot write, before any work, and leave nothing behind."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.training.commands.dash import check_a_dash_is_refused
from training.__main__ import main

OUTPUT_OPTIONS = [
    ["prepare", "chorales", "--out", "-"],
    ["train", "smoke", "--corpus", "none.npz", "--run", "-"],
    ["export", "runs/none", "--out", "-"],
    ["draw", "models/none", "--out", "-"],
    ["evaluate", "models/none", "--corpus", "none.npz", "--samples", "9", "--record", "-"],
    ["pipeline", "chorales", "--name", "mine", "--models", "-"],
    ["pipeline", "chorales", "--name", "mine", "--data", "-"],
    ["pipeline", "chorales", "--name", "mine", "--runs", "-"],
]


def run(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("arguments", OUTPUT_OPTIONS, ids=lambda arguments: f"{arguments[0]} {arguments[-2]}")
def test_an_output_option_refuses_a_dash(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_a_dash_is_refused(main, arguments, tmp_path)


def test_ctrl_c_exits_with_130_and_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.corpus.store.Corpus.load", interrupted)
    result = run(["roundtrip", "smoke", "--corpus", "a.npz"], tmp_path, monkeypatch)
    assert (result.exit_code, result.output) == (130, "Error: interrupted\n")


@pytest.mark.slow
def test_a_file_called_dash_can_be_written(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(["draw", str(small_bundle), "--out", "./-.png"], tmp_path, monkeypatch)
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["-.png"]


def test_a_record_that_cannot_be_written_is_refused_before_the_evaluation(
    small_bundle: Path, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate_bundle(*_: object, **__: object) -> None:
        raise AssertionError("evaluated before the check")

    monkeypatch.setattr("training.evaluation.evaluator.evaluate_bundle", evaluate_bundle)
    (tmp_path / "file").touch()
    arguments = ["evaluate", str(small_bundle), "--corpus", str(small_corpus), "--split", "test", "--samples", "9"]
    result = run([*arguments, "--record", "file/record.json"], tmp_path, monkeypatch)
    assert result.exit_code == 1
    assert result.output == "Error: file: File exists\n"
