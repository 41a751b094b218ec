import subprocess
import sys
from pathlib import Path

import pytest

from bench.page import BEGIN, END
from bench.rounds import LEAST_ROUNDS
from bench.training import TrainingReport, as_text, main, measure, rendered
from training.config import load_config
from training.corpus import Corpus


@pytest.fixture(scope="module")
def report(small_corpus: Path) -> TrainingReport:
    config = load_config("smoke", {"tokenizer.parameters.voices": "2"})
    return measure("smoke", config, Corpus.load(small_corpus), device="cpu", pieces=3, seconds=0.01)


def test_training_and_the_lstm_alone_take_turns_on_the_same_windows(report: TrainingReport) -> None:
    assert (report.width, report.windows, report.tokens) == (3, 2, 3 * 121)
    assert len(report.comparison.rates) == LEAST_ROUNDS
    assert 0 < report.comparison.ratio < 1, "training does all that the LSTM does, and more"
    assert f"ratio {report.comparison.ratio:.3f}" in as_text(report)


def test_records_are_put_between_the_marks_of_a_page(report: TrainingReport, tmp_path: Path) -> None:
    (tmp_path / "here.json").write_text(report.model_dump_json())
    page = rendered(f"before\n{BEGIN}\nold\n{END}\nafter\n", tmp_path)
    assert page.startswith("before\n")
    assert page.endswith(f"{END}\nafter\n")
    assert "old" not in page
    assert f"| {report.comparison.ratio:.3f} |" in page


def test_a_corpus_that_is_not_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smoke", "--corpus", str(tmp_path / "none.npz"), "--device", "cpu"]) == 1
    assert "there is no corpus" in capsys.readouterr().err


def test_no_other_benchmark_needs_torch() -> None:
    loaded = "import bench.__main__, bench.suite, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0  # noqa: S603  # our own
