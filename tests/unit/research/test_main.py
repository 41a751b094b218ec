from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research.__main__ import main
from tests.unit.training.commands.dash import check_a_dash_is_refused

OUTPUT_OPTIONS = [
    ["reproduction", "midi", "--work", "-"],
    ["reproduction", "midi", "--docs", "-"],
    ["ablation", "--work", "-"],
    ["ablation", "--docs", "-"],
    ["comparison", "--work", "-"],
    ["comparison", "--docs", "-"],
]


def run(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("arguments", OUTPUT_OPTIONS, ids=lambda arguments: f"{arguments[0]} {arguments[-2]}")
def test_an_output_option_refuses_a_dash(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_a_dash_is_refused(main, arguments, tmp_path)


@pytest.mark.parametrize("command", ["ablation", "comparison"])
def test_a_training_command_without_its_page_fails_before_it_trains(
    command: str, small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run([command, "--corpus", str(small_corpus), "--docs", "nowhere"], tmp_path, monkeypatch)
    assert result.exit_code == 1
    assert result.output == f"Error: there is no page nowhere/{command}.md to write the results into\n"
