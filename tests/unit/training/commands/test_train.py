"""`train` as its user meets it: stopped, gone on with, exported on the way, given more epochs."""

import shlex
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from music.bundle import load_bundle
from tests.unit.training.signals import signalled_at
from training.__main__ import main
from training.loop.history import HISTORY, read_history
from training.run import Run


def command(corpus: Path, run: Path, *changes: str) -> list[str]:
    sets = [word for change in ("tokenizer.parameters.voices=2", *changes) for word in ("--set", change)]
    return ["train", "smoke", "--corpus", str(corpus), "--run", str(run), "--device", "cpu", "--quiet", *sets]


def invoke(words: list[str]) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_says_how_to_resume_and_how_to_export_and_both_work(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "my run"
    with monkeypatch.context() as patch:
        signalled_at(patch, 2, number)
        stopped = invoke(command(small_corpus, run))
    assert stopped.exit_code == code
    assert f"stopped in epoch 1 of 3, after 50% of it; a checkpoint is saved in {run}" in stopped.output
    hint = stopped.output.splitlines()[-1].removeprefix("export the model as it is:").strip()
    python, dash, package, *words = shlex.split(hint)
    assert (python, dash, package) == (".venv/bin/python", "-m", "training")
    assert words == ["export", str(run), "--out", "models/NAME"], "a folder of that name cannot be a model"

    exported = invoke([*words[:-1], str(tmp_path / "models" / "early")])
    assert exported.exit_code == 0, exported.output
    assert load_bundle(tmp_path / "models" / "early").manifest.provenance["epoch"] == 0.5
    assert "--bars 8" in exported.output.splitlines()[-1]

    assert invoke(command(small_corpus, run)).exit_code == 0
    assert [record.epoch for record in read_history(run / HISTORY)] == [1, 2, 3]
    more = invoke(command(small_corpus, run, "training.epochs=5", "training.patience=5"))
    assert more.exit_code == 0, more.output
    assert len(read_history(run / HISTORY)) == 5
    assert Run.load(run).config.training.epochs == 5


def test_a_training_stopped_without_a_checkpoint_says_what_is_lost(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled_at(monkeypatch, 2, signal.SIGINT, times=2)
    result = invoke(command(small_corpus, tmp_path / "run"))
    assert result.exit_code == 130
    assert "progress since the last checkpoint in" in result.output


@pytest.mark.slow
def test_a_training_that_stopped_early_says_how_to_continue(small_corpus: Path, tmp_path: Path) -> None:
    eager = ["training.patience=1", "training.epochs=40", "training.learning_rate=1.0"]
    result = invoke(command(small_corpus, tmp_path / "run", *eager))
    assert result.exit_code == 0, result.output
    done = len(read_history(tmp_path / "run" / HISTORY))
    assert done < 40
    assert f"stopped early after {done} epochs: the validation loss did not improve in the last 1." in result.output
    assert "To continue, raise --set training.patience=N (make train: PATIENCE=N)" in result.output


def test_the_next_step_is_the_export_under_the_name_of_the_run(small_corpus: Path, tmp_path: Path) -> None:
    result = invoke(command(small_corpus, tmp_path / "tiny", "training.epochs=1"))
    assert result.output.splitlines()[-1] == (
        f"export the model:  .venv/bin/python -m training export {tmp_path / 'tiny'} --out models/tiny"
    )


def test_a_run_folder_that_cannot_be_written_is_refused_before_the_corpus_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = invoke(command(tmp_path / "no corpus.npz", tmp_path / "file" / "run"))
    assert result.exit_code == 1
    assert "Not a directory" in result.output
